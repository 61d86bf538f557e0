# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What role k3s refuses before it changes anything: each finding by its id, with what to do.

The look at the host goes to this machine, which is only read; its own findings (ports, cgroups) do not matter here. For
what this machine has not (SELinux, no memory cgroup) and what lies between hosts, looks and answers were recorded; all
of those are judged in one run, in which each case is a host.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

ROOT = Path(__file__).parents[3]
ADDRESSES = {"a": "192.0.2.1", "b": "192.0.2.2", "c": "192.0.2.3", "d": "192.0.2.4"}
CLUSTER: dict[str, Any] = {
    "site_domain": "flyte.example.com",
    "site_address": "192.0.2.1",
    "site_host_addresses": ADDRESSES,
    "site_host_names": {name: f"node-{name}" for name in ADDRESSES},
    "k3s_node_name": "node-a",
    "k3s_servers": ["a", "b", "c"],
    "k3s_agents": ["d"],
    "k3s_api_port": 1,  # nobody answers there
}
# what is wrong, variables, the finding, what its text must say
BAD_INPUT: list[tuple[str, dict[str, Any], str, list[str]]] = [
    # The whole phase, as a user plays it. Most inputs are judged below and in test_k3s_inputs.py, many in one run.
    ("an even number of etcd members", {"k3s_servers": ["a", "b"]}, "K3S-57", ["2 servers (a, b)", "datastore"]),
    ("a host of both kinds", {"k3s_agents": ["a", "d"]}, "K3S-62", ["a is both", "k3s_agents"]),
    ("an unknown option", {"k3s_config": {"tls-sans": ["x"]}}, "K3S-63", ["tls-sans", "k3s server --help"]),
    # What Ansible would stumble over, were these not refused first.
    (
        "an address of IPv6",
        {"site_address": "fd00::1", "site_host_addresses": {**ADDRESSES, "a": "fd00::1"}},
        "K3S-99",
        ["The address of a is 'fd00::1'"],
    ),
    (
        "a port that is none",
        {"site_kubernetes_api_port": 99999, "k3s_api_port": "{{ site_kubernetes_api_port }}"},
        "K3S-96",
        ["is 99999"],
    ),
    ("a text for options", {"k3s_config": "a=b"}, "K3S-80", ["k3s_config is of another type"]),
    ("a text for variables", {"k3s_environment": "a=b"}, "K3S-80", ["k3s_environment is of another type"]),
    ("renewals that k3s does not do", {"k3s_renew_certificates_days": 120}, "K3S-88", ["is 120", "0 to 119"]),
]

