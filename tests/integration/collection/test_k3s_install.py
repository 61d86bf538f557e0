# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What role k3s does to a host before k3s is there: the memory cgroup of a Raspberry Pi.

The role's own tasks edit recorded files here, all in one run, in which each is of a host. The reboot is only said to be
done.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
import yaml

from .test_k3s_refusals import LOOK, PI, ROOT, ansible

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
        path.stem: {"__k3s_look": {"stdout": yaml.safe_dump({**LOOK, **PI, "boot_line": str(path)})}}
        for path in folder.glob("*.line")
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


def test_a_kernel_that_has_no_memory_cgroup_after_the_reboot_is_named(tmp_path: Path) -> None:
    (tmp_path / "pi.line").write_text(f"{LINE}\n")
    output = " ".join(turn_on(tmp_path, controllers="cpu pids").split())
    assert f"pi has no memory cgroup, although {tmp_path / 'pi.line'} asks for it and the host has rebooted" in output
    assert "docs/problems.md#k3s-59" in output
