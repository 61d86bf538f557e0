# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the inputs of role k3s are written into k3s's configuration."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from unit.contract import ROLES_DIR, ROOT, load, role_tasks
from unit.templates import role_variables, templated

SITE = role_variables("site", "defaults")
DEFAULTS = role_variables("k3s", "defaults")
VARS = role_variables("k3s", "vars")
CLUSTER: dict[str, Any] = {
    "inventory_hostname": "a",
    "site_domain": "flyte.example.com",
    "site_directory": "/nonexistent",
    "site_address": "192.0.2.1",
    "site_host_addresses": {"a": "192.0.2.1", "b": "192.0.2.2", "c": "192.0.2.3", "d": "192.0.2.4"},
    "site_k3s_servers": ["a", "b", "c"],
    "site_k3s_agents": ["d"],
    "site_postgresql_hosts": [],
    "site_minio_hosts": [],
    "k3s_node_name": "node-a",
    "ansible_managed": "Managed",
}


def value(text: str, **known: Any) -> Any:
    """What an expression makes of the role's inputs."""
    return templated(text, {**SITE, **DEFAULTS, **VARS, **CLUSTER, **known})


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://192.0.2.1:6443", "192.0.2.1"),
        ("https://k8s.example.com", "k8s.example.com"),
        ("https://[fd00::1]:6443", "fd00::1"),
        ("https://192.0.2.1:99999", "192.0.2.1"),
    ],
)
def test_the_certificate_has_the_host_of_the_clusters_address(url: str, host: str) -> None:
    connection = {
        "server": url,
        "kubeconfig": "",
        "context": "",
        "pod_cidr": "",
        "service_cidr": "",
        "storage_class": "",
    }
    assert value("{{ k3s_tls_san }}", site_kubernetes_connection=connection) == ["flyte.example.com", host]


@pytest.mark.parametrize(("option", "own"), [("tls-san", "k3s_tls_san"), ("disable", "k3s_disable")])
@pytest.mark.parametrize(
    ("more", "all_of_it"),
    [([], ["a"]), ("b", ["a", "b"]), (["b, c", "a"], ["a", "b", "c"])],
    ids=["no", "text", "list"],
)
def test_some_options_add_to_the_input_of_their_own(option: str, own: str, more: Any, all_of_it: list[str]) -> None:
    known = {own: ["a"], "k3s_config": {option: more}, "k3s_token": "secret", "k3s_agent_token": ""}
    seen = {"data": "", "joined": "", "peers": [], "selinux": False}
    options = {"shared": [], "server": ["tls-san", "disable"], "agent": []}
    text = f"{{{{ __k3s_config['{option}'] }}}}"
    assert value(text, __k3s_seen=seen, __k3s_options=options, __k3s_ca="", **known) == all_of_it


SHARING = {"embedded-registry": True}


@pytest.mark.parametrize(
    ("known", "tcp"),
    [
        ({}, [10250]),
        ({"k3s_config": {"embedded-registry": "false"}}, [10250]),
        ({"k3s_config": SHARING}, [10250, 6443, 5001]),
        ({"k3s_config": SHARING, "k3s_api_port": "7443"}, [10250, 7443, 5001]),
        ({"hostvars": {"b": {"k3s_config": SHARING}, "c": {}}}, [10250, 6443, 5001]),
    ],
    ids=["not shared", "off", "shared", "another port", "said of servers alone"],
)
def test_nodes_that_share_images_serve_them_at_the_apis_port(known: dict[str, Any], tcp: list[int]) -> None:
    assert value("{{ __k3s_cluster['tcp'] }}", **{"hostvars": {}, "inventory_hostname": "d", **known}) == tcp


@pytest.mark.parametrize(("host", "told"), [("a", SHARING), ("d", {})], ids=["server", "agent"])
def test_sharing_images_is_an_option_of_servers_alone(host: str, told: dict[str, bool]) -> None:
    options = load(ROLES_DIR / "k3s/files/options.yml")
    assert value("{{ __k3s_own_config }}", inventory_hostname=host, k3s_config=SHARING, __k3s_options=options) == told


CERTIFICATE = "-----BEGIN CERTIFICATE-----\nQQ==\n-----END CERTIFICATE-----\n"


# What a server has whose data were kept, and one that has a CA without them.
KEPT = {"ca": "d1", "chain": False, "data": "etcd"}
NOTHING = {"ca": "", "chain": False, "data": ""}


@pytest.mark.parametrize(
    ("host", "ca", "seen", "token"),
    [
        # its CA in the kubeconfig, what the host has, and the token
        ("b", "", NOTHING, "secret"),
        ("b", CERTIFICATE, NOTHING, f"K10{hashlib.sha256(CERTIFICATE.encode()).hexdigest()}::server:secret"),
        ("b", CERTIFICATE * 2, KEPT, "secret"),  # k3s would take the hash of the chain's root
        ("b", "", KEPT, "K10d1::server:secret"),
        ("b", "", {**KEPT, "chain": True}, "secret"),
        ("b", "", {**KEPT, "data": ""}, "secret"),
        ("d", "", KEPT, "agents"),
    ],
    ids=["unknown", "one certificate", "a chain", "kept data", "a chain in kept data", "an old CA", "an agent"],
)
def test_one_that_joins_knows_its_cluster_by_the_hash_that_k3s_makes(
    host: str, ca: str, seen: dict[str, Any], token: str
) -> None:
    known = {"inventory_hostname": host, "k3s_token": "secret", "k3s_agent_token": "agents", "__k3s_joins": True}
    assert value("{{ __k3s_full_token }}", **known, __k3s_ca=ca, __k3s_seen=seen) == token


