# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What role k3s finds on its host of what is fixed: etcd's address, the CA, networks and the kind of datastore.

How it is started and whether SELinux is enforcing, and which address a restoration gives it.

The role's own scripts run here, on files in a folder of the test's and with a k3s that only notes how it was called.
"""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from unit.contract import ROLES_DIR
from unit.templates import loaded, role_variables, templated

ROLE = ROLES_DIR / "k3s"
OLD, NEW = "192.0.2.9", "192.0.2.1"
# As k3s writes it at every start.
ETCD = """\
advertise-client-urls: https://{}:2379
client-transport-security:
  cert-file: /var/lib/rancher/k3s/server/tls/etcd/server-client.crt
listen-client-urls: https://127.0.0.1:2379,https://{}:2379
"""
CONFIG = """\
# How k3s runs.
cluster-init: true
node-ip: {}
node-name: a
server: https://192.0.2.7:6443
tls-san:
- 192.0.2.5
token: C4n4ry
"""


def script(tasks: str, name: str, host: Path, **known: Any) -> str:
    """The script of a task as it would run, with a host's files in a folder."""
    task = next(
        each for each in loaded(ROLE / f"tasks/{tasks}") if each["name"] == f"{tasks.removesuffix('.yml')} | {name}"
    )
    variables = {
        **role_variables("k3s", "defaults"),
        **role_variables("k3s", "vars"),
        "inventory_hostname": "a",
        "ansible_play_hosts_all": ["a"],
        "k3s_servers": ["a"],
        "k3s_agents": [],
        "k3s_host_addresses": {"a": NEW},
        "k3s_node_address": NEW,
        "k3s_join_url": f"https://{NEW}:6443",
        "k3s_pod_cidr": "10.42.0.0/16",
        "k3s_service_cidr": "10.43.0.0/16",
        "k3s_api_port": 6443,
        "k3s_architecture": "amd64",
        "k3s_bundle": "",
        "__k3s_data": f"{host}/data",
        **known,
    }
    text = str(templated(task["ansible.builtin.shell"]["cmd"], variables))
    for place, folder in {
        "/etc/systemd/system": "systemd",
        "/etc/rancher": "etc",
        "/run": "run",
        "/usr/local/bin": "bin",
        "/boot": "boot",
        "/sys/fs/selinux": "selinux",
        "/usr/share/selinux/packages": "policies",
    }.items():
        text = text.replace(f"{place}/", f"{host}/{folder}/")
    return text


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """What an installation has on its host, without a datastore."""
    for folder in ("etc/k3s", "data/server/db", "run", "bin", "systemd"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


def found(host: Path, what: str = "etcd_address") -> str:
    """What the look says of the host, by default of the address by which etcd knows it."""
    command = ["sh", "-c", script("preflight.yml", "Look at what the host has", host)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "C4n4ry" not in output
    return str(yaml.safe_load(output)[what])


def make(host: Path, *, node_ip: str | None = OLD, started: str | None = OLD) -> None:
    """Have data of etcd, k3s's configuration with an address, and etcd's with that of its last start."""
    (host / "data/server/db/etcd/member").mkdir(parents=True)
    if node_ip is not None:
        (host / "etc/k3s/config.yaml").write_text(CONFIG.format(node_ip))
    if started is not None:
        (host / "data/server/db/etcd/config").write_text(ETCD.format(started, started))


@pytest.mark.parametrize(
    ("node_ip", "started", "address"),
    [
        (OLD, OLD, OLD),
        (f'"{OLD}"', None, OLD),
        (f"{OLD},fd00::9", None, OLD),
        (f"[{OLD}, fd00::9]", None, OLD),
        # After a reset of the members by hand, for which the new address was put there.
        (NEW, OLD, NEW),
        # Of a list over several lines, of another one's installation, and of data that an uninstallation has kept.
        (f"\n- {OLD}\n- fd00::9", OLD, OLD),
        (None, OLD, OLD),
        # What a reset leaves until the next start.
        (None, "127.0.0.1", ""),
        (None, None, ""),
    ],
)
def test_a_member_of_etcd_knows_its_address(host: Path, node_ip: str | None, started: str | None, address: str) -> None:
    make(host, node_ip=node_ip, started=started)
    assert found(host) == address


def test_a_host_without_data_of_etcd_has_no_address_there(host: Path) -> None:
    (host / "etc/k3s/config.yaml").write_text(CONFIG.format(OLD))
    (host / "data/server/db/state.db").touch()
    assert found(host) == ""


def test_a_member_that_was_taken_out_joins_with_any_address(host: Path) -> None:
    make(host)
    (host / "data/server/db/etcd/tombstone").touch()
    assert found(host) == ""


def test_the_ca_is_known_by_its_digest_but_where_a_snapshot_has_brought_it(host: Path) -> None:
    assert found(host, "ca") == ""
    (host / "data/server/tls").mkdir()
    (host / "data/server/tls/server-ca.crt").write_text("The certificate of an authority.\n")
    assert found(host, "ca") == hashlib.sha256(b"The certificate of an authority.\n").hexdigest()
    (host / "data/server/db/reset-flag").touch()
    assert found(host, "ca") == ""


@pytest.mark.parametrize(
    ("lines", "networks"),
    [
        ("cluster-cidr: 10.42.0.0/16", "10.42.0.0/16"),
        ("cluster-cidr: 10.42.0.0/16,fd42::/56", "10.42.0.0/16,fd42::/56"),
        ("\"cluster-cidr\": '10.42.0.0/16, fd42::/56'  # of both families\r", "10.42.0.0/16,fd42::/56"),
        ('cluster-cidr : [10.42.0.0/16, "FD42::/56",]', "10.42.0.0/16,FD42::/56"),
        ("cluster-cidr:  # of both\n# families\n\n- 10.42.0.0/16\n- fd42::/56 # the second", "10.42.0.0/16,fd42::/56"),
        ("cluster-cidr:\n  -  '10.42.0.0/16'\n  - fd42::/56\ntls-san:\n  - 192.0.2.5", "10.42.0.0/16,fd42::/56"),
        # What is not given, or for others.
        ("", ""),
        ("# cluster-cidr: 10.42.0.0/16", ""),
        ("cluster-cidr:", ""),
        ("other:\n  cluster-cidr: 10.42.0.0/16", ""),
        ("my-cluster-cidr: 10.42.0.0/16\ncluster-cidr-mask: 10.44.0.0/16", ""),
        # What would take a reader of YAML.
        ("cluster-cidr: [10.42.0.0/16,\n  fd42::/56]", ""),
        ("cluster-cidr: [10.42.0.0/16,\nfd42::/56]", ""),
        ("cluster-cidr: >-\n  10.42.0.0/16", ""),
        ("cluster-cidr: &pods 10.42.0.0/16", ""),
        ("cluster-cidr: 10.42.0.0/16,\n  fd42::/56", ""),
        ("{cluster-cidr: 10.42.0.0/16}", ""),
        ("cluster-cidr: $(touch /touched)", ""),
    ],
)
def test_the_networks_of_the_first_start_are_read_as_far_as_they_are_plain(
    host: Path, lines: str, networks: str
) -> None:
    text = CONFIG.format(OLD) + lines + "\nservice-cidr: 10.43.0.0/16\n"
    (host / "etc/k3s/config.yaml").write_text(text)
    assert (found(host, "pod_cidr"), found(host, "service_cidr")) == (networks, "10.43.0.0/16")


@pytest.mark.parametrize(
    ("lines", "kind"),
    [
        ("datastore-endpoint: postgres://k3s:C4n4ry@192.0.2.5:5432/k3s?sslmode=disable", "postgres"),
        ("datastore-endpoint: 'mysql://k3s:C4n4ry # @tcp(192.0.2.5:3306)/k3s'", "mysql"),
        ('"datastore-endpoint": "https://192.0.2.5:2379,https://192.0.2.6:2379"  # etcd of others', "https"),
        ('datastore-endpoint: "postgres://k3s:C4n4ry \\\n  C4n4ry@192.0.2.5/k3s"', "postgres"),
        ("datastore-endpoint:\n- postgres://k3s:C4n4ry@192.0.2.5/k3s", "postgres"),
        ("datastore-endpoint: sqlite:///srv/k3s.db", "sqlite"),
        ("datastore-endpoint: >-\n  postgres://k3s:C4n4ry@192.0.2.5/k3s", "unknown"),
        ("datastore-endpoint: C4n4ry", "unknown"),
        ('datastore-endpoint: ""', ""),
        ("# datastore-endpoint: postgres://k3s:C4n4ry@192.0.2.5/k3s", ""),
        ("datastore-cafile: /etc/postgres://", ""),
    ],
)
def test_of_a_datastore_the_kind_alone_is_told(host: Path, lines: str, kind: str) -> None:
    (host / "etc/k3s/config.yaml").write_text(f"{CONFIG.format(OLD)}{lines}\n")
    assert found(host, "datastore") == kind


def test_a_host_without_a_configuration_tells_nothing_of_it(host: Path) -> None:
    assert [found(host, what) for what in ("pod_cidr", "service_cidr", "datastore")] == ["", "", ""]


def restore(host: Path, *, succeeds: bool, **known: Any) -> tuple[bool, str, str]:
    """Restore a snapshot: whether it worked, and the configurations with which it was done and which is left.

    One that fails has put the snapshot in its place, and does not know its token.
    """
    last = "membership has been reset" if succeeds else "encrypted with different token"
    program = host / "bin/k3s"
    program.write_text(
        f"#!/bin/sh\n[ $1 = server ] || exit 0\ncp $K3S_CONFIG_FILE {host}/used\n"
        f'echo "$HTTPS_PROXY $@" >{host}/arguments\n'
        f"touch {host}/data/server/db/reset-flag unpacked\necho 'level=info {last}'\n"
    )
    program.chmod(0o755)
    text = script("restore.yml", "Put the snapshot in the place of the first server's data", host, **known)
    run = subprocess.run(["sh", "-c", text], env={"PATH": f"{host}/bin:/usr/bin:/bin"}, check=False)
    assert list((host / "run").iterdir()) == []
    assert sorted(path.name for path in (host / "data/server/db").iterdir() if path.is_dir()) in ([], ["etcd"])
    assert found(host, "restored") == "True"
    return run.returncode == 0, (host / "used").read_text(), (host / "etc/k3s/config.yaml").read_text()


@pytest.mark.parametrize("addresses", [NEW, f"{NEW},fd00::1"])
def test_a_restoration_begins_with_the_address_that_the_host_has(host: Path, addresses: str) -> None:
    make(host)
    done, used, left = restore(host, succeeds=True, k3s_node_address=addresses)
    assert done
    assert used == CONFIG.format(addresses).replace("server: https://192.0.2.7:6443\n", "")
    assert left == CONFIG.format(addresses)
    assert found(host) == NEW


def test_a_restoration_that_failed_leaves_the_address_of_the_data(host: Path) -> None:
    make(host)
    done, _, left = restore(host, succeeds=False)
    assert not done
    assert left == CONFIG.format(OLD)


@pytest.mark.parametrize(
    ("there", "taken"),
    [
        (True, "/server/db/snapshots/kept --etcd-s3=false"),
        (False, "--cluster-reset-restore-path=kept --etcd-s3=true"),
    ],
)
def test_a_snapshot_that_the_first_server_has_not_comes_from_s3(host: Path, there: bool, taken: str) -> None:
    make(host)
    known = {
        "k3s_restore_snapshot": "kept",
        "__k3s_snapshot_found": {"stat": {"isreg": there}},
        "__k3s_embedded_etcd": True,
        "k3s_config": {"etcd-s3": True, "etcd-s3-bucket": "x"},
    }
    assert restore(host, succeeds=True, **known)[0]
    assert taken in (host / "arguments").read_text()


def test_a_restoration_has_the_environment_of_k3s(host: Path) -> None:
    make(host)
    # As the role writes it.
    (host / "systemd/k3s.service.env").write_text('HTTPS_PROXY="http://u:\\$p\\`\\\\\\"@proxy:3128"\n')
    assert restore(host, succeeds=True)[0]
    assert (host / "arguments").read_text().split()[0] == 'http://u:$p`\\"@proxy:3128'


def test_nothing_tells_of_a_restoration_where_there_was_none(host: Path) -> None:
    make(host)
    assert found(host, "restored") == "False"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("mirrors:\n  x: {}\n", True),
        ('{"mirrors": {"x": {}}}\n', True),
        ("# mirrors:\n", False),
        ("configs:\n  mirrors.example.com: {}\n", False),
    ],
)
def test_mirrors_of_somebody_else_are_found(host: Path, text: str, told: bool) -> None:
    (host / "etc/k3s/registries.yaml").write_text(text)
    assert found(host, "mirrors") == str(told)


