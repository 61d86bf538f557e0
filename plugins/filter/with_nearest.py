# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: with_nearest
author:
  - flyte.onprem contributors
short_description: Unknown names with the known ones that were probably meant
version_added: 0.1.0
description:
  - Puts behind each name the known one that is most like it, as a question in brackets.
  - Case, dashes and underscores make no difference.
positional: _input, known
options:
  _input:
    description: The names that nobody knows.
    type: list
    elements: str
    required: true
  known:
    description: The names that there are.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Show what was probably meant
  ansible.builtin.debug:
    msg: "{{ ['tls-sans', 'colour'] | flyte.onprem.with_nearest(['tls-san', 'token']) | join(', ') }}"
"""

RETURN = r"""
_value:
  description: The names, in their order.
  sample: [tls-sans (tls-san?), colour]
  type: list
  elements: str
"""

import difflib
import re
import typing as t
from collections.abc import Sequence


def plain(name: str) -> str:
    """Return what of a name is compared."""
    return re.sub(r"[-_]", "", str(name)).lower()


def with_nearest(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """Return *names*, each with the one of *known* that is most like it, where one is."""
    written = {plain(name): name for name in known}
    nearest = {name: difflib.get_close_matches(plain(name), written, n=1) for name in names}
    return [f"{name} ({written[found[0]]}?)" if found else f"{name}" for name, found in nearest.items()]


class FilterModule:
    """The filter plugin."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filters by name."""
        return {"with_nearest": with_nearest}
