# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What role k3s decides of a cluster that runs: what asks for a restart, whether it may be, where its state is kept."""

from __future__ import annotations

import base64
import datetime
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from unit.contract import ROLES_DIR, role_tasks
from unit.templates import role_variables, templated

PROGRAM = ROLES_DIR / "k3s/files/ending_certificates.py"
VARS = role_variables("k3s", "vars")
NOW = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
DAY = datetime.timedelta(days=1)


def certificate(path: Path, days: int, *, written: datetime.datetime = NOW) -> Path:
    """A certificate that ends in so many days, in a file of some age."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "k3s")])
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, NOW - 400 * DAY, NOW + days * DAY)
    path.write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    os.utime(path, (written.timestamp(), written.timestamp()))
    return path


def ending(*files: Path, days: int = 60, started: datetime.datetime = NOW - 300 * DAY) -> list[str]:
    """The lines of the program that runs on hosts."""
    command = [sys.executable, str(PROGRAM), str(days), "120", str(int(started.timestamp())), *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.mark.parametrize(
    ("left", "named"),
    # days until the end; at GeneralizedTime, which stands for 2050 and later, too
    [(59, True), (61, False), (-1, True), (365 * 40, False)],
)
def test_a_certificate_that_ends_within_the_days_is_named(tmp_path: Path, left: int, named: bool) -> None:
    file = certificate(tmp_path / "a.crt", left)
    # The rest of a day is none.
    assert ending(file) == ([f"{file} ends on {NOW + left * DAY:%Y-%m-%d} (days left: {left - 1})"] if named else [])


def test_the_first_certificate_of_a_chain_counts(tmp_path: Path) -> None:
    leaf, authority = certificate(tmp_path / "leaf.crt", 300), certificate(tmp_path / "ca.crt", 1)
    leaf.write_text(leaf.read_text() + authority.read_text())
    assert ending(leaf) == []


def test_a_file_without_a_certificate_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.crt").write_text("nothing")
    assert ending(tmp_path / "a.crt", certificate(tmp_path / "b.crt", 1))[0].startswith(str(tmp_path / "b.crt"))


def test_what_the_last_start_left_alone_asks_for_no_other(tmp_path: Path) -> None:
    """Else a file that k3s does not use any more would restart the node in every run."""
    file = certificate(tmp_path / "a.crt", 30, written=NOW - 300 * DAY)
    assert ending(file, started=NOW - 10 * DAY) == []
    assert len(ending(file, started=NOW - 200 * DAY)) == 1


DATA = "/var/lib/rancher/k3s"


def look_for_ends(folder: Path, name: str, servers: list[str]) -> list[str]:
    """What a part of the look at certificates says of a host whose data are in this folder; it is the host a."""
    given = {"__k3s_data": str(folder), "__k3s_ending_program": f"<<'END'\n{PROGRAM.read_text()}\nEND"}
    program = value(name, **given, k3s_servers=servers, k3s_renew_certificates_days=60, ansible_facts={})
    lines = subprocess.run(["sh", "-c", f"started=0; {program}"], capture_output=True, text=True, check=True).stdout
    return [line.removeprefix(f"{folder}/").split()[0] for line in lines.splitlines()]


def test_authorities_are_watched_by_another_measure_than_what_a_start_renews(tmp_path: Path) -> None:
    """They ask for no restart, also where k3s was started when they had little left, or none."""
    days = {"server-ca": 80, "client-ca": 100, "request-header-ca": -3, "client-admin": 50, "etcd/peer-ca": 1}
    for directory in ("server/tls/etcd", "agent"):
        (tmp_path / directory).mkdir(parents=True)
    for name, left in days.items():
        certificate(tmp_path / f"server/tls/{name}.crt", left, written=NOW - 3000 * DAY)
    certificate(tmp_path / "agent/server-ca.crt", 80)
    authorities = [f"server/tls/{name}.crt" for name in ("etcd/peer-ca", "request-header-ca", "server-ca")]
    assert sorted(look_for_ends(tmp_path, "__k3s_ending_authorities", ["a"])) == authorities
    assert look_for_ends(tmp_path, "__k3s_ending_authorities", ["b"]) == ["agent/server-ca.crt"]
    assert look_for_ends(tmp_path, "__k3s_ending_certificates", ["a"]) == ["server/tls/client-admin.crt"]


def test_what_ends_is_said_with_what_helps() -> None:
    leaf, authority = (
        f"{DATA}/server/tls/{name}.crt ends on 2030-01-01 (days left: 9)" for name in ("admin", "server-ca")
    )
    rules = value("__k3s_ending_rules", __k3s_ending={"stdout_lines": [leaf, authority]})
    assert {each["id"]: (each["met"], each["seen"]) for each in rules} == {
        "K3S-89": (False, f"On a: {leaf}"),
        "K3S-136": (False, f"On a: {authority}"),
    }
    assert "rotate-ca" in rules[1]["fix"]
    assert [each["met"] for each in value("__k3s_ending_rules", __k3s_ending={"skipped": True})] == [True, True]


@pytest.mark.parametrize(
    ("configs", "domain"),
    [
        ({}, ".cluster.local"),
        ({"a": {"cluster-domain": "k8s.example"}}, ".k8s.example"),
        # The inventory gives it to the servers alone.
        ({"b": {"cluster-domain": "k8s.example"}}, ".k8s.example"),
    ],
)
def test_a_proxy_is_not_asked_for_the_clusters_own_domain(configs: dict[str, Any], domain: str) -> None:
    known = {
        "k3s_environment": {"HTTPS_PROXY": "http://proxy.example.com:3128"},
        "k3s_config": configs.get("a", {}),
        "hostvars": {host: {"k3s_config": config} for host, config in configs.items()},
        "k3s_host_addresses": {"a": "192.0.2.1"},
        **{
            "k3s_pod_cidr": "10.42.0.0/16",
            "k3s_service_cidr": "10.43.0.0/16",
            "k3s_join_url": "",
            "k3s_server_url": "",
        },
    }
    direct = value("__k3s_environment", **known)["NO_PROXY"].split(",")
    assert [name for name in direct if name.startswith(".")] == [".svc", domain]


def value(name: str, **known: Any) -> Any:
    variables = {
        **VARS,
        "k3s_servers": ["a", "b"],
        "k3s_agents": ["c"],
        "ansible_play_hosts_all": ["a", "b", "c"],
        "inventory_hostname": "a",
        **known,
    }
    return templated(variables[name], variables)


def rule(identifier: str, **known: Any) -> dict[str, Any]:
    raw = next(each for each in VARS["__k3s_rules"] if each["id"] == identifier)
    return dict(value("__k3s_rule", __k3s_rule=raw, **known))


OTHER = {
    "__k3s_has_another_token": True,
    "__k3s_token_file": "/token",
    "k3s_token_may_change": False,
    "k3s_token": "K10abc::server:new",
    "hostvars": {"b": {"__k3s_kept_token": {"skipped": True}}},
}
KNOWN_BY_OTHERS = {"__k3s_peers_know": {"results": [{"status": -1}, {"status": 403}]}}
UNKNOWN = {"__k3s_peers_know": {"results": [{"status": -1}, {"status": 401}]}}


@pytest.mark.parametrize(
    ("known", "met"),
    [
        # whether the finding of another token is met, and so no reason to stop
        ({**OTHER, **UNKNOWN}, False),
        ({**OTHER, **KNOWN_BY_OTHERS}, True),
        ({**OTHER, **UNKNOWN, "k3s_token_may_change": True}, True),
        ({"__k3s_has_another_token": False, **UNKNOWN}, True),
    ],
)
def test_another_token_is_refused_unless_it_was_asked_for_or_is_the_clusters(known: dict[str, Any], met: bool) -> None:
    assert rule("K3S-61", **known)["met"] is met


def test_a_token_that_others_know_is_not_rotated_again() -> None:
    asked = {**OTHER, "k3s_token_may_change": True}
    assert value("__k3s_rotates", **asked, **UNKNOWN) is True
    assert value("__k3s_rotates", **asked, **KNOWN_BY_OTHERS) is False


@pytest.mark.parametrize(("kept", "rotates"), [("K10abc::server:new", False), ("K10abc::server:old", True)])
def test_a_token_that_another_server_of_the_run_was_given_is_not_rotated_again(kept: str, rotates: bool) -> None:
    """Its k3s may not run before its turn, as it has begun with the old one."""
    b = {"__k3s_kept_token": {"content": base64.b64encode(kept.encode()).decode()}}
    known = {**OTHER, **UNKNOWN, "k3s_token_may_change": True, "hostvars": {"b": b}}
    assert value("__k3s_rotates", **known) is rotates


MENDED = ["K3S-68", "K3S-86", "K3S-100", "K3S-105", "K3S-108", "K3S-118"]


@pytest.mark.parametrize(
    ("known", "left_out"),
    [
        # in check mode or not, after a restoration or without one
        ({"ansible_check_mode": True, "__k3s_snapshot_found": {"stat": {}}}, MENDED),
        ({"ansible_check_mode": False, "__k3s_snapshot_found": {"stat": {}}}, []),
        ({"ansible_check_mode": True}, []),
    ],
)
def test_what_a_restoration_mends_is_no_reason_against_it_in_check_mode(known: Any, left_out: list[str]) -> None:
    assert value("__k3s_mended_later", **known) == left_out


@pytest.mark.parametrize(
    ("answer", "met", "said"),
    [
        ({"rc": 0, "stdout_lines": ["a=True", "b=True"]}, True, ""),
        ({"rc": 0, "stdout_lines": ["a=True", "b=Unknown"]}, False, "b, of the servers, is not ready"),
        ({"rc": 1, "stderr": "refused"}, False, "a does not answer (refused)"),
        ({"skipped": True}, False, "a does not answer (k3s does not run)"),
    ],
)
def test_a_token_changes_only_while_all_servers_hear_of_it(answer: dict[str, Any], met: bool, said: str) -> None:
    found = rule("K3S-85", __k3s_rotates=True, __k3s_servers_now=answer)
    assert found["met"] is met
    assert met or found["seen"] == said


def test_a_token_changes_only_on_all_servers_at_once() -> None:
    found = rule("K3S-85", __k3s_rotates=True, __k3s_servers_now={"rc": 0}, ansible_play_hosts_all=["a", "c"])
    assert found["met"] is False
    assert found["seen"] == "b, of the servers, would be left out"


@pytest.mark.parametrize(
    ("node", "by_others"),
    [
        ({"metadata": {}, "spec": {}}, False),
        ({"metadata": {}, "spec": {"unschedulable": True}}, True),
        ({"metadata": {"annotations": {"flyte.onprem/cordoned": "true"}}, "spec": {"unschedulable": True}}, False),
    ],
)
def test_a_node_that_somebody_else_closed_is_told_from_ones_own(node: dict[str, Any], by_others: bool) -> None:
    assert value("__k3s_is_closed_by_others", __k3s_node={"resources": [node]}) is by_others


@pytest.mark.parametrize(
    ("states", "drained"),
    [
        # of the servers; and whether the first one is emptied before it restarts
        (["active", "active", "active"], True),
        (["activating", "active", "active"], False),
        (["active", "inactive", "inactive"], False),
        (["active", "inactive", "active"], True),
    ],
)
def test_a_node_is_emptied_only_where_a_cluster_can_be_asked(states: list[str], drained: bool) -> None:
    looks = {
        host: {"__k3s_look": {"stdout": f"state: {state}\ndata: etcd"}}
        for host, state in zip("abc", states, strict=True)
    }
    known = {"k3s_servers": ["a", "b", "c"], "k3s_datastore_endpoint": "", "k3s_config": {}, "hostvars": looks}
    assert value("__k3s_drains", k3s_drain=True, **known, **looks["a"]) is drained


def left(*pods: dict[str, Any]) -> list[str]:
    named = [{"metadata": {"namespace": "n", "name": "p", **each}, "status": {"phase": "Running"}} for each in pods]
    return list(value("__k3s_pods_left", __k3s_pods={"resources": named}))


def test_pods_that_nothing_moves_are_not_left() -> None:
    owned = [{"ownerReferences": [{"kind": kind}]} for kind in ("DaemonSet", "Node", "ReplicaSet")]
    assert [left(each) for each in [*owned, {}]] == [[], [], ["n/p"], ["n/p"]]
    assert left() == []


REMOVED, MEMBER = "etcd.k3s.cattle.io/removed-node-name", "etcd.k3s.cattle.io/node-name"


@pytest.mark.parametrize(
    ("marks", "out"),
    [
        ({MEMBER: "a-1"}, False),
        ({REMOVED: "a-1"}, True),
        ({MEMBER: "a-1", REMOVED: "a-1"}, True),
        # One that has joined again since.
        ({MEMBER: "a-2", REMOVED: "a-1"}, False),
    ],
)
def test_a_member_is_out_when_k3s_says_so_of_the_one_that_is(marks: dict[str, str], out: bool) -> None:
    assert value("__k3s_member_is_out", __k3s_member={"result": {"metadata": {"annotations": marks}}}) is out
    assert value("__k3s_member_is_out", __k3s_member={"msg": "timeout"}) is False


CLOSED = {"spec": {"unschedulable": True}, "metadata": {"annotations": {}}}
REMAINS = {"etcd.k3s.cattle.io/remove": "false"}
OPENED = {"flyte.onprem/cordoned": None}


@pytest.mark.parametrize(
    ("ready", "node", "annotations"),
    [
        ("True", {"spec": {}, "metadata": {}}, REMAINS | OPENED),
        ("True", CLOSED, REMAINS),
        # Nobody has closed it, as its pods do not move.
        ("Unknown", None, REMAINS),
    ],
    ids=["open", "closed by somebody else", "away"],
)
def test_a_node_that_stays_takes_pods_as_before(ready: str, node: Any, annotations: dict[str, Any]) -> None:
    own = {"metadata": {"name": "node-b"}, "status": {"conditions": [{"type": "Ready", "status": ready}]}}
    known = {"k3s_node_name": "node-b", "__k3s_nodes": {"resources": [own]}}
    if node:
        known["__k3s_node"] = {"resources": [node]}
    told = value("__k3s_staying_node", **known)
    assert told["metadata"] == {"annotations": annotations}
    assert ("spec" in told) is (OPENED.items() <= annotations.items())


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("cordoned by this role", {"metadata": {"annotations": OPENED}, "spec": {"unschedulable": None}}),
        ("asked to leave etcd", {"metadata": {"annotations": REMAINS}}),
        (
            "cordoned by this role\nasked to leave etcd",
            {"metadata": {"annotations": REMAINS | OPENED}, "spec": {"unschedulable": None}},
        ),
    ],
)
def test_what_an_interrupted_run_has_told_of_a_node_is_taken_back(said: str, told: dict[str, Any]) -> None:
    assert value("__k3s_kept_node", __k3s_ready={"stdout": said}) == told


@pytest.mark.parametrize(
    ("servers", "hosts", "kubeconfig", "leaves"),
    [
        (["a", "b"], ["a"], "/none", True),
        (["a", "b"], ["a", "b"], __file__, False),
        ([], ["a"], __file__, True),
        ([], ["a"], "/none", False),
    ],
)
def test_a_cluster_that_goes_on_is_told(servers: list[str], hosts: list[str], kubeconfig: str, leaves: bool) -> None:
    known = {"k3s_servers": servers, "ansible_play_hosts_all": hosts, "k3s_kubeconfig": kubeconfig}
    assert value("__k3s_leaves", **known) is leaves


def test_a_restoration_that_failed_says_why() -> None:
    lines = ["level=info msg=Starting", 'level=fatal msg="encrypted with different token"', '{"level":"error"}']
    known = {"__k3s_snapshot_file": "/snapshots/kept", "__k3s_restores_from_s3": False}
    found = value("__k3s_reset_rule", **known, __k3s_reset={"rc": 1, "stdout_lines": lines})
    assert found["met"] is False
    assert found["seen"] == 'k3s did not restore /snapshots/kept: level=fatal msg="encrypted with different token"'
    assert value("__k3s_reset_rule", **known, __k3s_reset={"rc": 0, "stdout_lines": []})["met"] is True


S3 = {"etcd-s3": True, "etcd-s3-bucket": "kept"}
HEAD = "Name Location Size Created"
NOT_THERE = "no file /var/lib/rancher/k3s/server/db/snapshots/a; nor is there a snapshot s3://kept/a\n"


@pytest.mark.parametrize(
    ("name", "config", "listed", "words"),
    [
        ("a", S3, {"rc": 0, "stdout_lines": [HEAD, "a  s3://kept/a  9 now"]}, ""),
        ("a", {**S3, "etcd-s3-folder": "/x/"}, {"rc": 0, "stdout_lines": [HEAD, "a s3://kept/x/a 9 now"]}, ""),
        # Nobody can be asked where k3s does not run.
        ("a", S3, {"rc": 0, "stdout_lines": []}, ""),
        ("a", S3, {"rc": 0, "stdout_lines": [HEAD, "ab s3://kept/ab 9 now"]}, NOT_THERE),
        # Of another cluster, and on the disk of a server.
        ("a", S3, {"rc": 0, "stdout_lines": [HEAD, "a s3://kept/x/a 9 now", "a file:///a 9 now"]}, NOT_THERE),
        ("Name", S3, {"rc": 0, "stdout_lines": [HEAD]}, "s3://kept/Name\n"),
        (
            "a",
            S3,
            {"rc": 1, "stdout_lines": [], "stderr_lines": ["no such bucket", "level=warning msg=skipping", ""]},
            "k3s says no such bucket\n",
        ),
        ("a", S3, {"rc": 124, "stdout_lines": [], "stderr_lines": ["x"]}, "k3s says nothing for a minute\n"),
        ("a", {"etcd-s3-bucket": "kept"}, {}, "no file /var/lib/rancher/k3s/server/db/snapshots/a\n"),
        # Whose settings are in the cluster.
        (
            "a",
            {"etcd-s3": True, "etcd-s3-bucket": "", "etcd-s3-config-secret": "x"},
            {},
            "no file /var/lib/rancher/k3s/server/db/snapshots/a\n",
        ),
        ("/s/a", S3, {}, "no file /s/a\n"),
        ("a", {"etcd-snapshot-dir": "/mnt/kept"}, {}, "no file /mnt/kept/a\n"),
        ("", S3, {}, "no file"),
    ],
)
def test_a_snapshot_is_on_the_first_server_or_in_s3(name: str, config: Any, listed: Any, words: str) -> None:
    known = {
        "k3s_servers": ["a", "b", "c"],
        "inventory_hostname": "a",
        "k3s_config": config,
        "k3s_restore_snapshot": name,
        "__k3s_snapshots_asked": listed,
        "k3s_datastore_endpoint": "",
        "k3s_restore_is_confirmed": True,
        "k3s_agents": [],
        "__k3s_silent_servers": [],
        "ansible_play_hosts_all": ["a", "b", "c"],
    }
    found = next(rule for rule in value("__k3s_restore_rules", **known) if rule["id"] == "K3S-91")
    assert found["met"] is (not words)
    assert not words or words in found["seen"] + "\n"


@pytest.mark.parametrize(
    ("config", "port", "url"),
    [
        ({}, "7443", "https://127.0.0.1:7443"),
        ({"bind-address": "192.0.2.1"}, 6443, "https://192.0.2.1:6443"),
        ({"bind-address": "0.0.0.0"}, 6443, "https://127.0.0.1:6443"),
        ({"bind-address": "fd00::1"}, 6443, "https://[fd00::1]:6443"),
    ],
)
def test_k3s_is_asked_where_it_listens(config: dict[str, str], port: Any, url: str) -> None:
    assert value("__k3s_local_url", k3s_config=config, k3s_api_port=port) == url


@pytest.mark.parametrize(
    ("own", "other", "down"),
    [
        ("active", "active", False),
        ("inactive", "active", True),
        ("active", "activating", True),
        # At which this run, or part of the role, has not looked.
        ("active", None, False),
        (None, None, False),
    ],
)
def test_a_cluster_is_down_where_k3s_does_not_run_on_a_host_of_it(
    own: str | None, other: str | None, down: bool
) -> None:
    looks = {
        host: {} if state is None else {"__k3s_look": {"stdout": f"state: '{state}'"}}
        for host, state in {"a": own, "b": other}.items()
    }
    assert value("__k3s_is_down", **looks["a"], hostvars=looks) is down


UP, STOPPED, GONE = ("active", "etcd"), ("inactive", "etcd"), ("inactive", "")


@pytest.mark.parametrize(
    ("states", "unready"),
    [
        # of the servers: the state of k3s and its data; and on how many of the first ones no member could be ready
        ([UP, UP, UP], 0),
        ([STOPPED, STOPPED, STOPPED], 1),
        ([STOPPED] * 5, 2),
        ([STOPPED, UP, UP], 0),
        ([UP, STOPPED, STOPPED], 1),
        ([("activating", "etcd"), STOPPED, STOPPED], 1),
        # Members that are still to come count for nothing, nor does another one's SQLite.
        ([STOPPED, GONE, GONE], 0),
        ([GONE, UP, UP], 0),
        ([GONE, GONE, GONE], 0),
        ([STOPPED, ("inactive", "sqlite"), GONE], 0),
    ],
)
def test_no_host_is_waited_for_before_its_turn_brings_a_majority(states: list[tuple[str, str]], unready: int) -> None:
    looks = {
        host: {"__k3s_look": {"stdout": f"state: {state}\ndata: '{data}'"}}
        for host, (state, data) in zip("abcde", states, strict=False)
    }
    known = {"k3s_servers": list(looks), "k3s_datastore_endpoint": "", "k3s_config": {}, "hostvars": looks}
    lacks = [value("__k3s_lacks_majority", **known, **looks[host], inventory_hostname=host) for host in looks]
    assert lacks == [True] * unready + [False] * (len(looks) - unready)


@pytest.mark.parametrize(
    ("host", "data", "joined", "peers", "founds"),
    [
        ("a", "", "", [], True),
        ("a", "", "", ["b"], False),  # its disk was lost
        ("a", "etcd", "", ["b"], True),
        ("a", "etcd", "https://b:6443", [], False),
        ("a", "sqlite", "", [], True),
        ("b", "", "", [], False),
        ("b", "etcd", "https://a:6443", [], False),
        # Installed again on data that were kept: told to found one, it would when its member is removed.
        ("b", "etcd", "", [], False),
    ],
)
def test_only_the_first_server_founds_a_cluster(
    host: str, data: str, joined: str, peers: list[str], founds: bool
) -> None:
    seen = {"data": data, "joined": joined, "peers": peers}
    known = {"inventory_hostname": host, "__k3s_seen": seen, "k3s_datastore_endpoint": "", "k3s_config": {}}
    assert value("__k3s_founds", **known) is founds


def test_a_host_at_which_nobody_has_looked_is_no_member() -> None:
    looks = {"a": {"__k3s_look": {"stdout": "state: inactive\ndata: etcd"}}, "b": {}, "c": {}}
    known = {"k3s_servers": list(looks), "k3s_datastore_endpoint": "", "k3s_config": {}, "hostvars": looks}
    assert value("__k3s_lacks_majority", **known, **looks["a"]) is False


@pytest.mark.parametrize(
    ("host", "there", "others", "gives"),
    [
        # the server whose turn it is, whether the control node has a kubeconfig, the hosts of the run
        ("a", True, ["b"], "a"),
        ("a", False, ["b"], "a"),
        ("b", True, ["a"], ""),
        ("b", False, ["a"], "a"),
        ("b", False, [], "b"),
    ],
)
def test_the_kubeconfig_is_the_first_servers_where_it_takes_part(
    tmp_path: Path, host: str, there: bool, others: list[str], gives: str
) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    if there:
        kubeconfig.touch()
    known = {"inventory_hostname": host, "ansible_play_hosts": [host, *others], "k3s_kubeconfig": str(kubeconfig)}
    hostvars: dict[str, Any] = {"a": {}, "b": {}}
    given = value("__k3s_gives_kubeconfig", **known, hostvars=hostvars, ansible_check_mode=False)
    assert (value("__k3s_kubeconfig_host", **known) if given else "") == gives


@pytest.mark.parametrize("checks", [True, False], ids=["check mode", "a run"])
def test_what_the_first_server_would_have_given_is_not_given_again(tmp_path: Path, checks: bool) -> None:
    """In check mode no file tells. Without it, an uninstallation may have come between."""
    known = {"inventory_hostname": "b", "ansible_play_hosts": ["a", "b"], "k3s_kubeconfig": str(tmp_path / "none")}
    hostvars: dict[str, Any] = {"a": {"__k3s_slurped": {}}, "b": {}}
    assert value("__k3s_gives_kubeconfig", **known, hostvars=hostvars, ansible_check_mode=checks) is not checks


@pytest.mark.parametrize(
    ("votes", "away"),
    [
        # what the members of etcd do, and which of them forbid the restart of a
        ({"a": "votes", "b": "votes", "c": "votes"}, ""),
        ({"a": "votes", "b": "votes", "c": "does not answer"}, "c does not answer"),
        ({"a": "votes", "b": "does not vote", "c": "does not answer"}, "b does not vote, c does not answer"),
        # Its own vote is not lost where it has none.
        ({"a": "does not vote", "b": "votes", "c": "votes"}, ""),
        # Three of five are a majority.
        ({"a": "votes", "b": "votes", "c": "votes", "d": "votes", "e": "does not answer"}, ""),
        ({"a": "votes", "b": "votes", "c": "votes", "d": "does not vote", "e": "does not vote"}, "d does not vote, e"),
        # While a cluster grows; and where etcd has no members yet.
        ({"a": "votes", "b": "votes"}, ""),
        ({"a": "votes"}, ""),
        ({}, ""),
    ],
)
def test_a_member_restarts_only_while_the_others_keep_a_majority(votes: dict[str, str], away: str) -> None:
    answer = {"rc": 0, "stdout_lines": [f"{name}={vote}" for name, vote in votes.items()]}
    known = {"k3s_node_name": "a", "ansible_check_mode": False}
    found = value("__k3s_restart_rule", **known, __k3s_votes=answer)
    assert found["met"] is (away == "")
    said = f"Of the {len(votes)} members of etcd, {away}"
    assert not away or (found["seen"].startswith(said) and found["seen"].endswith("and k3s on a has to restart"))


def test_a_member_that_cannot_ask_restarts() -> None:
    """It has lost the majority already, or is to be healed."""
    known = {"k3s_node_name": "a", "ansible_check_mode": False}
    assert value("__k3s_restart_rule", **known, __k3s_votes={"rc": 1, "stdout_lines": []})["met"] is True


@pytest.mark.parametrize(("host", "met"), [("b", True), ("c", False)])
def test_check_mode_knows_that_hosts_before_would_have_been_started(host: str, met: bool) -> None:
    away = {"b": "a=does not answer", "c": "d=does not answer"}[host]
    known = {
        "k3s_servers": ["a", "b", "c", "d"],
        "k3s_host_names": {name: name for name in "abcd"},
        "ansible_play_hosts_all": ["a", "b", "c", "d"],
        "inventory_hostname": host,
        "k3s_node_name": host,
        "hostvars": {},
    }
    answer = {"rc": 0, "stdout_lines": [away, f"{host}=votes"]}
    assert value("__k3s_leaves_majority", **known, __k3s_votes=answer, ansible_check_mode=True) is met
    assert value("__k3s_leaves_majority", **known, __k3s_votes=answer, ansible_check_mode=False) is False


OLD, NEW = "v1.35.8+k3s1", "v1.36.4+k3s1"


@pytest.mark.parametrize(
    ("looks", "kept"),
    [
        # of the servers of the run: the state of k3s, its version and its data; and where their state is kept
        ({"a": ("active", OLD, "etcd"), "b": ("active", OLD, "etcd")}, {"a": ["a"]}),
        # One server alone, as with --limit.
        ({"b": ("active", OLD, "etcd")}, {"b": ["b"]}),
        # The first one does not run, or has no state any more.
        ({"a": ("inactive", OLD, "etcd"), "b": ("active", OLD, "etcd")}, {"a": ["b"]}),
        ({"a": ("activating", OLD, "etcd"), "b": ("active", OLD, "etcd")}, {"a": ["b"]}),
        ({"a": ("inactive", "", ""), "b": ("active", OLD, "etcd")}, {"a": ["b"]}),
        ({"a": ("inactive", OLD, "etcd"), "b": ("inactive", OLD, "etcd")}, {}),
        # One that was interrupted, and nothing to upgrade.
        ({"a": ("active", NEW, "etcd"), "b": ("active", OLD, "etcd")}, {}),
        ({"a": ("active", NEW, "etcd"), "b": ("active", NEW, "etcd")}, {}),
        ({"a": ("inactive", "", ""), "b": ("active", NEW, "etcd")}, {}),
        # Of SQLite there is a copy, and a datastore is not the role's.
        ({"a": ("active", OLD, "sqlite")}, {}),
        ({"a": ("active", OLD, ""), "b": ("active", OLD, "")}, {}),
    ],
)
def test_the_state_is_kept_before_the_first_server_changes(
    looks: dict[str, tuple[str, str, str]], kept: dict[str, list[str]]
) -> None:
    seen = {
        host: {"__k3s_look": {"stdout": f"state: {state}\nversion: '{version}'\ndata: '{data}'"}}
        for host, (state, version, data) in looks.items()
    }
    known = {
        "k3s_servers": ["a", "b"],
        "k3s_version": NEW,
        "ansible_play_hosts_all": [*looks, "c"],
        "hostvars": {"a": {}, "b": {}, "c": {}, **seen},
    }
    found = {
        host: value("__k3s_snapshot_hosts", **known, **known["hostvars"][host], inventory_hostname=host)
        for host in looks
    }
    assert {host: hosts for host, hosts in found.items() if hosts} == kept


def test_the_state_is_kept_by_the_server_whose_turn_comes_first() -> None:
    """Servers have their turns in the order of their list, not in that of the inventory."""
    old = {"__k3s_look": {"stdout": f"state: active\nversion: '{OLD}'\ndata: 'etcd'"}}
    known = {
        "k3s_servers": ["b", "a"],
        "k3s_version": NEW,
        "ansible_play_hosts_all": ["a", "b"],
        "hostvars": {"a": old, "b": old},
    }
    found = {host: value("__k3s_snapshot_hosts", **known, **old, inventory_hostname=host) for host in "ab"}
    assert {host: len(hosts) for host, hosts in found.items()} == {"a": 0, "b": 1}


FIRST_URL, SECOND_URL, THIRD_URL = (f"https://192.0.2.{number}:6443" for number in (1, 2, 3))


@pytest.mark.parametrize(
    # what the host has, the servers that answer it, whom it is told to join (k3s_join_url), whom it joins
    ("data", "joined", "peers", "url", "joins"),
    [
        # A new server, or one whose disk was lost.
        ("", "", ["192.0.2.1", "192.0.2.3"], FIRST_URL, FIRST_URL),
        ("", "", ["192.0.2.3"], FIRST_URL, THIRD_URL),
        ("", "", [], FIRST_URL, FIRST_URL),
        ("", FIRST_URL, ["192.0.2.3"], FIRST_URL, THIRD_URL),
        ("", "", ["192.0.2.3"], "https://k8s.example.com:6443", "https://k8s.example.com:6443"),
        ("", "", ["192.0.2.3"], SECOND_URL, THIRD_URL),
        # A member keeps whom it has joined, as long as that is a server.
        ("etcd", THIRD_URL, [], FIRST_URL, THIRD_URL),
        ("etcd", "https://192.0.2.9:6443", [], FIRST_URL, FIRST_URL),
        ("etcd", "https://192.0.2.3:7443", [], FIRST_URL, FIRST_URL),
        ("etcd", THIRD_URL, [], "https://k8s.example.com:6443", "https://k8s.example.com:6443"),
        ("etcd", THIRD_URL, [], SECOND_URL, THIRD_URL),
    ],
)
def test_a_server_joins_one_that_answers(data: str, joined: str, peers: list[str], url: str, joins: str) -> None:
    known = {
        "inventory_hostname": "b",
        "k3s_servers": ["a", "b", "c"],
        "k3s_host_addresses": {"a": "192.0.2.1", "b": "192.0.2.2", "c": "192.0.2.3"},
        "k3s_api_port": 6443,
        "k3s_join_url": url,
        "__k3s_addresses": ["192.0.2.2"],
        "__k3s_seen": {"data": data, "joined": joined, "peers": peers},
    }
    assert value("__k3s_join_url", **known) == joins


@pytest.mark.parametrize(
    ("host", "servers", "play", "asked"),
    [
        # which servers a host asks for their version, before this run
        ("c", ["a", "b"], ["c"], ["https://192.0.2.1:6443", "https://192.0.2.2:6443"]),
        ("c", ["a", "b"], ["a", "c"], ["https://192.0.2.2:6443"]),
        ("c", ["a", "b"], ["a", "b", "c"], []),
        ("b", ["a", "b"], ["b"], ["https://192.0.2.1:6443"]),
        ("b", ["a", "b"], ["a", "b"], []),
        ("c", [], ["c"], ["https://k8s.example.com:6443"]),
    ],
)
def test_a_host_asks_the_servers_that_are_left_out_of_its_run(
    host: str, servers: list[str], play: list[str], asked: list[str]
) -> None:
    known = {
        "k3s_servers": servers,
        "k3s_host_addresses": {"a": "192.0.2.1", "b": "192.0.2.2", "c": "192.0.2.3"},
        "k3s_api_port": 6443,
        "k3s_join_url": "https://k8s.example.com:6443",
        "__k3s_join_places": ["k8s.example.com/6443"],
        "ansible_play_hosts_all": play,
        "inventory_hostname": host,
    }
    assert value("__k3s_version_urls", **known) == asked


def task(name: str) -> dict[str, Any]:
    """A task of the role, by what stands behind its file."""
    return next(each for _, each in role_tasks("k3s") if each["name"].partition(" | ")[2] == name)


COPY = "Copy the state of SQLite before another version runs"


@pytest.mark.parametrize(
    ("host", "seen", "copied"),
    [
        # the server, what it has, and whether its state is copied
        ("a", {"version": OLD, "data": "sqlite"}, True),
        ("a", {"version": NEW, "data": "sqlite"}, False),
        ("a", {"version": "", "data": "sqlite"}, False),  # installed again on data that were kept
        ("a", {"version": OLD, "data": "etcd"}, False),
        # The owner of a datastore keeps it.
        ("a", {"version": OLD, "data": ""}, False),
        ("b", {"version": OLD, "data": "sqlite"}, False),
        ("c", {"version": OLD, "data": "sqlite"}, False),  # an agent that was a server
    ],
)
def test_the_state_of_sqlite_is_copied_before_another_version_runs(
    host: str, seen: dict[str, str], copied: bool
) -> None:
    conditions = [f"{{{{ {condition} }}}}" for condition in task(COPY)["when"]]
    known = {"k3s_version": NEW, "inventory_hostname": host, "__k3s_seen": seen}
    assert all(value("__k3s_when", __k3s_when=condition, **known) for condition in conditions) is copied


@pytest.mark.parametrize("runs", [True, False], ids=["k3s runs", "k3s was killed"])
def test_the_copy_of_sqlite_has_what_is_not_in_its_file_yet(tmp_path: Path, runs: bool) -> None:
    """k3s writes ahead into another file, which a copy of the one alone would lack."""
    data = tmp_path / "data/server/db"
    data.mkdir(parents=True)
    writer = sqlite3.connect(tmp_path / "state.db")
    writer.executescript("pragma journal_mode=wal; pragma wal_autocheckpoint=0; create table kine (name);")
    with writer:
        writer.execute("insert into kine values ('kept')")
    for ending in ("", "-wal", "-shm") if runs else ("", "-wal"):
        (data / f"state.db{ending}").write_bytes((tmp_path / f"state.db{ending}").read_bytes())
    writer.close()
    known = {"__k3s_data": f"{tmp_path}/data", "k3s_version": NEW}
    command = [value("__k3s_word", __k3s_word=word, **known) for word in task(COPY)["ansible.builtin.command"]["argv"]]
    for _ in range(2):  # also after a run that was interrupted
        subprocess.run([sys.executable, *command[1:]], check=True)
    copy = data / "snapshots/before-v1.36.4-k3s1.db"
    assert sqlite3.connect(copy).execute("select name from kine").fetchall() == [("kept",)]
    assert (copy.stat().st_mode & 0o777, copy.parent.stat().st_mode & 0o777) == (0o600, 0o700)


STARTED = "2026-11-27 10:00:00 UTC"
# What a Node says of itself; its kubelet has spoken since k3s has started, or not.
READY, NOT_READY, OLD_WORD = (
    "Ready=True@2026-11-27T10:00:05Z",
    "Ready=False@2026-11-27T10:00:05Z",
    "Ready=True@2026-11-27T09:59:55Z",
)
VOTES, LEARNS = "EtcdIsVoter=True@2026-11-27T10:00:09Z", "EtcdIsVoter=False@2026-11-27T10:00:09Z"


@pytest.mark.parametrize(
    ("host", "config", "conditions", "said"),
    [
        # the host, how the cluster is, what its Node says, and why it is waited for
        ("a", {}, [READY, VOTES], ""),
        ("a", {}, [READY, LEARNS], "no voting member of etcd yet"),
        ("a", {}, [READY], "no voting member of etcd yet"),
        ("a", {}, [NOT_READY, VOTES], "the node node-a is not ready"),
        ("a", {}, [OLD_WORD, VOTES], "the node node-a is not ready"),
        ("a", {}, [VOTES], "the node node-a is not ready"),
        # No members: an agent, one server, a datastore.
        ("c", {}, [READY], ""),
        ("a", {"k3s_servers": ["a"]}, [READY], ""),
        ("a", {"k3s_datastore_endpoint": "postgres://h/d"}, [READY], ""),
    ],
)
def test_the_next_host_has_its_turn_when_the_node_is_ready_and_votes(
    tmp_path: Path, host: str, config: dict[str, Any], conditions: list[str], said: str
) -> None:
    known = {
        "k3s_datastore_endpoint": "",
        "k3s_config": {},
        "k3s_node_name": f"node-{host}",
        "inventory_hostname": host,
    }
    cmd = task("Wait until the node is ready")["ansible.builtin.shell"]["cmd"]
    script = value("__k3s_script", __k3s_script=cmd, **{**known, **config})
    lines = "".join(f"echo '            {line}'\n" for line in conditions)
    answers = {
        "k3s": f"case $* in *readyz*) echo ok ;; *) {lines} ;; esac",
        "systemctl": f"case $1 in show) echo '{STARTED}' ;; *) echo active ;; esac",
    }
    for name, answer in answers.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{answer}\n")
        (tmp_path / name).chmod(0o755)
    script = script.replace("/usr/local/bin/k3s", str(tmp_path / "k3s"))
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    run = subprocess.run(["sh", "-c", script], env=path, capture_output=True, text=True, check=False)
    assert (run.returncode == 0) is (not said), run.stderr
    assert said in run.stderr