@pytest.mark.parametrize(
    ("files", "lines"),
    [
        # Since Debian 12 the one in /boot says that the other counts.
        (["firmware/cmdline.txt", "cmdline.txt"], ["firmware/cmdline.txt"]),
        (["firmware/cmdline.txt"], ["firmware/cmdline.txt"]),
        (["cmdline.txt"], ["cmdline.txt"]),
        # Ubuntu since 25.10, also where an older release has left its file; and with an update that was not booted yet.
        (["firmware/cmdline.txt", "firmware/current/cmdline.txt"], ["firmware/current/cmdline.txt"]),
        (
            ["firmware/current/cmdline.txt", "firmware/new/cmdline.txt", "firmware/old/cmdline.txt"],
            ["firmware/current/cmdline.txt", "firmware/new/cmdline.txt"],
        ),
        ([], []),
    ],
)
def test_the_kernels_command_line_is_the_one_that_the_boot_reads(
    host: Path, files: list[str], lines: list[str]
) -> None:
    for name in files:
        (host / "boot" / name).parent.mkdir(parents=True, exist_ok=True)
        (host / "boot" / name).touch()
    assert found(host, "boot_lines") == str([str(host / "boot" / line) for line in lines])


@pytest.mark.parametrize(
    ("enforce", "policy", "seen"),
    [
        ("1", False, ("True", "False")),
        ("1", True, ("True", "True")),
        # permissive, and off
        ("0", True, ("False", "True")),
        (None, False, ("False", "False")),
    ],
)
def test_selinux_counts_where_it_is_enforcing(
    host: Path, enforce: str | None, policy: bool, seen: tuple[str, str]
) -> None:
    if enforce is not None:
        (host / "selinux").mkdir()
        (host / "selinux/enforce").write_text(enforce)  # the kernel ends no line there
    if policy:
        (host / "policies").mkdir()
        (host / "policies/k3s.pp").touch()
    assert (found(host, "selinux"), found(host, "selinux_policy")) == seen
