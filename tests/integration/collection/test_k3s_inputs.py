# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What role k3s refuses by its inputs alone. All cases are judged in one run, in which each is a host."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from .test_k3s_refusals import ROOT, judge

ADDRESSES = {"a": "192.0.2.1", "b": "192.0.2.2", "c": "192.0.2.3", "d": "192.0.2.4"}
SELF = "{{ inventory_hostname }}"
CLUSTER: dict[str, Any] = {
    "site_domain": "flyte.example.com",
    "site_address": "192.0.2.1",
    "site_host_addresses": ADDRESSES,
    "site_k3s_servers": [SELF, "b", "c"],
    "site_k3s_agents": ["d"],
    "k3s_node_name": "node-a",
    "ansible_connection": "local",
}
RULES = "{{ (__k3s_type_rules | flyte.onprem.findings) or (__k3s_input_rules | flyte.onprem.findings) }}"
AGENTS_ALONE: dict[str, Any] = {
    "site_k3s_servers": [],
    "site_k3s_agents": [SELF],
    "k3s_join_url": "https://k8s.example.com:6443",
}
TWO_FAMILIES = {"k3s_pod_cidr": "10.42.0.0/16,fd42::/56", "k3s_service_cidr": "10.43.0.0/16, fd43::/112"}
# what is wrong, variables, the finding, what its text must say
BAD: list[tuple[str, dict[str, Any], str, list[str]]] = [
    ("options as a text", {"k3s_config": "a=b"}, "K3S-80", ["k3s_config is of another type", "(a dict)", "JSON"]),
    ("no options", {"k3s_config": None}, "K3S-80", ["k3s_config"]),
    ("variables as a text", {"k3s_environment": "TOKEN=hush"}, "K3S-80", ["k3s_environment"]),
    ("servers as a text", {"k3s_servers": "a"}, "K3S-80", ["a list of hosts for k3s_servers"]),
    ("a server twice", {"k3s_servers": [SELF, "b", "b"]}, "K3S-81", ["k3s_servers names a host twice", ", b, b"]),
    ("an agent twice", {"k3s_agents": ["d", "d"]}, "K3S-81", ["k3s_agents names a host twice"]),
    ("a stranger", {"site_k3s_agents": ["x"]}, "K3S-81", ["x is no host whose address is known", "add the host"]),
    ("no host in the URL", {**AGENTS_ALONE, "k3s_join_url": "https://:6443"}, "K3S-66", ["k3s_join_url is 'https://:"]),
    ("a port that is none", {**AGENTS_ALONE, "k3s_join_url": "https://k8s:65536"}, "K3S-66", ["k8s:65536"]),
    ("an agent's URL of IPv6", {**AGENTS_ALONE, "k3s_join_url": "https://fd00::1:6443"}, "K3S-66", ["fd00::1"]),
    ("no agent", {"k3s_config": {"disable-agent": True}}, "K3S-82", ["disable-agent, for each host is to be a node"]),
    ("no state", {"k3s_config": {"disable-etcd": True}}, "K3S-82", ["disable-etcd, for each server has the cluster's"]),
    ("another runtime", {"k3s_config": {"docker": "yes"}}, "K3S-82", ["docker"]),
    ("others' containerd", {"k3s_config": {"container-runtime-endpoint": "/run/c.sock"}}, "K3S-82", ["k3s's own"]),
    ("no scheduler", {"k3s_config": {"disable-scheduler": True}}, "K3S-82", ["disable-scheduler, for a cluster that"]),
    ("another port", {"k3s_config": {"supervisor-port": 9345}}, "K3S-82", ["supervisor-port"]),
    ("an option that is a dict", {"k3s_config": {"debug": {"a": 1}}}, "K3S-83", ["debug", "a list of those"]),
    ("an option without a value", {"k3s_config": {"debug": None}}, "K3S-83", ["debug"]),
    ("arguments as dicts", {"k3s_config": {"kubelet-arg": [{"max-pods": 99}]}}, "K3S-83", ["kubelet-arg"]),
    (
        "labels in two places",
        {"k3s_node_labels": {"a": "b"}, "k3s_config": {"node-label": ["c=d", "e=f"]}},
        "K3S-106",
        ["k3s_node_labels (a=b) and by node-label in k3s_config (c=d, e=f). E", "into k3s_node_labels, and take node-"],
    ),
    (
        "taints and interfaces in two places",
        {
            "k3s_node_taints": ["a:NoExecute"],
            "k3s_interface": "eth0",
            "k3s_config": {"node-taint": "b:NoExecute", "flannel-iface": "eth1"},
        },
        "K3S-106",
        ["(a:NoExecute) and by node-taint in", "k3s_interface (eth0)", "into k3s_node_taints, k3s_interface, and"],
    ),
    ("two taints of a key", {"k3s_node_taints": ["a=b:NoExecute", "a=c:NoExecute"]}, "K3S-107", ["b:NoExecute and a="]),
    ("a taint twice", {"k3s_config": {"node-taint": "a:NoExecute,a:NoExecute"}}, "K3S-107", ["a:NoExecute and a:NoE"]),
    ("a version without v", {"k3s_version": "1.36.4+k3s1"}, "K3S-84", ["'1.36.4+k3s1'", "v1.36.4+k3s1"]),
    ("a channel", {"k3s_version": "stable"}, "K3S-84", ["'stable'"]),
    ("a version of RKE2", {"k3s_version": "v1.36.4+rke2r1"}, "K3S-84", ["rke2r1"]),
    ("no token", {"k3s_token": ""}, "K3S-94", ["k3s_token is empty, or has"]),
    ("a token of two lines", {"k3s_agent_token": "a\nb"}, "K3S-94", ["k3s_agent_token is empty, or has"]),
    ("a token with a line's end", {"k3s_token": "a\n"}, "K3S-94", ["more than one line"]),
    ("a token that is a number", {"site_kubernetes_token": 12345}, "K3S-94", ["no text", "into quotes"]),
    ("agents without the token of their cluster", AGENTS_ALONE, "K3S-94", ["is to join", "server/agent-token"]),
    ("no time", {"k3s_ready_timeout": 0}, "K3S-95", ["is 0"]),
    ("the kubelet's port", {"site_kubernetes_api_port": 10250}, "K3S-96", ["is 10250", "not 10250, 10248,"]),
    ("kube-proxy's port", {"site_kubernetes_api_port": 10249}, "K3S-96", ["10249, 10256"]),
    ("etcd's port", {"site_kubernetes_api_port": 2380}, "K3S-96", ["2379, 2380, which k3s takes"]),
    (
        "the port of shared images",
        {"site_kubernetes_api_port": 5001, "k3s_config": {"embedded-registry": True}},
        "K3S-96",
        ["is 5001", "2379, 2380, 5001, which"],
    ),
    ("no port", {"site_kubernetes_api_port": 99999}, "K3S-96", ["is 99999", "65535"]),
    ("no mask", {"k3s_pod_cidr": "10.42.0.0"}, "K3S-97", ["k3s_pod_cidr is '10.42.0.0'", "fixed once"]),
    ("a mask of the old form", {"k3s_pod_cidr": "10.42.0.0/255.255.0.0"}, "K3S-97", ["'10.42.0.0/255.255.0.0', no"]),
    (
        "pods of two families, Services of one",
        {"k3s_pod_cidr": "10.42.0.0/16,fd42::/56"},
        "K3S-97",
        ["k3s_pod_cidr is of IPv4, IPv6, and k3s_service_cidr of IPv4", "10.43.0.0/16,fd43::/112"],
    ),
    (
        "networks of two families, an address of one",
        TWO_FAMILIES,
        "K3S-97",
        ["k3s_node_address (192.0.2.1) has no address of IPv6", "k3s_node_address - IPV4,IPV6"],
    ),
    ("one network", {"k3s_service_cidr": "10.42.1.0/24"}, "K3S-97", ["overlap"]),
    ("the hosts' network", {"k3s_pod_cidr": "192.0.0.0/16"}, "K3S-97", ["covers k3s_node_address (192.0.2.1)"]),
    ("an unknown datastore", {"k3s_datastore_endpoint": "mongodb://u:hush@h"}, "K3S-98", ["with mongodb://", "mysql://"]),
    ("a datastore without a scheme", {"k3s_datastore_endpoint": "u:hush@h/d"}, "K3S-98", ["no scheme", "SQLite"]),
    (
        "a datastore whose password has to be encoded",
        {"k3s_datastore_endpoint": "postgres://k3s:hu/sh@h/d"},
        "K3S-123",
        ["begins with postgres://, has a character", "%2F for a slash", "| urlencode | replace"],
    ),
    ("a label with a space", {"k3s_node_labels": {"gpu type": "a100"}}, "K3S-102", ['"gpu type=a100"', "KEY=VALUE"]),
    ("a label with a long value", {"k3s_node_labels": {"a": "b" * 64}}, "K3S-102", ["bbbb"]),
    ("a label whose value is a list", {"k3s_node_labels": {"a": ["b"]}}, "K3S-102", ["a=["]),
    ("a label that no key can be", {"k3s_node_labels": {"a/b/c": "d"}}, "K3S-102", ['"a/b/c=d"']),
    ("a label with a prefix that is none", {"k3s_node_labels": {"Example.com/a": "b"}}, "K3S-102", ["Example.com"]),
    ("one of two labels in a text", {"k3s_config": {"node-label": "a=b,c=d e"}}, "K3S-102", ['given "c=d e". E']),
    ("an effect that is none", {"k3s_node_taints": ["a=b:Noschedule"]}, "K3S-102", ['"a=b:Noschedule"', "NoExecute"]),
    ("a taint without an effect", {"k3s_config": {"node-taint": "a=b"}}, "K3S-102", ['"a=b"']),
    ("a taint that is a dict", {"k3s_node_taints": [{"key": "a", "effect": "NoExecute"}]}, "K3S-102", ["NoExecute"]),
    (
        "a role that no node may give itself",
        {"k3s_node_labels": {"node-role.kubernetes.io/worker": True}},
        "K3S-103",
        ["labels node-role.kubernetes.io/worker. E", "kubectl label node node-a node-role.kubernetes.io/worker=VALUE"],
    ),
    ("a label of k8s.io", {"k3s_config": {"node-label": ["x.k8s.io/a=b"]}}, "K3S-103", ["labels x.k8s.io/a. E"]),
    (
        "a field that the kubelet does not have",
        {"k3s_kubelet_config": {"max-pods": 60, "xyz": 1}},
        "K3S-104",
        ["has max-pods (maxPods?), xyz. E"],
    ),
    ("another kind", {"k3s_kubelet_config": {"kind": "KubeProxy"}}, "K3S-104", ["has kind of something else"]),
    ("another version", {"k3s_kubelet_config": {"apiVersion": "v1"}}, "K3S-104", ["has apiVersion of something else"]),
    ("no fields of the kubelet", {"k3s_kubelet_config": ["maxPods"]}, "K3S-80", ["k3s_kubelet_config", "(a dict)"]),
    ("an address of IPv6", {"site_address": "fd00::1"}, "K3S-99", ["'fd00::1'", "site_address"]),
    ("an address of IPv6 first", {"k3s_node_address": "fd00::1,192.0.2.1"}, "K3S-99", ["'fd00::1,192.0.2.1'"]),
    ("a name beside an address", {"k3s_node_address": "192.0.2.1,node-a"}, "K3S-99", ["'192.0.2.1,node-a'"]),
    (
        "two addresses for others",
        {"k3s_host_addresses": "{{ site_host_addresses | combine({inventory_hostname: '192.0.2.1,fd00::1'}) }}"},
        "K3S-99",
        ["is '192.0.2.1,fd00::1'", "set k3s_node_address besides"],
    ),
]  # fmt: skip


