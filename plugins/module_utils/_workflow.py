# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is PRIVATE to the collection. It can change at any time.

"""Run a workflow on a Flyte as its users do, row by row, and say why where it does not run.

Everything goes through Flyte's HTTP interface; the cluster is only looked at, to find causes, and cleaned.

The project and its namespaces stay. Flyte 1 can delete no project, and remembers in its memory which objects it has
made in which namespace (flyteadmin's C(clusterresource/controller.go) at v1.16.8): a namespace that was removed comes
back only after a restart, so that the next run would find none.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import hashlib
import json
import re
import secrets
import time
import typing as t
from dataclasses import dataclass, field

from ansible_collections.flyte.onprem.plugins.module_utils import _flyte, _kubernetes, _reach
from ansible_collections.flyte.onprem.plugins.module_utils import _workflow_spec as spec
from ansible_collections.flyte.onprem.plugins.module_utils._checks import (
    PASSED,
    SKIPPED,
    Check,
    Failed,
    Outcome,
    Report,
    Skipped,
    Warned,
)
from ansible_collections.flyte.onprem.plugins.module_utils._workflow_diagnosis import (
    Evidence,
    Finding,
    diagnose,
    post_mortem,
)

RAN = "FLYTE-60"
PROJECT = "FLYTE-61"
TEMPLATE = "FLYTE-62"
UPLOADED = "FLYTE-63"
REGISTERED = "FLYTE-64"
CLEAN = "FLYTE-65"
# By this a project is known for the check's own.
DESCRIPTION = "Where flyte.onprem tries whether workflows run."
SIGNED = "FLYTE-23"
NAMESPACE = "FLYTE-32"
TASK_SECRET = "S3-02"  # noqa: S105  an id

ENDED = frozenset(("SUCCEEDED", "FAILED", "ABORTED", "TIMED_OUT"))

# A cause that stays this long is not one that goes away by itself while pods start.
PATIENCE = 20.0
# How long what ran may take to go: more than the half minute that Kubernetes gives a pod.
GOING = 45.0
POLL = 1.0
# How often the cluster and the tasks are looked at while the execution goes on.
LOOK = 3.0

Json = dict[str, t.Any]


@dataclass(frozen=True)
class Plan:
    """What to run, and what its namespace must have. Empty names are not looked for."""

    project: str
    domain: str
    image: str
    run_timeout: float
    requests: t.Mapping[str, str] = field(default_factory=dict)
    limits: t.Mapping[str, str] = field(default_factory=dict)
    task_secret: str = ""
    task_template: str = ""


@dataclass(frozen=True)
class Clock:
    """Time as a run sees it; tests have their own."""

    now: t.Callable[[], float] = time.monotonic
    sleep: t.Callable[[float], None] = time.sleep


class Diagnosed(Failed):
    """A failure whose cause was found; its row has fields of its own."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.observed, id=finding.id, cause=finding.cause, fix=finding.fix)
        self.finding = finding


def parse_time(text: str) -> datetime.datetime:
    """A moment as Helm (C(2026-11-25 16:03:16.5 +0100 CET)), Flyte or ISO 8601 write it; UTC where no zone is given.

    Raises C(ValueError).
    """
    found = re.match(
        r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d+))?\s*(Z|UTC|[+-]\d\d:?\d\d)?(?:\s+[A-Z+\-0-9]+)?$",
        text.strip(),
    )
    if found is None:
        raise ValueError(f"{text!r} is no time of the form 2026-11-25T16:03:16Z")
    day, moment, fraction, zone = found.groups()
    zone = "+0000" if zone in (None, "Z", "UTC") else zone.replace(":", "")
    try:
        whole = datetime.datetime.strptime(f"{day} {moment} {zone}", "%Y-%m-%d %H:%M:%S %z")
    except ValueError as exc:
        raise ValueError(f"{text!r} is no time that there is") from exc
    return whole.replace(microsecond=int((fraction or "0")[:6].ljust(6, "0")))


