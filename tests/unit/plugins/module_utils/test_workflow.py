# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run from the project to the clean-up, against servers that a test leads; their time is that of the test."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.control_plane import FakeControlPlane, control_plane, refusal
from support.kubernetes_api import FakeApi, items, kubernetes_api, named

from ansible_collections.flyte.onprem.plugins.module_utils._catalogue import CATALOGUE
from ansible_collections.flyte.onprem.plugins.module_utils._checks import FAILED, PASSED, SKIPPED, WARNING, Report
from ansible_collections.flyte.onprem.plugins.module_utils._flyte import Target
from ansible_collections.flyte.onprem.plugins.module_utils._kubernetes import Api, open_api
from ansible_collections.flyte.onprem.plugins.module_utils._reach import parse_url
from ansible_collections.flyte.onprem.plugins.module_utils._workflow import (
    DESCRIPTION,
    PATIENCE,
    Clock,
    Plan,
    Run,
    parse_time,
    prepare,
)

NAMESPACE = "/api/v1/namespaces/verify-development"
SECRET = f"{NAMESPACE}/secrets/flyte-task-s3"
TEMPLATE = f"{NAMESPACE}/podtemplates/flyte-task"
OBJECT = "/apis/flyte.lyft.com/v1alpha1/namespaces/verify-development/flyteworkflows/v1"
MADE = {"creationTimestamp": "2026-11-25T16:30:00Z", "finalizers": ["flyte.org/finalizer"]}  # both from the start
TAKEN_UP = named("v1", metadata=MADE, status={"phase": 1})
READY = named("v1", metadata=MADE, status={"phase": 0})
RUNNING = {"phase": "RUNNING"}
FAILED_CLOSURE = {"phase": "FAILED", "error": {"code": "USER:Unknown", "message": "the answer is 43", "kind": "USER"}}


