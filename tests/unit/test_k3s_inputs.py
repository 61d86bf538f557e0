# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the inputs of role k3s are written into k3s's configuration."""

from __future__ import annotations

import hashlib
import re
import socket
import subprocess
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


def look(k3s: str = "/usr/local/bin/k3s", config: str = "/etc/rancher/k3s/config.yaml", **known: Any) -> dict[str, Any]:
    """What the role's look at a host says of this machine, which it only reads."""
    (found,) = (task for _, task in role_tasks("k3s") if task["name"] == "preflight | Look at what the host has")
    script = value(found["ansible.builtin.shell"]["cmd"], ansible_play_hosts_all=["a"], **known)
    script = script.replace("/usr/local/bin/k3s", k3s).replace("/etc/rancher/k3s/config.yaml", config)
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
        ({"node-name": "yes", "etcd-s3-timeout": "5m"}, []),
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
