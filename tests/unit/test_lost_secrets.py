# Copyright (c) 2026, The flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rule of role site for a secret that is missing though its service runs with it (SITE-18)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from unit.contract import ROLES_DIR, load
from unit.templates import role_variables, templated

VARS = role_variables("site", "vars")
HOSTS = {"postgresql": ["db-1"], "minio": ["s3-1", "s3-2"]}


def value(name: str, directory: Path, **known: Any) -> Any:
    """A variable of the role, given what the inputs and the tasks before have made known."""
    variables = {**VARS, "site_name": "hamburg", "site_directory": str(directory), "site_parts": HOSTS, **known}
    return templated(variables[name], variables)


def rule(directory: Path, seen: dict[str, list[str]]) -> dict[str, Any]:
    """What is made of the lines that hosts have answered."""
    return dict(value("__site_lost_rule", directory, __site_secrets_seen=seen))


def test_a_secret_that_its_service_runs_with_is_not_replaced(tmp_path: Path) -> None:
    found = rule(tmp_path, {"db-1": [], "s3-1": ["minio_root_password /etc/default/minio"]})
    assert found["met"] is False
    assert found["seen"].startswith("minio_root_password of site 'hamburg': no file in")
    assert found["seen"].endswith("but in use on s3-1 (/etc/default/minio)")
    assert found["fix"].endswith("says so (minio_root_password.old).")
    assert "database_password" not in str(found)


def test_before_the_first_run_secrets_are_made(tmp_path: Path) -> None:
    assert rule(tmp_path, {"db-1": []})["met"] is True


def test_where_nothing_is_missing_nothing_is_looked_for(tmp_path: Path) -> None:
    assert dict(value("__site_lost_rule", tmp_path))["met"] is True


@pytest.mark.parametrize(
    ("old", "left"),
    [
        # what lies in the folder, which of the missing secrets are looked for
        ([], ["database_password", "kubernetes_token"]),
        (["database_password.old"], ["kubernetes_token"]),
        (["database_password.bak"], ["database_password", "kubernetes_token"]),
    ],
)
def test_an_old_file_beside_says_that_a_new_one_is_wanted(tmp_path: Path, old: list[str], left: list[str]) -> None:
    (tmp_path / "secrets").mkdir()
    for name in old:
        (tmp_path / "secrets" / name).touch()
    missing = ["database_password", "kubernetes_token"]
    assert value("__site_unexplained_secrets", tmp_path, __site_missing_secrets=missing) == left


def test_a_missing_secret_is_looked_for_on_each_host_of_its_part(tmp_path: Path) -> None:
    missing = ["minio_root_password", "kubernetes_token"]
    assert value("__site_secret_hosts", tmp_path, __site_missing_secrets=missing) == HOSTS["minio"]
    (use,) = value("__site_unexplained_uses", tmp_path, __site_missing_secrets=missing)
    assert use["secret"] == "minio_root_password"


def test_the_files_looked_for_are_those_that_the_roles_write(tmp_path: Path) -> None:
    uses = {use["secret"]: use for use in value("__site_secret_uses", tmp_path)}
    assert {secret: use["hosts"] for secret, use in uses.items()} == {
        "database_password": ["db-1"], "object_store_secret_key": HOSTS["minio"], "minio_root_password": HOSTS["minio"]
    }  # fmt: skip
    minio = load(ROLES_DIR / "minio/vars/main.yml")
    assert uses["minio_root_password"]["files"] == [minio["__minio_environment_file"]]
    platforms = load(ROLES_DIR / "postgresql/vars/main.yml")["__postgresql_platforms"].values()
    folders = [platform["configuration"].replace("{{ __postgresql_major }}", "*") for platform in platforms]
    assert uses["database_password"]["files"] == [f"{folder}/conf.d/flyte.conf" for folder in folders]
