# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An only server that gets another address: with SQLite it goes on, with etcd it comes back as it is told.

The tests build on each other in their order.
"""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Iterator

import pytest
from support.leaks import shown

from .conftest import CANARIES, Box, changes, fresh_box


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """A host with a cluster of its own, which knows one thing."""
    with fresh_box("flyte-onprem-moved", tmp_path_factory.mktemp("moved"), parts=["k3s_servers"]) as box:
        box.describe(
            site_bundle=os.environ["FLYTE_ONPREM_CLUSTER_BUNDLE"],
            site_database="external",
            site_object_store="external",
            k3s_disable=["traefik"],
            k3s_ingress_ports=[],
            k3s_cluster_dns_hosts={},
        )
        run(box)
        box.kubectl("create", "configmap", "known")
        yield box


def run(box: Box) -> int:
    """Run to a good end: how much it changed."""
    code, output = box.run("cluster")
    assert code == 0, output[-4000:]
    return changes(output)


def move(box: Box, number: int) -> str:
    """Give the host one more address, one of the last in its network, and describe it in the inventory."""
    link = box.shell("ip -oneline -4 route show default").split(" dev ")[1].split()[0]
    line = box.shell(f"ip -oneline -4 address show dev {link} scope global").splitlines()[0]
    network = ipaddress.ip_interface(line.split(" inet ")[1].split()[0]).network
    address = str(network.broadcast_address - number)
    box.shell(f"ip address add {address}/{network.prefixlen} dev {link}")
    box.describe(site_address=address)
    return address


def assert_whole(box: Box, address: str) -> None:
    """The only node is ready at this address, and the cluster knows what it knew."""
    (node,) = json.loads(box.kubectl("get", "nodes", "--output=json"))["items"]
    assert {"type": "InternalIP", "address": address} in node["status"]["addresses"]
    assert [each["status"] for each in node["status"]["conditions"] if each["type"] == "Ready"] == ["True"]
    assert box.kubectl("get", "configmap", "known", "--output=name").strip() == "configmap/known"


def test_with_sqlite_the_next_run_moves_it(box: Box) -> None:
    address = move(box, 1)
    assert run(box) > 0
    assert_whole(box, address)
    assert run(box) == 0


def test_a_member_of_etcd_is_refused_before_anything_is_changed(box: Box) -> None:
    box.describe(k3s_config={"cluster-init": True})
    assert run(box) > 0
    address = move(box, 2)
    configuration = "sha256sum /etc/rancher/k3s/config.yaml; systemctl show --property=MainPID k3s"
    before = box.shell(configuration)
    code, output = box.run("cluster")
    assert code != 0
    assert "[K3S-105] box is a member of etcd with the address" in output
    assert f"is now {address}. Expected" in output
    assert box.shell(configuration) == before


def test_a_member_of_etcd_comes_back_as_it_is_told(box: Box) -> None:
    """By the commands of docs/problems.md."""
    address = box.variables["site_address"]
    box.shell("systemctl stop k3s")
    box.shell(f"sed -i -e '/^server:/d' -e 's/^node-ip:.*/node-ip: {address}/' /etc/rancher/k3s/config.yaml")
    said = box.shell("k3s server --cluster-reset 2>&1")
    assert "Managed etcd cluster membership has been reset" in said
    run(box)
    assert_whole(box, address)
    assert run(box) == 0


def test_no_secret_was_shown(box: Box) -> None:
    assert shown(box.output, CANARIES) == {}
    assert box.leaks == set()
