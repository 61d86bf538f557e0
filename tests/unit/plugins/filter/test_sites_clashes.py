# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.flyte.onprem.plugins.filter.sites_clashes import sites_clashes


def clashes(hosts: dict[str, dict[str, Any]], installed: str | None = None) -> dict[str, Any]:
    """What clashes of hosts such as a1 and a2, of site a; something is installed on *installed*, by default all."""
    hostvars = {host: {"site_name": host[0], **variables} for host, variables in hosts.items()}
    return sites_clashes(list(hosts), hostvars, list(hosts) if installed is None else installed.split())


def at(address: str, **variables: Any) -> dict[str, Any]:
    return {"ansible_host": address, **variables}


def test_sites_with_one_domain_are_named() -> None:
    pairs = (("a1", "f"), ("a2", "f"), ("b1", "f"), ("c1", "c"))
    assert clashes({host: {"site_domain": f"{domain}.test"} for host, domain in pairs})["domains"] == {
        "f.test": ["a", "b"]
    }


def test_sites_without_a_domain_do_not_clash() -> None:
    assert clashes({"a1": {}, "b1": {}})["domains"] == {}


def test_sites_on_one_machine_are_named_with_their_hosts() -> None:
    found = clashes({"a1": at("192.0.2.1"), "a2": at("192.0.2.2"), "b1": at("192.0.2.3"), "c1": at("192.0.2.1")})
    assert found["machines"] == [{"where": "192.0.2.1", "hosts": ["a1 (site a)", "c1 (site c)"]}]
    assert found["hosts"] == {"a1": 0, "c1": 0}


def test_each_machine_has_its_own_hosts() -> None:
    jump = {"ansible_ssh_common_args": "-J gate"}
    found = clashes({"a1": at("h"), "b1": at("h"), "c1": at("h", **jump), "d1": at("h", **jump)})
    assert {host: found["machines"][number]["hosts"] for host, number in found["hosts"].items()} == {
        "a1": ["a1 (site a)", "b1 (site b)"],
        "b1": ["a1 (site a)", "b1 (site b)"],
        "c1": ["c1 (site c)", "d1 (site d)"],
        "d1": ["c1 (site c)", "d1 (site d)"],
    }


LOCAL = {"ansible_connection": "local"}
PODMAN = {"ansible_connection": "containers.podman.podman"}


@pytest.mark.parametrize(
    # variables of two hosts of different sites, whether they are one machine
    ("first", "second", "same"),
    [
        (at("192.0.2.1"), at("192.0.2.2"), False),
        (at("Edge.Example.com"), at("edge.example.com"), True),
        (at("2001:db8::1"), at("2001:DB8:0::1"), True),
        (at("192.0.2.1"), {"ansible_ssh_host": "192.0.2.1"}, True),
        (at("192.0.2.1"), at("192.0.2.1", ansible_port=22, ansible_user="other"), True),
        (at("192.0.2.1"), at("192.0.2.1", ansible_connection="ansible.builtin.ssh"), True),
        # a host behind it, to which another port or another way leads
        (at("127.0.0.1", ansible_port=2201), at("127.0.0.1", ansible_port=2202), False),
        (at("10.0.0.1"), at("10.0.0.1", ansible_ssh_common_args="-J gate.example.com"), False),
        (at("b1"), {}, True),
        (LOCAL, LOCAL, True),
        (at("box", **PODMAN), at("box"), False),
        (at("box", **PODMAN), at("box", **PODMAN), False),
    ],
)
def test_what_counts_as_one_machine(first: dict[str, Any], second: dict[str, Any], same: bool) -> None:
    assert bool(clashes({"a1": first, "b1": second})["machines"]) is same


def test_the_hosts_of_one_site_do_not_clash() -> None:
    assert clashes({"a1": at("192.0.2.1"), "a2": at("192.0.2.1")})["machines"] == []


def test_clusters_of_others_may_be_reached_from_one_machine() -> None:
    assert clashes({"a1": LOCAL, "b1": LOCAL, "c1": LOCAL}, installed="c1")["machines"] == []


def test_each_host_is_read_once() -> None:
    read: list[str] = []

    class Variables(dict):
        def __getitem__(self, host: str) -> Any:
            read.append(host)
            return super().__getitem__(host)

    hosts = [f"h{number}" for number in range(200)]
    sites_clashes(hosts, Variables({host: {"site_name": host, "ansible_host": "192.0.2.1"} for host in hosts}), hosts)
    assert read == hosts