@dataclass
class Time:
    """Goes on only when somebody waits."""

    seconds: float = 0

    @property
    def clock(self) -> Clock:
        return Clock(now=lambda: self.seconds, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


@dataclass
class Site:
    flyte: FakeControlPlane
    cluster: FakeApi
    api: Api
    time: Time = field(default_factory=Time)
    report: Report = field(default_factory=lambda: Report(CATALOGUE))

    def prepare(self, *, since: str = "", skip_reason: str = "", write: bool = True, **plan: Any) -> Run | None:
        given = {
            "project": "verify",
            "domain": "development",
            "image": "flytekit:1",
            "run_timeout": 60,
            "task_secret": "flyte-task-s3",
            "task_template": "flyte-task",
            **plan,
        }
        address = parse_url(self.flyte.url)
        self.report = Report(
            CATALOGUE, endpoint=address.endpoint, host=address.host, timeout="5", run_timeout="60", project="verify",
            image="flytekit:1", task_namespace="verify-development", task_secret="flyte-task-s3", namespace="flyte",
            task_template="flyte-task", release="flyte", bucket="", region="", public_endpoint="", max_clock_skew="",
        )  # fmt: skip
        target = Target(address=address, ca_file=None, timeout=5, project="verify", domain="development")
        run = prepare(
            self.report,
            target,
            Plan(**given),
            since=parse_time(since) if since else None,
            skip_reason=skip_reason,
            write=write,
            clock=self.time.clock,
        )
        if run:
            run.name = "v1"
        return run

    def run(self, *, cluster: bool = True, **plan: Any) -> Report:
        run = self.prepare(**plan)
        assert run is not None, self.report.message()
        run.to_its_end(self.api if cluster else None)
        assert "X-Amz-Signature" not in str(self.report.as_dict())
        return self.report

    def ids(self, status: str) -> list[str]:
        return [row.id for row in self.report.rows if row.status == status]

    def row(self, id: str) -> Any:
        return next(row for row in self.report.rows if row.id == id)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    objects: dict[str, Any] = {
        NAMESPACE: named("verify-development"),
        SECRET: named("flyte-task-s3"),
        TEMPLATE: named("flyte-task"),
        OBJECT: TAKEN_UP,
        f"{NAMESPACE}/pods": items(),
        f"{NAMESPACE}/events": items(),
        "/api/v1/nodes": items(),
    }
    with control_plane() as flyte, kubernetes_api(objects) as cluster:
        api = open_api(str(cluster.kubeconfig(tmp_path)), None, timeout=5)
        yield Site(flyte, cluster, api)
        api.close()


def test_a_workflow_that_runs_passes_and_leaves_no_object(site: Site) -> None:
    site.flyte.closures = [RUNNING, RUNNING, {"phase": "SUCCEEDED"}]
    report = site.run()
    assert report.passed, report.message()
    assert f"PATCH {OBJECT}" not in site.cluster.asked
    assert site.ids(WARNING) == site.ids(SKIPPED) == []
    assert site.row("FLYTE-60").observed.startswith("execution v1 SUCCEEDED after 2.0 s")
    assert report.facts == {"execution": "v1", "workflow_seconds": 2.0}
    assert OBJECT not in site.cluster.objects
    assert site.flyte.terminated == []


def test_the_code_is_uploaded_before_anything_is_registered(site: Site) -> None:
    site.run()
    asked = [line for line in site.flyte.asked if not line.startswith("GET")]
    assert [line.split()[0] for line in asked] == ["POST", "POST", "PUT", *["POST"] * 5]
    assert len(site.flyte.uploads) == 1


def test_the_time_of_each_task_is_told(site: Site) -> None:
    site.flyte.nodes = [
        {"id": {"node_id": "n1"}, "closure": {"phase": "SUCCEEDED", "duration": "8.25s"}},
        {"id": {"node_id": "n0"}, "closure": {"phase": "SUCCEEDED", "duration": "9s"}},
        {"id": {"node_id": "start-node"}, "closure": {"phase": "SUCCEEDED"}},
    ]
    site.run()
    assert site.row("FLYTE-60").observed.endswith("(n0 9.0 s, n1 8.2 s)")


def test_a_second_run_registers_nothing_new(site: Site) -> None:
    site.run()
    registered = dict(site.flyte.registered)
    site.cluster.objects[OBJECT] = TAKEN_UP
    assert site.run().passed
    assert site.flyte.registered == registered
    assert len(registered) == 4


def test_a_project_of_somebody_is_left_alone(site: Site) -> None:
    site.flyte.projects["verify"] = "ARCHIVED"
    site.flyte.descriptions["verify"] = "our models"
    site.run()
    assert site.ids("failed") == ["FLYTE-61"]
    assert site.row("FLYTE-61").observed == "project verify is there already, described as 'our models'"
    assert site.flyte.projects == {"verify": "ARCHIVED"}


def test_an_archived_project_is_opened(site: Site) -> None:
    site.flyte.projects["verify"] = "ARCHIVED"
    site.flyte.descriptions["verify"] = DESCRIPTION
    assert site.run().passed
    assert site.flyte.projects == {"verify": "ACTIVE"}


def test_a_wrong_output_fails(site: Site) -> None:
    site.flyte.output = "flyte fails"
    assert not site.run().passed
    assert site.ids(FAILED) == ["FLYTE-60"]
    assert "'flyte fails'" in site.row("FLYTE-60").observed


def test_a_task_that_fails_for_a_reason_of_its_own_shows_its_message(site: Site) -> None:
    site.flyte.closures = [FAILED_CLOSURE]
    site.run()
    assert site.ids(FAILED) == ["FLYTE-89"]
    assert "the answer is 43" in site.row("FLYTE-89").observed
    assert "FLYTE-89 failed" in site.row("FLYTE-60").observed


def test_the_log_of_a_failed_task_tells_the_cause(site: Site) -> None:
    container = {"name": "v1-n0-0", "state": {"terminated": {"exitCode": 1, "message": "the end of something long"}}}
    pod = named("v1-n0-0", status={"phase": "Failed", "containerStatuses": [container]})
    site.cluster.objects[f"{NAMESPACE}/pods"] = lambda: items(pod) if OBJECT in site.cluster.objects else items()
    site.cluster.objects[f"{NAMESPACE}/pods/v1-n0-0/log"] = "NoCredentialsError: Unable to locate credentials"
    site.flyte.closures = [FAILED_CLOSURE]
    site.run()
    assert site.ids(FAILED) == ["S3-02"]
    assert site.row("FLYTE-65").status == PASSED


def test_the_reasons_of_task_executions_tell_the_cause_without_a_cluster(site: Site) -> None:
    site.flyte.closures = [RUNNING]
    site.flyte.nodes = [{"id": {"node_id": "n0"}, "closure": {"phase": "QUEUED"}}]
    site.flyte.tasks = [{"closure": {"reasons": [{"message": "[ContainersNotReady|ImagePullBackOff]: not found"}]}}]
    site.run(cluster=False)
    assert site.ids(FAILED) == ["FLYTE-70"]
    assert site.flyte.terminated == ["v1"]


# what it is, how it comes about, id that must fail, words that must stand in what was seen
Fault = Callable[[Site], None]


def answers(method: str, path: str, status: int, words: str) -> Fault:
    def fault(site: Site) -> None:
        site.flyte.answers[f"{method} /api/v1/{path}"] = refusal(status, words)

    return fault


def lacks(path: str) -> Fault:
    return lambda site: site.cluster.objects.pop(path)


STORE_DOWN = "failed to write marshaled workflow [x] to storage: dial tcp 10.0.0.4:9000: connect: connection refused"
OVER = "Requested CPU default [8] is greater than current limit set in the platform configuration [2]."
FAULTS: list[tuple[str, Fault, str, str]] = [
    ("project refused", answers("POST", "projects", 500, "no such table"), "FLYTE-61", "no such table"),
    ("namespace not made", lacks(NAMESPACE), "FLYTE-32", "verify-development is not there"),
    ("PodTemplate missing", lacks(TEMPLATE), "FLYTE-62", "no flyte-task in verify-development"),
    ("Secret missing", lacks(SECRET), "S3-02", "no flyte-task-s3 in verify-development"),
    ("task over the limits", answers("POST", "tasks", 400, OVER), "FLYTE-84", "[8]"),
    ("Flyte starts", answers("POST", "workflows", 503, "no connection"), "FLYTE-14", "no connection"),
    ("Flyte stops", answers("POST", "workflows", 499, "connection is closing"), "FLYTE-14", "is closing"),
    ("workflow refused", answers("POST", "workflows", 400, "it makes no sense"), "FLYTE-64", "it makes no sense"),
    ("Flyte does not reach the store", answers("POST", "workflows", 500, STORE_DOWN), "FLYTE-81", "10.0.0.4"),
    ("execution refused", answers("POST", "executions", 500, "no idea why"), "FLYTE-60", "no idea why"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=[row[0] for row in FAULTS])
def test_each_fault_on_the_way_fails_its_own_check_and_nothing_else(
    site: Site, fault: tuple[str, Fault, str, str]
) -> None:
    _what, breaking, id, words = fault
    breaking(site)
    site.run()
    assert site.ids(FAILED) == [id], site.report.message()
    assert words in site.row(id).observed
    assert site.row(id).cause
    assert site.row(id).fix
    # Nothing was started, so there is nothing to clean.
    assert "FLYTE-65" not in [row.id for row in site.report.rows]


def test_an_execution_that_may_have_been_made_is_ended(site: Site) -> None:
    site.flyte.answers["POST /api/v1/executions"] = refusal(503, "Flyte stops")
    site.run()
    assert site.ids(FAILED) == ["FLYTE-14"]
    assert site.row("FLYTE-65").status == PASSED
    assert site.flyte.terminated == ["v1"]


def test_a_refused_upload_is_the_fault_of_the_store(site: Site) -> None:
    run = site.prepare()
    assert run is not None
    site.flyte.answers[f"PUT {run.url.path.partition('?')[0]}"] = (403, "<Error><Code>AccessDenied</Code></Error>")
    run.to_its_end(site.api)
    assert site.ids(FAILED) == ["S3-12"]
    assert site.ids(SKIPPED) == ["FLYTE-63", "FLYTE-64", "FLYTE-60"]


def test_a_namespace_that_comes_late_is_waited_for(site: Site) -> None:
    site.cluster.objects[NAMESPACE] = lambda: named("verify-development") if site.time.seconds > 30 else 404
    assert site.run().passed
    assert 30 < site.time.seconds < 35


def test_without_a_cluster_the_namespace_is_waited_for_by_trying(site: Site) -> None:
    site.flyte.has_namespace = lambda: site.time.seconds > 10
    assert site.run(cluster=False).passed
    names = [execution["id"]["name"] for execution in site.flyte.executions]
    assert len(names) == len(set(names)) > 1
    assert site.report.facts["execution"] == names[0]


def test_without_a_cluster_a_namespace_that_never_comes_is_told(site: Site) -> None:
    site.flyte.has_namespace = lambda: False
    site.run(cluster=False)
    assert site.ids(FAILED) == ["FLYTE-32"]
    assert site.time.seconds >= 60


def test_a_cause_that_stays_ends_the_wait_early(site: Site) -> None:
    site.cluster.objects[OBJECT] = READY
    site.flyte.closures = [{"phase": "UNDEFINED"}]
    site.run(run_timeout=600)
    assert site.ids(FAILED) == ["FLYTE-88"]
    # Without a controller nobody else would take the finalizer away.
    assert f"PATCH {OBJECT}" in site.cluster.asked
    assert PATIENCE <= site.time.seconds < PATIENCE + 10
    assert site.flyte.terminated == ["v1"]


def test_a_cause_that_goes_away_does_not_end_the_wait(site: Site) -> None:
    site.cluster.objects[OBJECT] = lambda: READY if site.time.seconds < PATIENCE - 1 else TAKEN_UP
    site.cluster.objects[f"DELETE {OBJECT}"] = lambda: site.cluster.objects.pop(OBJECT, {}) and {}
    site.flyte.closures = [RUNNING] * 100 + [{"phase": "SUCCEEDED"}]
    assert site.run(run_timeout=600).passed, site.report.message()


def test_a_run_that_does_not_end_is_given_up_and_ended(site: Site) -> None:
    site.flyte.closures = [RUNNING]
    site.run()
    assert site.ids(FAILED) == ["FLYTE-60"]
    assert "RUNNING after 60 s" in site.row("FLYTE-60").observed
    assert site.flyte.terminated == ["v1"]
    assert site.row("FLYTE-65").status == PASSED


def test_flyte_may_be_restarted_meanwhile(site: Site) -> None:
    path = "GET /api/v1/executions/verify/development/v1"

    def back() -> tuple[int, Any]:
        if site.time.seconds > 20:
            del site.flyte.answers[path]
        return 502, "bad gateway"

    site.flyte.answers[path] = back
    assert site.run().passed, site.report.message()


def test_a_flyte_that_stays_away_is_told(site: Site) -> None:
    site.flyte.answers["GET /api/v1/executions/verify/development/v1"] = 502, "bad gateway"
    site.run()
    assert site.ids(FAILED) == ["FLYTE-14"]
    assert "502" in site.row("FLYTE-14").observed


def test_what_cannot_be_removed_is_a_warning(site: Site) -> None:
    site.cluster.objects[f"DELETE {OBJECT}"] = 500
    site.run()
    assert site.ids(WARNING) == ["FLYTE-65"]
    assert "FlyteWorkflow v1" in site.row("FLYTE-65").observed


def test_what_a_killed_run_left_is_removed_once_it_is_old(site: Site) -> None:
    folder = OBJECT.rpartition("/")[0]
    own, beside, old = (
        named(name, metadata={"creationTimestamp": f"2026-11-25T16:{minute}:00Z"}, status={"phase": 1})
        for name, minute in (("v1", "30"), ("v2", "29"), ("v3", "10"))
    )
    site.cluster.objects |= {OBJECT: own, folder: items(own, beside, old), f"{folder}/v2": beside, f"{folder}/v3": old}
    site.run()
    assert f"{folder}/v2" in site.cluster.objects
    assert f"{folder}/v3" not in site.cluster.objects
    assert "v3" in site.row("FLYTE-65").observed
    assert site.flyte.terminated == ["v3"]


def test_the_clean_up_comes_even_after_a_fault_of_this_check(site: Site) -> None:
    site.flyte.answers["GET /api/v1/data/executions/verify/development/v1"] = 200, {"full_outputs": {"literals": 5}}
    run = site.prepare()
    assert run is not None
    with pytest.raises(AttributeError):
        run.to_its_end(site.api)
    assert OBJECT not in site.cluster.objects


# What is run at all


def test_a_reason_to_skip_asks_nothing(site: Site) -> None:
    assert site.prepare(skip_reason="the bundle holds no image for tasks") is None
    assert site.ids(SKIPPED) == ["FLYTE-60"]
    assert site.row("FLYTE-60").observed == "the bundle holds no image for tasks"
    assert site.flyte.asked == []


def test_check_mode_submits_nothing_and_says_so(site: Site) -> None:
    assert site.prepare(write=False) is None
    assert site.row("FLYTE-60").status == SKIPPED
    assert "check mode" in site.row("FLYTE-60").observed
    assert site.flyte.asked == ["POST /api/v1/dataproxy/artifact_urn"]
    assert site.flyte.uploads == {}


def test_a_flyte_that_wants_a_login_is_no_failure(site: Site) -> None:
    site.flyte.answers["POST /api/v1/dataproxy/artifact_urn"] = refusal(401, "no token")
    assert site.prepare() is None
    assert site.report.passed
    assert site.row("FLYTE-60").status == SKIPPED
    assert "login" in site.row("FLYTE-60").observed


# when it began, what it was, whether it counts for a look since 2026-11-25T12:00:00Z
EARLIER = [
    ("2026-11-25T12:00:01.5Z", {}, True),
    ("2026-11-25T11:59:59Z", {}, False),
    ("2026-11-25T12:00:01Z", {"phase": "FAILED"}, False),
    ("2026-11-25T12:00:01Z", {"version": "of-another-image"}, False),
    ("", {}, False),
]


@pytest.mark.parametrize(("began", "changes", "counts"), EARLIER)
def test_a_success_of_the_same_workflow_since_then_is_enough(
    site: Site, began: str, changes: dict[str, str], counts: bool
) -> None:
    site.run()
    (execution,) = site.flyte.executions
    execution["closure"] = {"phase": changes.get("phase", "SUCCEEDED"), "created_at": began}
    if "version" in changes:
        execution["spec"]["launch_plan"]["version"] = changes["version"]
    site.flyte.asked.clear()
    run = site.prepare(since="2026-11-25T12:00:00Z")
    assert (run is None) is counts
    if counts:
        assert site.row("FLYTE-60").status == PASSED
        assert "v1" in site.row("FLYTE-60").observed
        assert began in site.row("FLYTE-60").observed
        assert len(site.flyte.asked) == 2


def test_a_flyte_that_cannot_list_executions_runs_the_workflow(site: Site) -> None:
    site.flyte.answers["GET /api/v1/executions/verify/development"] = refusal(500, "no")
    assert site.prepare(since="2026-11-25T12:00:00Z") is not None


# Times

UTC = datetime.timezone.utc
# text, moment
TIMES = [
    ("2026-11-25T16:03:16Z", datetime.datetime(2026, 11, 25, 16, 3, 16, tzinfo=UTC)),
    ("2026-11-25T16:03:16.123456789Z", datetime.datetime(2026, 11, 25, 16, 3, 16, 123456, tzinfo=UTC)),
    ("2026-11-25T16:03:16+01:00", datetime.datetime(2026, 11, 25, 15, 3, 16, tzinfo=UTC)),
    ("2026-11-25 16:03:16.5 +0100 CET", datetime.datetime(2026, 11, 25, 15, 3, 16, 500000, tzinfo=UTC)),
    ("2026-11-25 16:03:16.511847591 +0000 UTC", datetime.datetime(2026, 11, 25, 16, 3, 16, 511847, tzinfo=UTC)),
    ("2026-11-25 16:03:16", datetime.datetime(2026, 11, 25, 16, 3, 16, tzinfo=UTC)),
]


@pytest.mark.parametrize(("text", "moment"), TIMES)
def test_a_moment_is_read_as_helm_and_flyte_write_it(text: str, moment: datetime.datetime) -> None:
    assert parse_time(text) == moment


@pytest.mark.parametrize("text", ["", "yesterday", "2026-11-25", "2026-13-25T16:03:16Z", "2026-11-25T16:03:16Z; x"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no time"):
        parse_time(text)
