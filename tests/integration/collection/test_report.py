# Copyright (c) 2026, The flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a site, from results as the check modules return them to the files and the message."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support.pages import Page

from .conftest import ROOT, run_ansible

PLAY = """\
- name: Report
  hosts: edge-1
  gather_facts: false
  tasks:
    - name: Have results
      ansible.builtin.set_fact:
        __minio_report: "{{ minio }}"
        __postgresql_report: {checks: [], passed: true}
    - name: Report
      ansible.builtin.import_role: {name: flyte.onprem.site, tasks_from: report}
"""
FAILED = {
    "id": "S3-14",
    "title": "Objects may be deleted from bucket <flyte>",
    "status": "failed",
    "observed": "403 AccessDenied & more",
    "expected": "s3:DeleteObject allowed",
    "cause": "The policy lacks it.",
    "fix": "Allow it.",
    "reference": "https://example.com/why",
}
PASSED = {**FAILED, "id": "S3-04", "title": "The bucket exists", "status": "passed", "cause": "", "fix": ""}


def write(inventory: Path, folder: Path, rows: list[dict], *arguments: str) -> tuple[subprocess.CompletedProcess, Path]:
    """Run the role's report on these rows; the run and the site's folder."""
    (folder / "play.yml").write_text(PLAY)
    site = folder / "the-site"
    variables = {
        "minio": {"checks": rows, "passed": not any(row["status"] == "failed" for row in rows), "latency_ms": 4},
        "site_directory": str(site),
    }
    run = run_ansible(Path(sys.executable).parent, ROOT / ".collections", folder)
    command = ["ansible-playbook", "-i", str(inventory), "-e", json.dumps(variables), *arguments, "play.yml"]
    if "--check" not in arguments:
        site.mkdir()
    return run(*command, check=False), site


def test_a_failed_check_fails_the_run_after_the_report_was_written(inventory: Path, tmp_path: Path) -> None:
    result, site = write(inventory, tmp_path, [PASSED, FAILED])
    assert result.returncode == 2, result.stdout
    assert "1 of 2 checks failed." in result.stdout
    assert "[S3-14] Objects may be deleted from bucket <flyte>. Seen: 403 AccessDenied & more." in result.stdout
    report = json.loads((site / "report.json").read_text())
    assert (report["format"], report["passed"], report["domain"]) == (1, False, "flyte.example.com")
    assert next(row["id"] for area in report["areas"] for row in area["checks"]) == "S3-14"


def test_the_page_needs_nothing_from_elsewhere_and_shows_what_to_do(inventory: Path, tmp_path: Path) -> None:
    _result, site = write(inventory, tmp_path, [PASSED, FAILED])
    text = (site / "report.html").read_text()
    page = Page(text)
    assert page.fetched == []
    words = " ".join(page.words)
    for expected in (
        "1 check failed",
        "bucket <flyte>",
        "403 AccessDenied & more",
        "The policy lacks it.",
        "Allow it.",
    ):
        assert expected in words


def test_a_site_that_works_says_so_and_where_everything_is(inventory: Path, tmp_path: Path) -> None:
    result, site = write(inventory, tmp_path, [PASSED])
    assert result.returncode == 0, result.stdout
    assert "Flyte is ready. Checks passed: 1" in result.stdout
    assert "https://flyte.example.com/console" in result.stdout
    assert "changed=0" in result.stdout
    assert "Everything works" in (site / "report.html").read_text()


@pytest.mark.parametrize("rows", [[], [FAILED]], ids=["nothing asked", "nothing there yet"])
def test_check_mode_writes_nothing_and_does_not_fail(inventory: Path, tmp_path: Path, rows: list[dict]) -> None:
    result, site = write(inventory, tmp_path, rows, "--check")
    assert result.returncode == 0, result.stdout
    assert not site.exists()
    assert "Flyte is ready." not in result.stdout


def test_the_message_says_how_long_a_workflow_took(inventory: Path, tmp_path: Path) -> None:
    result, _site = write(inventory, tmp_path, [PASSED], "-e", json.dumps({"__flyte_workflow_report": WORKFLOW}))
    assert "Checks passed: 2. A workflow of two tasks took 21.4 s" in result.stdout