def test_labels_are_written_as_kubernetes_knows_them() -> None:
    labels = {"gpu": True, "spot": False, "place": "hamburg", "rack": 7, "word": "True", "empty": None, "none": ""}
    written = ["true", "false", "hamburg", "7", "True", "", ""]
    assert value("{{ __k3s_label_values }}", k3s_node_labels=labels) == written


@pytest.mark.parametrize("token", ["1e5", "12E+3", "089", "1.5", "1_0e4", "0o17", ".5"])
def test_a_text_that_k3s_would_read_as_a_number_is_quoted(token: str) -> None:
    written = value("{{ __k3s_config_text }}", __k3s_config={"token": token, "kubelet-arg": [token]})
    assert re.findall(r"^(?:token: |- )(.*)$", written.replace("\n    -", "\n-"), re.MULTILINE) == [f"'{token}'"] * 2
    assert yaml.safe_load(written) == {"token": token, "kubelet-arg": [token]}


def test_all_else_is_written_as_it_is() -> None:
    config = {
        "token": "e5",
        "https-listen-port": 6443,
        "v": 0,
        "node-ip": "192.0.2.1",
        "debug": True,
        "tls-san": ["a", "12"],
    }
    written = value("{{ __k3s_config_text }}", __k3s_config=config)
    assert yaml.safe_load(written) == config
    assert "https-listen-port: 6443\nnode-ip: 192.0.2.1\ntls-san:" in written


@pytest.mark.parametrize(
    ("known", "met"),
    [
        ({}, True),
        ({"k3s_interface": "eth0"}, True),
        ({"k3s_interface": "eht0"}, False),
        ({"k3s_config": {"flannel-iface": "eth0"}}, True),
        ({"k3s_config": {"flannel-iface": "eht0"}}, False),
    ],
)
def test_an_interface_has_to_be_one_of_the_hosts(known: dict[str, Any], met: bool) -> None:
    assert interface_rule(["lo", "eth0"], **known)["met"] is met


@pytest.mark.parametrize(("wanted", "met"), [("wg0", True), ("gone0", False)])
def test_an_interface_is_looked_for_on_the_host_and_not_in_facts_of_another_day(wanted: str, met: bool) -> None:
    facts = {"interfaces": ["lo", "eth0", "gone0"]}
    assert interface_rule(["lo", "eth0", "wg0"], k3s_interface=wanted, ansible_facts=facts)["met"] is met


def test_the_interfaces_that_a_host_has_are_named() -> None:
    found = interface_rule(["veth12ab", "wg0", "lo", "cni0", "flannel.1", "eth0"], k3s_interface="eht0")
    assert found["seen"] == "a has no network interface eht0"
    assert found["expected"] == "one of those that it has: eth0, wg0"


def interface_rule(interfaces: list[str], **known: Any) -> dict[str, Any]:
    """What the role makes of the interfaces that a host has."""
    rule = next(each for each in VARS["__k3s_rules"] if each["id"] == "K3S-101")
    return dict(value("{{ __k3s_rule }}", __k3s_rule=rule, __k3s_seen={"interfaces": interfaces}, **known))


def look(
    k3s: str = "/usr/local/bin/k3s",
    config: str = "/etc/rancher/k3s/config.yaml",
    password: str = "/etc/rancher/node/password",
    systemctl: str = "systemctl",
    variables: str = "/etc/default/",
    **known: Any,
) -> dict[str, Any]:
    """What the role's look at a host says of this machine, which it only reads."""
    (found,) = (task for _, task in role_tasks("k3s") if task["name"] == "preflight | Look at what the host has")
    script = value(found["ansible.builtin.shell"]["cmd"], ansible_play_hosts_all=["a"], **known)
    script = script.replace("/usr/local/bin/k3s", k3s).replace("/etc/rancher/k3s/config.yaml", config)
    script = (
        script.replace("/etc/default/", variables)
        .replace("/etc/rancher/node/password", password)
        .replace("systemctl show", f"{systemctl} show")
    )
    run = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False, timeout=60)
    return dict(yaml.safe_load(run.stdout))


def test_a_look_names_the_interfaces_of_the_host() -> None:
    before = links()
    seen = set(look()["interfaces"])
    after = links()
    assert before & after <= seen <= before | after  # containers may come and go meanwhile
    assert "lo" in seen


def links() -> set[str]:
    return {path.name for path in Path("/sys/class/net").iterdir() if path.is_dir()}


def test_a_look_finds_who_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        addresses = {"a": "192.0.2.1", "b": "127.0.0.1", "c": "127.0.0.1 x"}
        seen = look(k3s_host_addresses=addresses, k3s_api_port=port, __k3s_join_places=[f"127.0.0.1/{port}"])
    assert (seen["peers"], seen["answering"]) == (["127.0.0.1"], [f"127.0.0.1/{port}"])


@pytest.mark.parametrize(
    ("keys", "encryption"),
    [(None, ""), ('{"providers": [{"identity": {}}]}', "none"), ('{"aescbc": {"keys": [{"secret": "x"}]}}', "keys")],
)
def test_a_look_finds_with_what_the_cluster_began(tmp_path: Path, keys: str | None, encryption: str) -> None:
    (tmp_path / "config.yaml").write_text("flannel-backend: 'host-gw'\ncluster-dns:\n- 10.43.0.10\n- fd43::a\n")
    if keys:
        (tmp_path / "server/cred").mkdir(parents=True)
        (tmp_path / "server/cred/encryption-config.json").write_text(keys)
    seen = look(config=str(tmp_path / "config.yaml"), __k3s_data=str(tmp_path))
    assert seen["options"] == {"flannel-backend": "host-gw", "cluster-domain": "", "cluster-dns": "10.43.0.10,fd43::a"}
    assert seen["encryption"] == encryption


