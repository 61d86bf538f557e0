# Copyright (c) 2026, The flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the collection's files for the contract tests."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES_DIR = ROOT / "roles"
ROLES = sorted(path.name for path in ROLES_DIR.iterdir() if path.is_dir())
# `common` holds entry points that other roles share; it has no behaviour, so no phases, of its own.
PHASED_ROLES = [role for role in ROLES if role != "common"]
PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))
# What playbooks are put together from.
PLAYS = sorted((ROOT / "playbooks/plays").glob("*.yml"))
MODULES = sorted(path for path in (ROOT / "plugins/modules").glob("*.py"))

NOT_ARGUMENTS = {
    "name", "when", "vars", "register", "tags", "loop", "loop_control", "no_log", "become", "become_user", "until",
    "retries", "delay", "failed_when", "changed_when", "check_mode", "delegate_to", "run_once", "notify", "listen",
    "environment", "module_defaults", "block", "rescue", "always", "any_errors_fatal", "diff", "connection", "timeout",
    "delegate_facts", "throttle", "args", "async", "poll", "ignore_unreachable", "collections", "port", "remote_user",
}  # fmt: skip


@cache
def load(path: Path) -> Any:
    """A YAML file; None for one that is missing, which is the business of a test of its own."""
    return yaml.safe_load(path.read_text()) if path.is_file() else None


def specs(role: str) -> dict[str, Any]:
    return (load(ROLES_DIR / role / "meta/argument_specs.yml") or {"argument_specs": {}})["argument_specs"]


def defaults_text(role: str) -> str:
    path = ROLES_DIR / role / "defaults/main.yml"
    return path.read_text() if path.is_file() else ""


def declared(role: str) -> set[str]:
    """Names set in defaults, plus required ones that stand there as '# <role>_name:'."""
    text = defaults_text(role)
    return set(yaml.safe_load(text) or {}) | set(re.findall(rf"^# ({role}_\w+):", text, re.MULTILINE))


def role_files(role: str, *folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROLES_DIR / role / folder).rglob("*") if path.is_file())


def tasks(document: Any, *, no_log: bool = False) -> list[dict[str, Any]]:
    """Every task of a file, those inside blocks too, each with the no_log that its block gives it."""
    found = []
    for task in document or []:
        quiet = task.get("no_log", no_log)
        inner = [key for key in ("block", "rescue", "always") if key in task]
        for key in inner:
            found += tasks(task[key], no_log=quiet)
        if not inner:
            found.append({**task, "no_log": quiet})
    return found


def role_tasks(role: str) -> list[tuple[str, dict[str, Any]]]:
    """(where it stands, task) for all tasks and handlers of a role."""
    return [
        (f"{path.relative_to(ROOT)}: {task.get('name')}", task)
        for path in role_files(role, "tasks", "handlers")
        if path.suffix == ".yml"
        for task in tasks(load(path))
    ]


def action(task: dict[str, Any]) -> tuple[str, Any]:
    """A task's module and its arguments."""
    return next(((key, value) for key, value in task.items() if key not in NOT_ARGUMENTS), ("", None))


@cache
def tracked_files() -> list[Path]:
    """The text files in git, and those that are about to be."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    paths = [ROOT / line for line in listing.stdout.splitlines()]
    return [path for path in paths if path.is_file() and not path.is_symlink() and b"\0" not in path.read_bytes()]
