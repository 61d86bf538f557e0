# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from unit.templates import role_variables, templated

from ansible_collections.flyte.onprem.plugins.filter.sites_clashes import directory_of, sites_clashes


def clashes(hosts: dict[str, dict[str, Any]], installed: str | None = None) -> dict[str, Any]:
    """What clashes of hosts such as a1 and a2, of site a; something is installed on *installed*, by default all."""
    hostvars = {host: {"site_name": host[0], **variables} for host, variables in hosts.items()}
    used = list(hosts) if installed is None else installed.split()
    return sites_clashes(list(hosts), hostvars, used, [host for host in hosts if host not in used])


def at(address: str, **variables: Any) -> dict[str, Any]:
    return {"ansible_host": address, **variables}


def test_sites_with_one_domain_are_named() -> None:
    pairs = (("a1", "f"), ("a2", "f"), ("b1", "f"), ("c1", "c"))
    found = clashes({host: {"site_domain": f"{domain}.test"} for host, domain in pairs})
    assert found["domains"] == {host: {"what": "f.test", "whose": "a and b"} for host in ("a1", "a2", "b1")}
    assert found["split"] == {}


def test_sites_without_a_domain_do_not_clash() -> None:
    assert clashes({"a1": {}, "b1": {}})["domains"] == {}


def test_of_many_sites_the_first_ones_are_named() -> None:
    found = clashes({f"{site}1": {"site_domain": "f.test"} for site in "abcdefg"})
    assert found["domains"]["g1"]["whose"] == "a and b and c and d and e and 2 more"


def test_hosts_of_one_site_with_several_domains_are_named() -> None:
    domains = {"a1": "a.test", "a2": "b.test", "a3": "a.test", "a4": None, "c1": "c.test"}
    found = clashes({host: {"site_domain": domain} for host, domain in domains.items()})["split"]
    assert found == {host: {"what": "a", "whose": "a.test (a1 and a3) and b.test (a2)"} for host in ("a1", "a2", "a3")}


@pytest.mark.parametrize(
    # variables of two hosts of different sites, whether they have one directory
    ("first", "second", "same"),
    [
        ({"site_directory": "/srv/flyte"}, {"site_directory": "/srv/../srv/flyte/"}, True),
        ({"site_directory": "/srv/a"}, {"site_directory": "/srv/b"}, False),
        ({"site_directory": "~/flyte"}, {"site_directory": f"{Path.home()}/flyte"}, True),
        # which is the other's by default
        ({"inventory_dir": "/i"}, {"inventory_dir": "/i", "site_directory": "/i/.flyte/a"}, True),
        ({"inventory_dir": "/i"}, {"inventory_dir": "/i"}, False),
        ({"inventory_dir": None}, {"inventory_dir": None}, False),
        ({"site_directory": "{{ lost }}"}, {"site_directory": "{{ lost }}"}, False),
    ],
)
def test_what_counts_as_one_directory(first: dict[str, Any], second: dict[str, Any], same: bool) -> None:
    assert bool(clashes({"a1": first, "b1": second})["directories"]) is same


def test_sites_with_one_directory_are_named() -> None:
    found = clashes({host: {"site_directory": "/srv/flyte"} for host in ("a1", "a2", "b1")})["directories"]
    assert found == {host: {"what": "/srv/flyte", "whose": "a and b"} for host in ("a1", "a2", "b1")}


def test_the_default_of_the_directory_is_that_of_the_role() -> None:
    default = role_variables("site", "defaults")["site_directory"]
    known = {"inventory_dir": "/i", "site_name": "a"}
    assert directory_of("a", known) == (templated(default, known),)


KUBECONFIG = {
    "contexts": [
        {"name": "theirs", "context": {"cluster": "one"}},
        {"name": "again", "context": {"cluster": "one"}},
        {"name": "other", "context": {"cluster": "two"}},
        {"name": "broken", "context": {"cluster": "lost"}},
    ],
    "clusters": [
        {"name": "one", "cluster": {"server": "https://one.test:6443"}},
        {"name": "two", "cluster": {"server": "https://two.test:6443"}},
    ],
}
BY_ANOTHER_WAY = {"server": "https://one.test:6443", "proxy-url": "http://gate.test"}


def theirs(kubeconfig: Path | str, context: str = "theirs", **variables: Any) -> dict[str, Any]:
    connection = {"kubeconfig": str(kubeconfig), "context": context}
    return {"site_kubernetes": "existing", "site_kubernetes_connection": connection, **variables}


