# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way from the pod's log to rows, with an API that says what a kubelet would."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.kubernetes_api import FakeApi, kubernetes_api, named

from ansible_collections.flyte.onprem.plugins.module_utils._catalogue import CATALOGUE
from ansible_collections.flyte.onprem.plugins.module_utils._checks import FAILED, PASSED, SKIPPED, Report
from ansible_collections.flyte.onprem.plugins.module_utils._kubernetes import open_api
from ansible_collections.flyte.onprem.plugins.module_utils._pod import (
    Clock,
    Plan,
    manifest,
    parse_service,
    probe_network,
)
from ansible_collections.flyte.onprem.plugins.module_utils._pod_probe import MARK

PODS = "/api/v1/namespaces/flyte/pods"
DATABASE, STORE, REGISTRY = "postgresql://db.example.com", "https://s3.example.com:9000", "https://cr.example.com"
GOOD = {"step": "done", "seen": "connected to 192.0.2.1 with TLSv1.3"}


def ended(code: int, **more: Any) -> dict[str, Any]:
    state = {"terminated": {"exitCode": code, **more}}
    return {"status": {"phase": "Failed" if code else "Succeeded", "containerStatuses": [
        {"name": "probe", "ready": False, "state": state}
    ]}}  # fmt: skip


class Played:
    """An API that makes one pod, whatever its name, which then is as a test wants it."""

    def __init__(self, api: FakeApi) -> None:
        self.api = api
        self.pod: dict[str, Any] = ended(0)
        self.log: str | int = ""
        self.deleted: list[str] = []
        original = api.answer

        def answer(method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
            if method == "POST" and path == PODS:
                return 201, body
            if path.startswith(f"{PODS}/"):
                if method == "DELETE":
                    self.deleted.append(path)
                    return 200, {}
                if path.endswith("/log"):
                    return (self.log, "") if isinstance(self.log, int) else (200, self.log)
                return 200, {"metadata": {"name": "x"}, **self.pod}
            return original(method, path, body)

        api.answer = answer  # type: ignore[method-assign]


@pytest.fixture
def played() -> Iterator[Played]:
    with kubernetes_api({"/api/v1/namespaces/flyte": named("flyte"), PODS: {"items": []}}) as api:
        yield Played(api)


def look(
    played: Played, directory: Path, *found: dict[str, Any], services: tuple[str, ...] = (DATABASE, STORE)
) -> Report:
    if found:
        played.log = f"some noise\n{MARK}{json.dumps(found)}\n"
    report = Report(CATALOGUE, timeout="3")
    start = report.add("K8S-13", PASSED, observed="", endpoint="", host="")
    plan = Plan(
        image="python:3",
        namespace="flyte",
        services=[parse_service(text, registry=text == REGISTRY) for text in services],
        authority="",
        timeout=3,
        deadline=60,
    )
    passed = iter(range(0, 1000, 10))
    clock = Clock(now=lambda: next(passed), sleep=lambda _seconds: None)
    client = open_api(str(played.api.kubeconfig(directory)), None, timeout=3)
    try:
        probe_network(report, client, plan, write=True, after=start, clock=clock)
    finally:
        client.close()
    return report


def ids(report: Report, status: str) -> list[str]:
    return [row.id for row in report.rows if row.status == status]


def test_services_that_pods_reach_pass(played: Played, tmp_path: Path) -> None:
    report = look(played, tmp_path, GOOD, GOOD)
    assert report.passed, report.message()
    assert ids(report, SKIPPED) == []
    assert len(played.deleted) == 1


# where the probe's look at the database ended, id that must fail
STEPS = [
    ({"step": "name", "seen": "Name or service not known"}, "K8S-41"),
    ({"step": "port", "seen": "Connection refused"}, "K8S-42"),
    ({"step": "way", "seen": "no answer within 3 seconds"}, "K8S-43"),
    ({"step": "tls", "seen": "the server offers no TLS", "code": 0}, "TLS-10"),
    ({"step": "tls", "seen": "unable to get local issuer certificate", "code": 20}, "TLS-11"),
    ({"step": "tls", "seen": "Hostname mismatch", "code": 62}, "TLS-12"),
    ({"step": "tls", "seen": "certificate has expired", "code": 10}, "TLS-13"),
]


@pytest.mark.parametrize(("seen", "id"), STEPS, ids=[row[1] for row in STEPS])
def test_where_the_look_ended_is_what_failed(played: Played, tmp_path: Path, seen: dict[str, Any], id: str) -> None:
    played.pod = ended(1)
    report = look(played, tmp_path, seen, GOOD)
    assert ids(report, FAILED) == [id], report.message()
    (row,) = [row for row in report.rows if row.status == FAILED]
    assert row.observed == seen["seen"]
    assert "db.example.com" in row.title
    assert len(played.deleted) == 1


def test_a_registry_out_of_reach_has_a_row_of_its_own(played: Played, tmp_path: Path) -> None:
    played.pod = ended(1)
    report = look(played, tmp_path, {"step": "name", "seen": "not known"}, services=(REGISTRY,))
    assert ids(report, FAILED) == ["K8S-44"]


# how the pod ended, its log, words that must stand in what was seen
BROKEN: list[tuple[str, dict[str, Any], str | int, str]] = [
    ("no Python", ended(127), "sh: python3: not found", "127: sh: python3: not found"),
    ("out of memory", ended(137, reason="OOMKilled"), "", "OOMKilled"),
    ("log cannot be read", ended(137, reason="OOMKilled"), 500, "OOMKilled"),
    ("no verdict", ended(0), "hello", "no verdict: hello"),
    ("half a verdict", ended(0), f"{MARK}[{{", "no verdict"),
    ("verdict for other services", ended(0), f"{MARK}[]", "no verdict"),
    ("stopped by Kubernetes", {"status": {"phase": "Failed", "reason": "DeadlineExceeded"}}, "", "DeadlineExceeded"),
    ("still running", {"status": {"phase": "Running"}}, "", "not done within 60 seconds: Running"),
    ("evicted", {"status": {"phase": "Failed", "reason": "Evicted"}}, "", "Evicted"),
]


@pytest.mark.parametrize("broken", BROKEN, ids=[row[0] for row in BROKEN])
def test_a_pod_that_comes_to_no_verdict_is_told_and_deleted(
    played: Played, tmp_path: Path, broken: tuple[str, dict[str, Any], str | int, str]
) -> None:
    _what, played.pod, played.log, words = broken
    report = look(played, tmp_path)
    assert ids(report, FAILED) == ["K8S-40"], report.message()
    assert words in report.message()
    assert len(played.deleted) == 1
    assert "K8S-40 failed" in next(row.observed for row in report.rows if row.id == "K8S-41")


def test_the_pod_can_do_as_little_as_can_be() -> None:
    plan = Plan("python:3", "flyte", [parse_service(DATABASE)], "", 3, 60)
    spec = manifest(plan, name="x")["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["activeDeadlineSeconds"] == 60
    (container,) = spec["containers"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert "def look(" in container["command"][2]


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("postgresql://db.example.com", "postgresql://db.example.com:5432"),
        ("https://[2001:db8::1]", "https://[2001:db8::1]:443"),
        ("http://proxy.example.com:3128/", "http://proxy.example.com:3128"),
        ("tcp://192.0.2.1:22", "tcp://192.0.2.1:22"),
    ],
)
def test_a_service_has_the_usual_port_of_its_scheme(text: str, endpoint: str) -> None:
    assert parse_service(text).endpoint == endpoint


@pytest.mark.parametrize(
    "text", ["db.example.com", "tcp://host", "ftp://host", "https://", "https://u:p@host", "https://h:x"]
)
def test_what_is_no_service_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"address|port") as refused:
        parse_service(text)
    assert "u:p" not in str(refused.value)
