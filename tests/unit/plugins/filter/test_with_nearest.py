# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.flyte.onprem.plugins.filter.with_nearest import FilterModule

with_nearest = FilterModule().filters()["with_nearest"]
KNOWN = ["tls-san", "token", "maxPods"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("tls-sans", "tls-sans (tls-san?)"),
        ("TLS_SAN", "TLS_SAN (tls-san?)"),
        ("max-pods", "max-pods (maxPods?)"),
        ("maxpods", "maxpods (maxPods?)"),
        ("colour", "colour"),
        ("", ""),
    ],
)
def test_what_was_probably_meant_stands_behind_a_name(name: str, shown: str) -> None:
    assert with_nearest([name], KNOWN) == [shown]


def test_names_that_are_no_texts_and_the_order_stay() -> None:
    assert with_nearest(["x", 7], KNOWN) == ["x", "7"]
