# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts role site takes for those of a site, and which lists of them it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from unit.templates import role_variables, templated

KNOWN = role_variables("site", "defaults") | role_variables("site", "vars")
SITE = {
    "site_name": "kiel",
    "groups": {"all": ["kiel-1", "kiel-2", "kiel-3", "bonn-1"], "k3s_servers": ["kiel-1", "kiel-2", "bonn-1"]},
    "sites_outcome": {"members": {"kiel": ["kiel-1", "kiel-2"], "bonn": ["bonn-1"]}},
}


def rule(**changes: Any) -> dict[str, Any]:
    found = next(each for each in KNOWN["__site_inventory_rules"] if each["id"] == "SITE-22")
    return dict(templated(found, {**KNOWN, **SITE, **changes}))


@pytest.mark.parametrize(
    # what the inventory has, what its list of hosts lacks
    ("changes", "lacks"),
    [
        ({}, None),
        ({"site_hosts": ["kiel-2", "kiel-1"]}, None),
        ({"site_hosts": ["kiel-1", "kiel-2", "kiel-3"], "site_minio_hosts": ["kiel-3"]}, None),
        ({"site_hosts": ["kiel-1"]}, "kiel-2"),
        # hosts that no group tells of
        ({"site_minio_hosts": ["kiel-1", "kiel-3"]}, "kiel-3"),
        ({"sites_outcome": {"members": {"kiel": list("abcdefg")}}, "site_hosts": ["a"]}, "b, c, d, e, f and 1 more"),
    ],
)
def test_the_hosts_of_a_site_are_all_of_its_hosts(changes: dict[str, Any], lacks: str | None) -> None:
    found = rule(**changes)
    assert found["met"] is (lacks is None)
    if lacks:
        assert found["seen"] == f"site_hosts of site 'kiel' lacks {lacks}"
