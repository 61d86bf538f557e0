# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plays that the READMEs of the roles show, as far as the contracts of the roles. No host is asked."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import yaml

from .conftest import ROOT, run_ansible

# What role site has seen of a host that it does not look at again.
FACTS = {"default_ipv4": {"address": "192.0.2.10"}, "nodename": "edge-1", "architecture": "x86_64", "cacheable": True}


def plays(readme: Path) -> list[dict[str, Any]]:
    """The plays among the blocks of a README, of which others are lists of tasks."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", readme.read_text(), re.DOTALL | re.MULTILINE)
    return [play for block in blocks for play in yaml.safe_load(block) if "hosts" in play]


def test_the_plays_of_the_readmes_give_each_role_what_it_needs(tmp_path: Path) -> None:
    """A role's parameters are its own: an input that another one's defaults read has to be the play's."""
    shown = [play for path in sorted((ROOT / "roles").glob("*/README.md")) for play in plays(path)]
    roles = [role["role"] for play in shown for role in play["roles"]]
    assert set(roles) == {f"flyte.onprem.{path.name}" for path in (ROOT / "roles").iterdir()} - {"flyte.onprem.common"}
    seen = {"hosts": "all", "tasks": [{"ansible.builtin.set_fact": FACTS}]}
    playbook = [seen, *(play | {"hosts": "all"} for play in shown)]
    for task in (task for play in playbook for task in play.get("tasks", [])):
        task["tags"] = "always"
    (tmp_path / "playbook.yml").write_text(yaml.safe_dump(playbook, sort_keys=False))
    (tmp_path / "hosts.yml").write_text("all: {hosts: {edge-1: {ansible_host: 127.0.0.1, ansible_port: 1}}}\n")
    run = run_ansible(Path(sys.executable).parent, ROOT / ".collections", tmp_path)
    options = ["-i", "hosts.yml", "--check", "--tags", "none"]
    output = run("ansible-playbook", *options, "playbook.yml", ANSIBLE_GATHERING="explicit").stdout
    assert re.findall(r"^TASK \[(\S+) : Validating arguments", output, re.MULTILINE) == roles