@pytest.fixture
def kubeconfigs(tmp_path: Path) -> Path:
    """A folder with a kubeconfig, a copy, one that leads to the same address by a proxy, and one that is none."""
    for name in ("one", "copy"):
        (tmp_path / name).write_text(yaml.safe_dump(KUBECONFIG))
    proxied = {**KUBECONFIG, "clusters": [{"name": "one", "cluster": BY_ANOTHER_WAY}]}
    (tmp_path / "proxied").write_text(yaml.safe_dump(proxied))
    (tmp_path / "none").write_text("nothing")
    (tmp_path / "link").symlink_to(tmp_path / "lost")
    return tmp_path


@pytest.mark.parametrize(
    # kubeconfigs and contexts of two sites, what the one cluster is
    ("first", "second", "what"),
    [
        (("one", "theirs"), ("one", "theirs"), "https://one.test:6443"),
        (("one", "theirs"), ("copy", "again"), "https://one.test:6443"),
        (("one", "theirs"), ("one", "other"), None),
        (("one", "theirs"), ("proxied", "theirs"), None),
        # files that do not say where they lead to
        (("lost", "theirs"), ("link", "theirs"), "context theirs of {folder}/lost"),
        (("lost", "theirs"), ("lost", "other"), None),
        (("one", "broken"), ("copy", "broken"), None),
        (("none", "theirs"), ("none", "theirs"), "context theirs of {folder}/none"),
    ],
)
def test_what_counts_as_one_cluster(
    kubeconfigs: Path, first: tuple[str, str], second: tuple[str, str], what: str | None
) -> None:
    hosts = {host: theirs(kubeconfigs / name, context) for host, (name, context) in zip(("a1", "b1"), (first, second))}
    found = clashes(hosts, installed="")["clusters"]
    clash = {"what": what.format(folder=kubeconfigs), "whose": "a and b"} if what else None
    assert found == ({"a1": clash, "b1": clash} if clash else {})


@pytest.mark.parametrize(
    "other",
    [{"site_kubernetes": "k3s"}, {"site_name": "a"}, {"site_kubernetes_connection": {"context": "theirs"}}],
    ids=["k3s", "of the same site", "not known"],
)
def test_a_cluster_that_is_not_of_others_or_not_known_does_not_clash(kubeconfigs: Path, other: dict[str, Any]) -> None:
    hosts = {"a1": theirs(kubeconfigs / "one"), "b1": theirs(kubeconfigs / "one", **other)}
    assert clashes(hosts, installed="")["clusters"] == {}


def test_all_sites_that_take_the_cluster_of_the_control_node_take_one() -> None:
    hosts = {host: theirs(f"/{host}", existing_cluster_in_cluster="yes") for host in ("a1", "b1")}
    assert sorted(clashes(hosts, installed="")["clusters"]) == ["a1", "b1"]


def test_sites_on_one_machine_are_named_with_their_hosts() -> None:
    found = clashes({"a1": at("192.0.2.1"), "a2": at("192.0.2.2"), "b1": at("192.0.2.3"), "c1": at("192.0.2.1")})
    clash = {"what": "192.0.2.1", "whose": "a1 (site a) and c1 (site c)"}
    assert found["machines"] == {"a1": clash, "c1": clash}


def test_each_machine_has_its_own_hosts() -> None:
    jump = {"ansible_ssh_common_args": "-J gate"}
    found = clashes({"a1": at("h"), "b1": at("h"), "c1": at("h", **jump), "d1": at("h", **jump)})["machines"]
    assert {host: clash["whose"] for host, clash in found.items()} == {
        "a1": "a1 (site a) and b1 (site b)",
        "b1": "a1 (site a) and b1 (site b)",
        "c1": "c1 (site c) and d1 (site d)",
        "d1": "c1 (site c) and d1 (site d)",
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
    assert clashes({"a1": at("192.0.2.1"), "a2": at("192.0.2.1")})["machines"] == {}


def test_clusters_of_others_may_be_reached_from_one_machine() -> None:
    assert clashes({"a1": LOCAL, "b1": LOCAL, "c1": LOCAL}, installed="c1")["machines"] == {}


def test_each_host_is_read_once() -> None:
    read: list[str] = []

    class Variables(dict):
        def __getitem__(self, host: str) -> Any:
            read.append(host)
            return super().__getitem__(host)

    hosts = [f"h{number}" for number in range(200)]
    hostvars = Variables({host: {"site_name": host, "ansible_host": "192.0.2.1"} for host in hosts})
    sites_clashes(hosts, hostvars, hosts, hosts)
    assert read == hosts