# what works, variables
GOOD: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "an agent has no need of the servers' token": {
        "site_k3s_servers": ["b"],
        "site_k3s_agents": [SELF],
        "k3s_token": "",
    },
    "agents with a token in full": {
        **AGENTS_ALONE,
        "site_kubernetes_agent_token": "K10abc::node:theirs",
        "k3s_token": "",
    },
    "agents of a cluster at an address of IPv6": {
        **AGENTS_ALONE,
        "k3s_agent_token": "theirs",
        "k3s_join_url": "https://[2001:db8::1]:6443",
    },
    "what is left empty": {"k3s_agent_token": "", "k3s_registries": None, "k3s_node_labels": None},
    "options of all kinds": {
        "k3s_config": {"docker": False, "debug": True, "v": 2, "kubelet-arg": ["max-pods=99"], "tls-san": "x"}
    },
    "a candidate, and texts for numbers": {
        "k3s_version": "v1.37.0-rc1+k3s12",
        "k3s_ready_timeout": "60",
        "site_kubernetes_api_port": "443",
    },
    "labels and taints of all forms": {
        "k3s_node_labels": {
            "gpu": True,
            "example.com/Rack_1.a": None,
            "topology.kubernetes.io/zone": "hall-2",
            "node.kubernetes.io/instance-type": "big",
            "x.kubelet.kubernetes.io/y": "z",
            "notkubernetes.io/y": "",
        },
        "k3s_node_taints": ["CriticalAddonsOnly=true:NoExecute"],
    },
    "labels and taints of all forms, as options": {
        "k3s_config": {
            "node-label": "place=hamburg,empty=,gpu",
            "node-taint": ["a=batch:NoSchedule", "example.com/a:NoExecute", "b=:PreferNoSchedule", "a=batch:NoExecute"],
        },
    },
    "taints whose keys differ in case": {"k3s_node_taints": ["Disk=slow:NoSchedule", "disk=full:NoSchedule"]},
    "what stands in two places is empty in one": {
        "k3s_node_labels": {"a": "b"},
        "k3s_disable": ["traefik"],
        "k3s_config": {"node-label": [], "disable": "servicelb", "flannel-iface": "eth0"},
    },
    "fields of the kubelet, also new ones, and what they are fields of": {
        "k3s_kubelet_config": {
            "kind": "KubeletConfiguration",
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "maxPods": 60,
            "evictionhard": {"memory.available": "5%"},
            "defaultPodSysctls": {},
        },
    },
    "a field of a Kubernetes that nobody knows yet": {
        "k3s_version": "v1.99.0+k3s1",
        "k3s_kubelet_config": {"xyz": "blue"},
    },
    "PostgreSQL": {"k3s_datastore_endpoint": "postgres://k3s:hu%2Fsh@h/d?sslmode=disable"},
    "etcd of others": {"k3s_datastore_endpoint": "https://192.0.2.8:2379,https://192.0.2.9:2379"},
    "MySQL": {"k3s_datastore_endpoint": "mysql://u:p@tcp(h:3306)/d", "site_kubernetes_api_port": 2379},
    "two families of addresses": {**TWO_FAMILIES, "k3s_node_address": "192.0.2.1,2001:db8::1"},
    "agents of others, whose networks nobody knows here": {
        **AGENTS_ALONE,
        **TWO_FAMILIES,
        "k3s_agent_token": "theirs",
    },
}


