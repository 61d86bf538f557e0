# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The doors of a cluster of k3s nodes: its hosts by group, and kubectl on the first server."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import testinfra
from testinfra.host import Host

Kubectl = Callable[..., str]

LOSE_THE_DISK = """
k3s-killall.sh >/dev/null 2>&1
rm -rf /var/lib/rancher/k3s /var/lib/kubelet/* /etc/rancher /etc/systemd/system/k3s* /usr/local/bin/*
systemctl daemon-reload
"""
TOKENS = ("kubernetes_token", "kubernetes_agent_token")


@dataclass(frozen=True)
class Machine:
    """A host of the inventory with what the tests ask of its variables."""

    name: str
    host: Host
    described: Host
    is_server: bool
    labels: dict[str, str]
    taints: set[str]
    node: str

    @property
    def unit(self) -> str:
        """Its unit of k3s."""
        return "k3s" if self.is_server else "k3s-agent"

    def variable(self, expression: str) -> Any:
        """Work out an expression over its variables."""
        return variable(self.described, expression)


@cache
def variable(host: Host, expression: str) -> Any:
    """Work out an expression over the variables of a host of Ansible, as Ansible does."""
    return json.loads(host.ansible("debug", f"msg='{{{{ {expression} | to_json }}}}'")["msg"])


def door(host: Host) -> Host:
    """The way to run commands on a host: through Ansible each takes two seconds, so hosts of the bed have another."""
    connection, name = variable(host, "[ansible_connection | default('ssh'), ansible_host | default('')]")
    return testinfra.get_host(f"podman://{name}") if connection == "containers.podman.podman" else host


@pytest.fixture(scope="session")
def inventory(request: pytest.FixtureRequest) -> str:
    """The inventory under test."""
    return str(request.config.getoption("--ansible-inventory"))


@pytest.fixture(scope="session")
def machines(inventory: str) -> list[Machine]:
    """All nodes' hosts, servers first."""
    found = []
    for group in ("k3s_servers", "k3s_agents"):
        for described in testinfra.get_hosts([f"ansible://{group}"], ansible_inventory=inventory):
            labels = variable(described, "k3s_node_labels | default({})")
            wanted = set(variable(described, "k3s_node_taints | default([])"))
            name = described.backend.get_pytest_id().removeprefix("ansible://")
            host = door(described)
            node = host.check_output("hostname").lower()
            found.append(Machine(name, host, described, group == "k3s_servers", labels, wanted, node))
    return found


@pytest.fixture(scope="session")
def servers(machines: list[Machine]) -> list[Machine]:
    """The hosts of servers."""
    return [machine for machine in machines if machine.is_server]


@pytest.fixture(scope="session")
def secrets(servers: list[Machine]) -> Path:
    """The folder of the site's secrets."""
    return Path(servers[0].variable("site_directory")) / "secrets"


@pytest.fixture(scope="session")
def kubectl(servers: list[Machine]) -> Kubectl:
    """Run kubectl on the first server; what is given as ``stdin`` is applied and the like."""

    def run(*arguments: str, stdin: str = "") -> str:
        command = f"k3s kubectl --cache-dir=/run/kubectl {shlex.join(arguments)}"
        if stdin:
            command = f"printf %s {shlex.quote(stdin)} | {command}"
        return str(servers[0].host.check_output(command))

    return run


@pytest.fixture(scope="session")
def nodes(kubectl: Kubectl) -> dict[str, dict[str, Any]]:
    """The cluster's nodes by name."""
    return {node["metadata"]["name"]: node for node in json.loads(kubectl("get", "nodes", "--output=json"))["items"]}


def web_server(machine: Machine, label: str) -> dict[str, Any]:
    """A pod on the machine's node that answers on port 80 with its name, which is the node's."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": machine.node, "labels": {"app": label}},
        "spec": {
            "nodeName": machine.node,
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {
                    "name": "web",
                    "image": "docker.io/rancher/mirrored-library-busybox:1.37.0",
                    "command": ["sh", "-c", "mkdir /www && hostname >/www/index.html && exec httpd -f -h /www"],
                }
            ],
        },
    }


def fetch(address: str, port: int = 80) -> str:
    """A command for a pod that prints what such a server answers at an address."""
    return f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 10 {address} {port} | tail -n 1"


def condition(node: dict[str, Any], kind: str) -> str | None:
    """The status of one condition of a node, None without it."""
    return next((entry["status"] for entry in node["status"]["conditions"] if entry["type"] == kind), None)


def taints(node: dict[str, Any]) -> set[str]:
    """The taints of a node, as the inventory has them."""
    return {f"{each['key']}={each.get('value', '')}:{each['effect']}" for each in node["spec"].get("taints", [])}


def nodes_now(kubectl: Kubectl) -> dict[str, dict[str, Any]]:
    """The cluster's nodes by name, as they are at this moment."""
    return {node["metadata"]["name"]: node for node in json.loads(kubectl("get", "nodes", "--output=json"))["items"]}


def assert_whole(kubectl: Kubectl, machines: list[Machine]) -> None:
    """Every host is a ready node, every server votes, and there is no other node."""
    nodes = nodes_now(kubectl)
    assert set(nodes) == {machine.node for machine in machines}
    for machine in machines:
        assert condition(nodes[machine.node], "Ready") == "True", machine.name
        assert condition(nodes[machine.node], "EtcdIsVoter") == ("True" if machine.is_server else None), machine.name


def processes(machines: list[Machine]) -> dict[str, str]:
    """The process of each host's k3s."""
    question = "systemctl show --property=MainPID --value"
    return {machine.name: machine.host.check_output(f"{question} {machine.unit}") for machine in machines}


def restarted(machines: list[Machine], before: dict[str, str]) -> set[str]:
    """The hosts whose k3s is not the process any more that it was before."""
    after = processes(machines)
    return {name for name in before if before[name] != after[name]}


def status(machine: Machine, user: str, password: str, path: str) -> int:
    """What a server answers a host that would join with a token."""
    config = f'user = "{user}:{password}"'
    address = machine.host.check_output("hostname --all-ip-addresses").split()[0]
    url = f"https://{address}:6443{path}"
    curl = "curl --config - --insecure --silent --output /dev/null --write-out '%{http_code}'"
    return int(machine.host.check_output(f"printf %s '{config}' | {curl} {url}"))


def joins(servers: list[Machine], tokens: dict[str, str]) -> dict[str, list[int]]:
    """What every server answers those that join with these tokens."""
    server, agent = (tokens[name] for name in TOKENS)
    return {
        each.name: [
            status(each, "server", server, "/v1-k3s/server-bootstrap"),
            status(each, "node", agent, "/v1-k3s/config"),
        ]
        for each in servers
    }
