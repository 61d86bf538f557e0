# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The forms in which a secret may be shown."""

from __future__ import annotations

import base64
from collections.abc import Mapping


def forms(secret: str) -> list[str]:
    """The secret as it is, and in base64 as it looks at the start of a text or anywhere within a longer one.

    Kubernetes shows Secrets in base64. There the same bytes look different by how many stand before them, modulo 3; the
    characters at both ends that depend on the neighbours are left out.
    """
    within = []
    for before in range(3):
        padded = bytes(before) + secret.encode()
        first, last = -(-before * 8 // 6), len(padded) * 8 // 6
        within.append(base64.b64encode(padded).decode()[first:last])
    return [secret, *within]


def shown(text: str, secrets: Mapping[str, str]) -> dict[str, str]:
    """Each secret that the text shows in any form, by name, with what stands around it."""
    places = {name: text.index(form) for name, secret in secrets.items() for form in forms(secret) if form in text}
    return {name: text[max(0, at - 300) : at + 50] for name, at in places.items()}
