# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scripts with which role k3s ends and removes k3s, in pieces.

A piece finds no program but those of the test: PATH has nothing else, and what it calls only notes that it was called.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from unit.contract import ROLES_DIR
from unit.templates import role_variables, templated

SHELL = str(shutil.which("sh"))
RULES = """*filter
:INPUT ACCEPT [0:0]
:KUBE-FORWARD - [0:0]
:FLANNEL-FWD - [0:0]
-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
-A FORWARD -j KUBE-FORWARD
-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
-A CNI-HOSTPORT-DNAT -p tcp -j CNI-DN-0
COMMIT
"""
KEPT = """*filter
:INPUT ACCEPT [0:0]
-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
COMMIT
"""


def script(name: str, data: Path) -> str:
    """A script as the role writes it, for a host on which k3s keeps its data there."""
    known: dict[str, Any] = {
        **role_variables("k3s", "vars"),
        "ansible_managed": "Managed",
        "inventory_hostname": "a",
        "k3s_servers": ["a"],
        "__k3s_data": str(data),
    }
    return str(templated((ROLES_DIR / "k3s/templates" / name).read_text(), known))


def piece(text: str, beginning: str) -> str:
    """The compound command of a script that begins with a line, to the first line that ends one."""
    found = re.search(rf"^{re.escape(beginning)}.*?^(?:done|fi|}})\n", text, re.MULTILINE | re.DOTALL)
    assert found, beginning
    return found[0]


def tool(path: Path, body: str) -> None:
    """A program of the test's own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{SHELL}\n{body}\n")
    path.chmod(0o755)


def iptables(folder: Path, rules: Path) -> None:
    """Programs that tell these rules, and note which ones they were given."""
    rules.write_text(RULES)
    for family in ("iptables", "ip6tables"):
        tool(folder / f"{family}-save", f'while read -r line; do echo "$line"; done <{rules}')
        tool(folder / f"{family}-restore", f'while read -r line; do echo "$line"; done >{rules}.{family}')


def run(host: Path, *pieces: str) -> None:
    """Run pieces on a host that has the programs of one folder and no others."""
    done = subprocess.run(
        [SHELL, "-u"], input="\n".join(pieces), env={"PATH": str(host)}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def removed_rules(tmp_path: Path) -> None:
    """Run what the script does about rules, on a host that has grep."""
    (tmp_path / "host").mkdir(exist_ok=True)
    (tmp_path / "host/grep").symlink_to(str(shutil.which("grep")))
    text = script("k3s-killall.sh.j2", tmp_path / "k3s")
    run(tmp_path / "host", piece(text, "for bin in"), piece(text, "remove_rules() {"), "remove_rules")


def test_rules_go_by_the_iptables_that_k3s_has_brought(tmp_path: Path) -> None:
    iptables(tmp_path / "k3s/data/0123/bin/aux", tmp_path / "rules")
    removed_rules(tmp_path)
    assert (tmp_path / "rules.iptables").read_text() == KEPT
    assert (tmp_path / "rules.ip6tables").read_text() == KEPT


def test_the_hosts_own_iptables_comes_first(tmp_path: Path) -> None:
    """As for k3s itself: rules of the other kind it would not see."""
    iptables(tmp_path / "host", tmp_path / "rules")
    iptables(tmp_path / "k3s/data/0123/bin/aux", tmp_path / "others")
    removed_rules(tmp_path)
    assert (tmp_path / "rules.iptables").read_text() == KEPT
    assert not (tmp_path / "others.iptables").exists()
