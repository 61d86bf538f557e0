# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server and an agent with something between them: what is refused, and what works with firewalls that stay on.

The tests build on each other in their order.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from support.leaks import shown
from testbed.builder import inventory

from .conftest import BED, CANARIES, Box

K3S = "/usr/local/bin/k3s"
PYTHON_AHEAD = "/usr/local/bin/python-ahead"
IMAGE = "docker.io/rancher/mirrored-library-busybox:1.37.0"
APT = "export DEBIAN_FRONTEND=noninteractive; apt-get update -qq && apt-get install -y -qq"
OTHER_PORT = 8099  # of a program that has nothing to do with the cluster


@dataclass
class Cluster:
    """The two hosts, and the inventory that describes them."""

    server: Box
    agent: Box

    @property
    def boxes(self) -> dict[str, Box]:
        """The hosts by their names in the inventory."""
        return {"server": self.server, "agent": self.agent}

    def describe(self, *, agent: dict[str, Any] | None = None, **variables: Any) -> None:
        """Write the inventory: variables of the agent, and of both."""
        hosts = {name: {"ansible_host": box.name} for name, box in self.boxes.items()}
        hosts["agent"] |= agent or {}
        everywhere = {
            "site_domain": "flyte.test",
            "site_bundle": os.environ["FLYTE_ONPREM_BUNDLE"],
            "site_database": "external",
            "site_object_store": "external",
            "k3s_disable": ["traefik"],
            "k3s_ingress_ports": [],
            "k3s_cluster_dns_hosts": {},
            **CANARIES,
            **variables,
        }
        self.server.inventory.mkdir(exist_ok=True)
        groups = {"k3s_servers": ["server"], "k3s_agents": ["agent"]}
        inventory.write(self.server.inventory / "hosts.yml", hosts, groups, everywhere)

    def run(self, playbook: str, *arguments: str) -> tuple[int, str]:
        return self.server.run(playbook, *arguments)

    def refused(self, *arguments: str, untouched: tuple[str, ...] = ("server", "agent")) -> dict[str, dict[str, str]]:
        """The findings of a run, by host and id. Nothing is on the hosts that are untouched after it."""
        code, output = self.run("cluster", *arguments)
        assert code != 0
        for name in untouched:
            assert self.boxes[name].shell(f"ls {K3S} /etc/rancher", check=False) == ""
        texts = re.findall(
            r'^fatal: \[(\w+)\]: FAILED! => .*?"msg": "((?:[^"\\]|\\.)*)"', output, re.MULTILINE | re.DOTALL
        )
        findings = {host: {} for host in self.boxes}
        for host, text in texts:  # the last one of a host says only that its site is not done
            findings[host] |= re.findall(r"\[(K3S-\d+)\] (.*?)Read more", text, re.DOTALL)
        return {host: found for host, found in findings.items() if found}


