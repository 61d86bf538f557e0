# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes, pods and Services have an address of IPv4 and one of IPv6, and answer at both."""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ..conftest import Kubectl, Machine, fetch, web_server

PODS = "dual-stack-test"
PORT = 8099  # of the load balancer on every host

Pods = dict[str, list[str]]


def versions(addresses: list[str]) -> list[int]:
    return [ipaddress.ip_interface(address).version for address in addresses]


def internal(node: dict[str, Any]) -> list[str]:
    return [entry["address"] for entry in node["status"]["addresses"] if entry["type"] == "InternalIP"]


def service(name: str, kind: str, port: int) -> dict[str, Any]:
    """In front of the pods, of both families or none."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {
            "type": kind,
            "ipFamilyPolicy": "RequireDualStack",
            "selector": {"app": PODS},
            "ports": [{"port": port, "targetPort": 80}],
        },
    }


@pytest.fixture(scope="module")
def pods(machines: list[Machine], kubectl: Kubectl) -> Iterator[Pods]:
    """One web server on each node, by the node's name: its pod's addresses. Two Services lead to all of them."""
    manifests = [web_server(machine, PODS) for machine in machines]
    manifests += [service("inside", "ClusterIP", 80), service("outside", "LoadBalancer", PORT)]
    kubectl("apply", "--filename=-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests}))
    try:
        kubectl("wait", "pod", f"--selector=app={PODS}", "--for=condition=Ready", "--timeout=180s")
        found = json.loads(kubectl("get", "pods", f"--selector=app={PODS}", "--output=json"))["items"]
        yield {pod["metadata"]["name"]: [entry["ip"] for entry in pod["status"]["podIPs"]] for pod in found}
    finally:
        kubectl("delete", "services/inside", "services/outside")
        kubectl("delete", "pods", f"--selector=app={PODS}", "--now")


def test_a_node_has_its_two_addresses_and_a_network_of_pods_of_each_family(
    machines: list[Machine], nodes: dict[str, dict[str, Any]]
) -> None:
    for machine in machines:
        first, second = internal(nodes[machine.node])
        assert ipaddress.ip_address(first).version == 4, machine.name
        assert second == machine.variable("second_address"), machine.name
    shares = [nodes[machine.node]["spec"]["podCIDRs"] for machine in machines]
    assert [versions(each) for each in shares] == [[4, 6]] * len(machines)
    assert len({tuple(each) for each in shares}) == len(machines)


def test_a_pod_has_an_address_in_each_of_its_nodes_networks(pods: Pods, nodes: dict[str, dict[str, Any]]) -> None:
    for name, addresses in pods.items():
        assert versions(addresses) == [4, 6], name
        for address, network in zip(addresses, nodes[name]["spec"]["podCIDRs"], strict=True):
            assert ipaddress.ip_address(address) in ipaddress.ip_network(network), name


def test_pods_of_every_node_reach_each_other_at_both_addresses(pods: Pods, kubectl: Kubectl) -> None:
    asked = [(name, address) for name, addresses in pods.items() for address in addresses]
    script = "; ".join(fetch(address) for _, address in asked)
    for source in pods:
        answers = kubectl("exec", source, "--", "sh", "-c", script).splitlines()
        assert list(zip(answers, asked, strict=True)) == [(each[0], each) for each in asked], source


def test_a_service_answers_at_both_addresses(pods: Pods, kubectl: Kubectl) -> None:
    addresses = json.loads(kubectl("get", "service", "inside", "--output=json"))["spec"]["clusterIPs"]
    assert versions(addresses) == [4, 6]
    for source in pods:
        for address in addresses:
            assert kubectl("exec", source, "--", "sh", "-c", fetch(address)).strip() in pods, f"{address} from {source}"


def test_names_are_known_at_both_addresses(pods: Pods, kubectl: Kubectl) -> None:
    spec = json.loads(kubectl("get", "service", "kube-dns", "--namespace=kube-system", "--output=json"))["spec"]
    assert spec["clusterIPs"] == ["10.43.0.10", "fd43::a"]
    for source in pods:
        lines = kubectl("exec", source, "--", "cat", "/etc/resolv.conf").splitlines()
        assert [line.split()[1] for line in lines if line.startswith("nameserver")] == spec["clusterIPs"], source
        for address in spec["clusterIPs"]:
            kubectl("exec", source, "--", "sh", "-c", f"nc -w 10 {address} 53 </dev/null")


def test_a_load_balancer_answers_at_both_addresses_of_every_host(
    pods: Pods, machines: list[Machine], nodes: dict[str, dict[str, Any]], kubectl: Kubectl
) -> None:
    expected = {address for node in nodes.values() for address in internal(node)}
    found: set[str] = set()
    end = time.monotonic() + 120
    while found != expected and time.monotonic() < end:
        status = json.loads(kubectl("get", "service", "outside", "--output=json"))["status"]
        found = {entry["ip"] for entry in status["loadBalancer"].get("ingress", [])}
        time.sleep(1)
    assert found == expected
    server, agent = machines
    for caller, called in ((server, agent), (agent, server)):
        for address in internal(nodes[called.node]):
            place = f"[{address}]" if ":" in address else address
            answer = caller.host.check_output(f"curl --globoff --fail --silent --max-time 10 http://{place}:{PORT}")
            assert answer.strip() in pods, f"{address} from {caller.name}"


def test_the_api_answers_at_the_servers_second_address_with_its_certificate(machines: list[Machine]) -> None:
    server, agent = machines
    url = f"https://[{server.variable('second_address')}]:6443/ping"
    authority = "/var/lib/rancher/k3s/agent/server-ca.crt"
    answer = agent.host.check_output(f"curl --globoff --silent --show-error --max-time 10 --cacert {authority} {url}")
    assert answer == "pong"


def test_the_agents_firewall_stays_on_and_knows_both_addresses_of_the_server(machines: list[Machine]) -> None:
    server, agent = machines
    assert "Status: active" in agent.host.check_output("ufw status")
    rules = [rule for rule in agent.host.check_output("ufw show added").splitlines() if "flyte k3s" in rule]
    assert [rule for rule in rules if f"from {server.variable('second_address')} " in rule and "8472" in rule], rules