FIRST = {"flannel-backend": "", "cluster-domain": "", "cluster-dns": ""}
# What the look says of a server that is ready for k3s, and of the faults of others.
LOOK: dict[str, Any] = {
    "version": "", "state": "inactive", "replaced": False, "leaving": False, "unit": False, "other_unit": False,
    "data": "", "joined": "",
    "was_here": False, "node_name": "", "peers": [], "token_file": False, "kubeconfig": False, "cgroup": "cgroup2fs",
    "controllers": ["cpu", "memory"], "memory": True, "boot_lines": [], "swap": [], "selinux": False,
    "selinux_policy": False, "tunnel": False,
    "answering": [], "serving": [], "interfaces": ["lo", "eth0"], "mirrors": False,
    "firewall": "", "default_route": True, "commands": [], "directories": [], "listening": [],
    "architecture": "amd64", "downloads": {}, "rulesets": [],
    "etcd_address": "", "ca": "", "chain": False, "pod_cidr": "", "service_cidr": "", "datastore": "",
    "options": FIRST, "encryption": "", "drop_ins": [], "arguments": [],
}  # fmt: skip
PI = {"controllers": ["cpuset", "cpu", "io", "pids"], "boot_lines": ["/boot/firmware/cmdline.txt"]}
CGROUP_V1 = {"cgroup": "tmpfs", "controllers": []}
NO_WAY = {"name": "right", "address": "192.0.2.2", "reached": False, "closed": [], "words": "No route to host"}
CLOSED = {"name": "c", "address": "192.0.2.3", "reached": True, "closed": ["2379/tcp", "8472/udp"], "words": ""}
BUNDLE = {"format": 1, "architecture": "amd64", "images": [], "artifacts": {"k3s": {"version": "v1.35.8+k3s1"}}}
DIGEST, ADDRESS = f"sha256:{'a' * 64}", "https://user:p4ssw0rd@mirror.example.com/k3s"
CHAIN = {"family": "inet", "table": "filter", "name": "input", "type": "filter", "hook": "input", "policy": "drop"}
RULESET = {"nftables": [{"metainfo": {"json_schema_version": 1}}, {"chain": CHAIN}]}
FROM_PODS = {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "cni0"}}
FOR_PODS = {"rule": {"family": "inet", "table": "filter", "chain": "input", "expr": [FROM_PODS, {"accept": None}]}}
SAME = {"k3s_url": ADDRESS, "k3s_checksum": DIGEST}
IN_MIXED_CLUSTER = {
    "k3s_servers": ["{{ inventory_hostname }}", "small", "right"],
    "k3s_node_name": "{{ inventory_hostname | replace(' ', '-') }}",
}
CA = "The certificate of an authority.\n"
CA_DIGEST = hashlib.sha256(CA.encode()).hexdigest()
OLD_TOKEN = {"content": base64.b64encode(b"K10abc::server:old").decode()}
POLICY = ROOT / "roles/k3s/templates/flyte-k3s.xml.j2"
CLOCKS = ["right", "ahead"]
RENEWED = ["renewed-1", "renewed-2", "renewed-3"]
TOLD = ["told-1", "told-2"]
TOKENS = {"k3s_token": "secret", "k3s_agent_token": "agents"}
DIGESTS = {name: hashlib.sha256(token.encode()).hexdigest() for name, token in TOKENS.items()}
ALIKE = {
    "flannel-backend": "vxlan", "cluster-domain": "cluster.local", "cluster-dns": "10.43.0.10",
    "egress-selector-mode": "agent", "secrets-encryption-provider": "aescbc", "secrets-encryption": "false",
    "disable-cloud-controller": "false", "disable-helm-controller": "false", "disable-network-policy": "false",
    "embedded-registry": "false", "flannel-external-ip": "false", "flannel-ipv6-masq": "false",
    "k3s_pod_cidr": "10.42.0.0/16", "k3s_service_cidr": "10.43.0.0/16", "k3s_api_port": "1", "k3s_disable": "",
    "k3s_datastore_endpoint": "", **DIGESTS,
}  # fmt: skip
TELLS = {"version": "v1.36.4+k3s1", "password": DIGESTS["k3s_token"], "alike": ALIKE, "keeps_pods_away": False}
OF_OLD_KUBECONFIG = {"k3s_kubeconfig": "{{ site_directory }}/kubeconfig", "k3s_node_name": "{{ inventory_hostname }}"}
MEMBER = {"data": "etcd", "was_here": True, "etcd_address": "192.0.2.9"}
BESIDE_TWIN = ["{{ inventory_hostname }}", "new", "node"]
AGENT = {
    "k3s_servers": ["b", "c"],
    "k3s_datastore_endpoint": "postgres://u:p@h/d",
    "k3s_agents": ["{{ inventory_hostname }}"],
    "k3s_join_url": "https://k8s.example.com:6443",
}
ONLY_SERVER = {"k3s_servers": ["{{ inventory_hostname }}"]}
ENDPOINT = {"k3s_datastore_endpoint": "postgres://u:p4ssw0rd@h/d"}
ON_DATASTORE = {"datastore": "postgres", "token_file": True}
BEGUN = {"pod_cidr": "10.42.0.0/16", "service_cidr": "10.43.0.0/16"}
JOINED = {"version": "v1.35.8+k3s1", "was_here": True, "answering": ["192.0.2.3/1"]}
REACHED = {"name": "d", "address": "192.0.2.4", "reached": True, "closed": [], "words": ""}
ENCRYPTED = {"k3s_config": {"secrets-encryption": True}}
SHARING = {"k3s_config": {"embedded-registry": True}}
# what is seen, what the look says, variables, the finding, what its text must say
BAD_HOSTS: list[tuple[str, dict[str, Any], dict[str, Any], str, list[str]]] = [
    (
        "values that k3s cannot read",
        {},
        {"k3s_config": {"etcd-s3": "yes", "etcd-snapshot-retention": "many", "debug": "true", "v": 2}},
        "K3S-119",
        ["etcd-s3:", "yes", "etcd-snapshot-retention:", "many", "a whole number for one that counts"],
    ),
    ("an option with a variable", {}, {"k3s_config": {"token": "x"}}, "K3S-64", ["token is set by k3s_token"]),
    ("a name that two hosts have", {}, {"k3s_node_name": "node-b"}, "K3S-65", ["HOST and another host", "hostnamectl"]),
    ("a name with an underscore", {}, {"k3s_node_name": "node_1"}, "K3S-77", ["called 'node_1'", "hostnamectl"]),
    ("a name in upper case", {}, {"k3s_node_name": "Node-1"}, "K3S-77", ["'Node-1'"]),
    ("a name that is too long", {}, {"k3s_node_name": "a" * 64}, "K3S-77", ["aaaa"]),
    ("no name", {}, {"k3s_node_name": ""}, "K3S-77", ["called ''"]),
    (
        "several servers without etcd",
        {},
        {"k3s_config": {"cluster-init": False}},
        "K3S-78",
        ["cluster-init: False", "3 servers", "Take cluster-init out"],
    ),
    (
        "snapshots in a bucket without a name",
        {},
        {"k3s_config": {"etcd-s3": True, "etcd-s3-bucket": ""}},
        "K3S-116",
        ["no etcd-s3-bucket", "etcd-s3-config-secret"],
    ),
    (
        "snapshots of SQLite",
        {},
        {**ONLY_SERVER, "k3s_config": {"etcd-s3": True, "etcd-s3-bucket": "x"}},
        "K3S-116",
        ["SQLite, of which k3s takes no snapshots", "cluster-init"],
    ),
    (
        "snapshots of a datastore",
        {},
        {"k3s_datastore_endpoint": "postgres://u:p@h/d", "k3s_config": {"etcd-s3": True, "etcd-s3-bucket": "x"}},
        "K3S-116",
        ["a datastore, of which", "by its own means"],
    ),
    (
        "snapshots of a Secret and of settings",
        {},
        {"k3s_config": {"etcd-s3": True, "etcd-s3-config-secret": "s3", "etcd-s3-folder": "x"}},
        "K3S-120",
        ["so is etcd-s3-folder (in", "Take etcd-s3-config-secret out"],
    ),
    (
        "a variable that is an option",
        {},
        {"k3s_environment": {"K3S_TOKEN": "x"}},
        "K3S-50",
        ["K3S_TOKEN", "k3s_config"],
    ),
    ("a variable of two lines", {}, {"k3s_environment": {"A": "x\nB=y"}}, "K3S-50", ["k3s_environment has A"]),
    ("a name that is none", {}, {"k3s_environment": {"A B": "x"}}, "K3S-50", ["A B"]),
    (
        "two datastores",
        {},
        {"k3s_datastore_endpoint": "postgres://u:p@h/d", "k3s_config": {"cluster-init": True}},
        "K3S-67",
        ["Leave one of the two out"],
    ),
    (
        "images that are shared of no registry",
        {},
        SHARING,
        "K3S-115",
        ["no mirrors. E", '{mirrors: {"*": {}}} for all'],
    ),
    (
        "images to share, and a file with mirrors that goes",
        {"mirrors": True},
        {**SHARING, "k3s_registries": {"configs": {"registry.example.com": {}}}},
        "K3S-115",
        ["no mirrors"],
    ),
    (
        "no way to one host, closed ports at another",
        {},
        {"__k3s_between": {"peers": [NO_WAY, CLOSED, REACHED]}},
        "K3S-71",
        [
            "HOST does not reach right (192.0.2.2 - No route to host). Expected",
            "ip route get 192.0.2.2",
            "site_address",
        ],
    ),
    (
        "closed ports at one host, no way to another",
        {},
        {"__k3s_between": {"peers": [NO_WAY, CLOSED, REACHED]}},
        "K3S-72",
        ["From HOST", "2379/tcp, 8472/udp of c (192.0.2.3). Expected", "to 192.0.2.1", "leave out --limit"],
    ),
    (
        "closed ports at a host of the run",
        {},
        {"__k3s_between": {"peers": [{**CLOSED, "name": "right"}]}},
        "K3S-72",
        ["of right (192.0.2.3). E", "firewalld, ufw and nftables). Read"],
    ),
    (
        "a server that joins, closed ports at one that is left out",
        {"peers": ["192.0.2.3"]},
        {"__k3s_between": {"peers": [{**CLOSED, "name": "b", "closed": ["1/tcp", "2379/tcp"]}]}},
        "K3S-72",
        ["1/tcp, 2379/tcp of b (192.0.2.3)"],
    ),
    (
        "a server that is left out, with another time",
        {},
        {"__k3s_between": {"clock_offset": 1.2, "peers": [{**REACHED, "clock_offset": 95.6}]}},
        "K3S-73",
        ["94 s apart", "shows +1 s, d shows +96 s. E"],
    ),
    (
        "clocks that are apart",
        {},
        {"__k3s_between": {"clock_offset": -3599.7}, "k3s_servers": ["{{ inventory_hostname }}", *CLOCKS]},
        "K3S-73",
        [
            "3629 s apart",
            "HOST shows -3600 s, right shows +0 s, ahead shows +29 s",
            "at most 30 s (k3s_clock_skew_limit)",
        ],
    ),
    (
        "rules of the host's own that know of no pods",
        {"rulesets": [json.dumps(RULESET)]},
        {},
        "K3S-137",
        [
            "On HOST chain input of table inet filter drops TCP 1 from pods (10.42.0.0/16). E",
            'iifname "cni0" accept, ip saddr { 10.42.0.0/16, 10.43.0.0/16 } accept',
        ],
    ),
    (
        "swap where the kubelet is told to fail on it",
        {"swap": ["/dev/sda2"]},
        {"k3s_kubelet_config": {"failSwapOn": True}},
        "K3S-75",
        ["HOST has swap (/dev/sda2)", "Take failSwapOn out"],
    ),
    (
        "swap where an argument tells the kubelet so",
        {"swap": ["/dev/sda2"]},
        {"k3s_config": {"kubelet-arg": ["fail-swap-on=true"]}},
        "K3S-75",
        ["/dev/sda2"],
    ),
    (
        "SELinux without k3s's policy, and no repository",
        {"selinux": True},
        {"k3s_selinux_repository": ""},
        "K3S-76",
        ["enforcing on HOST", "dnf install k3s-selinux"],
    ),
    ("a Raspberry Pi as it comes", PI, {}, "K3S-59", ["cmdline.txt", "k3s_reboot"]),
    (
        "a Raspberry Pi with Ubuntu whose update waits for its first boot",
        {**PI, "boot_lines": [f"/boot/firmware/{directory}/cmdline.txt" for directory in ("current", "new")]},
        {},
        "K3S-59",
        ["/boot/firmware/current/cmdline.txt and /boot/firmware/new/cmdline.txt)"],
    ),
    # An inventory in INI's form, and --extra-vars, give texts for what is true or false.
    ("a Raspberry Pi that may not be rebooted, in words", PI, {"k3s_reboot": "false"}, "K3S-59", ["cmdline.txt"]),
    ("no memory cgroup of version 1", {**CGROUP_V1, "memory": False}, {}, "K3S-59", ["no memory cgroup"]),
    ("cgroup v1", CGROUP_V1, {}, "K3S-54", ["k3s_version is v1.36", "failCgroupV1"]),
    (
        "a port of etcd in use",
        {"listening": [{"port": 2379, "by": "etcd"}]},
        {},
        "K3S-53",
        ["port 2379 is in use by etcd"],
    ),
    (
        "a new token for some of the servers",
        {"state": "active", "unit": True, "token_file": True},
        {
            "k3s_token_may_change": True,
            "k3s_token": "new",
            "__k3s_kept_token": OLD_TOKEN,
            "__k3s_servers_now": {"rc": 0},
        },
        "K3S-85",
        ["b, c, of the servers, would be left out", "Leave out --limit"],
    ),
    (
        "a name that two hosts were given",
        {},
        {"k3s_servers": BESIDE_TWIN, "k3s_node_name": "twin"},
        "K3S-65",
        ["HOST and another host of the cluster are both called twin", "set k3s_node_name for one of them"],
    ),
    (
        "an older version in the bundle",
        {"version": "v1.36.4+k3s1"},
        {"k3s_bundle": "{{ site_directory }}", "k3s_version": "v1.36.4+k3s1"},
        "K3S-79",
        ["k3s_version is v1.36.4+k3s1, and the bundle", "has k3s v1.35.8+k3s1", "Set k3s_version to v1.35.8+k3s1"],
    ),
    (
        "a node that would get another name",
        {**JOINED, "node_name": "node-old"},
        {},
        "K3S-141",
        [
            "HOST is the node node-old of its cluster",
            "is now node-a. E",
            "Set k3s_node_name to node-old",
            "remove_node",
        ],
    ),
    (
        "the only server, renamed",
        {"data": "sqlite", "was_here": True, "node_name": "node-old"},
        {**ONLY_SERVER, "k3s_agents": []},
        "K3S-141",
        ["makes no difference then. Read"],
    ),
    (
        "an upgrade that has not ended, before the next one",
        {"version": "v1.35.8+k3s1", "state": "active", "replaced": True},
        {"k3s_version": "v1.36.4+k3s1"},
        "K3S-142",
        ["has k3s v1.35.8+k3s1 in place and still runs", "Set k3s_version to v1.35.8+k3s1 and run"],
    ),
    (
        "snapshots of the last server of several",
        {"data": "etcd"},
        {**ONLY_SERVER, "k3s_config": {"etcd-s3": True, "etcd-s3-bucket": "x"}},
        "K3S-116",
        ["no cluster-init, and the one server has embedded etcd. E", "Set cluster-init to true"],
    ),
    (
        "a second server alone, before there is a cluster",
        {},
        {"k3s_servers": ["b", "{{ inventory_hostname }}", "c"]},
        "K3S-100",
        ["none of b, c answers", "and b, which would found the cluster, is left out", "Leave out --limit"],
    ),
    (
        "an agent alone, whose server is down",
        {},
        AGENT,
        "K3S-100",
        ["no server of its cluster (b, c) is in this run", "at k8s.example.com port 6443. E", "start k3s on b first"],
    ),
    (
        "a new agent alone, whose registration address is down",
        {"answering": ["192.0.2.2/6443"]},
        AGENT,
        "K3S-100",
        ["correct the address at which agents find them, https://k8s.example.com:6443"],
    ),
    (
        "an agent that has joined, all of whose servers are down",
        {"was_here": True},
        AGENT,
        "K3S-100",
        ["at k8s.example.com port 6443, 192.0.2.2 port 1, 192.0.2.3 port 1. E"],
    ),
    (
        "an agent of others whose server is down",
        {},
        {**AGENT, "k3s_servers": [], "k3s_agent_token": "theirs"},
        "K3S-100",
        ["HOST is an agent, its cluster is one of others, and nothing answers", "Start k3s on a server of that"],
    ),
    (
        "an agent alone, to be newer than its servers",
        {**JOINED, "serving": ["v1.35.8+k3s1", "v1.36.4+k3s1", "v1.35.8+k3s1"]},
        AGENT,
        "K3S-114",
        [
            "HOST is an agent with k3s v1.35.8+k3s1, k3s_version is v1.36.4+k3s1, and servers",
            "have v1.35.8+k3s1, v1.36.4+k3s1. Expected",
            "Leave out --limit",
        ],
    ),
    (
        "an agent of others, to be newer than its servers",
        {**JOINED, "serving": ["v1.35.8+k3s1"]},
        {**AGENT, "k3s_servers": [], "k3s_agent_token": "theirs"},
        "K3S-114",
        ["have v1.35.8+k3s1. Expected", "Set k3s_version for this host to the version of its cluster's servers"],
    ),
    (
        "one of several members of etcd, with another address",
        MEMBER,
        {},
        "K3S-105",
        [
            "HOST is a member of etcd with the address 192.0.2.9",
            "is now 192.0.2.1. Expected",
            "Give the host 192.0.2.9 again",
            "flyte.onprem.remove_node, -e remove_node=HOST",
        ],
    ),
    (
        "the only member of etcd, with another address",
        MEMBER,
        {"k3s_servers": ["{{ inventory_hostname }}"], "k3s_config": {"cluster-init": True}},
        "K3S-105",
        ["Give the host 192.0.2.9 again", "k3s server --cluster-reset"],
    ),
    (
        "a member of etcd whose second address has become the first",
        MEMBER,
        {"k3s_node_address": "192.0.2.1,192.0.2.9"},
        "K3S-105",
        ["is now 192.0.2.1. Expected"],
    ),
    (
        "the first server, which has founded a second cluster",
        {"data": "etcd", "ca": "c0ffee"},
        {"k3s_kubeconfig": "{{ site_directory }}/kubeconfig"},
        "K3S-108",
        [
            f"is c0ffee on HOST, and {CA_DIGEST} in ",
            "move /var/lib/rancher/k3s/server away",
            "put /etc/rancher/k3s/k3s.yaml of a server",
        ],
    ),
    (
        "a server of a second cluster, without a kubeconfig",
        {"data": "etcd", "ca": "c0ffee"},
        {"k3s_node_name": "second", "k3s_servers": ["{{ inventory_hostname }}", *RENEWED[:2]]},
        "K3S-108",
        ["is c0ffee on HOST, new on renewed-1, new on renewed-2, and unknown in "],
    ),
    (
        "one of three servers, which are of two clusters",
        {"data": "etcd", "ca": "new"},
        {**OF_OLD_KUBECONFIG, "k3s_servers": ["{{ inventory_hostname }}", *RENEWED[:1], "founder"]},
        "K3S-108",
        ["is new on HOST, new on renewed-1, c0ffee on founder, and"],
    ),
    (
        "founder",
        {"data": "etcd", "ca": "c0ffee"},
        {**OF_OLD_KUBECONFIG, "k3s_servers": ["founder", *RENEWED[:2]]},
        "K3S-108",
        ["is c0ffee on HOST, new on renewed-1, new on renewed-2, and"],
    ),
    (
        "a first server that was restored, beside one that was not set back",
        {"data": "etcd", "restored": True},
        {"k3s_servers": ["{{ inventory_hostname }}", *RENEWED[:2]]},
        "K3S-118",
        ["HOST has the snapshot's data, and renewed-1, renewed-2 still have", "Run flyte.onprem.restore_cluster again"],
    ),
    (
        "a first server without data, beside members of etcd that do not run",
        {},
        {"k3s_servers": ["{{ inventory_hostname }}", *RENEWED[:2]]},
        "K3S-68",
        ["and yet there is data of etcd on renewed-1, renewed-2", "have renewed-1 stand first"],
    ),
    (
        "a server with SQLite that is given a datastore",
        {"data": "sqlite"},
        {**ONLY_SERVER, **ENDPOINT},
        "K3S-110",
        [
            "HOST has the state of its cluster in SQLite, and k3s_datastore_endpoint begins with postgres://. Expected",
            "begin an empty cluster",
            "Leave k3s_datastore_endpoint empty",
        ],
    ),
    (
        "one of several members of etcd that are given a datastore",
        {"data": "etcd"},
        ENDPOINT,
        "K3S-110",
        ["in embedded etcd, and", "go on with etcd, whose ports would be closed", "Leave k3s_datastore_endpoint empty"],
    ),
    (
        "a member of etcd that was given a datastore, which k3s does not use",
        {"data": "etcd", **ON_DATASTORE},
        ENDPOINT,
        "K3S-110",
        ["in embedded etcd, and"],
    ),
    (
        "a member of etcd that is given SQLite",
        {"data": "etcd"},
        {**ONLY_SERVER, "k3s_datastore_endpoint": "sqlite:///srv/k3s.db"},
        "K3S-110",
        ["in embedded etcd, and k3s_datastore_endpoint begins with sqlite://"],
    ),
    (
        "an only server whose datastore is taken away",
        ON_DATASTORE,
        ONLY_SERVER,
        "K3S-110",
        [
            "in an external datastore (postgres), and k3s_datastore_endpoint is empty. Expected",
            "begin an empty cluster",
            "Set k3s_datastore_endpoint back",
        ],
    ),
    (
        "one of several servers whose datastore is taken away",
        ON_DATASTORE,
        {},
        "K3S-110",
        ["in an external datastore (postgres), and"],
    ),
    (
        "a server with a datastore that is given SQLite, which it had before",
        {**ON_DATASTORE, "data": "sqlite"},
        {**ONLY_SERVER, "k3s_datastore_endpoint": "sqlite://"},
        "K3S-110",
        ["in an external datastore (postgres), and k3s_datastore_endpoint begins with sqlite://"],
    ),
    (
        "another network for pods",
        {"data": "sqlite", **BEGUN},
        {**ONLY_SERVER, "k3s_pod_cidr": "10.52.0.0/16"},
        "K3S-111",
        [
            "The cluster of HOST began with k3s_pod_cidr 10.42.0.0/16, which is now 10.52.0.0/16. Expected",
            "Set pod_cidr and service_cidr in site_kubernetes_connection",
        ],
    ),
    (
        "other networks on a datastore",
        {**ON_DATASTORE, **BEGUN},
        {**ONLY_SERVER, **ENDPOINT, "k3s_pod_cidr": "10.52.0.0/16", "k3s_service_cidr": "10.53.0.0/16"},
        "K3S-111",
        ["10.42.0.0/16, which is now 10.52.0.0/16, and with k3s_service_cidr 10.43.0.0/16, which is now 10.53.0.0/16."],
    ),
    (
        "a second family of addresses for a cluster that runs",
        {"data": "etcd", **BEGUN},
        {"k3s_pod_cidr": "10.42.0.0/16, fd42::/56", "k3s_service_cidr": "10.43.0.0/16"},
        "K3S-111",
        ["k3s_pod_cidr 10.42.0.0/16, which is now 10.42.0.0/16,fd42::/56. Expected"],
    ),
    (
        "the second family of addresses as the first",
        {"data": "etcd", "pod_cidr": "10.42.0.0/16,fd42::/56"},
        {"k3s_pod_cidr": "fd42::/56,10.42.0.0/16"},
        "K3S-111",
        ["which is now fd42::/56,10.42.0.0/16. Expected"],
    ),
    (
        "another backend of flannel",
        {"data": "etcd", **BEGUN},
        {"k3s_config": {"flannel-backend": "host-gw"}},
        "K3S-130",
        [
            "of HOST began with flannel-backend vxlan, which is now host-gw. Expected",
            "all nodes anew, the servers first",
        ],
    ),
    (
        "the backend of flannel that is k3s's own, where there was another",
        {"data": "sqlite", **BEGUN, "options": {**FIRST, "flannel-backend": "host-gw"}},
        ONLY_SERVER,
        "K3S-130",
        ["flannel-backend host-gw, which is now vxlan. Expected"],
    ),
    (
        "another domain and another address for names, on a datastore",
        {**ON_DATASTORE, **BEGUN, "options": {**FIRST, "cluster-domain": "site.local", "cluster-dns": "10.43.0.10"}},
        {**ONLY_SERVER, **ENDPOINT, "k3s_config": {"cluster-dns": ["10.43.0.11"]}},
        "K3S-130",
        [
            "cluster-domain site.local, which is now cluster.local, and with cluster-dns 10.43.0.10",
            "which is now 10.43.0.11. Expected",
            "remove the cluster",
        ],
    ),
    (
        "another address for names than k3s chose",
        {"data": "etcd", **BEGUN},
        {"k3s_config": {"cluster-dns": "10.43.0.53"}},
        "K3S-130",
        ["cluster-dns 10.43.0.10, which is now 10.43.0.53. E"],
    ),
    (
        "Secrets to be encrypted in a cluster that runs",
        {"data": "etcd"},
        ENCRYPTED,
        "K3S-131",
        ["HOST keeps its Secrets as they are", "a key of its own", "k3s secrets-encrypt enable, on one server"],
    ),
    (
        "Secrets that are encrypted, without a word of it",
        {"data": "etcd", "encryption": "keys"},
        {"k3s_config": {"secrets-encryption": "false"}},
        "K3S-131",
        ["HOST encrypts its Secrets, and", "Set it to true", "k3s secrets-encrypt disable"],
    ),
    (
        "an address by an option",
        {},
        {"k3s_config": {"node-ip": "192.0.2.9"}},
        "K3S-64",
        ["node-ip is set by k3s_node_a"],
    ),
    ("no default route", {"default_route": False}, {}, "K3S-52", ["HOST has no default route", "ip route add default"]),
    (
        "a server that was an agent",
        {"other_unit": True},
        {},
        "K3S-55",
        ["HOST has the unit k3s-agent.service, and the inventory makes it a k3s server", "with k3s-agent-uninstall.sh"],
    ),
    (
        "an agent that was a server",
        {**JOINED, "other_unit": True},
        AGENT,
        "K3S-55",
        ["HOST has the unit k3s.service, and the inventory makes it a k3s agent", "with k3s-uninstall.sh"],
    ),
    (
        "an older version than the installed one",
        {"version": "v1.36.4+k3s1"},
        {"k3s_version": "v1.36.4-rc1+k3s1"},
        "K3S-56",
        ["HOST has k3s v1.36.4+k3s1. Expected: at most k3s_version, v1.36.4-rc1+k3s1"],
    ),
    (
        "a version that skips a minor one",
        {"version": "v1.34.6+k3s1"},
        {},
        "K3S-58",
        ["HOST has k3s v1.34.6+k3s1, and k3s_version is v1.36.4+k3s1", "Upgrade to the last release of v1.35 first"],
    ),
    (
        "a server that goes ahead of the others",
        {"version": "v1.36.4+k3s1", "serving": ["v1.36.4+k3s1", "v1.35.8+k3s1"]},
        {"k3s_version": "v1.37.0+k3s1"},
        "K3S-124",
        ["HOST is a server with k3s v1.36.4+k3s1", "have v1.36.4+k3s1, v1.35.8+k3s1. Expected", "Leave out --limit"],
    ),
    (
        "a server that listens to itself alone",
        {},
        {"k3s_config": {"bind-address": "127.0.0.1"}},
        "K3S-125",
        ["has bind-address: 127.0.0.1, and the cluster has other hosts", "at which they reach HOST;"],
    ),
    (
        "a node whose pods are to move, without a kubeconfig",
        {"unit": True, "state": "active"},
        {"k3s_drain": True},
        "K3S-86",
        ["k3s_drain is set, and the control node has no kubeconfig of the cluster, ", "set k3s_drain to false"],
    ),
    ("an architecture without k3s", {}, {"k3s_architecture": "s390x"}, "K3S-51", ["s390x", "armhf"]),
    (
        "a bundle for another architecture",
        {},
        {"k3s_bundle": "{{ site_directory }}", "k3s_architecture": "arm64"},
        "K3S-74",
        ["HOST is arm64, and the bundle", "has artefacts for amd64"],
    ),
    (
        "a bundle for nobody knows what",
        {},
        {"k3s_bundle": "{{ site_directory }}/nameless", "k3s_version": "v1.35.8+k3s1"},
        "K3S-74",
        ["has artefacts for an architecture that its manifest.json does not name. E"],
    ),
    (
        "servers that have all of it otherwise",
        {},
        {
            "k3s_servers": ["{{ inventory_hostname }}", *TOLD],
            "k3s_config": {"secrets-encryption": True},
            "k3s_datastore_endpoint": "postgres://k3s:p4ssw0rd@h/d",
            "k3s_disable": ["traefik"],
        },
        "K3S-143",
        [
            "secrets-encryption is false on told-1, told-2 and true on HOST",
            "k3s_datastore_endpoint is empty on told-1, told-2 and another one on HOST",
            "k3s_disable is empty on told-1, told-2 and traefik on HOST",
        ],
    ),
    (
        "an agent that is to be newer than servers of the run",
        {},
        {**AGENT, "k3s_servers": TOLD, "k3s_agent_token": "agents", "k3s_version": "v1.37.0+k3s1"},
        "K3S-114",
        [
            "HOST is an agent that is new, k3s_version is v1.37.0+k3s1, and of the servers in this run",
            "told-1 is to have v1.36.4+k3s1, told-2 is to have v1.36.4+k3s1. E",
            "Set k3s_version once for all hosts",
        ],
    ),
    (
        "a server that is to go two versions ahead of others of the run",
        {"version": "v1.37.1+k3s1"},
        {"k3s_servers": ["{{ inventory_hostname }}", *TOLD], "k3s_version": "v1.38.0+k3s1"},
        "K3S-124",
        [
            "HOST is a server with k3s v1.37.1+k3s1",
            "told-1 is to have v1.36.4+k3s1",
            "Set k3s_version once for all servers",
        ],
    ),
    (
        "a file beside the role's that changes k3s's options",
        {"drop_ins": ["50-ours.yaml", "90-it's.yml"]},
        {},
        "K3S-144",
        ["HOST has 50-ours.yaml, 90-it's.yml in /etc/rancher/k3s/config.yaml.d. E", "and remove the file"],
    ),
    (
        "options on the command line of somebody else's k3s",
        {"arguments": ["--cluster-cidr", "K3S_NODE_NAME"]},
        {},
        "K3S-145",
        ["k3s has on HOST --cluster-cidr, K3S_NODE_NAME on its command line or among its", "daemon-reload"],
    ),
    (
        "an only node that takes no pods",
        {},
        {
            **ONLY_SERVER,
            "k3s_agents": [],
            "k3s_config": {"node-taint": ["place=a:PreferNoSchedule", "dedicated:NoExecute"]},
        },
        "K3S-146",
        ["(HOST) are to start", "this one with place=a:PreferNoSchedule, dedicated:NoExecute. E", "add an agent"],
    ),
    (
        "a server and an agent that take no pods",
        {},
        {**ONLY_SERVER, "k3s_agents": ["tainted"], "k3s_node_taints": ["dedicated=x:NoSchedule"]},
        "K3S-146",
        ["All nodes of the cluster (a server and an agent that take no pods, tainted)"],
    ),
    (
        "volumes that nothing makes",
        {},
        {"k3s_config": {"disable": ["metrics-server", "local-storage"]}},
        "K3S-147",
        ["local-storage is disabled", "local-path", "storage_class in site_kubernetes_connection"],
    ),
    (
        "an agent with a token of its own",
        {},
        {**AGENT, "k3s_servers": TOLD, "k3s_agent_token": "hush"},
        "K3S-143",
        [
            "HOST is an agent, and its token (k3s_agent_token) is neither the agents'",
            "nor the servers' on told-1, told-2. E",
        ],
    ),
    (
        "one digest for two architectures",
        {},
        {**IN_MIXED_CLUSTER, "k3s_checksum": DIGEST},
        "K3S-135",
        ["HOST is amd64, and k3s_checksum is the same for small (arm64). E", "Write {{ k3s_architecture }} into"],
    ),
    (
        "one file for two architectures",
        {},
        {**IN_MIXED_CLUSTER, **SAME},
        "K3S-135",
        ["k3s_checksum, k3s_url is the same for small (arm64). E"],
    ),
]
# what is seen, what the look says, variables: all of these work
GOOD_HOSTS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("nothing of note, and hosts that are reached", {}, {"__k3s_between": {"peers": [REACHED]}}),
    (
        "a host beside one that is left out and does not answer, and one whose clock nobody tells",
        {},
        {"__k3s_between": {"clock_offset": 0.2, "peers": [{**NO_WAY, "name": "b"}, {**REACHED, "clock_offset": None}]}},
    ),
    (
        "a server beside one that is left out and may have nothing yet",
        {},
        {"__k3s_between": {"peers": [{**CLOSED, "name": "b", "closed": ["1/tcp", "2379/tcp"]}]}},
    ),
    # Each looks at the other one's.
    ("right", {}, {"__k3s_between": {"clock_offset": 0.4}, "k3s_servers": [*CLOCKS, "c"], "k3s_node_name": "right"}),
    ("ahead", {}, {"__k3s_between": {"clock_offset": 29.4}, "k3s_servers": [*CLOCKS, "c"], "k3s_node_name": "ahead"}),
    ("a server whose peer answers", {"peers": ["192.0.2.2"]}, {"k3s_servers": ["b", "{{ inventory_hostname }}", "c"]}),
    ("a server with data", {"data": "etcd"}, {"k3s_servers": ["b", "{{ inventory_hostname }}", "c"]}),
    ("a node with its name", {**JOINED, "node_name": "node-a"}, {}),
    ("an upgrade that has not ended", {"version": "v1.36.4+k3s1", "replaced": True}, {"k3s_version": "v1.36.4+k3s1"}),
    ("a member of etcd with its address", {**MEMBER, "etcd_address": "192.0.2.1"}, {}),
    ("a member of etcd that has got an address of IPv6 besides", MEMBER, {"k3s_node_address": "192.0.2.9,fd00::9"}),
    (
        "a server of the cluster that the kubeconfig is of",
        {"data": "etcd", "ca": CA_DIGEST},
        {"k3s_kubeconfig": "{{ site_directory }}/kubeconfig"},
    ),
    *(
        (name, {"data": "etcd", "ca": "new"}, {**OF_OLD_KUBECONFIG, "k3s_servers": RENEWED})
        for name in RENEWED  # servers with another CA than the kubeconfig's, all of them
    ),
    ("a server whose kubeconfig is still to come", {"data": "etcd", "ca": "c0ffee"}, {}),
    (
        "an only server that has begun anew",
        {"data": "etcd", "ca": "c0ffee"},
        {
            "k3s_kubeconfig": "{{ site_directory }}/kubeconfig",
            "k3s_servers": ["{{ inventory_hostname }}"],
            "k3s_config": {"cluster-init": True},
        },
    ),
    (
        "an agent that was a server of another cluster",
        {"ca": "c0ffee", "answering": ["192.0.2.3/1"], "was_here": True},
        {**AGENT, "k3s_kubeconfig": "{{ site_directory }}/kubeconfig"},
    ),
    (
        "an agent that was a server with another address",
        {**MEMBER, "answering": ["192.0.2.3/1"]},
        {**AGENT, "k3s_node_address": "192.0.2.4"},
    ),
    ("an agent alone, whose registration address answers", {"answering": ["k8s.example.com/6443"]}, AGENT),
    ("an agent that knows a server", {"was_here": True, "answering": ["192.0.2.3/1"]}, AGENT),
    ("an agent whose servers do not say their version", JOINED, AGENT),
    ("an agent whose servers were upgraded", {**JOINED, "serving": ["v1.36.5+k3s1", "v1.37.0+k3s1"]}, AGENT),
    ("an agent that is newer already", {**JOINED, "version": "v1.36.4+k3s1", "serving": ["v1.35.8+k3s1"]}, AGENT),
    ("an agent in one run with a server", {}, {**AGENT, "k3s_servers": ["right", "b", "c"]}),
    (
        "an agent whose server is another site's in this run",
        {},
        {**AGENT, "k3s_servers": [], "k3s_agent_token": "theirs", "k3s_join_url": "https://192.0.2.1:6443"},
    ),
    ("rules for pods", {"rulesets": [json.dumps({"nftables": [*RULESET["nftables"], FOR_PODS]})]}, {}),
    ("rules of a firewall that the role opens", {"rulesets": [json.dumps(RULESET)], "firewall": "ufw"}, {}),
    (
        "rules beside another network of pods",
        {"rulesets": [json.dumps(RULESET)]},
        {"k3s_config": {"flannel-backend": "none"}},
    ),
    (
        "small",
        {
            "architecture": "arm64",
            "downloads": {name: hashlib.sha256(value.encode()).hexdigest() for name, value in SAME.items()},
        },
        {"k3s_node_name": "small", "k3s_architecture": "arm64", **SAME},
    ),
    ("a host of another architecture with files of its own", {}, IN_MIXED_CLUSTER),
    ("a host of the same architecture", {}, {**IN_MIXED_CLUSTER, **SAME, "k3s_architecture": "arm64"}),
    (
        "a bundle beside a file for another architecture",
        {},
        {**IN_MIXED_CLUSTER, **SAME, "k3s_bundle": "{{ site_directory }}", "k3s_version": "v1.35.8+k3s1"},
    ),
    ("a server beside the first one", {}, {"k3s_servers": ["right", "{{ inventory_hostname }}", "c"]}),
    (
        "a server with a datastore for all",
        {},
        {"k3s_servers": ["b", "{{ inventory_hostname }}"], "k3s_datastore_endpoint": "postgres://u:p@h/d"},
    ),
    ("the name of a host that was given another one", {}, {"k3s_servers": BESIDE_TWIN, "k3s_node_name": "node-new"}),
    (
        "swap as k3s sets the kubelet up, SELinux with the policy, a Raspberry Pi that may be rebooted",
        {"swap": ["/dev/sda2"], "selinux": True, "selinux_policy": True, **PI},
        {"k3s_reboot": True},
    ),
    (
        "SELinux with a repository, cgroup v1 with a Kubernetes that takes it",
        {**CGROUP_V1, "selinux": True},
        {"k3s_version": "v1.34.6+k3s1", "k3s_architecture": "arm"},
    ),
    (
        "a server with SQLite that goes to etcd",
        {"data": "sqlite"},
        {**ONLY_SERVER, "k3s_config": {"cluster-init": True}},
    ),
    ("a first server with SQLite that gets others", {"data": "sqlite"}, {}),
    ("a member of etcd that is left alone", {"data": "etcd"}, ONLY_SERVER),
    ("a member of etcd that gets its inputs back", {"data": "etcd", **ON_DATASTORE}, {}),
    ("images to share", {}, {**SHARING, "k3s_registries": {"mirrors": {"docker.io": None}}}),
    ("images to share by a file of somebody else's", {"mirrors": True}, SHARING),
    ("SQLite with settings", {"data": "sqlite"}, {**ONLY_SERVER, "k3s_datastore_endpoint": "sqlite://"}),
    ("SQLite without settings", {"data": "sqlite", "datastore": "sqlite"}, ONLY_SERVER),
    (
        "a server with another password, host and kind of datastore, which has data of SQLite of an earlier time",
        {**ON_DATASTORE, "data": "sqlite"},
        {**ONLY_SERVER, "k3s_datastore_endpoint": "mysql://u:q@tcp(i:3306)/d"},
    ),
    (
        "a datastore of a form that was not read",
        {"datastore": "unknown", "data": "sqlite"},
        {**ONLY_SERVER, **ENDPOINT},
    ),
    ("kept data without a configuration, on a datastore", {"token_file": True}, ONLY_SERVER),
    ("a first start that failed", {"datastore": "postgres", **BEGUN}, {**ONLY_SERVER, "k3s_pod_cidr": "10.52.0.0/16"}),
    (
        "the networks of the first start, in other words",
        {"data": "etcd", "pod_cidr": "10.42.0.0/16,FD42::/56", "service_cidr": "10.43.0.0/16,fd43::/112"},
        {"k3s_pod_cidr": "10.42.0.0/16, fd42::/56", "k3s_service_cidr": "10.43.0.0/16,fd43::/112"},
    ),
    (
        "the options of the first start, in other words",
        {"data": "etcd", **BEGUN, "options": {**FIRST, "cluster-dns": "10.43.0.10,fd43::a"}},
        {"k3s_config": {"flannel-backend": "vxlan", "cluster-dns": ["10.43.0.10", "fd43::a"]}},
    ),
    (
        "the address for names that k3s chose, written out",
        {"data": "etcd", "pod_cidr": "10.42.0.0/16,fd42::/56", "service_cidr": "10.43.0.0/16,fd43::/112"},
        {
            "k3s_pod_cidr": "10.42.0.0/16,fd42::/56",
            "k3s_service_cidr": "10.43.0.0/16,fd43::/112",
            "k3s_config": {"cluster-dns": ["10.43.0.10", "fd43::a"]},
        },
    ),
    (
        "the address for names that k3s chose, left out again",
        {"data": "etcd", **BEGUN, "options": {**FIRST, "cluster-dns": "10.43.0.10"}},
        {},
    ),
    ("options that only the command line may have", {"data": "etcd"}, {"k3s_config": {"flannel-backend": "host-gw"}}),
    ("Secrets that are encrypted", {"data": "etcd", "encryption": "keys"}, ENCRYPTED),
    ("Secrets to be encrypted from the first start on", {}, ENCRYPTED),
    # One that k3s was told to prepare for encryption, and a server beside it.
    ("prepared", {"data": "etcd", "encryption": "none"}, ENCRYPTED),
    (
        "a server of a cluster that was prepared",
        {"data": "etcd"},
        {**ENCRYPTED, "k3s_servers": ["{{ inventory_hostname }}", "prepared", "c"], "k3s_node_name": "second"},
    ),
    ("a cluster that was prepared for later", {"data": "etcd", "encryption": "none"}, {}),
    (
        "an agent that was a server with SQLite and other networks",
        {"data": "sqlite", "pod_cidr": "10.52.0.0/16", "answering": ["k8s.example.com/6443"]},
        AGENT,
    ),
    (
        "no drain, in words",
        {"unit": True, "state": "active"},
        {"k3s_drain": "false", "k3s_token_may_change": "no"},
    ),
    (
        "the bundle's version",
        {"version": "v1.35.8+k3s1"},
        {"k3s_bundle": "{{ site_directory }}", "k3s_version": "v1.35.8+k3s1"},
    ),
    (
        "a server that goes one version ahead of the others",
        {"version": "v1.36.4+k3s1", "serving": ["v1.36.4+k3s1"]},
        {"k3s_version": "v1.37.0+k3s1"},
    ),
    ("a candidate that becomes a release", {"version": "v1.36.4-rc2+k3s1"}, {}),
    ("a server that listens at one address", {}, {"k3s_config": {"bind-address": "192.0.2.1"}}),
    (
        "an only node that listens to itself alone",
        {},
        {**ONLY_SERVER, "k3s_agents": [], "k3s_config": {"bind-address": "127.0.0.1"}},
    ),
    (
        "a node whose pods are to move, with a kubeconfig",
        {"unit": True, "state": "active", "data": "etcd"},
        {"k3s_drain": True, "k3s_kubeconfig": "{{ site_directory }}/kubeconfig"},
    ),
    # Their tokens were made after they had told of them.
    *((name, {}, {"k3s_servers": [*TOLD, "c"], "k3s_node_name": name, "__k3s_told": TELLS}) for name in TOLD),
    (
        "an agent whose token was made after it had told of it",
        {},
        {
            **AGENT,
            "k3s_servers": TOLD,
            "k3s_agent_token": "new",
            "__k3s_told": {**TELLS, "password": DIGESTS["k3s_agent_token"]},
        },
    ),
    (
        "a server beside others, in other words",
        {},
        {
            "k3s_servers": ["{{ inventory_hostname }}", *TOLD],
            "k3s_config": {"cluster-dns": ["10.43.0.10"], "secrets-encryption": "False", "flannel-backend": "vxlan"},
            "k3s_token": "K10abc::server:secret",
            "k3s_agent_token": "agents",
            "k3s_api_port": "1",
        },
    ),
    ("an agent with the agents' token", {}, {**AGENT, "k3s_servers": TOLD, "k3s_agent_token": "K10abc::node:agents"}),
    ("an agent with the servers' token", {}, {**AGENT, "k3s_servers": TOLD, "k3s_agent_token": "secret"}),
    (
        "an agent with a token for a while",
        {},
        {**AGENT, "k3s_servers": TOLD, "k3s_agent_token": "hushed.0123456789abcdef"},
    ),
    (
        "tainted",
        {},
        {
            **ONLY_SERVER,
            "k3s_agents": ["c"],
            "k3s_node_taints": ["a:NoSchedule"],
            "__k3s_told": {**TELLS, "keeps_pods_away": True},
        },
    ),
    (
        "a server that takes no pods beside an agent",
        {},
        {
            **ONLY_SERVER,
            "k3s_agents": [TOLD[0], "tainted"],
            "k3s_node_name": "tired",
            "k3s_node_taints": ["dedicated=x:NoSchedule"],
        },
    ),
    (
        "an only node that takes what Kubernetes itself needs",
        {},
        {
            **ONLY_SERVER,
            "k3s_agents": [],
            "k3s_node_taints": [
                "CriticalAddonsOnly=true:NoExecute",
                "node-role.kubernetes.io/control-plane:NoSchedule",
            ],
        },
    ),
    (
        "an only node that prefers others",
        {},
        {**ONLY_SERVER, "k3s_agents": [], "k3s_node_taints": ["a:PreferNoSchedule"]},
    ),
    (
        "a storage class of somebody else's",
        {},
        {"k3s_disable": ["local-storage"], "k3s_storage_class": "longhorn"},
    ),
    (
        "a server of a cluster that was given a class of the same name",
        {"was_here": True, "data": "etcd", **BEGUN},
        {"k3s_disable": ["local-storage"]},
    ),
    ("cgroup v1 by an argument", CGROUP_V1, {"k3s_config": {"kubelet-arg": "fail-cgroupv1=false"}}),
]

