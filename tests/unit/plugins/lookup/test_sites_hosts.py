# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible.template import Templar, trust_as_template
from unit.templates import LOADER

from ansible_collections.flyte.onprem.plugins.lookup.sites_hosts import LookupModule

GROUPS = {
    "all": ["web-1", "edge-2", "edge-1", "data-1"],
    "k3s_servers": ["edge-1", "edge-2"],
    "minio": ["edge-1", "data-1"],
    "place": ["edge-2", "data-1"],
    "web": ["web-1"],
}


def hosts(*names: str, groups: dict[str, list[str]] = GROUPS, **given: str) -> list[str]:
    variables: dict[str, Any] = {"groups": groups, **{name: trust_as_template(text) for name, text in given.items()}}
    return list(LookupModule(loader=LOADER, templar=Templar(LOADER, variables)).run(list(names), variables))


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({}, "edge-2 edge-1 data-1"),
        # groups of other names, or a pattern
        ({"hosts_minio": "place"}, "edge-2 edge-1 data-1"),
        ({"hosts_k3s_servers": "place:!data-1", "hosts_minio": "edge-2"}, "edge-2"),
        ({"hosts_k3s_servers": "{{ name }}", "name": "web", "hosts_minio": ""}, "web-1"),
        # what one pattern leaves out, another may name
        ({"hosts_k3s_servers": "place:!data-1"}, "edge-2 edge-1 data-1"),
        ({"hosts_site": "web:edge-1"}, "web-1 edge-2 edge-1 data-1"),
    ],
)
def test_only_hosts_of_the_groups_have_a_part_of_a_site(variables: dict[str, str], found: str) -> None:
    assert hosts(**variables) == found.split()


def test_the_hosts_of_one_group_are_told_by_its_name() -> None:
    assert hosts("minio", hosts_site="web") == ["edge-1", "data-1"]
    assert hosts("postgresql") == []


def test_an_inventory_with_groups_of_other_names_alone_is_taken_as_a_whole() -> None:
    others = {"all": ["web-1", "edge-1"], "web": ["web-1"]}
    assert hosts(groups=others) == ["web-1", "edge-1"]
