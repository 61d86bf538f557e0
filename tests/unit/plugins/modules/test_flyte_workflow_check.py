# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What main() does by itself; the run is in module_utils/test_workflow.py."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.control_plane import FakeControlPlane, control_plane, refusal
from support.modules import Result, run_module
from support.servers import free_port

from ansible_collections.flyte.onprem.plugins.modules.flyte_workflow_check import main


@pytest.fixture
def flyte() -> Iterator[FakeControlPlane]:
    with control_plane() as fake:
        yield fake


def check(flyte: FakeControlPlane, *, check_mode: bool = False, **options: Any) -> Result:
    return run_module(main, {"url": flyte.url, "image": "flytekit:1", **options}, check=check_mode)


def test_a_workflow_runs_without_a_cluster_to_look_at(flyte: FakeControlPlane) -> None:
    result = check(flyte)
    assert not result.failed, result["msg"]
    assert result["passed"]
    assert result["execution"] == flyte.executions[0]["id"]["name"]
    assert result["workflow_seconds"] >= 0
    assert flyte.projects == {"flyte-verify": "ACTIVE"}
    assert "X-Amz-Signature" not in result.output


def test_the_options_reach_what_is_registered(flyte: FakeControlPlane) -> None:
    resources = {"limits": {"cpu": 1}}  # a number, as YAML has it
    check(flyte, project="mine", domain="staging", image="other:2", resources=resources, task_secret="keys")
    (write,) = (body for key, body in flyte.registered.items() if key[1].endswith(".write"))
    template = write["spec"]["template"]
    assert (write["id"]["project"], write["id"]["domain"]) == ("mine", "staging")
    assert template["container"]["image"] == "other:2"
    assert template["container"]["resources"]["limits"] == [{"name": "CPU", "value": "1"}]
    assert template["security_context"]["secrets"][0]["group"] == "keys"


@pytest.mark.parametrize("report_only", [True, False])
def test_a_run_that_fails_is_a_report_or_a_failure(flyte: FakeControlPlane, report_only: bool) -> None:
    flyte.closures = [{"phase": "FAILED", "error": {"code": "USER", "message": "the answer is 43"}}]
    result = check(flyte, report_only=report_only)
    assert result.failed is not report_only
    assert result.statuses("failed") == ["FLYTE-89"]
    assert "the answer is 43" in result["msg"]


def test_in_check_mode_nothing_is_submitted(flyte: FakeControlPlane) -> None:
    result = check(flyte, check_mode=True)
    assert not result.failed
    assert result.row("FLYTE-60")["status"] == "skipped"
    assert flyte.projects == {}


def test_a_reason_to_skip_is_the_only_row(flyte: FakeControlPlane) -> None:
    result = check(flyte, skip_reason="no image")
    assert [row["observed"] for row in result["checks"]] == ["no image"]


def test_a_success_since_then_is_enough(flyte: FakeControlPlane) -> None:
    check(flyte)
    flyte.executions[0]["closure"] = {"phase": "SUCCEEDED", "created_at": "2026-11-25T12:00:01Z"}
    result = check(flyte, unless_succeeded_since="2026-11-25 13:00:00.25 +0100 CET")
    assert result.row("FLYTE-60")["status"] == "passed"
    assert len(flyte.executions) == 1


def test_a_dead_address_is_a_row() -> None:
    result = run_module(main, {"url": f"http://127.0.0.1:{free_port()}", "image": "x", "report_only": True})
    assert result.statuses("failed") == ["FLYTE-12"]
    assert "FLYTE-12 failed" in result.row("FLYTE-60")["observed"]


def test_a_cluster_that_cannot_be_reached_does_not_hinder_the_run(flyte: FakeControlPlane, tmp_path: Path) -> None:
    result = check(flyte, kubeconfig=str(tmp_path / "absent"), report_only=True)
    assert result.statuses("failed") == ["K8S-01"]
    assert result.row("FLYTE-60")["status"] == "passed"


def test_the_library_for_the_cluster_is_needed_with_a_kubeconfig_only(
    flyte: FakeControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    assert not check(flyte).failed
    missing = check(flyte, kubeconfig="/absent")
    assert missing.failed
    assert "kubernetes" in missing["msg"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"url": "flyte.example.com"}, "url: "),
        ({"url": "https://user:hidden-word@flyte.example.com"}, "url: an address must not hold a user name"),
        ({"unless_succeeded_since": "yesterday"}, "unless_succeeded_since: 'yesterday' is no time"),
        ({"namespace": "../nodes"}, "namespace: '../nodes' is no name of a namespace"),
        ({"run_timeout": -5}, "run_timeout: -5 is no number of seconds"),
        ({"resources": {"limits": {"colour": "blue"}}}, "colour"),
        ({"ca_file": "/absent.crt"}, "absent.crt"),
        ({"resolve": {"flyte.example.com": None}}, "resolve: flyte.example.com: its value is no IP address"),
    ],
)
def test_bad_parameters_are_refused_before_anything_is_asked(
    flyte: FakeControlPlane, options: dict[str, Any], words: str
) -> None:
    result = check(flyte, **options)
    assert result.failed
    assert words in result["msg"]
    assert "hidden-word" not in result.output
    assert flyte.asked == []


def test_a_flyte_that_wants_a_login_is_no_failure(flyte: FakeControlPlane) -> None:
    flyte.answers["POST /api/v1/dataproxy/artifact_urn"] = refusal(401, "no token")
    result = check(flyte)
    assert not result.failed, result["msg"]
    assert result.row("FLYTE-60")["status"] == "skipped"