def test_an_argument_as_a_text_stands_beside_those_of_the_audit_log(tmp_path: Path) -> None:
    known = {"k3s_config": {"kube-apiserver-arg": "v=2"}, "k3s_audit_policy": {"rules": [{"level": "Metadata"}]}}
    everywhere = {**CLUSTER, "site_directory": str(tmp_path), "role_path": str(ROOT / "roles/k3s")}
    found = judge(tmp_path, {"a": known}, everywhere, "{{ __k3s_api_config['kube-apiserver-arg'] }}")
    assert found["a"][0].startswith("audit-policy-file=")
    assert found["a"][-1] == "v=2"


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """The findings of all cases, by case and id."""
    folder = tmp_path_factory.mktemp("judged")
    cases = {name: known for name, known, _, _ in BAD} | GOOD
    everywhere = {**CLUSTER, "site_directory": str(folder), "role_path": str(ROOT / "roles/k3s")}
    found = judge(folder, cases, everywhere, RULES)
    paragraphs = {name: re.findall(r"\[(K3S-\d+)\] (.*?)  Read more", text, re.DOTALL) for name, text in found.items()}
    return {name: {each: " ".join(said.split()) for each, said in those} for name, those in paragraphs.items()}


@pytest.mark.parametrize(
    ("name", "identifier", "said"), [(case[0], *case[2:]) for case in BAD], ids=[case[0] for case in BAD]
)
def test_an_input_is_refused_by_name(
    judged: dict[str, dict[str, str]], name: str, identifier: str, said: list[str]
) -> None:
    assert identifier in judged[name]
    assert [word for word in said if word not in judged[name][identifier]] == []


@pytest.mark.parametrize("name", GOOD)
def test_inputs_that_work_are_not_refused(judged: dict[str, dict[str, str]], name: str) -> None:
    assert judged[name] == {}


def test_what_may_be_a_secret_is_not_shown(judged: dict[str, dict[str, str]]) -> None:
    assert [secret for secret in ("hush", "hu/sh") if secret in str(judged)] == []
