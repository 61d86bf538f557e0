# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a run tells of its sites, without hosts: nobody answers where they should be."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import ROOT, Run, run_ansible

NOBODY = {"ansible_host": "127.0.0.1", "ansible_port": 1}
SECRETS = [
    "site_database_password", "site_object_store_secret_key", "site_minio_root_password", "site_kubernetes_token",
]  # fmt: skip
# What a message says that is none: an expression that lacked a fact.
NO_MESSAGE = ("has no attribute", "is undefined", "{{")


def describe(folder: Path, **sites: dict[str, Any]) -> None:
    """Write an inventory of sites with one host for everything; the values are variables of that host."""
    hosts = {f"edge-{site}": {**NOBODY, "site_name": site, **variables} for site, variables in sites.items()}
    groups = {group: {"hosts": dict.fromkeys(hosts)} for group in ("k3s_servers", "postgresql", "minio")}
    variables = {"site_domain": "{{ site_name }}.example.com", **dict.fromkeys(SECRETS, "secret")}
    inventory = {"all": {"hosts": hosts, "children": groups, "vars": variables}}
    (folder / "hosts.yml").write_text(yaml.safe_dump(inventory))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return run_ansible(Path(sys.executable).parent, ROOT / ".collections", tmp_path)


def table(stdout: str) -> list[str]:
    """The lines of the table at the end."""
    return [line.strip().strip('",') for line in stdout.splitlines() if " failed   " in line]


def test_a_host_that_does_not_answer_is_named_with_what_to_do(run: Run, tmp_path: Path) -> None:
    describe(tmp_path, kiel={}, ulm={"site_domain": "https://flyte"})
    result = run("ansible-playbook", "flyte.onprem.preflight", "-i", "hosts.yml", check=False)
    assert result.returncode == 2, result.stdout
    kiel, ulm = table(result.stdout)
    assert kiel.startswith("kiel  failed   Refuse what cannot work, on edge-kiel: [SITE-31] edge-kiel did not answer.")
    assert "Try ansible -m ansible.builtin.ping" in result.stdout
    assert "[SITE-01]" in ulm
    assert [word for word in NO_MESSAGE if word in kiel + ulm] == []


def test_the_list_to_run_again_has_the_hosts_that_are_not_done(run: Run, tmp_path: Path) -> None:
    describe(tmp_path, kiel={}, ulm={})
    run("ansible-playbook", "flyte.onprem.preflight", "-i", "hosts.yml", "--limit", "edge-ulm", check=False)
    assert (tmp_path / "failed-sites.retry").read_text() == "edge-ulm\n"
    run("ansible-playbook", "flyte.onprem.preflight", "-i", "hosts.yml", "--limit", "edge-kiel", check=False)
    assert (tmp_path / "failed-sites.retry").read_text() == "edge-kiel\nedge-ulm\n"


def test_verify_names_a_host_that_does_not_answer_and_nothing_that_follows_from_it(run: Run, tmp_path: Path) -> None:
    describe(tmp_path, kiel={})
    site = tmp_path / ".flyte/kiel"
    site.mkdir(parents=True)
    result = run("ansible-playbook", "flyte.onprem.verify", "-i", "hosts.yml", check=False)
    assert result.returncode != 0, result.stdout
    report = json.loads((site / "report.json").read_text())
    rows = [row for area in report["areas"] for row in area["checks"]]
    assert rows[0]["id"] == "SITE-31"
    assert rows[0]["observed"].startswith("edge-kiel did not answer. ")
    assert [row["observed"] for row in rows for word in NO_MESSAGE if word in row["observed"]] == []