def test_a_look_finds_the_files_that_k3s_reads_beside_its_configuration(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    assert look(config=str(config))["drop_ins"] == []
    folder = tmp_path / "config.yaml.d"
    folder.mkdir()
    assert look(config=str(config))["drop_ins"] == []
    names = [
        "90-it's.yml",
        "50-OURS.YAML",
        ".hidden.yaml",
        'a: "b", $(id).yaml',
        "x\ty.yaml",
        "no.yaml.bak",
        "no.yml.d",
        "noyaml",
    ]
    for name in names:
        (folder / name).write_text("token: hush\n")
    (folder / "folder.yaml").mkdir()
    seen = look(config=str(config))
    assert seen["drop_ins"] == [".hidden.yaml", "50-OURS.YAML", "90-it's.yml", 'a: "b", $(id).yaml', "x?y.yaml"]
    assert "hush" not in str(seen)


# As systemd 252 shows the role's own unit, and one like that of the script of get.k3s.io.
@pytest.mark.parametrize(
    ("argv", "names"),
    [("k3s server", []), ("k3s server --token hush-hush --node-name=press-7 -v 2", ["--node-name", "--token", "-v"])],
)
def test_a_look_finds_the_options_of_a_unit_without_their_values(tmp_path: Path, argv: str, names: list[str]) -> None:
    shown = f"{{ path=/usr/local/bin/k3s ; argv[]=/usr/local/bin/{argv} ; ignore_errors=no ; start_time=[n/a] }}"
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f"#!/bin/sh\necho '{shown}'\n")
    systemctl.chmod(0o755)
    assert look(systemctl=str(systemctl))["arguments"] == names


# Where the units of the role and of get.k3s.io have variables. The token in the configuration counts more.
@pytest.mark.parametrize(
    ("host", "unit", "names"),
    [
        ("a", "k3s", ["K3S_DATASTORE_ENDPOINT", "K3S_NODE_NAME", "K3S_URL"]),
        ("d", "k3s-agent", ["K3S_DATASTORE_ENDPOINT", "K3S_NODE_NAME"]),
    ],
)
def test_a_look_finds_options_among_variables_without_their_values(
    tmp_path: Path, host: str, unit: str, names: list[str]
) -> None:
    lines = ["# K3S_DEBUG=1", "K3S_TOKEN=hush", 'K3S_URL="hush"', "  K3S_NODE_NAME=hush", "K3S_DATASTORE_ENDPOINT=hush"]
    (tmp_path / unit).write_text("\n".join([*lines, "HTTPS_PROXY=hush", "NO_K3S_PROXY=hush"]))
    seen = look(variables=f"{tmp_path}/", inventory_hostname=host)
    assert seen["arguments"] == names
    assert "hush" not in str(seen)


@pytest.mark.parametrize(("joined", "name"), [(True, "node-old"), (False, "")])
def test_a_look_finds_the_name_with_which_a_node_has_joined(tmp_path: Path, joined: bool, name: str) -> None:
    """One that has never come so far as to have a password may still be called anything."""
    (tmp_path / "config.yaml").write_text("node-name: node-old\nnode-ip: 192.0.2.1\n")
    if joined:
        (tmp_path / "password").touch()
    seen = look(config=str(tmp_path / "config.yaml"), password=str(tmp_path / "password"))
    assert seen["node_name"] == name


@pytest.mark.parametrize(
    # whether k3s runs, since how many seconds before its file was put in place, what the look says
    ("active", "before", "replaced"),
    [(True, 60, True), (True, -60, False), (False, 60, False)],
)
def test_a_look_finds_a_process_that_is_older_than_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, active: bool, before: int, replaced: bool
) -> None:
    k3s, systemctl = tmp_path / "k3s", tmp_path / "bin/systemctl"
    k3s.touch()
    started = datetime.fromtimestamp(k3s.stat().st_mtime - before, UTC).strftime("%a %Y-%m-%d %H:%M:%S UTC")
    answers = f"is-active) exit {int(not active)} ;; show) echo '{started if active else ''}' ;;"
    systemctl.parent.mkdir()
    systemctl.write_text(f"#!/bin/sh\ncase $1 in {answers} esac\n")
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{systemctl.parent}:{os.environ['PATH']}")
    assert look(str(k3s))["replaced"] is replaced


# Of those whose rules need no host.
JUDGED = ["K3S-63", "K3S-64", "K3S-80", "K3S-82", "K3S-83", "K3S-104", "K3S-106", "K3S-119"]


def test_what_the_page_says_of_cis_is_taken() -> None:
    page = (ROOT / "docs/cluster.md").read_text().partition("\n## CIS\n")[2]
    known = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)[0])
    files = {"__k3s_options": "options", "__k3s_kubelet_known": "kubelet_fields"}
    known |= {name: load(ROLES_DIR / f"k3s/files/{file}.yml") for name, file in files.items()}
    rules = [rule for kind in ("type_", "input_", "") for rule in VARS[f"__k3s_{kind}rules"]]
    met = {rule["id"]: value("{{ rule['met'] }}", rule=rule, **known) for rule in rules if rule["id"] in JUDGED}
    assert met == dict.fromkeys(JUDGED, True)
    arguments = value("{{ __k3s_api_config['kube-apiserver-arg'] }}", **known)
    assert "admission-control-config-file=/etc/rancher/k3s/admission.yaml" in arguments
    assert arguments[-2:] == known["k3s_config"]["kube-apiserver-arg"]
    assert [argument for argument in known["k3s_config"]["kubelet-arg"] if " " in argument] == []