def changed(output: str) -> dict[str, int]:
    """How many changes a run reports of each host."""
    lines = re.findall(r"^(server|agent) +: .*\bchanged=(\d+)", output, re.MULTILINE)
    return {host: int(count) for host, count in lines}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Fresh hosts, each with a firewall that is not on yet."""
    folder = tmp_path_factory.mktemp("between")
    made = Cluster(*(Box(f"flyte-onprem-between-{name}", folder) for name in ("server", "agent")))

    def down() -> None:
        for box in made.boxes.values():
            subprocess.run([*BED, "host-down", box.name], check=True, capture_output=True)

    down()
    try:
        for box in made.boxes.values():
            subprocess.run([*BED, "host-up", box.name], check=True)
        made.server.shell(f"{APT} ufw")
        # Masked, since a firewalld that is stopped while it starts leaves its rules behind.
        made.agent.shell(f"systemctl mask firewalld; {APT} firewalld faketime")
        made.agent.shell("systemctl unmask firewalld && systemctl disable firewalld")
        program = '#!/bin/sh\\nexec faketime -f +1h /usr/bin/python3 "$@"\\n'
        made.agent.shell(f"printf '{program}' > {PYTHON_AHEAD} && chmod 755 {PYTHON_AHEAD}")
        made.describe()
        yield made
    finally:
        down()


@contextlib.contextmanager
def for_now(box: Box, do: str, undo: str) -> Iterator[None]:
    """Bring a fault about on a host, and take it away again."""
    box.shell(do)
    try:
        yield
    finally:
        box.shell(undo)


def test_closed_ports_are_named_with_both_hosts(cluster: Cluster) -> None:
    rules = [
        f"INPUT -s {cluster.agent.address} -p tcp --dport 6443 -j DROP",
        f"INPUT -s {cluster.agent.address} -p udp --dport 8472 -j DROP",
    ]
    added, removed = ("; ".join(f"iptables {flag} {rule}" for rule in rules) for flag in ("-I", "-D"))
    with for_now(cluster.server, added, removed):
        found = cluster.refused()
    assert {host: list(ids) for host, ids in found.items()} == {"agent": ["K3S-72"]}, found
    assert (
        f"From agent these ports are closed - 6443/tcp, 8472/udp of server ({cluster.server.address})"
        in (found["agent"]["K3S-72"])
    )


def test_a_host_without_a_way_to_another_is_named(cluster: Cluster) -> None:
    route = f"unreachable {cluster.server.address}"
    with for_now(cluster.agent, f"ip route add {route}", f"ip route del {route}"):
        found = cluster.refused()
    assert f"agent does not reach server ({cluster.server.address} - No route to host)" in found["agent"]["K3S-71"]
    # Nor does what the agent would answer.
    assert f"server does not reach agent ({cluster.agent.address} - no answer" in found["server"]["K3S-71"]


def test_a_clock_that_is_ahead_is_named(cluster: Cluster) -> None:
    cluster.describe(agent={"ansible_python_interpreter": PYTHON_AHEAD})
    found = cluster.refused()
    cluster.describe()
    ahead = re.search(r"server shows \+(\d+) s, agent shows \+(\d+) s", found["agent"]["K3S-73"])
    assert ahead is not None
    assert int(ahead[1]) < 60
    assert 3600 <= int(ahead[2]) < 3660


def test_a_ruleset_that_drops_what_pods_send_is_named(cluster: Cluster) -> None:
    chains = ("input", "forward")
    rules = "add table inet filter; " + "; ".join(
        f"add chain inet filter {name} {{ type filter hook {name} priority 0; policy drop; }}; "
        f"add rule inet filter {name} ct state established accept"
        for name in chains
    )
    with for_now(cluster.server, f"nft '{rules}'", "nft delete table inet filter"):
        found = cluster.refused()
    for name in chains:
        assert f"chain {name} of table inet filter drops" in found["server"]["K3S-137"]
    assert "agent does not reach server" in found["agent"]["K3S-71"]


def test_with_firewalls_that_the_role_may_not_open_ports_are_closed(cluster: Cluster) -> None:
    cluster.server.shell("ufw --force enable")
    cluster.agent.shell("systemctl enable --now firewalld")
    cluster.describe(k3s_open_firewall=False)
    found = cluster.refused()
    cluster.describe()
    # Of ufw's silence nobody knows whether it is a firewall's or that of a host without a way.
    assert "agent does not reach server" in found["agent"]["K3S-71"]
    assert "10250/tcp" in found["server"]["K3S-72"]
    assert "8472/udp" in found["server"]["K3S-72"]


def test_an_agent_that_is_added_alone_is_held_against_the_server_that_runs(cluster: Cluster) -> None:
    code, output = cluster.run("cluster", "--limit", "server")
    assert code == 0, output[-4000:]
    cluster.describe(agent={"ansible_python_interpreter": PYTHON_AHEAD})
    found = cluster.refused("--limit", "agent", untouched=("agent",))
    cluster.describe()
    assert re.search(r"agent shows \+36\d\d s", found["agent"]["K3S-73"])
    rule = f"INPUT -s {cluster.agent.address} -p tcp --dport 6443 -j DROP"
    with for_now(cluster.server, f"iptables -I {rule}", f"iptables -D {rule}"):
        found = cluster.refused("--limit", "agent", untouched=("agent",))
    assert list(found["agent"]) == ["K3S-100"]
    assert f"nothing answers at {cluster.server.address} port 6443" in " ".join(found["agent"]["K3S-100"].split())


def test_firewalls_stay_on_and_the_cluster_comes_up(cluster: Cluster) -> None:
    code, output = cluster.run("cluster")
    assert code == 0, output[-4000:]
    assert "Status: active" in cluster.server.shell("ufw status")
    assert cluster.agent.shell("firewall-cmd --state 2>&1").strip() == "running"
    ready = cluster.server.kubectl("wait", "node", "--all", "--for=condition=Ready", "--timeout=60s")
    assert ready.count("condition met") == 2


def test_pods_of_both_nodes_reach_each_other(cluster: Cluster) -> None:
    names = {name: box.shell("hostname").strip() for name, box in cluster.boxes.items()}
    web = "mkdir /www && hostname >/www/index.html && exec httpd -f -h /www"
    for name, node in names.items():
        overrides = {"spec": {"nodeName": node, "terminationGracePeriodSeconds": 0}}
        cluster.server.shell(
            f"k3s kubectl run {name} --image={IMAGE} --overrides='{json.dumps(overrides)}' --command -- sh -c '{web}'"
        )
    cluster.server.shell("k3s kubectl wait pod server agent --for=condition=Ready --timeout=180s")
    for source, target in (("server", "agent"), ("agent", "server")):
        address = cluster.server.kubectl("get", "pod", target, "--output=jsonpath='{.status.podIP}'")
        fetch = f'printf "GET / HTTP/1.0\\r\\n\\r\\n" | nc -w 10 {address} 80 | tail -n 1'
        answer = cluster.server.shell(
            f"k3s kubectl exec {source} -- sh -c '{fetch}; nslookup kubernetes.default.svc.cluster.local'"
        )
        assert answer.splitlines()[0] == target
        assert "10.43.0.1" in answer


def test_other_ports_stay_closed(cluster: Cluster) -> None:
    for box, other in ((cluster.server, cluster.agent), (cluster.agent, cluster.server)):
        program = f"nohup python3 -m http.server {OTHER_PORT} >/dev/null 2>&1 & echo $!"
        pid = box.shell(program).strip()
        ask = f"curl --silent --show-error --max-time 3 --output /dev/null http://%s:{OTHER_PORT}"
        try:
            box.shell(f"until {ask % '127.0.0.1'}; do sleep 0.2; done")
            assert other.shell(f"{ask % box.address}; echo $?", check=False).split()[-1] in ("7", "28")
        finally:
            box.shell(f"kill {pid}")


def test_a_second_run_and_check_mode_change_nothing(cluster: Cluster) -> None:
    for arguments in ([], ["--check"]):
        code, output = cluster.run("cluster", *arguments)
        assert code == 0, output[-4000:]
        assert changed(output) == {"server": 0, "agent": 0}


def test_a_rule_that_is_gone_comes_back(cluster: Cluster) -> None:
    peer = f"allow from {cluster.agent.address} to any port 6443,10250 proto tcp"
    cluster.server.shell(f"ufw delete {peer}")
    pods = 'rule family="ipv4" source address="10.42.0.0/16" accept'
    cluster.agent.shell(f"firewall-cmd --policy=flyte-k3s --remove-rich-rule='{pods}'")
    code, output = cluster.run("cluster", "--check")
    assert (code, changed(output)) == (0, {"server": 1, "agent": 1})
    code, output = cluster.run("cluster")
    assert (code, changed(output)) == (0, {"server": 1, "agent": 1})
    assert f"ufw {peer} comment" in cluster.server.shell("ufw show added")
    assert pods in cluster.agent.shell("firewall-cmd --policy=flyte-k3s --list-rich-rules").splitlines()


def test_an_uninstallation_closes_the_firewalls(cluster: Cluster) -> None:
    code, output = cluster.run("uninstall", "-e", "uninstall_confirm=flyte.test")
    assert code == 0, output[-4000:]
    assert "flyte" not in cluster.server.shell("ufw show added; iptables-save")
    left = cluster.agent.shell("ls /etc/firewalld/policies; firewall-cmd --get-policies; nft list ruleset")
    assert "flyte" not in left


def test_no_secret_was_shown(cluster: Cluster) -> None:
    assert shown(cluster.server.output, CANARIES) == {}
