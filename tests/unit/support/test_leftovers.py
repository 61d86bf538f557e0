# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The look for what an uninstallation leaves behind, with programs of the test's own that tell it what is there."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from support.leftovers import LEFTOVERS

RULES = """*nat
-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
-A POSTROUTING -o eth0 -j MASQUERADE
COMMIT
"""


def look(folder: Path, programs: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Look on a host where these programs do this, and the others find nothing."""
    for name, body in {"ls": "", "ps": "", "ip": "", "nft": "", **programs}.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    (folder / "grep").symlink_to(str(shutil.which("grep")))
    shell = str(shutil.which("sh"))
    return subprocess.run(
        [shell, "-c", LEFTOVERS], env={"PATH": str(folder)}, capture_output=True, text=True, check=False
    )


def test_rules_of_flannel_are_found(tmp_path: Path) -> None:
    done = look(tmp_path, {"iptables-save": f"echo '{RULES}'"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "-j FLANNEL-POSTRTG" in done.stdout
    assert "MASQUERADE" not in done.stdout


def test_a_look_without_the_program_fails(tmp_path: Path) -> None:
    done = look(tmp_path, {})
    assert (done.returncode, done.stderr) == (1, "This host has no iptables-save to look with.\n")


def test_a_look_that_is_refused_fails(tmp_path: Path) -> None:
    assert look(tmp_path, {"iptables-save": "exit 4"}).returncode == 1
