# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What role k3s does to the files of a host: the memory cgroup of a Raspberry Pi, and files with secrets.

The role's own tasks edit recorded files here, all in one run, in which each is of a host. The reboot is only said to be
done. Other files go into a folder of the test's.
"""

from __future__ import annotations

import getpass
import grp
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.leaks import shown

from .test_k3s_refusals import CLUSTER, LOOK, PI, ROOT, ansible

LINE = "console=serial0,115200 console=tty1 root=PARTUUID=4e639091-02 rootfstype=ext4 fsck.repair=yes rootwait"
ON = "cgroup_memory=1 cgroup_enable=memory"
OFF = "cgroup_disable=memory"
# The kernel's command line in a file, before and after.
LINES = {
    "ended": (f"{LINE}\n", f"{LINE} {ON}\n"),
    "not-ended": (LINE, f"{LINE} {ON}"),
    "with-a-space": (f"{LINE} \n", f"{LINE} {ON} \n"),
    "right": (f"{OFF} {LINE} {ON} quiet\n", f"{OFF} {LINE} {ON} quiet\n"),
    "half": (f"cgroup_memory=1 cgroup_enable=cpuset {LINE}\n", f"cgroup_memory=1 cgroup_enable=cpuset {LINE} {ON}\n"),
    "off": (f"{OFF} {LINE}\n", f"{OFF} {LINE} {ON}\n"),
    "off-again": (f"{ON} {LINE} {OFF}\n", f"{ON} {LINE} {OFF} {ON}\n"),
}
CHANGED = [name for name, (before, after) in LINES.items() if before != after]


def turn_on(folder: Path, *options: str, controllers: str = "cpu memory pids", **known: bool) -> str:
    """Turn the memory cgroup on for all files of the folder, on kernels that have these controllers afterwards."""
    (block,) = (
        task
        for task in yaml.safe_load((ROOT / "roles/k3s/tasks/install.yml").read_text())
        if task["name"] == "install | Turn the memory cgroup on"
    )
    (reboot,) = (task for task in block["block"] if task.pop("ansible.builtin.reboot", None))
    reboot |= {"ansible.builtin.debug": {"msg": "rebooted"}, "changed_when": True}
    (folder / "controllers").write_text(controllers)
    (folder / "cgroups").write_text("#subsys_name hierarchy num_cgroups enabled\nmemory 0 86 0\n")
    (look,) = (task["ansible.builtin.shell"] for task in block["block"] if "ansible.builtin.shell" in task)
    for place, file in {"/sys/fs/cgroup/cgroup.controllers": "controllers", "/proc/cgroups": "cgroups"}.items():
        look["cmd"] = look["cmd"].replace(place, str(folder / file))
    hosts = {
        path.stem: {"__k3s_look": {"stdout": yaml.safe_dump({**LOOK, **PI, "boot_lines": [str(path), *more]})}}
        for path in folder.glob("*.line")
        for more in [[str(file) for file in folder.glob(f"{path.stem}.next")]]
    }
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "ansible_become": False}
    play = {"hosts": "all", "gather_facts": False, "vars_files": [str(ROOT / "roles/k3s/vars/main.yml")]}
    files = {
        "playbook": [play | {"tasks": [block]}],
        "inventory": {"all": {"hosts": hosts, "vars": {**local, "k3s_reboot": True, "k3s_ready_timeout": 600}}},
    }
    for name, content in files.items():
        (folder / f"{name}.yml").write_text(yaml.safe_dump(content))
    return ansible(folder, f"--extra-vars={json.dumps(known)}", *options)


def changes(output: str) -> dict[str, int]:
    """How much was changed on each host, on all of which it went well."""
    assert re.findall(r"failed=[1-9]", output) == [], output
    return {host: int(count) for host, count in re.findall(r"^(\S+) +: .*changed=(\d)", output, re.MULTILINE)}


def contents(folder: Path) -> dict[str, str]:
    return {path.stem: path.read_bytes().decode() for path in folder.glob("*.line")}


@pytest.fixture
def pis(tmp_path: Path) -> Path:
    """A folder with the kernels' command lines."""
    for name, (before, _) in LINES.items():
        (tmp_path / f"{name}.line").write_bytes(before.encode())
    return tmp_path


def test_the_memory_cgroup_is_turned_on_once_and_the_host_rebooted(pis: Path) -> None:
    edited = {name: 2 if name in CHANGED else 1 for name in LINES}
    assert changes(turn_on(pis, "--check")) == edited
    assert contents(pis) == {name: before for name, (before, _) in LINES.items()}
    assert changes(turn_on(pis)) == edited
    after = {name: after for name, (_, after) in LINES.items()}
    assert contents(pis) == after
    # As if the run had been interrupted before the reboot, and then after it.
    assert changes(turn_on(pis)) == dict.fromkeys(LINES, 1)
    assert changes(turn_on(pis, __k3s_has_memory_cgroup=True)) == dict.fromkeys(LINES, 0)
    assert contents(pis) == after


def test_a_host_is_not_rebooted_unless_it_may_be(tmp_path: Path) -> None:
    (tmp_path / "pi.line").write_text(LINE)
    assert changes(turn_on(tmp_path, k3s_reboot=False)) == {"pi": 0}
    assert contents(tmp_path) == {"pi": LINE}


