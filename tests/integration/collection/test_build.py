# Copyright (c) 2026, The flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tarball that users get: what is in it, and that it works from where ansible-galaxy puts it."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from .conftest import BINARIES, PLAYBOOKS, ROOT, Run, run_ansible

CONTENTS = {
    "CHANGELOG.md", "FILES.json", "LICENSE", "MANIFEST.json", "README.md", "changelogs", "docs", "inventories", "meta",
    "playbooks", "plugins", "requirements.txt", "requirements.yml", "roles",
}  # fmt: skip


@pytest.fixture(scope="module")
def installed(tarball: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """ansible's commands, with the collection where ansible-galaxy installed it from the tarball."""
    home = tmp_path_factory.mktemp("installed")
    run = run_ansible(BINARIES, home / "collections", home)
    run("ansible-galaxy", "collection", "install", str(tarball), "--no-deps", "-p", str(home / "collections"))
    return run


def test_the_tarball_holds_what_users_need_and_nothing_else(tarball: Path) -> None:
    with tarfile.open(tarball) as archive:
        names = archive.getnames()
    assert {name.split("/")[0] for name in names} == CONTENTS
    assert [name for name in names if name.endswith((".pyc", ".orig")) or "__pycache__" in name] == []


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_a_playbook_is_found_by_its_full_name(installed: Run, inventory: Path, playbook: str) -> None:
    result = installed("ansible-playbook", f"flyte.onprem.{playbook}", "-i", str(inventory), "--syntax-check")
    assert f"{playbook}.yml" in result.stdout


def test_every_module_and_role_is_documented(installed: Run) -> None:
    modules = installed("ansible-doc", "--list", "flyte.onprem").stdout
    for path in (ROOT / "plugins/modules").glob("*.py"):
        assert f"flyte.onprem.{path.stem}" in modules
        installed("ansible-doc", f"flyte.onprem.{path.stem}")
    roles = installed("ansible-doc", "--type", "role", "--list", "flyte.onprem").stdout
    for path in (ROOT / "roles").iterdir():
        assert f"flyte.onprem.{path.name}" in roles


def test_bad_input_is_refused_before_anything_is_touched(installed: Run, inventory: Path) -> None:
    result = installed(
        "ansible-playbook", "flyte.onprem.site", "-i", str(inventory), "-e", "site_domain=Flyte", check=False
    )
    assert result.returncode == 2
    assert "SITE-01" in result.stdout + result.stderr
    assert not (inventory.parent / "site").exists()


@pytest.mark.parametrize("example", sorted((ROOT / "inventories").iterdir()), ids=lambda path: path.name)
def test_the_example_inventories_are_some_that_the_playbooks_accept(installed: Run, example: Path) -> None:
    graph = installed("ansible-inventory", "-i", str(example), "--graph").stdout
    assert "@existing_cluster" in graph or "@k3s_servers" in graph
    assert all(group in graph for group in ("@postgresql", "@minio"))
    installed("ansible-playbook", "flyte.onprem.site", "-i", str(example), "--syntax-check")