@pytest.mark.parametrize("installed", ["v1.35.8+k3s1", "v1.36.4+k3s1"])
def test_a_look_asks_servers_for_their_versions_before_an_upgrade(tmp_path: Path, installed: str) -> None:
    k3s = tmp_path / "k3s"
    version = """echo '{\n  "major": "1",\n  "gitVersion": "v1.35.9+k3s1",\n  "compiler": "gc"\n}'"""
    answers = (
        f"""--version) echo "k3s version {installed} (3dd98cc5)" ;; *https://there:6443*) {version} ;; *) exit 1 ;;"""
    )
    k3s.write_text(f"#!/bin/sh\ncase $* in {answers} esac\n")
    k3s.chmod(0o755)
    seen = look(str(k3s), k3s_version="v1.36.4+k3s1", __k3s_version_urls=["https://nowhere:6443", "https://there:6443"])
    assert (seen["version"], seen["serving"]) == (installed, ["v1.35.9+k3s1"] if installed < "v1.36" else [])


@pytest.mark.parametrize(
    "address", ["$(touch {})", "`touch {}`", "; touch {};", "x/1; touch {}; #", "' ; touch {} ; '"]
)
def test_no_address_is_a_command_for_the_host_that_looks(tmp_path: Path, address: str) -> None:
    address = address.format(tmp_path / "touched")
    seen = look(k3s_host_addresses={"a": "192.0.2.1", "b": address, "c": address}, __k3s_join_places=[address])
    assert list(tmp_path.iterdir()) == []
    assert (seen["peers"], seen["answering"]) == ([], [])


@pytest.mark.parametrize(
    ("config", "unread"),
    [
        # What k3s does not start with. The first are as YAML and older templates give them.
        ({"debug": True, "selinux": False, "docker": "True", "etcd-s3": "0", "v": 4, "etcd-s3-retention": "-1"}, []),
        ({"debug": "yes", "selinux": "tRUE", "docker": "", "etcd-s3": 2}, ["debug", "selinux", "docker", "etcd-s3"]),
        ({"v": "4x", "etcd-s3-retention": 1.5, "lb-server-port": True}, ["v", "etcd-s3-retention", "lb-server-port"]),
        # k3s reads this otherwise than the role, and that as an octal number.
        ({"cluster-init": "t", "v": "08"}, ["cluster-init", "v"]),
        ({"node-name": "yes"}, []),
        ({"etcd-s3-timeout": "1h30m", "etcd-snapshot-reconcile-interval": 0}, []),
        (
            {"etcd-s3-timeout": 300, "etcd-snapshot-reconcile-interval": "ten"},
            ["etcd-s3-timeout", "etcd-snapshot-reconcile-interval"],
        ),
        ({"egress-selector-mode": "pod", "flannel-backend": "none", "secrets-encryption-provider": "secretbox"}, []),
        (
            {"egress-selector-mode": "Pod", "flannel-backend": "vxlans", "secrets-encryption-provider": "aesgcm"},
            ["egress-selector-mode", "flannel-backend", "secrets-encryption-provider"],
        ),
        ({"flannel-backend": ["vxlan", "host-gw"]}, ["flannel-backend"]),
        ({"flannel-backend": ["vxlan"], "egress-selector-mode": ""}, ["flannel-backend", "egress-selector-mode"]),
        ({"cluster-dns": "10.43.0.10", "service-node-port-range": "30000-32767"}, []),
        ({"cluster-dns": "10.43.0.10,fd43::a", "service-node-port-range": "30000+100"}, []),
        ({"cluster-dns": ["10.43.0.10", "fd43::a"], "service-node-port-range": 30000}, []),
        (
            {"cluster-dns": "10.43.0.10,", "service-node-port-range": "30000:32767"},
            ["cluster-dns", "service-node-port-range"],
        ),
        (
            {"cluster-dns": ["10.43.0.10", "dns"], "service-node-port-range": "30000-"},
            ["cluster-dns", "service-node-port-range"],
        ),
        ({"cluster-dns": "10.43.0.0/16"}, ["cluster-dns"]),
        (
            {"bind-address": "192.0.2.1", "advertise-address": "fd00::1", "node-external-ip": ["192.0.2.1", "fd00::1"]},
            [],
        ),
        ({"bind-address": "", "advertise-address": "", "node-external-ip": "192.0.2.1"}, []),
        (
            {
                "bind-address": "eth0",
                "advertise-address": "192.0.2.1,fd00::1",
                "node-external-ip": ["edge.example.com"],
            },
            ["bind-address", "advertise-address", "node-external-ip"],
        ),
        *(
            ({"etcd-snapshot-schedule-cron": plan}, [])
            for plan in (
                "0 */12 * * *",
                "TZ=Europe/Berlin 5 4 1-7 * MON,tue",
                "@daily",
                "@every 1h30m",
                " 0\t0 * * * ",
                "",
            )
        ),
        *(
            ({"etcd-snapshot-schedule-cron": plan}, ["etcd-snapshot-schedule-cron"])
            for plan in ("0 */12 * *", "0 0 */12 * * *", "daily", "@often", 12)
        ),
        # A kubeconfig that others read, and what YAML makes of 0644, 0600 and 0640.
        *(({"write-kubeconfig-mode": mode}, []) for mode in ("0600", "600", 600, "0640", "0400", "")),
        *(
            ({"write-kubeconfig-mode": mode}, ["write-kubeconfig-mode"])
            for mode in ("0644", "644", "0604", "0660", "0o600", "u=rw", 0o644, 0o600, 0o640)
        ),
    ],
)
def test_values_are_told_that_k3s_cannot_read(config: dict[str, Any], unread: list[str]) -> None:
    options = load(ROLES_DIR / "k3s/files/options.yml")
    values = value("{{ __k3s_unread_values }}", k3s_config=config, __k3s_options=options)
    assert [each["key"] for each in values] == unread


