# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Flyte 2's answers without an ingress before it; with one: tests/integration/modules/test_flyte2_check.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support.flyte2 import PREFIX, FakeFlyte2, flyte2

from ansible_collections.flyte.onprem.plugins.module_utils._catalogue import CATALOGUE
from ansible_collections.flyte.onprem.plugins.module_utils._checks import FAILED, SKIPPED, Report
from ansible_collections.flyte.onprem.plugins.module_utils._flyte import target_of
from ansible_collections.flyte.onprem.plugins.module_utils._flyte2 import probe_service


@pytest.fixture
def fake() -> Iterator[FakeFlyte2]:
    with flyte2() as server:
        yield server


def look(fake: FakeFlyte2) -> dict[str, tuple[str, str]]:
    """Status and what was seen of each row by its id."""
    given: dict[str, Any] = {
        "url": f"http://127.0.0.1:{fake.http_port}",
        "ca_file": None,
        "timeout": 3,
        "project": "flytesnacks",
        "domain": "development",
    }
    report = Report(CATALOGUE, timeout="3", endpoint="", host="", namespace="flyte", release="flyte")
    probe_service(report, target_of(given), http_port=None, grpc=True, upload=False, write=True)
    return {row.id: (row.status, row.observed) for row in report.rows}


def test_what_answers_without_an_ingress_passes(fake: FakeFlyte2) -> None:
    rows = look(fake)
    assert [id for id, (status, _seen) in rows.items() if status == FAILED] == []
    assert rows["FLYTE-27"][1] == f"http://127.0.0.1:{fake.http_port}"
    assert rows["FLYTE-20"][0] == SKIPPED


@pytest.mark.parametrize("projects", [["a"], {"projects": ["a"]}])
def test_projects_of_another_shape_are_told(fake: FakeFlyte2, projects: Any) -> None:
    fake.answers[f"{PREFIX}project.ProjectService/ListProjects"] = (200, {"projects": projects})
    status, seen = look(fake)["FLYTE-17"]
    assert status == FAILED
    assert "another shape" in seen


def test_a_404_of_flytes_own_is_no_missing_route(fake: FakeFlyte2) -> None:
    run = f"{PREFIX}workflow.RunService/ListRuns"
    fake.answers[run] = (404, {"code": "not_found", "message": "no such project"})
    assert look(fake)["ING-04"][0] != FAILED
    fake.answers[run] = (404, "404 page not found\n")
    assert look(fake)["ING-04"] == (FAILED, f"404 for {run}")


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"url": "flyte.example.com"}, "url: "),
        ({"timeout": 0}, "timeout: 0 is no number of seconds"),
        ({"ca_file": "/nonexistent/ca.crt"}, "ca_file /nonexistent/ca.crt holds no certificate"),
    ],
)
def test_an_option_that_cannot_be_used_is_named(option: dict[str, Any], words: str) -> None:
    given = {"url": "https://x", "ca_file": None, "timeout": 3, "project": "p", "domain": "d", **option}
    with pytest.raises(ValueError, match="^" + words):
        target_of(given)


def test_an_address_of_the_cluster_that_is_none_is_told(fake: FakeFlyte2) -> None:
    fake.answers[f"{PREFIX}cluster.ClusterService/SelectCluster"] = (200, {"clusterEndpoint": "https://[bad"})
    assert look(fake)["FLYTE-27"] == (FAILED, "Flyte takes its address for https://[bad")