WORKFLOW = {
    "checks": [{**PASSED, "id": "FLYTE-60", "title": "A workflow of two tasks runs"}],
    "passed": True,
    "workflow_seconds": 21.4,
}
FLEET_PLAY = """\
- name: Report
  hosts: all
  gather_facts: false
  tasks:
    - name: Lose a site on the way
      ansible.builtin.set_fact:
        sites_failure: {where: MinIO, task: Place it, msg: no way to <it>}
      when: site_name == 'lost'
    - name: Have results
      ansible.builtin.set_fact:
        __minio_report: "{{ minio }}"
        __flyte_workflow_report: "{{ workflow }}"
    - name: Report
      ansible.builtin.include_role: {name: flyte.onprem.site, tasks_from: report}
      when: site_name not in ['lost', 'unasked']
- name: All sites
  hosts: all
  gather_facts: false
  tasks:
    - name: Write the page
      ansible.builtin.include_role: {name: flyte.onprem.site, tasks_from: fleet}
      when: inventory_hostname == outcome['speaker']
      vars:
        all: "{{ groups['all'] }}"
        outcome: "{{ all | flyte.onprem.sites_outcome(hostvars, ansible_play_hosts, ansible_play_hosts_all) }}"
        site_fleet_sites: "{{ outcome['sites'] }}"
"""


SITES = ("hamburg", "bremen", "kiel", "lost", "unasked")


@pytest.fixture
def fleet(tmp_path: Path) -> tuple[subprocess.CompletedProcess, Path]:
    """Five sites of one host each: two work, one failed its checks, one before them, and of one nothing was asked."""
    hosts = {}
    for name, rows in zip(SITES, ([PASSED], [PASSED], [PASSED, FAILED], [], []), strict=True):
        hosts[f"edge-{name}"] = {
            "ansible_connection": "local",
            "site_name": name,
            "site_domain": f"{name}.example.com",
            "minio": {"checks": rows, "passed": FAILED not in rows},
            "workflow": WORKFLOW if name == "hamburg" else {},
        }
    groups = {group: {"hosts": {name: {} for name in hosts}} for group in ("k3s_servers", "postgresql", "minio")}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts, "children": groups}}))
    (tmp_path / "play.yml").write_text(FLEET_PLAY)
    for name in ("hamburg", "bremen", "kiel"):
        (tmp_path / ".flyte" / name).mkdir(parents=True)
    run = run_ansible(Path(sys.executable).parent, ROOT / ".collections", tmp_path)
    return run("ansible-playbook", "-i", "hosts.yml", "play.yml", check=False), tmp_path / ".flyte"


def test_a_fleet_gets_one_page_with_a_row_for_each_site_the_worst_first(
    fleet: tuple[subprocess.CompletedProcess, Path],
) -> None:
    result, folder = fleet
    document = json.loads((folder / "fleet.json").read_text())
    assert [(site["site"], site["state"]) for site in document["sites"]] == [
        ("kiel", "failed"), ("lost", "failed"), ("unasked", "unknown"), ("bremen", "passed"), ("hamburg", "passed"),
    ], result.stdout  # fmt: skip
    text = (folder / "fleet.html").read_text()
    page = Page(text)
    assert page.fetched == []
    words = " ".join(page.words)
    for expected in (
        "2 of 5 sites work", "1 check failed", "[S3-14]", "no way to <it>", "not checked", "a workflow took 21.4 s",
    ):  # fmt: skip
        assert expected in words, words
    assert re.findall(r'href="([^"]+)"', text) == [f"{name}/report.html" for name in ("kiel", "bremen", "hamburg")]
    assert "all sites: " in result.stdout
    assert "changed=0" in result.stdout


def test_each_site_of_a_fleet_has_a_report_of_its_own(fleet: tuple[subprocess.CompletedProcess, Path]) -> None:
    _result, folder = fleet
    found = {name: json.loads((folder / name / "report.json").read_text()) for name in ("hamburg", "bremen", "kiel")}
    assert {name: (report["site"], report["passed"]) for name, report in found.items()} == {
        "hamburg": ("hamburg", True), "bremen": ("bremen", True), "kiel": ("kiel", False),
    }  # fmt: skip


def test_what_an_earlier_run_found_out_stays_on_the_page(fleet: tuple[subprocess.CompletedProcess, Path]) -> None:
    _result, folder = fleet
    run = run_ansible(Path(sys.executable).parent, ROOT / ".collections", folder.parent)
    others = json.dumps({"site_fleet_others": ["kiel"]})
    run("ansible-playbook", "-i", "hosts.yml", "-l", "edge-hamburg", "-e", others, "play.yml")
    assert [(site["site"], site["earlier"]) for site in json.loads((folder / "fleet.json").read_text())["sites"]] == [
        ("kiel", True), ("hamburg", False),
    ]  # fmt: skip
    assert "as of" in (folder / "fleet.html").read_text()
