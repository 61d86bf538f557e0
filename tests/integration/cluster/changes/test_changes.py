# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of a cluster of three servers and an agent: changed, a disk lost, nodes removed and added, uninstalled.

The tests build on each other in their order.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import ssl
import subprocess
import threading
from base64 import b64decode
from collections.abc import Iterator
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.leftovers import LEFTOVERS

from ..conftest import Kubectl, Machine, condition, variable

ROOT = Path(__file__).resolve().parents[4]
# Stays in all later runs: another value would be one more change.
CHANGED = {"k3s_config": {"kubelet-arg": ["max-pods=99"]}}
LOSE_THE_DISK = """
k3s-killall.sh >/dev/null 2>&1
rm -rf /var/lib/rancher/k3s /var/lib/kubelet/* /etc/rancher /etc/systemd/system/k3s* /usr/local/bin/*
systemctl daemon-reload
"""


def run(inventory: str, playbook: str, **variables: Any) -> str:
    """Run a playbook of the collection to its good end; what it said."""
    done = subprocess.run(
        ["ansible-playbook", f"--inventory={inventory}", playbook, "--extra-vars", json.dumps(variables)],
        cwd=ROOT,
        env=dict(os.environ, ANSIBLE_NOCOLOR="1"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


def build(inventory: str) -> dict[str, int]:
    """Bring the cluster to its described state: how much that changed, by host."""
    output = run(inventory, str(ROOT / "molecule/resources/converge_cluster.yml"), **CHANGED)
    return {host: int(count) for host, count in re.findall(r"^(\S+)\s+: .*\bchanged=(\d+)", output, re.M)}


def nodes_now(kubectl: Kubectl) -> dict[str, dict[str, Any]]:
    return {node["metadata"]["name"]: node for node in json.loads(kubectl("get", "nodes", "--output=json"))["items"]}


def assert_whole(kubectl: Kubectl, machines: list[Machine]) -> None:
    """Every host is a ready node, every server votes."""
    nodes = nodes_now(kubectl)
    assert set(nodes) == {machine.node for machine in machines}
    for machine in machines:
        assert condition(nodes[machine.node], "Ready") == "True", machine.name
        assert condition(nodes[machine.node], "EtcdIsVoter") == ("True" if machine.is_server else None), machine.name


def address(node: dict[str, Any]) -> str:
    return str(next(entry["address"] for entry in node["status"]["addresses"] if entry["type"] == "InternalIP"))


def processes(machines: list[Machine]) -> dict[str, str]:
    """The process of each host's k3s."""
    question = "systemctl show --property=MainPID --value"
    return {machine.name: machine.host.check_output(f"{question} {machine.unit}") for machine in machines}


@pytest.fixture(scope="module")
def administrator(servers: list[Machine], tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """The identity of the kubeconfig on the control node."""
    kubeconfig = yaml.safe_load((Path(variable(servers[0].host, "site_directory")) / "kubeconfig").read_text())
    user = kubeconfig["users"][0]["user"]
    ca = b64decode(kubeconfig["clusters"][0]["cluster"]["certificate-authority-data"]).decode()
    pem = tmp_path_factory.mktemp("administrator") / "user.pem"
    pem.write_bytes(b64decode(user["client-certificate-data"]) + b64decode(user["client-key-data"]))
    context = ssl.create_default_context(cadata=ca)
    context.load_cert_chain(pem)
    return context


def is_ready(address: str, administrator: ssl.SSLContext) -> bool:
    """Whether the API of a server answers that it is ready, its datastore included."""
    connection = HTTPSConnection(address, 6443, timeout=2, context=administrator)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


@contextlib.contextmanager
def watched(addresses: list[str], administrator: ssl.SSLContext) -> Iterator[list[set[str]]]:
    """Ask all servers again and again: the servers that were not ready, by round."""
    rounds: list[set[str]] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.wait(0.2):
            rounds.append({address for address in addresses if not is_ready(address, administrator)})

    watcher = threading.Thread(target=ask, daemon=True)
    watcher.start()
    try:
        yield rounds
    finally:
        stop.set()
        watcher.join()


def test_a_change_restarts_one_node_at_a_time(
    inventory: str, machines: list[Machine], servers: list[Machine], kubectl: Kubectl, administrator: ssl.SSLContext
) -> None:
    nodes = nodes_now(kubectl)
    addresses = [address(nodes[server.node]) for server in servers]
    before = processes(machines)
    with watched(addresses, administrator) as rounds:
        changed = build(inventory)
    after = processes(machines)
    assert [name for name in before if before[name] == after[name]] == []
    assert min(changed[machine.name] for machine in machines) > 0
    # Each was away for a while, so the watch sees what it is for; and none while another was.
    assert set.union(*rounds) == set(addresses)
    assert max(len(away) for away in rounds) == 1
    assert_whole(kubectl, machines)
    assert {node["status"]["capacity"]["pods"] for node in nodes_now(kubectl).values()} == {"99"}


def test_a_server_whose_disk_was_lost_comes_back_to_its_cluster(
    inventory: str, machines: list[Machine], servers: list[Machine], kubectl: Kubectl
) -> None:
    """The first one: what else would found another cluster."""
    identity = ("get", "namespace", "kube-system", "--output=jsonpath={.metadata.uid}")
    cluster = kubectl(*identity)
    servers[0].host.check_output(LOSE_THE_DISK)
    changed = build(inventory)
    assert kubectl(*identity) == cluster
    assert_whole(kubectl, machines)
    assert [changed[machine.name] for machine in machines if machine != servers[0]] == [0] * (len(machines) - 1)


def test_nodes_leave_the_cluster(
    inventory: str, machines: list[Machine], servers: list[Machine], kubectl: Kubectl
) -> None:
    leaving = [servers[-1], machines[-1]]
    run(inventory, "flyte.onprem.remove_node", remove_node=":".join(machine.name for machine in leaving), **CHANGED)
    assert_whole(kubectl, [machine for machine in machines if machine not in leaving])
    for machine in leaving:
        assert machine.host.run(LEFTOVERS).stdout == "", machine.name
        assert not machine.host.file("/var/lib/rancher/k3s").exists


def test_nodes_that_left_join_again(inventory: str, machines: list[Machine], kubectl: Kubectl) -> None:
    build(inventory)
    assert_whole(kubectl, machines)


def test_uninstall_leaves_nothing(inventory: str, machines: list[Machine]) -> None:
    directory = Path(variable(machines[0].host, "site_directory"))
    answers = {"uninstall_confirm": "flyte.test", "uninstall_delete_data": ["k3s", "site"]}
    run(inventory, "flyte.onprem.uninstall", **answers, **CHANGED)
    for machine in machines:
        assert machine.host.run(LEFTOVERS).stdout == "", machine.name
        assert machine.host.run("ls -A /var/lib/rancher /etc/rancher 2>/dev/null").stdout == "", machine.name
    assert not directory.exists()