def new_name() -> str:
    """A name for an execution."""
    return f"v{secrets.token_hex(6)}"


def prepare(
    report: Report,
    target: _flyte.Target,
    plan: Plan,
    *,
    since: datetime.datetime | None,
    skip_reason: str,
    write: bool,
    clock: Clock,
) -> Run | None:
    """Add the rows up to the question whether anything is to be run; None where it is not."""
    if skip_reason:
        report.add(RAN, SKIPPED, observed=skip_reason)
        return None
    reached = _reach.reach(report, target.address, ids=_flyte.REACH, ca_file=target.ca_file, timeout=target.timeout)
    code = spec.archive()
    digest = base64.b64encode(hashlib.md5(code, usedforsecurity=False).digest()).decode()
    given: list[tuple[_flyte.SignedUrl, str]] = []

    def sign() -> str:
        # Where it leads is part of the workflow's version. Nothing is written yet.
        asked = {"project": plan.project, "domain": plan.domain, "filename": spec.ARCHIVE, "content_md5": digest}
        answer = _flyte.call(target, "POST", _flyte.SIGN, body=asked).json()
        given.append((_flyte.signed_url(answer), str(answer.get("native_url") or answer.get("nativeUrl") or "")))
        return f"a URL at {given[0][0].address.endpoint}"

    signed = report.check(SIGNED, sign, after=[reached])
    if not given:
        report.blocked(RAN, after=[signed])
        return None
    workflow = spec.Workflow(
        project=plan.project,
        domain=plan.domain,
        image=plan.image,
        distribution=given[0][1],
        requests=plan.requests,
        limits=plan.limits,
        secret=plan.task_secret,
    )
    run = Run(report, target, plan, workflow, given[0][0], code, digest, signed, clock)
    if since is not None:
        earlier = run.succeeded_since(since)
        if earlier:
            report.add(RAN, PASSED, observed=earlier)
            return None
    if not write:
        report.add(RAN, SKIPPED, observed="nothing is submitted in check mode")
        return None
    return run