# Hosts of one cluster: what is opened on them, and what they ask of each other. Name, what the look says, variables.
PEERS = {"new": "192.0.2.11", "node": "192.0.2.12", "walled": "192.0.2.13"}
SHARING_AGENT = {**SHARING, "k3s_servers": ["new"], "k3s_agents": ["walled", "{{ inventory_hostname }}"]}
NODES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("new", {"firewall": "firewalld"}, {"k3s_node_name": "twin"}),
    (
        "node",
        {"unit": True, "tunnel": True, "state": "active"},
        {"k3s_open_firewall": False, "k3s_node_address": "192.0.2.12,2001:db8::12"},
    ),
    ("walled", {"firewall": "ufw", "opened": ["allow from 10.42.0.0/16"]}, {}),
    ("told", {"firewall": "ufw"}, {"k3s_open_firewall": "false"}),
    ("agent", {}, {"k3s_agents": ["agent"], "k3s_config": {"flannel-backend": "host-gw", "embedded-registry": True}}),
    ("sharing", {}, {**SHARING_AGENT, "k3s_open_firewall": False}),
    ("open", {"firewall": "ufw"}, SHARING_AGENT),
    ("new agent alone", {}, {"k3s_servers": ["b", "c"], "k3s_agents": ["d", "{{ inventory_hostname }}"]}),
    ("new server alone", {}, {"k3s_servers": ["b", "c", "{{ inventory_hostname }}"], "k3s_agents": ["d"]}),
    ("visitor", {}, {"k3s_servers": [], "k3s_agents": ["visitor"], "k3s_join_url": "https://k8s.example.com:6443"}),
]


