# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of a cluster of three servers and an agent: upgraded, changed, a disk lost, nodes out and in, out and back.

The tests build on each other in their order.
"""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any

import pytest
import testinfra
import yaml
from support.leftovers import LEFTOVERS, unseen

from ..conftest import (
    LOSE_THE_DISK,
    TOKENS,
    Kubectl,
    Machine,
    assert_whole,
    door,
    nodes_now,
    processes,
    restarted,
    taints,
)
from ..playbooks import CLUSTER, Playbooks

ROOT = Path(__file__).resolve().parents[4]
K3S_VERSION = yaml.safe_load((ROOT / "roles/k3s/defaults/main.yml").read_text())["k3s_version"]
PORT = 30080
# Stays in all later runs: another value would be one more change.
CHANGED = {
    "k3s_config": {"kubelet-arg": ["max-pods=99"]},
    "k3s_node_labels": {"stage": "second"},
    "k3s_node_taints": ["stage=second:PreferNoSchedule"],
}


@pytest.fixture(scope="module")
def playbooks(inventory: str, secrets: Path) -> Playbooks:
    # The address of the balancer, which a playbook that does not ask that host cannot know.
    balancer = testinfra.get_host("ansible://balancer", ansible_inventory=inventory)
    fixed_address = door(balancer).check_output("hostname --all-ip-addresses").split()[0]
    tokens = {name: (secrets / name).read_text().strip() for name in TOKENS}
    return Playbooks(inventory, tokens, {"site_kubernetes_address": fixed_address})


def foreseen(playbooks: Playbooks, machines: list[Machine], playbook: str = CLUSTER, **variables: Any) -> set[str]:
    """The hosts that a run would change, as check mode says, which restarts nothing."""
    before = processes(machines)
    changed = playbooks.do(playbook, "--check", "--diff", **variables)
    assert restarted(machines, before) == set()
    return {machine.name for machine in machines if changed[machine.name]}


def address(node: dict[str, Any]) -> str:
    return str(next(entry["address"] for entry in node["status"]["addresses"] if entry["type"] == "InternalIP"))


@pytest.fixture(scope="module")
def administrator(servers: list[Machine], tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """The identity of the kubeconfig on the control node."""
    kubeconfig = yaml.safe_load((Path(servers[0].variable("site_directory")) / "kubeconfig").read_text())
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
def repeated(ask: Callable[[], Any]) -> Iterator[list[Any]]:
    """Ask again and again: the answers in their order."""
    answers: list[Any] = []
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.2):
            answers.append(ask())

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    try:
        yield answers
    finally:
        stop.set()
        worker.join()


def away(addresses: list[str], administrator: ssl.SSLContext) -> Callable[[], set[str]]:
    """A question for the servers that are not ready."""
    return lambda: {address for address in addresses if not is_ready(address, administrator)}


def list_nodes(address: str, administrator: ssl.SSLContext) -> str:
    """One call of the API, as a client makes it that does not try again: what went wrong, if anything did."""
    connection = HTTPSConnection(address, 6443, timeout=20, context=administrator)
    try:
        connection.request("GET", "/api/v1/nodes")
        answer = connection.getresponse()
        return (
            "" if answer.status == 200 and len(json.loads(answer.read())["items"]) == 4 else f"status {answer.status}"
        )
    except (OSError, HTTPException) as error:
        return repr(error)
    finally:
        connection.close()


def answers(address: str) -> bool:
    """Whether the workload answers at the port that every node has for it."""
    connection = HTTPConnection(address, PORT, timeout=10)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read() == b"here\n"
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


@pytest.fixture
def workload(kubectl: Kubectl) -> None:
    """A web server on every node, and a port on every node that leads to one of them."""
    labels = {"app": "workload"}
    container = {
        "name": "web",
        "image": "docker.io/rancher/mirrored-library-busybox:1.37.0",
        "command": ["sh", "-c", "mkdir /www && echo here >/www/index.html && exec httpd -f -h /www"],
    }
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container], "terminationGracePeriodSeconds": 0}}
    selector = {"selector": {"matchLabels": labels}, "template": template}
    items = [
        {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "workload"}, "spec": selector},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "workload"},
            "spec": {"type": "NodePort", "selector": labels, "ports": [{"port": 80, "nodePort": PORT}]},
        },
    ]
    kubectl("apply", "--filename=-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    kubectl("rollout", "status", "daemonset/workload", "--timeout=180s")


def versions(kubectl: Kubectl) -> set[str]:
    return {node["status"]["nodeInfo"]["kubeletVersion"] for node in nodes_now(kubectl).values()}


@pytest.mark.usefixtures("workload")
def test_an_upgrade_loses_no_call_no_quorum_and_no_workload(
    playbooks: Playbooks,
    machines: list[Machine],
    servers: list[Machine],
    kubectl: Kubectl,
    administrator: ssl.SSLContext,
) -> None:
    nodes = nodes_now(kubectl)
    addresses = [address(nodes[server.node]) for server in servers]
    fixed_address = playbooks.variables["site_kubernetes_address"]
    assert versions(kubectl).isdisjoint({K3S_VERSION})
    assert foreseen(playbooks, machines) == {machine.name for machine in machines}
    with (
        repeated(away(addresses, administrator)) as rounds,
        repeated(lambda: list_nodes(fixed_address, administrator)) as calls,
        repeated(lambda: [name for name, node in nodes.items() if not answers(address(node))]) as silences,
    ):
        playbooks.do()
    print(f"{len(calls)} calls through the fixed address, {len(silences)} rounds of the workload on 4 nodes")
    assert versions(kubectl) == {K3S_VERSION}
    assert [call for call in calls if call] == []
    assert [nodes for nodes in silences if nodes] == []
    # Each server was away for a while, so the calls are worth something.
    assert set.union(*rounds) == set(addresses)
    assert max(len(missing) for missing in rounds) == 1
    assert_whole(kubectl, machines)
    snapshots = servers[0].host.check_output("ls /var/lib/rancher/k3s/server/db/snapshots").split()
    assert len([name for name in snapshots if name.startswith(f"before-{K3S_VERSION.replace('+', '-')}-")]) == 1


def test_after_an_upgrade_nothing_is_left_to_change(playbooks: Playbooks) -> None:
    assert set(playbooks.do().values()) == {0}


def settle(machine: Machine, name: str, setting: str) -> None:
    """Give systemd a setting for k3s on a server, until the machine is started anew."""
    place = "/run/systemd/system/k3s.service.d"
    machine.host.check_output(f"mkdir -p {place} && printf '[Service]\\n{setting}\\n' >{place}/{name}.conf")
    machine.host.check_output("systemctl daemon-reload")


def test_a_change_restarts_one_node_at_a_time(
    playbooks: Playbooks,
    machines: list[Machine],
    servers: list[Machine],
    kubectl: Kubectl,
    administrator: ssl.SSLContext,
) -> None:
    nodes = nodes_now(kubectl)
    addresses = [address(nodes[server.node]) for server in servers]
    everywhere = {machine.name for machine in machines}
    assert foreseen(playbooks, machines, **CHANGED) == everywhere
    before = processes(machines)
    settle(servers[1], "zz-flyte-onprem-leaving", "Restart=no")  # as a removal leaves it that was killed
    with repeated(away(addresses, administrator)) as rounds:
        playbooks.do(**CHANGED, fleet_serial=[1, 2])  # batches that divide the site
    assert servers[1].host.check_output("systemctl show --property=Restart --value k3s.service") == "always"
    assert restarted(machines, before) == everywhere
    # Each was away for a while, so the watch sees what it is for; and none while another was.
    assert set.union(*rounds) == set(addresses)
    assert max(len(missing) for missing in rounds) == 1
    assert_whole(kubectl, machines)
    changed = nodes_now(kubectl).values()
    assert {node["status"]["capacity"]["pods"] for node in changed} == {"99"}
    # A label is set at every start, a taint only when a node registers.
    assert {node["metadata"]["labels"].get("stage") for node in changed} == {"second"}
    assert set.union(*map(taints, changed)).isdisjoint(CHANGED["k3s_node_taints"])
    assert set(playbooks.do(**CHANGED).values()) == {0}


def test_a_server_whose_disk_was_lost_comes_back_to_its_cluster(
    playbooks: Playbooks, machines: list[Machine], servers: list[Machine], kubectl: Kubectl
) -> None:
    """The first one: what else would found another cluster."""
    identity = ("get", "namespace", "kube-system", "--output=jsonpath={.metadata.uid}")
    cluster = kubectl(*identity)
    servers[0].host.check_output(LOSE_THE_DISK)
    assert foreseen(playbooks, machines, **CHANGED) == {servers[0].name}
    changed = playbooks.do(**CHANGED)
    assert kubectl(*identity) == cluster
    assert_whole(kubectl, machines)
    assert {name for name, count in changed.items() if count} == {servers[0].name}
    assert set(playbooks.do(**CHANGED).values()) == {0}


def test_a_server_that_etcd_does_not_let_go_runs_on(
    playbooks: Playbooks, machines: list[Machine], servers: list[Machine], kubectl: Kubectl
) -> None:
    """Another one dies, of which the role asks all, when it has seen that all are there."""
    dies, _, leaving = servers
    # What systemd starts whenever it reads its units, and waits for: the other one has died when the member is to go.
    slow = "/etc/systemd/system-generators"
    leaving.host.check_output(f"mkdir {slow} && printf '#!/bin/sh\\nsleep 8\\n' >{slow}/slow && chmod 755 {slow}/slow")
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.1):
            if leaving.host.run("ls /run/systemd/system/k3s.service.d/*leaving.conf").rc == 0:
                dies.host.check_output("systemctl kill --signal=KILL k3s.service; systemctl stop k3s.service")
                break

    watching = threading.Thread(target=watch)
    watching.start()
    run = playbooks.run("flyte.onprem.remove_node", remove_node=leaving.name, **CHANGED)
    ended.set()
    watching.join()
    leaving.host.check_output(f"rm -r {slow}")
    assert run.code != 0
    assert "K3S-122" in run.output, run.output[-6000:]
    assert leaving.host.check_output("systemctl show --property=Restart --value k3s.service") == "always"
    assert leaving.host.service("k3s").is_running
    changed = playbooks.do(**CHANGED)
    assert {name for name, count in changed.items() if count} == {dies.name}
    assert_whole(kubectl, machines)


def test_nodes_leave_the_cluster(
    playbooks: Playbooks, machines: list[Machine], servers: list[Machine], kubectl: Kubectl
) -> None:
    """One after the other; the second server leaves a cluster of two, in which none may be missed.

    k3s ends when its member is removed. Where systemd starts it again before the role stops it, it joins as a new one.
    """
    leaving = [*servers[1:], machines[-1]]
    for server in leaving[:-1]:
        settle(server, "quick", "RestartSec=100ms")
    variables = {"remove_node": ":".join(machine.name for machine in leaving), **CHANGED}
    assert foreseen(playbooks, machines, "flyte.onprem.remove_node", **variables) == {each.name for each in leaving}
    assert_whole(kubectl, machines)
    playbooks.do("flyte.onprem.remove_node", **variables)
    assert_whole(kubectl, [machine for machine in machines if machine not in leaving])
    for machine in leaving:
        assert machine.host.check_output(LEFTOVERS) == "", machine.name
        assert not machine.host.file("/var/lib/rancher/k3s").exists
    assert set(playbooks.do("flyte.onprem.remove_node", **variables).values()) == {0}


def test_nodes_that_left_join_again(playbooks: Playbooks, machines: list[Machine], kubectl: Kubectl) -> None:
    playbooks.do(**CHANGED)
    assert_whole(kubectl, machines)
    # Each has left in one of the tests above, so that it registers with the taint.
    assert [
        name for name, node in nodes_now(kubectl).items() if not taints(node).issuperset(CHANGED["k3s_node_taints"])
    ] == []
    assert set(playbooks.do(**CHANGED).values()) == {0}


def test_a_cluster_installed_again_on_its_data_is_whole(
    playbooks: Playbooks, machines: list[Machine], servers: list[Machine], kubectl: Kubectl
) -> None:
    kubectl("create", "configmap", "kept")
    playbooks.do("flyte.onprem.uninstall", uninstall_confirm="flyte.test", **CHANGED)
    playbooks.do(**CHANGED)
    assert_whole(kubectl, machines)
    # One that has none to join founds a cluster of its own when its member is removed while it runs.
    founders = [server.host.run("grep -q ^server: /etc/rancher/k3s/config.yaml").rc != 0 for server in servers]
    assert founders == [True, False, False]
    assert kubectl("get", "configmap", "kept", "--output=name").strip() == "configmap/kept"
    assert set(playbooks.do(**CHANGED).values()) == {0}


def test_uninstall_leaves_nothing(playbooks: Playbooks, machines: list[Machine], kubectl: Kubectl) -> None:
    directory = Path(machines[0].variable("site_directory"))
    variables = {"uninstall_confirm": "flyte.test", "uninstall_delete_data": ["k3s", "site"], **CHANGED}
    assert foreseen(playbooks, machines, "flyte.onprem.uninstall", **variables) == {each.name for each in machines}
    assert_whole(kubectl, machines)
    # Seen while it is there, so that its absence means something.
    assert unseen(*(machine.host.check_output(LEFTOVERS) for machine in machines)) == set()
    playbooks.do("flyte.onprem.uninstall", **variables)
    for machine in machines:
        assert machine.host.check_output(LEFTOVERS) == "", machine.name
        assert machine.host.run("find /var/lib/rancher /etc/rancher -mindepth 1 2>/dev/null").stdout == "", machine.name
    assert not directory.exists()
    assert set(playbooks.do("flyte.onprem.uninstall", **variables).values()) == {0}