@pytest.mark.parametrize(
    ("config", "environment", "settings"),
    [
        # What keeps k3s from reading the Secret with its settings for S3; its own retention and defaults do not.
        ({"etcd-s3-config-secret": "s3", "etcd-s3-retention": 30, "etcd-s3": True}, {}, []),
        (
            {"etcd-s3-insecure": False, "etcd-s3-folder": "", "etcd-s3-region": "us-east-1", "etcd-s3-timeout": "5m"},
            {},
            [],
        ),
        ({"etcd-s3-bucket": "x", "etcd-s3-insecure": True}, {}, ["etcd-s3-bucket", "etcd-s3-insecure"]),
        ({}, {"AWS_ACCESS_KEY_ID": "x", "HTTP_PROXY": "y"}, ["AWS_ACCESS_KEY_ID"]),
    ],
)
def test_settings_are_told_with_which_k3s_ignores_its_secret(
    config: dict[str, Any], environment: dict[str, str], settings: list[str]
) -> None:
    assert value("{{ __k3s_s3_settings }}", k3s_config=config, k3s_environment=environment) == settings


@pytest.mark.parametrize(
    ("endpoint", "met"),
    [
        # What Go's url.Parse makes of it, as kine calls it.
        ("postgres://", True),
        ("postgres://k3s:a%2Fb%25~!$&'()*+,;=:@h/d", True),
        ("postgres://k3s:p@ss@h/d", True),
        ("postgres://k3s@[fd00::1]:5432/d e?sslmode=disable&application_name=k3s@a", True),
        ("postgres://k3s:p@h1,h2:5433/d%20e?user=k3s&password=p@ss%2F", True),
        ("postgres://h1:5432,h2:5433/d", True),
        ("postgres://k3s:p@h1:5432,h2/d", False),
        ("postgresql://k3s:p@/d?host=/run/postgresql#end", True),
        ("nats://k3s:p@h:4222?bucket=k3s,nats://i", True),
        ("postgres://k3s:p%zz@h/d", False),
        ("postgres://k3s:p%2@h/d", False),
        ("postgres://k3s:p/q@h/d", False),
        ("postgresql://k3s:1/q@h:5432/d", False),
        ("postgres://k3s:1?q@h/d", False),
        ("postgres://k3s:1#q@h/d", False),
        ("postgres://k3s:p q@h/d", False),
        ('postgres://k3s:p"@h/d', False),
        ("postgres://k3s:pü@h/d", False),
        ("postgres://k3s:p@h/d%", False),
        ("postgres://k3s:p@h/d?a=%", False),
        ("postgres://h:port/d", False),
        ("nats://k3s:p,q@h", False),
        ("nats://h,nats://k3s:p/q@i", False),
        # These are no URLs, or have no password.
        ("mysql://k3s:p#/?%zz@tcp(h:3306)/d", True),
        ("sqlite:///srv/k3s.db?x=%", True),
        ("https://h:2379,https://i:2379", True),
        ("", True),
    ],
)
def test_an_address_is_refused_that_k3s_would_repeat_with_its_password(endpoint: str, met: bool) -> None:
    rule = next(each for each in VARS["__k3s_input_rules"] if each["id"] == "K3S-123")
    assert value(rule["met"], k3s_datastore_endpoint=endpoint) is met


def test_what_an_option_may_be_is_told_of_the_one_that_is_wrong() -> None:
    rule = next(each for each in VARS["__k3s_rules"] if each["id"] == "K3S-119")
    options = load(ROLES_DIR / "k3s/files/options.yml")
    found = value("{{ __k3s_rule }}", __k3s_rule=rule, k3s_config={"flannel-backend": "x"}, __k3s_options=options)
    assert found["seen"] == 'k3s_config has flannel-backend: "x"'
    assert "flannel-backend as host-gw or none or tailscale or vxlan or wireguard-native;" in found["expected"]
    assert "egress-selector-mode" not in found["expected"]


@pytest.mark.parametrize(
    ("installed", "wanted", "met"),
    [
        ("v1.37.0-rc1+k3s1", "v1.37.0+k3s1", True),
        ("v1.37.0+k3s1", "v1.37.0-rc1+k3s1", False),
        ("v1.37.0-rc2+k3s1", "v1.37.0-rc10+k3s1", True),
        ("v1.37.0-rc10+k3s1", "v1.37.0-rc2+k3s1", False),
        ("v1.36.9+k3s1", "v1.37.0-rc1+k3s1", True),
        ("v1.36.4+k3s1", "v1.36.4+k3s2", True),
        ("v1.36.4+k3s10", "v1.36.4+k3s9", False),
        ("v1.36.10+k3s1", "v1.36.9+k3s3", False),
        ("v1.36.4+k3s1", "v1.36.4+k3s1", True),
        ("", "v1.36.4+k3s1", True),
    ],
)
def test_a_version_before_the_installed_one_is_a_way_back(installed: str, wanted: str, met: bool) -> None:
    rule = next(each for each in VARS["__k3s_rules"] if each["id"] == "K3S-56")
    assert value(rule["met"], k3s_version=wanted, __k3s_seen={"version": installed}) is met