def findings(tmp_path: Path, **known: Any) -> dict[str, str]:
    """Run a phase of the role as `foresee` does; its findings by id. Nothing changes before the role has judged."""
    output = foresee(tmp_path, **known)
    assert re.findall(r"changed=[1-9]", output) == [], output
    return by_id(output)


def foresee(
    tmp_path: Path,
    *,
    hosts: Sequence[str] = ("a",),
    silent: Sequence[str] = (),
    phase: str = "preflight",
    **variables: Any,
) -> str:
    """Run a phase of the role in check mode, on this machine and on hosts that do not answer; its output."""
    playbook = [
        {
            "name": "Look",
            "hosts": "all",
            "gather_facts": False,
            "vars_files": [str(ROOT / "roles/site/defaults/main.yml")],
            "tasks": [{"ansible.builtin.import_role": {"name": "flyte.onprem.k3s", "tasks_from": phase}}],
        }
    ]
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    away = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    inventory = {"all": {"hosts": {**dict.fromkeys(hosts), **dict.fromkeys(silent, away)}, "vars": local}}
    files = {
        "playbook": playbook,
        "inventory": inventory,
        "variables": {**CLUSTER, "site_directory": str(tmp_path), **variables},
    }
    for name, content in files.items():
        (tmp_path / f"{name}.yml").write_text(yaml.safe_dump(content))
    return ansible(tmp_path, "--check", "--extra-vars=@variables.yml")


