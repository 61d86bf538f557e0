# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.flyte.onprem.plugins.filter.firewall_rules import firewall_rules

PEER = {"name": "b", "address": "192.0.2.2", "tcp": [10250, 2379, 2380], "udp": [8472]}
# what is opened, the arguments, the firewall, its rules
CASES: list[tuple[str, dict[str, Any], str, list[str]]] = [
    (
        "ports to one",
        {"peers": [PEER]},
        "ufw",
        [
            "allow from 192.0.2.2 to any port 2379,2380,10250 proto tcp",
            "allow from 192.0.2.2 to any port 8472 proto udp",
        ],
    ),
    (
        "ports to one",
        {"peers": [PEER]},
        "firewalld",
        [
            'rule family="ipv4" source address="192.0.2.2" port port="2379" protocol="tcp" accept',
            'rule family="ipv4" source address="192.0.2.2" port port="2380" protocol="tcp" accept',
            'rule family="ipv4" source address="192.0.2.2" port port="10250" protocol="tcp" accept',
            'rule family="ipv4" source address="192.0.2.2" port port="8472" protocol="udp" accept',
        ],
    ),
    ("no port to one", {"peers": [{**PEER, "tcp": [], "udp": []}]}, "ufw", []),
    ("a port to all", {"public": [6443]}, "ufw", ["allow 6443/tcp"]),
    ("a port to all", {"public": [6443]}, "firewalld", ['rule port port="6443" protocol="tcp" accept']),
    ("all to a network", {"networks": ["10.42.0.0/16"]}, "ufw", ["allow from 10.42.0.0/16"]),
    (
        "all to a network",
        {"networks": ["2001:db8::/64"]},
        "firewalld",
        ['rule family="ipv6" source address="2001:db8::/64" accept'],
    ),
    (
        "from and to networks behind the host",
        {"routed": ["10.42.0.0/16", "fd42::/56"]},
        "ufw",
        [
            "route allow from 10.42.0.0/16",
            "route allow from fd42::/56",
            "route allow to 10.42.0.0/16",
            "route allow to fd42::/56",
        ],
    ),
    ("from and to networks behind the host", {"routed": ["10.42.0.0/16"]}, "firewalld", []),
]
# An address or a network, and how ufw 0.36.2 spells it.
SPELLINGS = {
    "2001:0DB8::0012": "2001:db8::12",
    "2001:db8:0:0:1:0:0:1": "2001:db8::1:0:0:1",
    "::ffff:192.0.2.1": "::ffff:192.0.2.1",
    "FD42:0::/56": "fd42::/56",
    "fd42:0:0:5::/56": "fd42:0:0:5::/56",
    "10.42.5.0/16": "10.42.0.0/16",
    "node-b": "node-b",
}


@pytest.mark.parametrize(
    ("arguments", "firewall", "rules"), [case[1:] for case in CASES], ids=[f"{case[0]}, {case[2]}" for case in CASES]
)
def test_a_rule_is_written_as_the_firewall_lists_it(arguments: dict[str, Any], firewall: str, rules: list[str]) -> None:
    assert firewall_rules(**{"peers": [], **arguments}, firewall=firewall) == rules


def test_an_unknown_firewall_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="not iptables"):
        firewall_rules([PEER], "iptables")


@pytest.mark.parametrize(("written", "listed"), SPELLINGS.items())
def test_ufw_lists_addresses_in_a_spelling_of_its_own(written: str, listed: str) -> None:
    rules = firewall_rules([{**PEER, "address": written}], "ufw", networks=[written], routed=[written])
    assert rules == firewall_rules([{**PEER, "address": listed}], "ufw", networks=[listed], routed=[listed])
    assert f"allow from {listed}" in rules


def test_firewalld_lists_addresses_as_they_are_written() -> None:
    (rule,) = firewall_rules([], "firewalld", networks=["FD42:0::/56"])
    assert "FD42:0::/56" in rule
