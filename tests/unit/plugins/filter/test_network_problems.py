# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.flyte.onprem.plugins.filter.network_problems import FilterModule

network_problems = FilterModule().filters()["network_problems"]


@pytest.mark.parametrize(
    ("pods", "services", "address", "problems"),
    [
        ("10.42.0.0/16", "10.43.0.0/16", "192.0.2.1", []),
        ("10.42.0.0/16,fd42::/56", "10.43.0.0/16, fd43::/112", "192.0.2.1,2001:db8::1", []),
        # Those whose address is a name, or not known yet, are nobody's business here.
        ("10.42.0.0/16", "10.43.0.0/16", "node-1", []),
        ("10.42.0.0", "10.43.0.0/16", "10.42.0.0", ["pods is '10.42.0.0', no network such as 10.42.0.0/16"]),
        ("10.42.0.0/33", "10.43.0.0/16", "", ["pods is '10.42.0.0/33', no network such as 10.42.0.0/16"]),
        ("10.42.0.0/16", "", "", ["services is '', no network such as 10.42.0.0/16"]),
        ("10.42.0.0/255.255.0.0", "10.43.0.0/16", "", [
            "pods is '10.42.0.0/255.255.0.0', no network such as 10.42.0.0/16",
        ]),
        ("fe80::%eth0/64", "fd43::/112", "", ["pods is 'fe80::%eth0/64', no network such as 10.42.0.0/16"]),
        ("10.42.0.0/16", "10.42.128.0/17", "", ["pods (10.42.0.0/16) and services (10.42.128.0/17) overlap"]),
        ("192.0.2.0/24", "10.43.0.0/16", "192.0.2.1", ["pods (192.0.2.0/24) covers node (192.0.2.1)"]),
        ("10.42.0.0/16,fd42::/56", "10.43.0.0/16", "192.0.2.1,fd42::1", ["pods (fd42::/56) covers node (fd42::1)"]),
    ],
)  # fmt: skip
def test_networks_are_judged(pods: str, services: str, address: str, problems: list[str]) -> None:
    assert network_problems({"pods": pods, "services": services}, addresses={"node": address}) == problems


def test_without_addresses_only_networks_are_judged() -> None:
    assert network_problems({"pods": "10.42.0.0/16"}) == []


@pytest.mark.parametrize(
    ("pods", "services", "address", "problems"),
    [
        ("10.42.0.0/16", "10.43.0.0/16", "192.0.2.1", []),
        ("10.42.0.0/16,fd42::/56", "10.43.0.0/16,fd43::/112", "192.0.2.1,2001:db8::1", []),
        ("fd42::/56,10.42.0.0/16", "fd43::/112,10.43.0.0/16", "192.0.2.1,2001:db8::1", []),
        # More addresses than networks do no harm, and of a name nothing is known.
        ("10.42.0.0/16", "10.43.0.0/16", "192.0.2.1,2001:db8::1", []),
        ("10.42.0.0/16,fd42::/56", "10.43.0.0/16,fd43::/112", "node-1", []),
        ("10.42.0.0/16,fd42::/56", "10.43.0.0/16", "", ["pods is of IPv4, IPv6, and services of IPv4"]),
        ("10.42.0.0/16", "fd43::/112", "192.0.2.1,2001:db8::1", ["pods is of IPv4, and services of IPv6"]),
        ("10.42.0.0/16,fd42::/56", "fd43::/112,10.43.0.0/16", "", [
            "pods is of IPv4, IPv6, and services of IPv6, IPv4",
        ]),
        ("10.42.0.0/16,10.44.0.0/16", "10.43.0.0/16,10.45.0.0/16", "", [
            "pods has several networks of one family (IPv4, IPv4)",
            "services has several networks of one family (IPv4, IPv4)",
        ]),
        ("10.42.0.0/16,fd42::/56", "10.43.0.0/16,fd43::/112", "192.0.2.1", [
            "node (192.0.2.1) has no address of IPv6, of which there are networks",
        ]),
        ("fd42::/56", "fd43::/112", "192.0.2.1", [
            "node (192.0.2.1) has no address of IPv6, of which there are networks",
        ]),
        # What is no network is named once.
        ("10.42.0.0", "10.43.0.0/16", "192.0.2.1", ["pods is '10.42.0.0', no network such as 10.42.0.0/16"]),
    ],
)  # fmt: skip
def test_families_of_a_cluster_have_to_agree(pods: str, services: str, address: str, problems: list[str]) -> None:
    networks = {"pods": pods, "services": services}
    assert network_problems(networks, addresses={"node": address}, of_one_cluster=True) == problems