def ansible(folder: Path, *arguments: str) -> str:
    """Run the playbook of a folder; its output."""
    run = subprocess.run(
        ["ansible-playbook", "--inventory=inventory.yml", *arguments, "playbook.yml"],
        cwd=folder,
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"), "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    output = run.stdout + run.stderr
    assert "PLAY RECAP" in output, output
    return output


def by_id(output: str) -> dict[str, str]:
    """The findings in a text, by their ids."""
    return dict(re.findall(r"\[(K3S-\d+)\] (.*?(?:Read more|docs/problems))", output, re.DOTALL))


@pytest.mark.parametrize(
    ("variables", "identifier", "said"), [case[1:] for case in BAD_INPUT], ids=[case[0] for case in BAD_INPUT]
)
def test_bad_input_is_refused_by_name(
    tmp_path: Path, variables: dict[str, Any], identifier: str, said: list[str]
) -> None:
    found = findings(tmp_path, **variables)
    assert identifier in found
    assert [word for word in said if word not in found[identifier]] == []


def test_a_lost_first_server_does_not_found_a_second_cluster(tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text("{}")
    assert "none of b, c answers" in findings(tmp_path)["K3S-68"]


def test_a_cluster_that_can_be_built_is_not_refused(tmp_path: Path) -> None:
    about_the_cluster = {identifier for _, _, identifier, _ in BAD_INPUT} | {"K3S-68"}
    assert findings(tmp_path).keys() & about_the_cluster == set()


@pytest.mark.parametrize("answers", [False, True], ids=["down", "up"])
def test_an_agent_alone_is_refused_where_nothing_answers(tmp_path: Path, answers: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1] if answers else CLUSTER["k3s_api_port"]
        found = findings(tmp_path, hosts=("d",), k3s_node_name="node-d", k3s_join_url=f"https://127.0.0.1:{port}")
    assert ("K3S-100" in found) is not answers


def test_servers_that_contradict_each_other_are_refused_without_their_secrets(tmp_path: Path) -> None:
    own: dict[str, Any] = {
        "k3s_config": {"a": {"cluster-domain": "hall.local"}, "b": {}},
        "k3s_token": {"a": "hush-1", "b": "hush-2"},
        "k3s_node_name": {"a": "node-a", "b": "node-b"},
    }
    given = {name: f"{{{{ own['{name}'][inventory_hostname] }}}}" for name in own}
    here = dict.fromkeys(ADDRESSES, "127.0.0.1")  # where no answer is waited for
    output = foresee(tmp_path, hosts=("a", "b"), own=own, site_host_addresses=here, **given)
    said = "cluster-domain is cluster.local on b and hall.local on a; k3s_token is one on b and another one on a. E"
    found = dict(re.findall(r"fatal: \[(\w)\].*?\[K3S-143\] (.*)", output))
    assert {host: text.startswith(said) for host, text in found.items()} == {"a": True, "b": True}
    assert "hush" not in output


def judge(folder: Path, hosts: dict[str, Any], everywhere: dict[str, Any], found: str, **more: Any) -> dict[str, Any]:
    """What role k3s makes of hosts, by host: C(found) is worked out for each, in one run, with C(more) variables."""
    # As the role's own defaults, weaker than what is said of each host.
    defaults = yaml.safe_load((ROOT / "roles/site/defaults/main.yml").read_text())
    defaults |= yaml.safe_load((ROOT / "roles/k3s/defaults/main.yml").read_text())
    playbook = [
        {
            "name": "Judge",
            "hosts": "all",
            "gather_facts": False,
            "vars_files": [str(ROOT / "roles/k3s/vars/main.yml")],
            "tasks": [
                {"ansible.builtin.set_fact": {"found": found}, "vars": more},
                {
                    "ansible.builtin.copy": {
                        "content": "{{ dict(names | zip(found_of)) | to_json }}",
                        "dest": str(folder / "found.json"),
                        "mode": "0600",
                    },
                    "vars": {
                        "names": "{{ ansible_play_hosts_all }}",
                        "found_of": "{{ names | map('extract', hostvars) | map(attribute='found') }}",
                        "ansible_python_interpreter": sys.executable,
                    },
                    "run_once": True,
                },
            ],
        }
    ]
    files = {"playbook": playbook, "inventory": {"all": {"hosts": hosts, "vars": defaults | everywhere}}}
    for name, content in files.items():
        (folder / f"{name}.yml").write_text(yaml.safe_dump(content))
    ansible(folder)
    return dict(json.loads((folder / "found.json").read_text()))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the role makes of each recorded case: findings, or of a node what is asked and opened."""
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "manifest.json").write_text(json.dumps(BUNDLE))
    (folder / "nameless").mkdir()
    (folder / "nameless/manifest.json").write_text(
        json.dumps({name: BUNDLE[name] for name in BUNDLE if name != "architecture"})
    )
    cluster = {"certificate-authority-data": base64.b64encode(CA.encode()).decode()}
    (folder / "kubeconfig").write_text(yaml.safe_dump({"clusters": [{"cluster": cluster}]}))
    cases = [case[:3] for case in BAD_HOSTS] + GOOD_HOSTS
    cases += [(name, seen, {"k3s_servers": list(PEERS), "k3s_agents": [], **more}) for name, seen, more in NODES]
    named = [*CLOCKS, *RENEWED, *TOLD, "founder", "prepared", "small", "tainted"]
    everywhere = {
        **CLUSTER,
        "site_directory": str(folder),
        "k3s_servers": ["{{ inventory_hostname }}", "b", "c"],
        "k3s_host_addresses": {**ADDRESSES, **PEERS, **dict.fromkeys(named, "192.0.2.5")},
        "k3s_host_names": {name: f"node-{name}" for name in [*ADDRESSES, *PEERS, *named]},
        "k3s_kubeconfig": str(folder / "none"),
        "role_path": str(ROOT / "roles/k3s"),
        "ansible_connection": "local",
    }
    hosts = {
        name: {"__k3s_look": {"stdout": yaml.safe_dump({**LOOK, **seen})}, **variables}
        for name, seen, variables in cases
    }
    for name, _, _, identifier, _ in BAD_HOSTS:
        hosts[name].setdefault("expected", []).append(identifier)
    opens = {
        "asked": "{{ __k3s_asked }}",
        "ufw": "{{ __k3s_ufw_rules }}",
        "firewalld": "{{ policy if __k3s_opens == 'firewalld' else '' }}",
        "files": "{{ __k3s_files | map(attribute='path') }}",
    }
    more = {
        "policy": f"{{{{ lookup('ansible.builtin.template', '{POLICY}') }}}}",
        "opens": opens,
        "nodes": [name for name, _, _ in NODES],
    }
    # Of a host that is refused those rules alone that it is there for, which takes a tenth of the time.
    rules = "(__k3s_rules | selectattr('id', 'in', expected) if expected is defined else __k3s_rules)"
    found = f"{{{{ opens if inventory_hostname in nodes else {{'findings': {rules} | flyte.onprem.findings}} }}}}"
    return judge(folder, hosts, everywhere, found, **more)


@pytest.fixture(scope="module")
def judged(recorded: dict[str, dict[str, Any]]) -> dict[str, dict[str, str]]:
    """The findings of all recorded cases, by case and id."""
    return {host: by_id(found["findings"]) for host, found in recorded.items() if "findings" in found}


@pytest.mark.parametrize(
    ("host", "identifier", "said"),
    [(case[0], *case[3:]) for case in BAD_HOSTS],
    ids=[f"{case[0]}, {case[3]}" for case in BAD_HOSTS],
)
def test_a_host_is_refused_by_what_was_seen(
    judged: dict[str, dict[str, str]], host: str, identifier: str, said: list[str]
) -> None:
    assert identifier in judged[host]
    text = " ".join(judged[host][identifier].split())
    assert [word for word in said if word.replace("HOST", host) not in text] == []


@pytest.mark.parametrize("host", [case[0] for case in GOOD_HOSTS])
def test_a_host_that_works_is_not_refused(judged: dict[str, dict[str, str]], host: str) -> None:
    assert judged[host] == {}


def ports(found: dict[str, Any]) -> dict[str, list[list[int]]]:
    """What a host asks of which other host: ports of TCP that have to be open, of UDP, and that prove a way."""
    return {peer["name"]: [peer["tcp"], peer["udp"], peer["also"]] for peer in found["asked"]}


def test_a_host_asks_where_the_role_does_not_open_a_firewall_itself(recorded: dict[str, dict[str, Any]]) -> None:
    # A node's kubelet is closed to strangers, and of its tunnel there is no answer.
    assert ports(recorded["new"]) == {"node": [[1, 2379, 2380], [], [22]]}
    bare = [[1, 2379, 2380, 10250], [8472], [22]]
    assert ports(recorded["node"]) == {"new": bare, "walled": bare}


def test_an_agent_asks_the_servers_for_the_api_alone(recorded: dict[str, dict[str, Any]]) -> None:
    assert ports(recorded["agent"]) == {"node": [[1], [], [22]]}


def test_who_shares_images_asks_agents_for_the_apis_port_too(recorded: dict[str, dict[str, Any]]) -> None:
    server, agent = [1, 10250, 5001], [10250, 1, 5001]
    assert ports(recorded["sharing"]) == {"new": [server, [8472], [22]], "walled": [agent, [8472], [22]]}


def test_an_agent_that_shares_images_opens_the_apis_port_to_the_cluster(recorded: dict[str, dict[str, Any]]) -> None:
    opened = [rule for rule in recorded["open"]["ufw"] if "tcp" in rule]
    assert sorted(opened) == [
        "allow from 192.0.2.11 to any port 1,5001,10250 proto tcp",
        "allow from 192.0.2.13 to any port 1,5001,10250 proto tcp",
    ]


def test_an_agent_of_a_foreign_cluster_asks_its_server(recorded: dict[str, dict[str, Any]]) -> None:
    assert recorded["visitor"]["asked"] == [
        {
            "name": "https://k8s.example.com:6443",
            "address": "k8s.example.com",
            "tcp": [6443],
            "clock": 6443,
            "also": [22],
        }
    ]


def test_hosts_that_a_run_leaves_out_are_asked_for_what_they_open_to_a_stranger(
    recorded: dict[str, dict[str, Any]],
) -> None:
    agent, server = recorded["new agent alone"], recorded["new server alone"]
    assert ports(agent) == {"b": [[1], [], [22]], "c": [[1], [], [22]], "d": [[], [], [22]]}
    assert ports(server) == {"b": [[1, 2379, 2380], [], [22]], "c": [[1, 2379, 2380], [], [22]], "d": [[], [], [22]]}
    assert {peer.get("clock") for peer in agent["asked"] + server["asked"]} == {1}


def test_in_batches_each_host_asks_all_others_once_they_have_been_looked_at(tmp_path: Path) -> None:
    """As the plays of preflight do: batches, then all at once, and then the turns, in which nobody asks again.

    Together they also see that their architectures differ.
    """
    addresses = {"a": "127.0.0.1", "b": "127.0.0.2"}
    look = {
        "block": [{"ansible.builtin.import_role": {"name": "flyte.onprem.k3s", "tasks_from": "preflight"}}],
        "rescue": [{"ansible.builtin.debug": {"msg": "Something of this machine."}}],
    }
    asked = "{{ __k3s_between['peers'] | default([]) | map(attribute='name') | join }}"
    words = f"{{{{ inventory_hostname }}}} has asked {asked}, offset {{{{ __k3s_between['clock_offset'] }}}}"
    play = {"hosts": "all", "gather_facts": False, "vars_files": [str(ROOT / "roles/site/defaults/main.yml")]}
    tasks = [look, {"ansible.builtin.debug": {"msg": words}}]
    variables = {
        **CLUSTER,
        "site_address": addresses["a"],
        "site_host_addresses": addresses,
        "site_directory": str(tmp_path),
        "k3s_servers": ["a", "b"],
        "k3s_agents": [],
        "k3s_node_name": "{{ inventory_hostname }}",
        "k3s_architecture": "{{ {'a': 'amd64', 'b': 'arm64'}[inventory_hostname] }}",
        "k3s_checksum": DIGEST,
    }
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    files = {
        "playbook": [{**play, "name": "Look", "serial": serial, "tasks": tasks} for serial in (1, "100%", 1)],
        "inventory": {"all": {"hosts": dict.fromkeys(addresses), "vars": local}},
        "variables": variables,
    }
    for name, content in files.items():
        (tmp_path / f"{name}.yml").write_text(yaml.safe_dump(content))
    output = ansible(tmp_path, "--check", "--extra-vars=@variables.yml")
    said = re.findall(r'"(\w) has asked (\w*), offset (\S+)"', output)
    first, between, then = said[:2], sorted(said[2:4]), said[4:]  # the second time both ask at once
    assert [(host, others) for host, others, _ in first] == [("a", ""), ("b", "a")], output
    assert [(host, others) for host, others, _ in between] == [("a", "b"), ("b", "a")], output
    assert then == between
    assert "a is amd64, and k3s_checksum is the same for b (arm64)" in output


def test_ufw_is_opened_for_the_cluster_alone(recorded: dict[str, dict[str, Any]]) -> None:
    assert sorted(recorded["walled"]["ufw"]) == [
        "allow 1/tcp",
        "allow from 10.42.0.0/16",
        "allow from 10.43.0.0/16",
        "allow from 192.0.2.11 to any port 1,2379,2380,10250 proto tcp",
        "allow from 192.0.2.11 to any port 8472 proto udp",
        "allow from 192.0.2.12 to any port 1,2379,2380,10250 proto tcp",
        "allow from 192.0.2.12 to any port 8472 proto udp",
        "allow from 2001:db8::12 to any port 1,2379,2380,10250 proto tcp",
        "allow from 2001:db8::12 to any port 8472 proto udp",
        "route allow from 10.42.0.0/16",
        "route allow to 10.42.0.0/16",
    ]


def test_firewalld_is_opened_for_the_cluster_alone(recorded: dict[str, dict[str, Any]]) -> None:
    rules = ElementTree.fromstring(recorded["new"]["firewalld"]).findall("rule")
    opened = {}
    for rule in rules:
        source, port = rule.find("source"), rule.find("port")
        assert rule.find("accept") is not None
        opened.setdefault("" if source is None else source.get("address"), []).append(
            None if port is None else f"{port.get('port')}/{port.get('protocol')}"
        )
    to_a_server = ["1/tcp", "2379/tcp", "2380/tcp", "10250/tcp", "8472/udp"]
    assert opened == {
        "": ["1/tcp"],
        "10.42.0.0/16": [None],
        "10.43.0.0/16": [None],
        "192.0.2.12": to_a_server,
        "192.0.2.13": to_a_server,
        "2001:db8::12": to_a_server,
    }


@pytest.mark.parametrize(
    ("more", "data", "datastore"),
    [([], "sqlite", ""), (["other"], "", "postgres://u:p@h/d")],
    ids=["SQLite", "a datastore of its own"],
)
def test_a_new_address_goes_everywhere_without_etcd(tmp_path: Path, more: list[str], data: str, datastore: str) -> None:
    """On hosts that are set up with 192.0.2.101 and so on."""
    servers = ["first", *more]
    addresses = {name: f"192.0.2.{number}" for number, name in enumerate([*servers, "agent"], 1)}
    look = {**LOOK, "unit": True, "state": "active", "was_here": True, "firewall": "ufw"}
    looks = {name: {**look, "data": data} for name in servers}
    looks["agent"] = {**look, "joined": "https://192.0.2.101:6443"}
    opened = [f"allow from 192.0.2.10{number} to any port 8472 proto udp" for number in range(1, 4)]
    hosts = {
        name: {
            "site_address": addresses[name],
            "k3s_node_name": name,
            "__k3s_look": {"stdout": yaml.safe_dump({**looks[name], "opened": opened})},
        }
        for name in addresses
    }
    everywhere = {
        "site_directory": str(tmp_path),
        "site_domain": "flyte.example.com",
        "site_k3s_servers": servers,
        "site_k3s_agents": ["agent"],
        "k3s_datastore_endpoint": datastore,
        "k3s_token": "servers",
        "k3s_agent_token": "agents",
        "role_path": str(ROOT / "roles/k3s"),
        "ansible_connection": "local",
    }
    of_addresses = ["node-ip", "server", "tls-san"]
    found = {
        "findings": "{{ __k3s_rules | flyte.onprem.findings }}",
        "config": f"{{{{ __k3s_config | dict2items | selectattr('key', 'in', {of_addresses}) | items2dict }}}}",
        "guarded": "{{ k3s_kubelet_sources }}",
        "opened": "{{ __k3s_ufw_rules | difference(__k3s_opened) | select('search', '8472') }}",
        "closed": "{{ __k3s_opened | difference(__k3s_ufw_rules) }}",
        "kubeconfig": "{{ k3s_server_url }}",
    }
    judged = judge(tmp_path, hosts, everywhere, found)
    url = f"https://{addresses['first']}:6443"
    assert {host: by_id(each["findings"]) for host, each in judged.items()} == {host: {} for host in addresses}
    names = ["flyte.example.com", addresses["first"]]
    assert {host: each["config"] for host, each in judged.items()} == {
        **{name: {"node-ip": addresses[name], "tls-san": names} for name in servers},
        "agent": {"node-ip": addresses["agent"], "server": url},
    }
    for host, each in judged.items():
        assert each["kubeconfig"] == url
        assert sorted(each["guarded"]) == ["10.42.0.0/16", *addresses.values()]
        assert sorted(each["closed"]) == opened
        others = [address for name, address in addresses.items() if name != host]
        assert sorted(each["opened"]) == [f"allow from {address} to any port 8472 proto udp" for address in others]


def test_nothing_is_opened_where_no_firewall_is_on_or_the_role_may_not(recorded: dict[str, dict[str, Any]]) -> None:
    policies = {
        host: [path for path in found["files"] if "firewalld" in path]
        for host, found in recorded.items()
        if any("firewalld" in path for path in found.get("files", []))
    }
    assert list(policies) == ["new"]
    assert [recorded[host]["ufw"] for host in ("node", "told")] == [[], []]


def test_two_servers_do_not_leave_a_cluster_at_once(tmp_path: Path) -> None:
    found = findings(tmp_path, hosts=("b", "c"), phase="uninstall")
    assert "b, c would leave" in found["K3S-69"]


@pytest.mark.parametrize("answers", [False, True], ids=["down", "up"])
def test_a_node_does_not_leave_while_no_server_that_stays_answers(tmp_path: Path, answers: bool) -> None:
    """The first of them is down in any case."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1] if answers else CLUSTER["k3s_api_port"]
        addresses = {"a": "127.0.0.2", "b": "192.0.2.2", "c": "127.0.0.1"}
        known = {"k3s_host_addresses": addresses, "k3s_api_port": port}
        found = findings(tmp_path, hosts=("b",), phase="uninstall", **known)
    assert ("K3S-109" in found) is not answers
    assert answers or f"(a at 127.0.0.2, c at 127.0.0.1, port {port})" in found["K3S-109"]


def test_an_agent_does_not_leave_a_cluster_that_refuses_its_kubeconfig(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    entry = {
        "name": "default",
        "cluster": {"server": "https://127.0.0.1:1"},
        "context": {"cluster": "default", "user": "default"},
    }
    users = [{"name": "default", "user": {"token": "of-another-time"}}]
    kubeconfig.write_text(json.dumps({"clusters": [entry], "users": users, "contexts": [entry]}))
    known = {"k3s_servers": [], "k3s_agents": ["d"], "k3s_join_url": "https://192.0.2.9:6443"}
    found = findings(tmp_path, hosts=("d",), phase="uninstall", k3s_kubeconfig=str(kubeconfig), **known)
    assert f"with {kubeconfig}, and did not say:" in found["K3S-121"]
    assert "Connection refused" in found["K3S-121"]
    assert "the cluster's owner" in found["K3S-121"]


def test_a_restoration_wants_a_word_a_snapshot_and_all_servers(tmp_path: Path) -> None:
    found = findings(tmp_path, phase="restore", k3s_restore_snapshot="none")
    assert {"K3S-90", "K3S-91", "K3S-92"} == found.keys()
    assert "/var/lib/rancher/k3s/server/db/snapshots/none" in found["K3S-91"]
    assert "b, c would be left out" in found["K3S-92"]


def test_check_mode_foresees_a_restoration(tmp_path: Path) -> None:
    """On a machine without k3s the snapshot alone would be new."""
    (tmp_path / "snapshot").touch()
    known = {"k3s_restore_snapshot": str(tmp_path / "snapshot"), "k3s_restore_is_confirmed": True}
    output = foresee(tmp_path, phase="restore", hosts=["a", "b", "c"], **known)
    assert by_id(output) == {}
    assert re.findall(r"^(\w+) .*changed=(\d)", output, re.MULTILINE) == [("a", "1"), ("b", "0"), ("c", "0")]


def test_a_restoration_stops_no_server_while_another_one_cannot_be_stopped(tmp_path: Path) -> None:
    (tmp_path / "snapshot").touch()
    known = {"k3s_restore_snapshot": str(tmp_path / "snapshot"), "k3s_restore_is_confirmed": True}
    found = findings(tmp_path, phase="restore", hosts=["a", "b"], silent=["c"], **known)
    assert found.keys() == {"K3S-92"}
    assert "c did not answer" in found["K3S-92"]
    assert "out of the inventory" in found["K3S-92"]


def test_a_restoration_does_not_begin_with_servers_that_the_cluster_could_not_have(tmp_path: Path) -> None:
    (tmp_path / "snapshot").touch()
    known = {"k3s_restore_snapshot": str(tmp_path / "snapshot"), "k3s_restore_is_confirmed": True}
    found = findings(tmp_path, phase="restore", hosts=["a", "b"], k3s_servers=["a", "b"], **known)
    assert found.keys() == {"K3S-57"}


def test_a_cluster_without_etcd_has_no_snapshot_to_restore(tmp_path: Path) -> None:
    (tmp_path / "snapshot").touch()
    known = {"k3s_restore_snapshot": str(tmp_path / "snapshot"), "k3s_restore_is_confirmed": True}
    found = findings(tmp_path, phase="restore", k3s_servers=["a"], **known)
    assert found.keys() == {"K3S-92"}
    assert "no embedded etcd" in found["K3S-92"]


@pytest.mark.parametrize(
    ("answer", "refused"),
    [
        # what kubectl says: of each node its vote and its address
        ("echo 'a True/MemberNotLearner 127.0.0.1'; echo 'b True/MemberNotLearner 127.0.0.1 fd00::1'", False),
        ("echo 'a True/MemberNotLearner 127.0.0.1'; echo 'b True/MemberNotLearner 192.0.2.2'", True),
        ("echo 'a True/MemberNotLearner 127.0.0.1'; echo 'b False/Unhealthy 127.0.0.1'", True),
        # These have no vote to lose.
        ("echo 'a True/MemberNotLearner 127.0.0.1'; echo 'b False/MemberIsLearner 192.0.2.2'; echo 'c / '", False),
        ("exit 1", False),
    ],
    ids=["both vote", "one is silent", "one is unhealthy", "one is no member yet", "no answer"],
)
def test_a_member_of_etcd_is_not_restarted_while_its_majority_would_be_lost(
    tmp_path: Path, answer: str, refused: bool
) -> None:
    """The role's own question, asked of a kubectl that answers so, and less often."""
    (tmp_path / "k3s").write_text(f"#!/bin/sh\n{answer}\n")
    (tmp_path / "k3s").chmod(0o755)
    tasks = yaml.safe_load((ROOT / "roles/k3s/tasks/configure.yml").read_text())
    (asking,) = (task for task in tasks if task["name"].endswith("while the others keep a majority"))
    question = asking["block"][0]
    question |= {"retries": 1, "delay": 0}
    with socket.create_server(("127.0.0.1", 0)) as etcd:
        known = {
            **yaml.safe_load((ROOT / "roles/k3s/vars/main.yml").read_text()),
            "k3s_servers": ["a", "b", "c"],
            "k3s_datastore_endpoint": "",
            "k3s_node_name": "a",
            "__k3s_etcd_ports": [etcd.getsockname()[1]],
            "__k3s_service": {"status": {"ActiveState": "active"}},
            "__k3s_newer": {"stdout": "/usr/local/bin/k3s"},
            "__k3s_kubectl": str(tmp_path / "k3s"),
        }
        local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        restart = {"name": "Restart", "ansible.builtin.debug": {"msg": "restarted"}}
        playbook = [{"hosts": "all", "gather_facts": False, "vars": known, "tasks": [asking, restart]}]
        (tmp_path / "playbook.yml").write_text(yaml.safe_dump(playbook))
        (tmp_path / "inventory.yml").write_text(yaml.safe_dump({"all": {"hosts": {"a": local}}}))
        output = ansible(tmp_path)
    assert ("[K3S-113] Of the 2 members of etcd, b does not " in output) is refused
    assert ('"msg": "restarted"' in output) is not refused


def test_the_journal_of_a_k3s_that_does_not_come_up_is_shown_without_secrets(tmp_path: Path) -> None:
    """The role's own wait and words, with a systemctl and a journalctl that answer so, and less patience."""
    said = [
        'level=info msg="Starting with K10abc::server:first-secret, then first-secret-of-agents"',
        'level=fatal msg="parse \\"postgres://k3s:hu/sh%zz@h/d\\": invalid port \\":hu\\" after host"',
        'level=info msg="s3-secret via https://proxy:other@h:3128 for https://192.0.2.1:6443/cacerts"',
    ]
    (tmp_path / "journal").write_text("\n".join(said))
    for name, does in {"systemctl": "exit 3", "journalctl": f"cat {tmp_path}/journal"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    tasks = yaml.safe_load((ROOT / "roles/k3s/tasks/configure.yml").read_text())
    (waiting,) = (task for task in tasks if task["name"] == "configure | Wait for k3s")
    waiting["become"] = False
    question = waiting["block"][1] | {"retries": 1, "delay": 0}
    waiting["block"] = [waiting["block"][0], question]
    known = {
        **yaml.safe_load((ROOT / "roles/k3s/vars/main.yml").read_text()),
        **CLUSTER,
        "k3s_token": "K10abc::server:first-secret",
        "k3s_agent_token": "first-secret-of-agents",
        "k3s_datastore_endpoint": "postgres://k3s:hu/sh%zz@h/d",
        "k3s_config": {"etcd-s3-secret-key": "s3-secret", "etcd-s3-bucket": "server"},
        "k3s_ready_timeout": 5,
        "__k3s_look": {"stdout": yaml.safe_dump({**LOOK, "state": "active"})},
    }
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    playbook = [{"hosts": "all", "gather_facts": False, "environment": path, "vars": known, "tasks": [waiting]}]
    (tmp_path / "playbook.yml").write_text(yaml.safe_dump(playbook))
    (tmp_path / "inventory.yml").write_text(yaml.safe_dump({"all": {"hosts": {"a": local}}}))
    output = ansible(tmp_path, "-vvv")
    assert "k3s on a is not ready." in output
    assert "The step that failed: configure | Wait until the node is ready" in output
    assert "Starting with K10abc::server:********, then ********" in output
    assert "postgres://k3s:********@h/d" in output
    assert "******** via https://proxy:********@h:3128 for https://192.0.2.1:6443/cacerts" in output
    assert "docs/problems.md#k3s-60" in output
    assert [secret for secret in ("first-secret", "hu/sh", "s3-secret", "other@") if secret in output] == []


@pytest.mark.parametrize("votes", [True, False], ids=["later", "never"])
def test_no_other_server_has_its_turn_before_a_new_member_of_etcd_votes(tmp_path: Path, votes: bool) -> None:
    """The role's own question, asked of a kubectl that calls the member a learner at first, and less often."""
    heard = "2026-11-27T10:00:05Z"
    answers = {
        "k3s": f"""
            echo >>{tmp_path}/asked
            [ "$(wc -l <{tmp_path}/asked)" -gt 4 ] && vote={votes} || vote=False
            case $* in *readyz*) echo ok ;; *) printf 'Ready=True@{heard}\\nEtcdIsVoter=%s@' $vote ;; esac""",
        "systemctl": "case $1 in show) echo '2026-11-27 10:00:00 UTC' ;; *) echo active ;; esac",
        "journalctl": "echo 'not yet been promoted from learner'",
    }
    for name, answer in answers.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{answer}\n")
        (tmp_path / name).chmod(0o755)
    tasks = yaml.safe_load((ROOT / "roles/k3s/tasks/configure.yml").read_text())
    (waiting,) = (task for task in tasks if task["name"] == "configure | Wait for k3s")
    (question,) = (task for task in waiting["block"] if "until" in task)
    question |= {"retries": 3, "delay": 0}
    known = {
        **yaml.safe_load((ROOT / "roles/k3s/vars/main.yml").read_text()),
        "k3s_token": "secret",
        "k3s_agent_token": "secret of agents",
        "k3s_servers": ["a", "b", "c"],
        "k3s_agents": [],
        "k3s_config": {},
        "k3s_datastore_endpoint": "",
        "__k3s_kubectl": str(tmp_path / "k3s"),
        "k3s_node_name": "a",
        "k3s_ready_timeout": 10,
        "ansible_become": False,
    }
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    host = {**local, "__k3s_look": {"stdout": yaml.safe_dump({**LOOK, "state": "active"})}}
    next_turn = {"name": "Go on", "ansible.builtin.debug": {"msg": "the next host"}}
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    play = {"hosts": "all", "gather_facts": False, "vars": known, "environment": path, "tasks": [waiting, next_turn]}
    (tmp_path / "playbook.yml").write_text(yaml.safe_dump([play]))
    (tmp_path / "inventory.yml").write_text(yaml.safe_dump({"all": {"hosts": {"a": host}}}))
    output = ansible(tmp_path)
    assert ('"msg": "the next host"' in output) is votes, output
    assert ("no voting member of etcd yet" in output) is not votes
    assert ("not yet been promoted from learner" in output) is not votes