@dataclass
class Run:
    """One run of the workflow. C(name) is that of its execution; C(closure) is what Flyte last said of it."""

    report: Report
    target: _flyte.Target
    plan: Plan
    workflow: spec.Workflow
    url: _flyte.SignedUrl
    code: bytes
    digest: str
    signed: Check
    clock: Clock
    name: str = field(default_factory=new_name)
    closure: Json = field(default_factory=dict)
    started: bool = False
    api: _kubernetes.Api | None = None
    removed: list[str] = field(default_factory=list)

    @property
    def phase(self) -> str:
        return str(self.closure.get("phase") or "UNDEFINED")

    def to_its_end(self, api: _kubernetes.Api | None) -> None:
        """Add all rows from the project to the clean-up, which happens whatever was before."""
        self.api = api
        self.deadline = self.clock.now() + self.plan.run_timeout
        try:
            row = self.row(PROJECT, self.open_project, self.signed)
            if api:
                row = self.namespace_rows(api, row)
            row = self.upload(row)
            row = self.row(REGISTERED, self.register, row)
            self.row(RAN, self.run, row)
        finally:
            if self.started:
                self.row(CLEAN, self.clean_up)

    def row(self, id: str, probe: t.Callable[[], str], *after: Check) -> Check:
        blocked = self.report.blocked(id, after=after)
        if blocked:
            return blocked
        try:
            return self.report.add(id, PASSED, observed=probe())
        except Diagnosed as exc:
            found = exc.finding
            return self.report.conclude(id, exc, bucket=found.bucket or "of the site", host=found.host or "that host")
        except Outcome as exc:
            return self.report.conclude(id, exc)

    # Flyte's interface

    def call(self, method: str, path: str, body: Json | None = None, *, fine: tuple[int, ...] = ()) -> Json:
        """Ask Flyte; statuses in C(fine) give an empty answer. Raises an outcome, with the cause where it is known."""
        found = _flyte.ask(
            self.target,
            self.target.address,
            method,
            path,
            body=json.dumps(body).encode() if body is not None else b"",
            headers={"Accept": "application/json", "Content-Type": "application/json"},
        )
        if found.status == 200:
            return found.json()
        if found.status in fine:
            return {}
        words = _flyte.words_of(found)
        finding = diagnose(Evidence(flyte=[words])) if words and found.status not in (401, 403) else None
        if finding:
            raise Diagnosed(finding)
        if words and found.status not in (401, 403, *_flyte.AWAY):
            raise Failed(f"{path} gave HTTP {found.status}: {words}")
        raise _flyte.refusal(found, path)

    def place(self, kind: str, *more: str, name: str = "") -> str:
        """The path of what belongs to an execution, by default this one."""
        return "/".join([f"/api/v1/{kind}", self.plan.project, self.plan.domain, name or self.name, *more])

    def succeeded_since(self, since: datetime.datetime) -> str:
        """When this very version succeeded after C(since), or an empty text."""
        path = f"/api/v1/executions/{self.plan.project}/{self.plan.domain}"
        try:
            answer = self.call("GET", f"{path}?limit=50&sort_by.key=created_at&sort_by.direction=DESCENDING")
        except Outcome:
            return ""  # the run itself will tell what is wrong
        for execution in answer.get("executions") or []:
            launch_plan = (execution.get("spec") or {}).get("launch_plan") or {}
            closure = execution.get("closure") or {}
            if launch_plan.get("version") != self.workflow.version or closure.get("phase") != "SUCCEEDED":
                continue
            began = str(closure.get("created_at") or closure.get("started_at") or "")
            with contextlib.suppress(ValueError):
                if parse_time(began) > since:
                    name = (execution.get("id") or {}).get("name", "")
                    return f"execution {name} of the same workflow succeeded; it began at {began}"
        return ""

    def open_project(self) -> str:
        name, path = self.plan.project, f"/api/v1/projects/{self.plan.project}"
        project = {"id": name, "name": name, "description": DESCRIPTION}
        self.call("POST", "/api/v1/projects", {"project": project}, fine=(409,))
        found = self.call("GET", path)
        if found.get("description") != DESCRIPTION:
            raise Failed(
                f"project {name} is there already, described as {found.get('description') or ''!r}",
                cause="It belongs to somebody; this check wants one of its own, which it opens and clears.",
                fix="Name a project for the check alone, in the role's flyte_verify_project or the module's project.",
            )
        if found.get("state", "ACTIVE") != "ACTIVE":  # somebody has archived it
            self.call("PUT", path, {**project, "state": "ACTIVE"})
        return f"project {name} is open"

    def upload(self, after: Check) -> Check:
        store = self.url.address
        reached = _reach.reach(
            self.report,
            store,
            ids=_flyte.REACH_STORE,
            ca_file=self.target.ca_file,
            timeout=self.target.timeout,
            after=[after],
        )

        def put() -> str:
            headers = {"Content-MD5": self.digest, **self.url.headers}
            found = _flyte.request(self.target, store, "PUT", self.url.path, body=self.code, headers=headers)
            if found.status != 200:
                raise _flyte.store_refusal(found, "PUT", denied="S3-12")
            return f"{len(self.code)} bytes were accepted"

        return self.report.check(
            UPLOADED, put, after=[reached], bucket=self.url.bucket, endpoint=store.endpoint, host=store.host
        )

    def register(self) -> str:
        for path, body in (
            *(("tasks", task) for task in self.workflow.tasks),
            ("workflows", self.workflow.workflow),
            ("launch_plans", self.workflow.launch_plan),
        ):
            self.call("POST", f"/api/v1/{path}", body, fine=(409,))
        return f"version {self.workflow.version}"

    # The run

    def run(self) -> str:
        while True:
            seconds = self.attempt()
            if self.phase == "SUCCEEDED":
                break
            finding = post_mortem(self.evidence())
            if finding.id != NAMESPACE or self.clock.now() >= self.deadline:
                raise Diagnosed(finding)
            # Without a look into the cluster, this is how the namespace of a project that was just made is waited for.
            self.clock.sleep(LOOK)
            self.name, self.closure = new_name(), {}
        output = spec.output_of(self.call("GET", self.place("data/executions")))
        if output != spec.ANSWER:
            raise Failed(f"execution {self.name} succeeded, and its output is {output!r} and not {spec.ANSWER!r}")
        self.report.facts["workflow_seconds"] = round(seconds, 1)
        return f"execution {self.name} SUCCEEDED after {seconds:.1f} s{self.durations()}"

    def attempt(self) -> float:
        """Create an execution and wait for its end; the seconds that it took."""
        try:
            self.call("POST", "/api/v1/executions", self.workflow.execution(self.name))
        except Failed as exc:
            self.started = self.started or exc.id in _flyte.UNANSWERED  # it may have been made all the same
            raise
        self.started = True
        self.report.facts["execution"] = self.name
        began = self.clock.now()
        self.follow()
        return self.clock.now() - began

    def follow(self) -> None:
        """Wait for the end. Raises an outcome where there is none, or none to be hoped for."""
        looked = -LOOK
        stuck: tuple[str, float] = ("", 0.0)
        silence: Failed | None = None
        while True:
            try:
                self.closure, silence = self.call("GET", self.place("executions")).get("closure") or {}, None
            except Skipped:
                raise
            except Failed as exc:
                silence = exc  # Flyte may be restarting; the execution goes on
            if self.phase in ENDED:
                return
            now = self.clock.now()
            if now >= self.deadline:
                finding = diagnose(self.evidence())
                if finding:
                    raise Diagnosed(finding)
                raise silence or Failed(f"{self.phase} after {self.plan.run_timeout:g} s{self.durations()}")
            if now - looked >= LOOK:
                looked = now
                finding = diagnose(self.evidence())
                id = finding.id if finding and finding.hopeless else ""
                stuck = stuck if id == stuck[0] else (id, now)
                if finding and id and now - stuck[1] >= PATIENCE:
                    raise Diagnosed(finding)
            self.clock.sleep(POLL)

    def durations(self) -> str:
        """How long each task took, for people."""
        seen = []
        for node in self.nodes():
            name = str((node.get("metadata") or {}).get("spec_node_id") or (node.get("id") or {}).get("node_id", ""))
            closure = node.get("closure") or {}
            if re.fullmatch(r"n\d+", name):
                length = re.match(r"[\d.]+", str(closure.get("duration") or ""))
                state = f"{float(length.group()):.1f} s" if length else str(closure.get("phase") or "")
                seen.append(f"{name} {state}")
        return f" ({', '.join(sorted(seen))})" if seen else ""

    # Evidence

    def nodes(self) -> list[Json]:
        with contextlib.suppress(Outcome):
            return list(self.call("GET", self.place("node_executions") + "?limit=20").get("node_executions") or [])
        return []

    def evidence(self) -> Evidence:
        """All that can be learnt now. What cannot be asked is left out."""
        flyte = _words(self.closure)
        for node in self.nodes():
            flyte += _words(node.get("closure") or {})
            with contextlib.suppress(Outcome):
                path = self.place("task_executions", str((node.get("id") or {}).get("node_id", "")))
                for task in self.call("GET", f"{path}?limit=20").get("task_executions") or []:
                    flyte += _words(task.get("closure") or {})
        if self.api is None:
            return Evidence(flyte=_once(flyte))
        return self.cluster_evidence(self.api, flyte)

    def cluster_evidence(self, api: _kubernetes.Api, flyte: list[str]) -> Evidence:
        namespace = f"/api/v1/namespaces/{self.workflow.namespace}"
        pods = _items(api, f"{namespace}/pods", labelSelector=f"execution-id={self.name}")
        events = [
            event
            for event in _items(api, f"{namespace}/events")
            if str((event.get("involvedObject") or {}).get("name", "")).startswith(self.name)
        ]
        taken_up = None
        found = _asked(lambda: _flyte.find(api, self.object_path), None)
        if found:
            status = found.get("status") or {}
            taken_up = is_taken_up(status)
            flyte = [*flyte, str(status.get("message") or "")]
        logs = []
        for pod in pods:
            for container in (pod.get("status") or {}).get("containerStatuses") or []:
                ending = (container.get("state") or {}).get("terminated") or {}
                if ending.get("exitCode"):
                    path = f"{namespace}/pods/{pod['metadata']['name']}/log"
                    query = {"container": str(container["name"]), "tailLines": "500"}
                    log = _asked(lambda path=path, query=query: api.text(path, **query), "")  # type: ignore[misc]
                    logs.append(log or str(ending.get("message") or ""))
        return Evidence(
            flyte=_once(flyte),
            task=logs,
            pods=pods,
            events=events,
            nodes=_items(api, "/api/v1/nodes"),
            leftovers=_asked(lambda: _flyte.leftover_webhooks(api), []),
            taken_up=taken_up,
        )

    # The cluster

    @property
    def objects_path(self) -> str:
        return f"/apis/flyte.lyft.com/v1alpha1/namespaces/{self.workflow.namespace}/flyteworkflows"

    @property
    def object_path(self) -> str:
        return f"{self.objects_path}/{self.name}"

    def namespace_rows(self, api: _kubernetes.Api, row: Check) -> Check:
        """Wait for the namespace and what tasks need in it; Flyte makes all that in one go."""
        name = self.workflow.namespace

        def namespace() -> str:
            if not self.appears(api, f"/api/v1/namespaces/{name}", until=self.deadline):
                raise Failed(f"{name} is not there after {self.plan.run_timeout:g} s")
            return f"{name} is there"

        def holds(kind: str, wanted: str) -> str:
            until = min(self.deadline, self.clock.now() + PATIENCE)
            if not self.appears(api, f"/api/v1/namespaces/{name}/{kind}/{wanted}", until=until):
                raise Failed(f"there is no {wanted} in {name}")
            return f"{wanted} is in {name}"

        row = self.row(NAMESPACE, namespace, row)
        if self.plan.task_template:
            row = self.row(TEMPLATE, lambda: holds("podtemplates", self.plan.task_template), row)
        if self.plan.task_secret:
            row = self.row(TASK_SECRET, lambda: holds("secrets", self.plan.task_secret), row)
        return row

    def appears(self, api: _kubernetes.Api, path: str, *, until: float) -> bool:
        while True:
            found = _kubernetes.asked(lambda: _flyte.find(api, path))
            if found and not found["metadata"].get("deletionTimestamp"):
                return True
            if self.clock.now() >= until:
                return False
            self.clock.sleep(POLL)

    def clean_up(self) -> str:
        """End what runs and remove what it made in the cluster. Raises C(Warned) with what is left."""
        left = []
        if self.phase not in ENDED:
            try:
                self.abort(self.name)
            except Outcome as exc:
                left.append(f"execution {self.name} ({exc.observed})")
        if self.api is None:
            if left:
                raise Warned(f"left: {', '.join(left)}")
            return "nothing runs any more; Flyte removes the objects of ended executions itself, within a day"
        left += self.remove_objects(self.api)
        if left:
            raise Warned(f"left: {', '.join(left)}")
        more = f"; removed what runs that were killed had left: {', '.join(self.removed)}" if self.removed else ""
        return f"the FlyteWorkflow object and its pods are gone{more}"

    def abort(self, name: str) -> None:
        """End an execution of this check; one that has ended, or is not known, is fine."""
        path = self.place("executions", name=name)
        self.call("DELETE", path, {"cause": "flyte.onprem gave it up"}, fine=(400, 404))

    def left_before(self, api: _kubernetes.Api, own: Json) -> list[Json]:
        """What runs that were killed have left. The project is this check's alone; one beside us is not as old yet."""
        begun = parse_time(own["metadata"]["creationTimestamp"])
        bound = begun - datetime.timedelta(seconds=self.plan.run_timeout + GOING)
        found = api.items(self.objects_path)
        return [other for other in found if parse_time(other["metadata"]["creationTimestamp"]) < bound]

    def remove_objects(self, api: _kubernetes.Api) -> list[str]:
        """Remove the FlyteWorkflow object; its pods go with it. Returns what is left after a while."""
        with contextlib.suppress(_kubernetes.ApiError, _kubernetes.Unanswered, Outcome):
            found = _flyte.find(api, self.object_path)
            if found:
                remove(api, self.objects_path, found)
                for older in self.left_before(api, found):
                    name = str(older["metadata"]["name"])
                    self.abort(name)
                    remove(api, self.objects_path, older)
                    self.removed.append(name)
        pods_path = f"/api/v1/namespaces/{self.workflow.namespace}/pods"
        until = self.clock.now() + GOING
        while True:
            left = []
            try:
                if _flyte.find(api, self.object_path):
                    left.append(f"FlyteWorkflow {self.name}")
                pods = api.items(pods_path, labelSelector=f"execution-id={self.name}")
                left += [f"pod {pod['metadata']['name']}" for pod in pods]
            except (_kubernetes.ApiError, _kubernetes.Unanswered) as exc:
                left = [f"nobody knows what ({exc})"]
            if not left or self.clock.now() >= until:
                return left
            self.clock.sleep(POLL)