@pytest.mark.parametrize(
    ("known", "on_swap", "on_cgroup_v1"),
    [
        # what the kubelet is told, whether it fails on swap, whether it fails on cgroup v1
        ({}, False, True),
        ({"k3s_kubelet_config": {"failSwapOn": True, "failCgroupV1": False}}, True, False),
        ({"k3s_kubelet_config": {"failswapon": True, "FAILCGROUPV1": False}}, True, False),
        ({"k3s_kubelet_config": {"failSwapOn": False, "failCgroupV1": True}}, False, True),
        ({"k3s_config": {"kubelet-arg": ["fail-swap-on", "fail-cgroupv1=0"]}}, True, False),
        ({"k3s_config": {"kubelet-arg": ["fail-swap-on=1", "fail-cgroupv1=False"]}}, True, False),
        ({"k3s_config": {"kubelet-arg": "fail-swap-on=True"}}, True, True),
        ({"k3s_config": {"kubelet-arg": ["fail-swap-on=true", "max-pods=60", "fail-swap-on=false"]}}, False, True),
        ({"k3s_config": {"kubelet-arg": "fail-cgroupv1"}, "k3s_kubelet_config": {"failCgroupV1": False}}, False, True),
        ({"k3s_config": {"kubelet-arg": "fail-swap-on=0"}, "k3s_kubelet_config": {"failSwapOn": True}}, False, True),
    ],
)
def test_the_kubelet_is_told_in_any_spelling_on_what_to_fail(
    known: dict[str, Any], on_swap: bool, on_cgroup_v1: bool
) -> None:
    assert value("{{ __k3s_fails_on_swap }}", **known) is on_swap
    assert value("{{ __k3s_runs_on_cgroup_v1 }}", k3s_version="v1.36.4+k3s1", **known) is not on_cgroup_v1


NODES: list[dict[str, Any]] = [
    {"name": "a", "ready": "True"},
    {"name": "b", "ready": "True"},
    {"name": "c", "ready": "Unknown"},
    {"name": "agent", "ready": "False", "is_agent": True},
]


@pytest.mark.parametrize(
    ("host", "nodes", "refused"),
    [
        # the nodes of the cluster that a host leaves
        ("a", "ab", False),
        ("a", "abc", True),
        ("c", "abc", False),
        ("d", "abc", False),
    ],
    ids=["all ready", "another one is away", "the one that is away", "an agent"],
)
def test_a_member_of_etcd_leaves_only_while_all_others_are_ready(host: str, nodes: str, refused: bool) -> None:
    (rule,) = VARS["__k3s_majority_rules"]
    found = [
        {
            "metadata": {
                "name": each["name"],
                "labels": {} if "is_agent" in each else {"node-role.kubernetes.io/etcd": "true"},
            },
            "status": {
                "conditions": [{"type": "DiskPressure", "status": "False"}, {"type": "Ready", "status": each["ready"]}]
            },
        }
        for each in NODES
        if each["name"] in [*nodes, "agent"]
    ]
    known = {"inventory_hostname": host, "k3s_node_name": host, "__k3s_nodes": {"resources": found}}
    judged = value("{{ __k3s_rule }}", __k3s_rule=rule, **known)
    assert judged["id"] == "K3S-70"
    assert judged["met"] is not refused
    assert not refused or judged["seen"] == "c, of the servers that would stay, is not ready"


EL9 = "https://rpm.rancher.io/k3s/stable/common/centos/9/noarch"


@pytest.mark.parametrize(
    ("family", "version", "bundle", "repository"),
    [
        # as Ansible says it of RHEL, Rocky and AlmaLinux; k3s's own installer has EL 9's policy on EL 10, too
        ("RedHat", "9", "", EL9),
        ("RedHat", "10", "", EL9),
        ("RedHat", "9", "/srv/bundle", ""),
        ("Debian", "12", "", ""),
    ],
)
def test_the_policy_for_selinux_comes_from_a_repository_that_has_it(
    family: str, version: str, bundle: str, repository: str
) -> None:
    facts = {"os_family": family, "distribution_major_version": version}
    assert value("{{ k3s_selinux_repository }}", ansible_facts=facts, k3s_bundle=bundle) == repository


@pytest.mark.parametrize(
    ("repository", "key"),
    [
        (EL9, "https://rpm.rancher.io/public.key"),
        ("http://mirror.example.com:8080/k3s/el9", "http://mirror.example.com:8080/public.key"),
    ],
)
def test_the_policy_for_selinux_is_signed_with_a_key_beside_its_repository(repository: str, key: str) -> None:
    policy = next(task for task in install_tasks() if task["name"] == "install | Have k3s's policy for SELinux")
    described, installed = (task[next(name for name in task if "." in name)] for task in policy["block"])
    known = {"k3s_selinux_repository": repository}
    written = {name: value(text, **known) for name, text in described.items() if isinstance(text, str)}
    assert (written["baseurl"], written["gpgkey"], described["gpgcheck"]) == (repository, key, True)
    assert installed == {"name": "k3s-selinux", "state": "present"}


@pytest.mark.parametrize(
    ("seen", "lacks"),
    [
        # enforcing, with the policy or without, and anything else
        ({"selinux": True, "selinux_policy": False}, True),
        ({"selinux": True, "selinux_policy": True}, False),
        ({"selinux": False, "selinux_policy": False}, False),
    ],
)
def test_where_selinux_is_enforcing_k3s_is_told_and_has_its_policy(seen: dict[str, bool], lacks: bool) -> None:
    assert value("{{ __k3s_lacks_policy }}", __k3s_seen=seen) is lacks
    assert node_config(**seen).get("selinux", False) is seen["selinux"]


def install_tasks() -> list[dict[str, Any]]:
    return list(load(ROLES_DIR / "k3s/tasks/install.yml"))


