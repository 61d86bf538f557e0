# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.flyte.onprem.plugins.filter.host_address import host_address

FULL = {
    "inventory_hostname": "edge-1",
    "ansible_host": "203.0.113.1",
    "ansible_facts": {"default_ipv4": {"address": "192.0.2.1"}},
    "site_address": "198.51.100.1",
}


# what is left out, what is then the address
@pytest.mark.parametrize(
    ("without", "address"),
    [
        ([], "198.51.100.1"),
        (["site_address"], "192.0.2.1"),
        (["site_address", "ansible_facts"], "203.0.113.1"),
        (["site_address", "ansible_facts", "ansible_host"], "edge-1"),
    ],
)
def test_the_inventory_beats_facts_and_facts_beat_the_way_ansible_reaches_it(without: list[str], address: str) -> None:
    host: dict[str, Any] = {key: value for key, value in FULL.items() if key not in without}
    assert host_address(host) == address


def test_a_host_without_default_route_is_reached_as_ansible_reaches_it() -> None:
    assert host_address({"ansible_host": "203.0.113.1", "ansible_facts": {"default_ipv4": {}}}) == "203.0.113.1"
