# Copyright (c) 2026, The flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running ansible as a user does: from some directory, with an inventory, without this checkout's configuration."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
BINARIES = Path(sys.executable).parent
# The `ansible` package brings the collections that this one depends on.
DEPENDENCIES = Path(sysconfig.get_path("purelib"))
PLAYBOOKS = ["site", "preflight", "cluster", "backends", "ingress", "flyte", "verify", "uninstall"]

Run = Callable[..., subprocess.CompletedProcess]


def run_ansible(binaries: Path, collections: Path, directory: Path) -> Run:
    """A function that runs one of ansible's commands with *collections* and the dependencies in its search path."""
    (directory / "ansible.cfg").touch()  # else the user's own would be read

    def run(*command: str, check: bool = True, **variables: str) -> subprocess.CompletedProcess:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        result = subprocess.run(
            [binaries / command[0], *command[1:]],
            cwd=directory,
            text=True,
            capture_output=True,
            check=False,
            env={
                **kept,
                "ANSIBLE_CONFIG": str(directory / "ansible.cfg"),
                "ANSIBLE_COLLECTIONS_PATH": f"{collections}:{DEPENDENCIES}",
                "ANSIBLE_HOME": str(directory / "home"),
                "ANSIBLE_LOCALHOST_WARNING": "false",
                "ANSIBLE_NOCOLOR": "1",
                **variables,
            },
        )
        if check and result.returncode:
            pytest.fail(f"{' '.join(command)} ended with {result.returncode}:\n{result.stdout}\n{result.stderr}")
        return result

    return run


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One host for everything, as in the README."""
    path = tmp_path_factory.mktemp("inventory") / "hosts.yml"
    path.write_text(
        """\
all:
  hosts:
    edge-1: {ansible_host: 192.0.2.10}
  vars: {site_domain: flyte.example.com}
  children:
    k3s_servers: {hosts: {edge-1: }}
    postgresql: {hosts: {edge-1: }}
    minio: {hosts: {edge-1: }}
"""
    )
    return path


@pytest.fixture(scope="session")
def tarball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from what git knows, so that a file forgotten in a commit is missing here too."""
    source, output = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("output")
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listing.split("\0")):
        origin, target = ROOT / name, source / name
        if origin.is_symlink() or not origin.is_file():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(origin.read_bytes())
    run = run_ansible(BINARIES, output, output)
    run("ansible-galaxy", "collection", "build", str(source), "--output-path", str(output))
    version = yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]
    return output / f"flyte-onprem-{version}.tar.gz"