def node_config(*, selinux: bool = False, selinux_policy: bool = False, **known: Any) -> dict[str, Any]:
    """What k3s is told of its node, on a host that founds a cluster."""
    seen = {"selinux": selinux, "selinux_policy": selinux_policy, "data": "", "joined": "", "peers": []}
    known = {"k3s_token": "secret", "k3s_agent_token": "agents", "__k3s_ca": "", "__k3s_seen": seen, **known}
    return dict(value("{{ __k3s_node_config }}", **known))


@pytest.mark.parametrize(
    ("known", "told"),
    [
        ({}, {"node-ip": "192.0.2.1"}),
        ({"k3s_interface": "eth1"}, {"node-ip": "192.0.2.1", "flannel-iface": "eth1"}),
        (
            {"k3s_interface": "eth1", "k3s_node_address": "192.0.2.1, fd00::1"},
            {"node-ip": "192.0.2.1,fd00::1", "flannel-iface": "eth1"},
        ),
        # The address that others reach it at, which need not be the one that the host would take by itself.
        ({"site_address": "198.51.100.7"}, {"node-ip": "198.51.100.7"}),
    ],
)
def test_the_address_and_the_interface_of_a_node_are_those_of_its_inputs(
    known: dict[str, Any], told: dict[str, str]
) -> None:
    facts = {"default_ipv4": {"address": "203.0.113.9", "interface": "eth0"}}
    config = node_config(ansible_facts=facts, **known)
    assert {name: text for name, text in config.items() if name in ("node-ip", "flannel-iface")} == told


def test_labels_and_taints_are_those_of_the_inputs() -> None:
    known = {"k3s_node_labels": {"place": "hamburg"}, "k3s_node_taints": ["place=hamburg:PreferNoSchedule"]}
    config = node_config(**known)
    assert (config["node-label"], config["node-taint"]) == (["place=hamburg"], known["k3s_node_taints"])
    assert {"node-label", "node-taint"}.isdisjoint(node_config())


@pytest.mark.parametrize(
    ("machine", "binary", "sums", "images"),
    [
        # what the kernel calls it, and the names of the release's files
        ("x86_64", "k3s", "sha256sum-amd64.txt", "k3s-airgap-images-amd64.tar.zst"),
        ("aarch64", "k3s-arm64", "sha256sum-arm64.txt", "k3s-airgap-images-arm64.tar.zst"),
        ("armv7l", "k3s-armhf", "sha256sum-arm.txt", "k3s-airgap-images-arm.tar.zst"),
    ],
)
def test_a_release_is_taken_by_the_names_of_its_files(machine: str, binary: str, sums: str, images: str) -> None:
    known = {"k3s_version": "v1.36.4+k3s1", "ansible_facts": {"architecture": machine}}
    release = "https://github.com/k3s-io/k3s/releases/download/v1.36.4%2Bk3s1"
    assert value("{{ k3s_url }}", **known) == f"{release}/{binary}"
    assert value("{{ k3s_checksum }}", **known) == f"sha256:{release}/{sums}"
    (block,) = (task["block"] for task in install_tasks() if task["name"] == "install | Put k3s in place")
    (archive,) = (task["vars"] for task in block if task["name"].endswith("archive of images in place"))
    assert value(archive["common_artifact_url"], **known) == f"{release}/{images}"
    assert value(archive["common_artifact_destination"], **known) == f"/var/lib/rancher/k3s/agent/images/{images}"


@pytest.mark.parametrize("machine", ["armv6l", "armv8l", "s390x", "riscv64"])
def test_a_machine_for_which_there_is_no_release_is_refused_by_its_name(machine: str) -> None:
    rule = next(each for each in VARS["__k3s_rules"] if each["id"] == "K3S-51")
    found = value("{{ __k3s_rule }}", __k3s_rule=rule, ansible_facts={"architecture": machine})
    assert (found["met"], found["seen"]) == (False, f"a has the architecture {machine}")


TOKENS = {"k3s_token": "hush", "k3s_agent_token": "hush-hush"}
DATASTORE = "https://192.0.2.8:2379,https://192.0.2.9:2379"


@pytest.mark.parametrize(
    ("known", "names"),
    [
        ({"k3s_config": {"disable-network-policy": True}}, ["disable-network-policy"]),
        ({"k3s_config": {"egress-selector-mode": "pod", "flannel-external-ip": 1}},
         ["egress-selector-mode", "flannel-external-ip"]),
        ({"k3s_service_cidr": "10.53.0.0/16"}, ["cluster-dns", "k3s_service_cidr"]),
        ({"k3s_api_port": 7443, "k3s_pod_cidr": "10.52.0.0/16"}, ["k3s_api_port", "k3s_pod_cidr"]),
        ({"k3s_config": {"disable": "servicelb"}}, ["k3s_disable"]),
        ({"k3s_token": "other", "k3s_agent_token": ""}, ["k3s_agent_token", "k3s_token"]),
        ({"k3s_datastore_endpoint": "postgres://k3s:p@h/k3s"}, ["k3s_datastore_endpoint"]),
        # In other words, what k3s does by itself, and what is one host's own.
        ({"k3s_config": {"flannel-backend": "vxlan", "embedded-registry": "False", "cluster-dns": ["10.43.0.10"]}}, []),
        ({"k3s_api_port": "6443", "k3s_pod_cidr": " 10.42.0.0/16", "k3s_token": "K10abc::server:hush\n"}, []),
        ({"k3s_disable": [], "k3s_config": {"disable": "traefik"}}, []),
        ({"k3s_datastore_endpoint": "https://192.0.2.7:2379"}, []),
        ({"k3s_config": {"tls-san": "x", "node-label": ["a=b"], "bind-address": "192.0.2.1", "etcd-s3": True}}, []),
        ({"inventory_hostname": "d", "k3s_config": {"disable-network-policy": True}}, []),
    ],
)  # fmt: skip
def test_servers_are_compared_by_what_a_cluster_has_once(known: dict[str, Any], names: list[str]) -> None:
    common = {**TOKENS, "k3s_datastore_endpoint": DATASTORE, "k3s_disable": ["traefik"]}
    told = value("{{ __k3s_tells }}", inventory_hostname="b", **common)
    assert "hush" not in str(told)
    assert DATASTORE not in str(told)
    others = {"b": {"__k3s_told": told}, "c": {}}  # of the last one nothing is known
    assert value("{{ __k3s_unlike_options }}", **{**common, "hostvars": others, **known}) == names


