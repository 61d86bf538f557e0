# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventories that users copy, as the roles judge them on hosts that are ready. No host is asked."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.cases import first

from .conftest import ROOT, run_ansible
from .test_k3s_refusals import LOOK

FACTS = {
    "default_ipv4": {"address": "{{ ansible_host }}"}, "nodename": "{{ inventory_hostname }}", "architecture": "x86_64",
    "distribution": "Debian", "distribution_major_version": "12", "memtotal_mb": 8192, "mounts": [], "cacheable": True,
}  # fmt: skip
INVENTORIES = sorted((ROOT / "inventories").iterdir(), key=lambda path: path.name != "ha")
RULES = {
    "site": ["__site_inventory_rules", "__site_host_rules if __site_uses_host else []"],
    "k3s": ["__k3s_type_rules", "__k3s_input_rules", "__k3s_rules | rejectattr('id', 'in', __k3s_mended_later)"],
}


def judging(hosts: str, *roles: str) -> dict[str, Any]:
    """A play with roles of which only the inputs are looked at, and the last one's rules are judged."""
    findings = " ~ ".join(f"(({rules}) | flyte.onprem.findings)" for rules in RULES[roles[-1]])
    own = {"role_path": str(ROOT / "roles" / roles[-1])}  # as in the role's tasks
    say = {"ansible.builtin.debug": {"msg": f"[{{{{ {findings} }}}}]"}, "vars": own, "tags": "always"}
    return {"hosts": hosts, "gather_facts": False, "roles": [f"flyte.onprem.{role}" for role in roles], "tasks": [say]}


@pytest.mark.parametrize("inventory", first(INVENTORIES), ids=[path.name for path in INVENTORIES])
def test_an_inventory_as_it_is_shipped_is_one_that_the_roles_take(tmp_path: Path, inventory: Path) -> None:
    shutil.copytree(inventory, tmp_path / "inventory")
    clean = {"__k3s_look": {"stdout": yaml.safe_dump(LOOK)}}
    seen = [{"ansible.builtin.set_fact": known, "tags": "always"} for known in (FACTS, clean)]
    playbook = [
        {"hosts": "all", "gather_facts": False, "tasks": seen},
        judging("all", "site"),
        judging("k3s_servers:k3s_agents", "site", "k3s"),
    ]
    (tmp_path / "playbook.yml").write_text(yaml.safe_dump(playbook, sort_keys=False))
    run = run_ansible(Path(sys.executable).parent, ROOT / ".collections", tmp_path)
    output = run("ansible-playbook", "-i", "inventory", "--check", "--tags", "none", "playbook.yml").stdout
    said = re.findall(r'"msg": (.*)', output)
    assert said, output
    assert set(said) == {'"[]"'}
