# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.flyte.onprem.plugins.filter.node_ports import node_ports

CLUSTER: dict[str, Any] = {
    "servers": ["s1", "s2"],
    "addresses": {"s1": "192.0.2.1", "s2": "192.0.2.2", "a1": "192.0.2.3", "a2": "192.0.2.4"},
    "api": 6443,
    "etcd": [2379, 2380],
    "tcp": [10250],
    "udp": [8472],
}
ALL = [6443, 2379, 2380, 10250]


@pytest.mark.parametrize(
    ("host", "peer", "tcp"),
    [("s1", "s2", ALL), ("s1", "a1", [10250]), ("a1", "s1", [6443, 10250]), ("a1", "a2", [10250])],
)
def test_a_host_needs_ports_of_another(host: str, peer: str, tcp: list[int]) -> None:
    expected = {"name": peer, "address": CLUSTER["addresses"][peer], "tcp": tcp, "udp": [8472]}
    assert node_ports([peer], host, cluster=CLUSTER) == [expected]


@pytest.mark.parametrize(
    ("host", "peer", "tcp"),
    [("s1", "s2", ALL), ("s1", "a1", [6443, 10250]), ("a1", "s1", [10250]), ("a1", "a2", [10250])],
)
def test_the_other_needs_ports_of_the_host(host: str, peer: str, tcp: list[int]) -> None:
    assert node_ports([peer], host, cluster=CLUSTER, inbound=True)[0]["tcp"] == tcp


@pytest.mark.parametrize(
    ("host", "peer", "tcp"),
    [("s1", "s2", [*ALL, 5001]), ("a1", "s1", [6443, 10250, 5001]), ("s1", "a1", [10250, 6443, 5001])],
)
def test_a_port_that_servers_have_and_all_nodes_is_named_once(host: str, peer: str, tcp: list[int]) -> None:
    assert node_ports([peer], host, cluster={**CLUSTER, "tcp": [10250, 6443, 5001]})[0]["tcp"] == tcp


def test_the_cluster_is_left_as_it_was() -> None:
    node_ports(["s2"], "s1", cluster=CLUSTER)[0]["udp"].append(1)
    assert CLUSTER["udp"] == [8472]