def remove(api: _kubernetes.Api, folder: str, item: Json) -> None:
    """Remove a FlyteWorkflow; its pods go with it."""
    path = f"{folder}/{item['metadata']['name']}"
    if not is_taken_up(item.get("status") or {}):
        # Nobody has begun, so there is nothing that the controller would have to undo; perhaps it does not run.
        api.merge(path, {"metadata": {"finalizers": None}})
    api.delete(path, propagationPolicy="Background")


def is_taken_up(status: Json) -> bool:
    """Whether the controller has begun with a FlyteWorkflow: it leaves phase 0, Ready, or notes why it cannot."""
    return bool(status.get("phase") or status.get("failedAttempts") or status.get("message"))


def _words(closure: Json) -> list[str]:
    """What Flyte says of an execution, node or task: error, reasons, and why it was aborted."""
    error = closure.get("error") or {}
    found = [f"{error['code']}: {error.get('message', '')}" if error.get("code") else str(error.get("message") or "")]
    found.append(str((closure.get("abort_metadata") or {}).get("cause") or ""))
    found.append(str(closure.get("reason") or ""))
    found += [str(item.get("message") or "") for item in closure.get("reasons") or []]
    return [text for text in found if text]


def _once(texts: t.Iterable[str]) -> list[str]:
    """Each text once, and none that another one holds."""
    unique = [text for text in dict.fromkeys(texts) if text]
    return [text for text in unique if not any(text != other and text in other for other in unique)]


def _items(api: _kubernetes.Api, path: str, **query: str) -> list[Json]:
    nothing: list[Json] = []
    return _asked(lambda: api.items(path, **query), nothing)


Answer = t.TypeVar("Answer")


def _asked(request: t.Callable[[], Answer], otherwise: Answer) -> Answer:
    """Ask the cluster for evidence; what it does not tell is not known."""
    try:
        return request()
    except (_kubernetes.ApiError, _kubernetes.Unanswered):
        return otherwise
