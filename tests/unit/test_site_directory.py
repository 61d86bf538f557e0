# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the site's secrets may lie beside an inventory that is a folder (SITE-08)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.inventory.manager import InventoryManager
from unit.templates import LOADER, role_variables, templated

VARS = role_variables("site", "vars")


def rule(sources: list[str], directory: str) -> dict[str, Any]:
    raw = next(each for each in VARS["__site_inventory_rules"] if each["id"] == "SITE-08")
    return dict(templated(raw, {**VARS, "ansible_inventory_sources": sources, "site_directory": directory}))


@pytest.mark.parametrize(
    ("sources", "directory"),
    [
        (["inventory"], "inventory/.flyte/site"),
        (["inventory"], "inventory/bremen/.flyte/site"),
        (["inventory"], "inventory/.private"),
        (["inventory"], "inventory"),
        (["inventory"], "inventory/bremen"),
        (["inventory"], "inventory/bremen/flyte.d/site"),
        (["inventory"], "elsewhere/site"),
        (["inventory"], "inventory-secrets"),
        (["inventory/hosts.yml"], "inventory"),
        (["inventory", "inventory/.more"], "inventory/.more/site"),
        (["other", "inventory"], "inventory/site"),
    ],
)
def test_secrets_lie_where_ansible_takes_them_for_no_host(tmp_path: Path, sources: list[str], directory: str) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "inventory/.more").mkdir(parents=True)
    (tmp_path / "inventory/hosts.yml").write_text("all: {hosts: {edge-1: }}\n")
    password = tmp_path / directory / "secrets/database_password"
    password.parent.mkdir(parents=True)
    password.write_text("geheim\n")
    paths = [str(tmp_path / source) for source in sources]
    exposed = "geheim" in InventoryManager(loader=LOADER, sources=paths).hosts
    assert rule(paths, str(tmp_path / directory))["met"] is not exposed


def test_the_folder_that_is_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    assert f"{tmp_path}, is {tmp_path}, which" in rule([str(tmp_path)], str(tmp_path))["seen"]
    assert f"{tmp_path}/site, lies in {tmp_path}, which" in rule([str(tmp_path)], f"{tmp_path}/site")["seen"]


def test_an_inventory_that_is_no_folder_exposes_nothing() -> None:
    assert rule(["edge-1,"], "/srv/flyte")["met"] is True