def test_the_memory_cgroup_is_turned_on_also_for_an_update_that_waits_for_its_first_boot(tmp_path: Path) -> None:
    (tmp_path / "pi.line").write_text(f"{LINE} {ON}\n")
    (tmp_path / "pi.next").write_text(f"{LINE}\n")
    assert changes(turn_on(tmp_path)) == {"pi": 2}
    assert (tmp_path / "pi.next").read_text() == f"{LINE} {ON}\n"


def test_a_kernel_that_has_no_memory_cgroup_after_the_reboot_is_named(tmp_path: Path) -> None:
    (tmp_path / "pi.line").write_text(f"{LINE}\n")
    output = " ".join(turn_on(tmp_path, controllers="cpu pids").split())
    assert f"pi has no memory cgroup, although {tmp_path / 'pi.line'} asks for it and the host has rebooted" in output
    assert "docs/problems.md#k3s-59" in output


SECRETS = {
    "registry": "CanaryOfTheRegistry",
    "token": "CanaryOfTheToken",
    "datastore": "CanaryOfTheDatastore",
    "proxy": "CanaryOfTheProxy",
    "store": "CanaryOfTheStore",
}
REGISTRIES = {
    "mirrors": {"docker.io": {"endpoint": ["https://registry.example.com"]}},
    "configs": {"registry.example.com": {"auth": {"username": "reader", "password": SECRETS["registry"]}}},
}


def write_files(folder: Path, *options: str) -> str:
    """Write the role's files with secrets, and one without, into a folder; the output, with all that modules say."""
    variables = (ROOT / "roles/k3s/vars/main.yml").read_text()
    tasks = (ROOT / "roles/k3s/tasks/configure.yml").read_text()
    group = grp.getgrgid(os.getgid()).gr_name
    for theirs, ours in {"owner: root": f"owner: {getpass.getuser()}", "group: root": f"group: {group}"}.items():
        variables, tasks = variables.replace(theirs, ours), tasks.replace(theirs, ours)
    for place in ("/etc/rancher/k3s/", "/etc/systemd/system/"):
        variables = variables.replace(place, f"{folder}/host/")
    variables = variables.replace(
        "'ansible.builtin.template', '", f"'ansible.builtin.template', '{ROOT}/roles/k3s/templates/"
    )
    known = yaml.safe_load(variables) | {
        "role_path": str(ROOT / "roles/k3s"),
        "__k3s_files": "{{ __k3s_always_files | selectattr('secret') | list + others }}",
        "others": "{{ [__k3s_registries_file, __k3s_audit_policy_file] }}",
    }
    defaults = yaml.safe_load((ROOT / "roles/site/defaults/main.yml").read_text())
    defaults |= yaml.safe_load((ROOT / "roles/k3s/defaults/main.yml").read_text())
    inputs: dict[str, Any] = {
        **CLUSTER,
        "site_directory": str(folder),
        "k3s_servers": ["a"],
        "k3s_agents": [],
        "k3s_host_addresses": {"a": "192.0.2.1"},
        "k3s_token": SECRETS["token"],
        "k3s_agent_token": "",
        "k3s_registries": REGISTRIES,
        "k3s_datastore_endpoint": f"postgres://k3s:{SECRETS['datastore']}@192.0.2.9/k3s",
        "k3s_environment": {"HTTPS_PROXY": f"http://user:{SECRETS['proxy']}@192.0.2.9:3128"},
        "k3s_config": {"etcd-s3-secret-key": SECRETS["store"]},
        "k3s_audit_policy": {"rules": [{"level": "Metadata"}]},
        "__k3s_look": {"stdout": yaml.safe_dump(LOOK)},
    }
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "ansible_become": False}
    block = yaml.safe_load(tasks)[0]["block"]
    writing = [each for each in block if each["name"].partition(" | ")[2].split()[0] in ("Look", "See", "Write")]
    play = {"hosts": "all", "gather_facts": False, "vars": known, "tasks": writing}
    inventory = {"all": {"hosts": {"a": None}, "vars": defaults | inputs | local}}
    for name, content in {"playbook": [play], "inventory": inventory}.items():
        (folder / f"{name}.yml").write_text(yaml.safe_dump(content))
    return ansible(folder, "--diff", "-vvv", *options)


def test_secrets_reach_files_of_root_alone_and_no_output(tmp_path: Path) -> None:
    host = tmp_path / "host"
    host.mkdir()
    outputs = {options: write_files(tmp_path, *options) for options in (("--check",), (), ("--diff",))}
    assert [changes(output)["a"] for output in outputs.values()] == [2, 2, 0]
    assert [shown(output, SECRETS) for output in outputs.values()] == [{}] * 3
    assert "+- level: Metadata" in outputs[()]  # other files are shown
    files = ["audit-policy.yaml", "config.yaml", "k3s.service.env", "registries.yaml"]
    assert sorted(path.name for path in host.iterdir()) == files
    assert {path.stat().st_mode & 0o777 for path in host.iterdir()} == {0o600}
    assert yaml.safe_load((host / "registries.yaml").read_text()) == REGISTRIES
    told = {path.name: sorted(shown(path.read_text(), SECRETS)) for path in host.iterdir()}
    assert told == {
        "audit-policy.yaml": [],
        "config.yaml": ["datastore", "store", "token"],
        "k3s.service.env": ["proxy"],
        "registries.yaml": ["registry"],
    }
