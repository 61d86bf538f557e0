# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What roles make of a cluster with two families of addresses: networks and a node's addresses are two in one text."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from unit.contract import ROLES_DIR, load, role_tasks
from unit.templates import role_variables, templated

SITE: dict[str, Any] = {
    "ansible_managed": "Managed",
    "inventory_hostname": "a",
    "site_domain": "flyte.example.com",
    "site_directory": "/nonexistent",
    "site_address": "192.0.2.1",
    "site_host_addresses": {"a": "192.0.2.1", "b": "192.0.2.2", "c": "192.0.2.3"},
    "site_k3s_servers": ["a", "b", "c"],
    "site_k3s_agents": [],
    "site_postgresql_hosts": ["a"],
    "site_minio_hosts": [],
    "site_kubernetes_connection": {
        "server": "https://192.0.2.1:6443",
        "kubeconfig": "/nonexistent/kubeconfig",
        "context": "default",
        "pod_cidr": "10.42.0.0/16, fd42::/56",
        "service_cidr": "10.43.0.0/16,fd43::/112",
        "storage_class": "",
        "ingress_class": "traefik",
    },
}
K3S: dict[str, Any] = {
    "k3s_token": "secret",
    "k3s_agent_token": "",
    "k3s_node_name": "node-a",
    "k3s_node_address": "192.0.2.1, 2001:db8::1",
    "__k3s_options": load(ROLES_DIR / "k3s/files/options.yml"),
    "__k3s_seen": {"data": "", "joined": "", "peers": [], "selinux": False, "ca": "", "chain": False},
}
POSTGRESQL: dict[str, Any] = {"postgresql_password": "secret"}


def value(role: str, text: str, **known: Any) -> Any:
    """What an expression makes of the site, with the defaults and variables of a role and of `common`."""
    variables: dict[str, Any] = {}
    for each in ("site", "common", role):
        for kind in ("defaults", "vars") if each != "site" else ("defaults",):
            variables |= role_variables(each, kind)
    return templated(text, {**variables, **SITE, **known})


def template(role: str, name: str, **known: Any) -> str:
    of = "common" if name.startswith("flyte-guard") else role
    return str(value(role, (ROLES_DIR / of / "templates" / name).read_text(), **known))


@pytest.mark.parametrize(
    ("role", "sources", "known"),
    [("k3s", "{{ k3s_kubelet_sources }}", K3S), ("postgresql", "{{ postgresql_sources }}", POSTGRESQL)],
)
def test_the_guard_lets_pods_of_both_families_in(role: str, sources: str, known: dict[str, Any]) -> None:
    guard = {
        "common_guard_name": role,
        "common_guard_ports": [1],
        "common_guard_sources": value(role, sources, **known),
    }
    rules = template(role, "flyte-guard.nft.j2", **known, **guard)
    admitted = dict(re.findall(r"^\t\t(ip6?) saddr \{ (.*) \} accept$", rules, re.MULTILINE))
    assert admitted == {"ip": "10.42.0.0/16, 192.0.2.1, 192.0.2.2, 192.0.2.3", "ip6": "fd42::/56"}


def test_the_database_lets_pods_of_both_families_in() -> None:
    lines = template("postgresql", "pg_hba.conf.j2", **POSTGRESQL).splitlines()
    admitted = [line.split()[3] for line in lines if line.startswith("hostssl")]
    assert admitted[2:4] == ["10.42.0.0/16", "fd42::/56"]


def test_the_database_takes_networks_of_both_families_for_such() -> None:
    text = "{{ postgresql_sources | reject('match', __postgresql_network) }}"
    assert value("postgresql", text, **POSTGRESQL) == []


def test_k3s_is_told_of_both_families() -> None:
    config = yaml.safe_load(value("k3s", "{{ __k3s_config_text }}", **K3S))
    told = {name: config[name] for name in ("node-ip", "cluster-cidr", "service-cidr")}
    assert told == {
        "node-ip": "192.0.2.1,2001:db8::1",
        "cluster-cidr": "10.42.0.0/16,fd42::/56",
        "service-cidr": "10.43.0.0/16,fd43::/112",
    }


def test_firewalld_lets_pods_of_both_families_through() -> None:
    rules = template("k3s", "flyte-k3s-pods.xml.j2", **K3S)
    found = re.findall(r'<rule family="(ipv.)"><(source|destination) address="(.*?)"', rules)
    ways = ("source", "destination")
    networks = (("ipv4", "10.42.0.0/16"), ("ipv6", "fd42::/56"))
    assert found == [(family, way, network) for family, network in networks for way in ways]


@pytest.mark.parametrize("address", ["192.0.2.1", "192.0.2.1,2001:db8::1"])
def test_a_first_server_that_lost_its_disk_does_not_join_itself(address: str) -> None:
    seen = {**K3S["__k3s_seen"], "peers": ["192.0.2.2"]}
    known = {**K3S, "k3s_node_address": address, "__k3s_seen": seen}
    assert value("k3s", "{{ __k3s_config }}", **known)["server"] == "https://192.0.2.2:6443"


@pytest.mark.parametrize("address", ["192.0.2.1", "192.0.2.1,2001:db8::1"])
def test_the_node_that_a_host_was_before_is_known_by_its_address(address: str) -> None:
    condition = task("configure | Remove it")["when"]
    nodes = {"resources": [{"status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]}}]}
    known = {**K3S, "k3s_node_address": address, "__k3s_nodes": nodes}
    assert value("k3s", f"{{{{ {condition} }}}}", **known) is True
    assert value("k3s", f"{{{{ {condition} }}}}", **known | {"k3s_node_address": "192.0.2.2,2001:db8::2"}) is False


@pytest.mark.parametrize("address", ["192.0.2.1", "192.0.2.1,2001:db8::1"])
def test_a_new_token_is_sent_to_an_address(address: str) -> None:
    url = task("configure | Give the cluster its new token")["ansible.builtin.uri"]["url"]
    assert value("k3s", url, **{**K3S, "k3s_node_address": address}) == "https://192.0.2.1:6443/v1-k3s/token"


def task(name: str) -> dict[str, Any]:
    (found,) = (task for _, task in role_tasks("k3s") if task.get("name") == name)
    return dict(found)