def test_pods_look_names_up_by_themselves_that_have_no_address() -> None:
    connections = {
        "site_ingress_connection": {"host": "flyte.example.com", "address": "192.0.2.1"},
        "site_database_connection": {"host": "db.example.com"},
        "site_object_store_connection": dict.fromkeys(["endpoint", "public_endpoint"], "https://s3.example.com"),
    }
    assert value("{{ __k3s_dns_hosts }}", **connections) == [{"key": "flyte.example.com", "value": "192.0.2.1"}]


@pytest.mark.parametrize(
    ("seen", "beside", "refused"),
    [
        ({}, {}, True),
        # Of a cluster that runs, nobody knows the taints of now.
        ({"was_here": True}, {}, False),
        ({"peers": ["192.0.2.2"]}, {}, False),
        ({}, {"was_here": True}, False),
    ],
)
def test_a_new_cluster_needs_a_node_that_takes_pods(
    seen: dict[str, Any], beside: dict[str, Any], refused: bool
) -> None:
    looks = {"a": {"was_here": False, "peers": [], **seen}, "d": {"was_here": False, **beside}}
    known = {
        "k3s_servers": ["a"],
        "k3s_agents": ["d"],
        "k3s_node_taints": ["dedicated:NoSchedule"],
        "hostvars": {host: {"__k3s_look": {"stdout": json.dumps(look)}} for host, look in looks.items()},
        "__k3s_seen": looks["a"],
        **TOKENS,
    }
    told = value("{{ __k3s_tells }}", **{**known, "inventory_hostname": "d"})
    known["hostvars"]["d"]["__k3s_told"] = told
    assert value("{{ __k3s_has_nodes_for_pods }}", inventory_hostname="a", **known) is not refused


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("postgres://a:p@192.0.2.1:5432/k3s?sslmode=require", "postgres://b:q/@r@192.0.2.2/k3s", True),
        ("postgres://a:p@192.0.2.1/k3s", "postgres://a:p@192.0.2.1/others", False),
        ("mysql://a:p@tcp(192.0.2.1:3306)/k3s", "mysql://a:p@tcp(192.0.2.2:3306)/k3s?tls=true", True),
        ("mysql://a:p@tcp(192.0.2.1:3306)/k3s", "mysql://a:p@tcp(192.0.2.1:3306)/others", False),
        ("mysql://a:p@tcp(192.0.2.1)/k3s", "postgres://a:p@192.0.2.1/k3s", False),
        ("http://192.0.2.1:2379", "https://192.0.2.2:2379,https://192.0.2.3:2379", True),
        ("", "sqlite://", False),
    ],
)
def test_a_datastore_is_one_by_whatever_way_it_is_reached(one: str, other: str, same: bool) -> None:
    told = value("{{ __k3s_tells }}", inventory_hostname="b", **TOKENS, k3s_datastore_endpoint=one)
    known = {**TOKENS, "hostvars": {"b": {"__k3s_told": told}}, "k3s_datastore_endpoint": other}
    assert value("{{ __k3s_unlike_options }}", **known) == ([] if same else ["k3s_datastore_endpoint"])


@pytest.mark.parametrize(
    ("host", "installed", "wanted", "beside", "met"),
    [
        # an agent
        ("d", "", "v1.36.4", ["v1.36.1", "v1.37.0"], True),
        ("d", "", "v1.37.0", ["v1.37.0", "v1.36.1"], False),
        ("d", "v1.36.1", "v1.37.0", ["v1.36.1"], False),
        ("d", "v1.37.0", "v1.37.0", ["v1.36.1"], True),  # servers come nearer in this run, or not at all
        # a server
        ("a", "", "v1.36.4", ["v1.37.0", "v1.35.1"], True),
        ("a", "", "v1.36.4", ["v1.38.0"], False),
        ("a", "v1.37.0", "v1.38.0", ["v1.36.4"], False),
        ("a", "v1.38.0", "v1.38.0", ["v1.36.4"], True),
        ("a", "v1.35.1", "v1.36.4", ["v1.38.0"], True),
    ],
)
def test_versions_of_one_run_may_not_go_further_apart(
    host: str, installed: str, wanted: str, beside: list[str], met: bool
) -> None:
    told = [{"__k3s_told": {"version": f"{version}+k3s1", "alike": {}}} for version in beside]
    seen = {"version": installed and f"{installed}+k3s1", "serving": []}
    known = {**TOKENS, "inventory_hostname": host, "hostvars": dict(zip("bc", told, strict=False))}
    identifier = "K3S-114" if host == "d" else "K3S-124"
    rule = next(each for each in VARS["__k3s_rules"] if each["id"] == identifier)
    assert value("{{ rule['met'] }}", rule=rule, __k3s_seen=seen, k3s_version=f"{wanted}+k3s1", **known) is met
