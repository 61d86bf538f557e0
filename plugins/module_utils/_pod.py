# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is PRIVATE to the collection. It can change at any time.

"""What pods see of the network, asked by a pod that lives for seconds.

The pod is deleted whatever happens. Should this process be killed, Kubernetes
itself stops the pod at its deadline, and the next check deletes what is left.
"""

from __future__ import annotations

import contextlib
import datetime
import inspect
import json
import secrets
import time
import typing as t
from dataclasses import dataclass
from urllib.parse import urlsplit

from ansible_collections.flyte.onprem.plugins.module_utils import _pod_probe as probe
from ansible_collections.flyte.onprem.plugins.module_utils._checks import (
    FAILED,
    PASSED,
    Check,
    Failed,
    Report,
    Skipped,
)
from ansible_collections.flyte.onprem.plugins.module_utils._kubernetes import (
    Api,
    ApiError,
    Json,
    Unanswered,
    asked,
    pod_problem,
    silence,
)
from ansible_collections.flyte.onprem.plugins.module_utils._reach import EXPIRED, WRONG_NAME, refuse_password

RUNS = "K8S-40"
NAME = "K8S-41"
PORT = "K8S-42"
WAY = "K8S-43"
REGISTRY = "K8S-44"
GONE = "K8S-45"
ADMITTED = "K8S-30"
QUOTA = "K8S-32"
POLICY = "K8S-33"

LABELS = {"app.kubernetes.io/managed-by": "flyte.onprem", "app.kubernetes.io/component": "kubernetes-check"}
SELECTOR = ",".join(f"{key}={value}" for key, value in LABELS.items())

# Nobody; every image's files are readable to it, and every pod security level admits it.
USER = 65534
POLL = 0.5
# What does not mend itself while one waits.
HOPELESS = ("ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError", "StartError")

_PORTS = {"postgresql": 5432, "https": 443, "http": 80}


@dataclass(frozen=True)
class Service:
    """A service that pods must reach; C(verify) says whether its certificate is judged."""

    scheme: str
    host: str
    port: int
    registry: bool = False

    @property
    def verify(self) -> bool:
        return self.scheme in ("postgresql", "https") and not self.registry

    @property
    def endpoint(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    def as_dict(self) -> Json:
        return {"scheme": self.scheme, "host": self.host, "port": self.port, "verify": self.verify}


@dataclass(frozen=True)
class Clock:
    """Time as the wait for a pod sees it; tests have their own."""

    now: t.Callable[[], float] = time.monotonic
    sleep: t.Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class Plan:
    """Which pod to run where, and what it asks. C(authority) is PEM, trusted besides what the image trusts."""

    image: str
    namespace: str
    services: t.Sequence[Service]
    authority: str
    timeout: float
    deadline: float


def parse_service(text: str, *, registry: bool = False) -> Service:
    """A service from C(postgresql://host:port), C(https://host), C(http://host) or C(tcp://host:port).

    Raises C(ValueError), with a text for people.
    """
    refuse_password(text)
    parts = urlsplit(text)
    if parts.scheme not in (*_PORTS, "tcp") or not parts.hostname:
        raise ValueError(f"{text!r} is no address of the form postgresql://host, https://host:port or tcp://host:port")
    try:
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError as exc:
        raise ValueError(f"{text!r} has no valid port") from exc
    if port is None:
        raise ValueError(f"{text!r} has no port")
    return Service(scheme=parts.scheme, host=parts.hostname, port=port, registry=registry)


# Admission


def admission_row(report: Report, api: Api | None, namespace: str, *, after: Check) -> Check:
    """Add the row whether a namespace admits pods like Flyte's, by way of trial: nothing is made."""

    def admitted() -> str:
        if api is None:  # `after` passed
            raise AssertionError
        found = find_namespace(api, namespace)
        level = (found["metadata"].get("labels") or {}).get("pod-security.kubernetes.io/enforce", "")
        with refusals():
            api.post(f"/api/v1/namespaces/{namespace}/pods", _like_flytes(), dryRun="All")
        return f"admitted; its label asks for level {level}" if level else "admitted; no level is set on it"

    needed = [*silence(report, api), after]
    return report.check(ADMITTED, lambda: str(asked(admitted)), after=needed, namespace=namespace)


def find_namespace(api: Api, name: str) -> Json:
    """The namespace. Raises C(Skipped) where there is none: it may be made later."""
    try:
        return api.get(f"/api/v1/namespaces/{name}")
    except ApiError as exc:
        if exc.status == 404:
            raise Skipped(f"there is no namespace {name} yet") from exc
        raise


def _like_flytes() -> Json:
    """A pod with what the chart's pods and those of tasks have, and without what they have not."""
    resources = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "500m", "memory": "500Mi"}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "flyte-onprem-check-", "labels": LABELS},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "task", "image": "none", "resources": resources}]},
    }


@contextlib.contextmanager
def refusals() -> t.Iterator[None]:
    """Turn why the API server does not admit a pod into an outcome; that the user may not make one is none."""
    try:
        yield
    except ApiError as exc:
        words = str(exc)
        # A policy may refuse with a status of its own.
        if exc.status not in (400, 403, 422) or 'cannot create resource "pods"' in words:
            raise
        kinds = {"PodSecurity": ADMITTED, "quota": QUOTA, "must specify": QUOTA, "usage per": QUOTA}
        raise Failed(words, id=next((id for word, id in kinds.items() if word in words), POLICY)) from exc


# The pod


def probe_network(
    report: Report, api: Api | None, plan: Plan, *, write: bool, after: Check, clock: Clock | None = None
) -> None:
    """Run the pod and add a row for it, for each service by what failed first, and for the pod's end."""
    context = {"namespace": plan.namespace, "image": plan.image or "(none given)", "pod_timeout": f"{plan.deadline:g}"}
    run = _Run(api, plan, clock or Clock()) if api else None

    def running() -> str:
        if not plan.image:
            raise Skipped("no pod_image was given")
        if not plan.services:
            raise Skipped("no pod_services or pod_registries were given")
        if not write:
            raise Skipped("no pod is made in check mode")
        if run is None:  # `after` passed
            raise AssertionError
        return str(asked(run.to_its_end))

    row = report.check(RUNS, running, after=[*silence(report, api), after], **context)
    for index, service in enumerate(plan.services):
        _service_rows(report, service, run.found[index] if run and run.found else {}, after=row)
    if run and run.began:
        report.check(GONE, run.gone, after=[after], **context)


class _Run:
    """One run of the pod."""

    def __init__(self, api: Api, plan: Plan, clock: Clock) -> None:
        self._api = api
        self._plan = plan
        self._clock = clock
        self._pods = f"/api/v1/namespaces/{plan.namespace}/pods"
        # Known before it is made, so that it can be deleted although no answer came.
        self._name = f"flyte-onprem-check-{secrets.token_hex(4)}"
        self._swept: list[str] = []
        self._left = ""
        self.began = False
        self.found: list[Json] = []

    def to_its_end(self) -> str:
        find_namespace(self._api, self._plan.namespace)
        self._swept = sweep(self._api, self._pods, now=datetime.datetime.now(datetime.timezone.utc))
        self.began = True
        try:
            with refusals():
                self._api.post(self._pods, manifest(self._plan, name=self._name))
            self._wait()
            self.found = verdict(self._api.text(f"{self._pods}/{self._name}/log"), len(self._plan.services))
        finally:
            # Also where the wait is ended from outside.
            self._left = self._delete()
        return f"pod {self._name} ran to its end"

    def gone(self) -> str:
        if self._left:
            raise Failed(f"{self._name}: {self._left}")
        swept = f"; deleted what a check that was ended had left: {', '.join(self._swept)}" if self._swept else ""
        return f"{self._name} is deleted{swept}"

    def _wait(self) -> None:
        """Wait until the probe has come to a verdict. Raises C(Failed) if it does not."""
        deadline = self._clock.now() + self._plan.deadline
        while True:
            pod = self._api.get(f"{self._pods}/{self._name}")
            reason = pod_problem(pod)
            code = exit_code(pod)
            if code in (0, 1):
                return
            if code is not None:
                raise Failed(f"the probe ended with {code}: {self._words() or reason}")
            if any(word in reason for word in HOPELESS):
                raise Failed(reason)
            phase = (pod.get("status") or {}).get("phase")
            if phase == "Failed" or self._clock.now() >= deadline:
                raise Failed(f"not done within {self._plan.deadline:g} seconds: {reason or phase}")
            self._clock.sleep(POLL)

    def _words(self) -> str:
        try:
            return self._api.text(f"{self._pods}/{self._name}/log").strip()[-300:]
        except (ApiError, Unanswered):
            return ""

    def _delete(self) -> str:
        """Delete the pod at once; why that did not work, or nothing."""
        words = ""
        for _attempt in (1, 2):
            try:
                self._api.delete(f"{self._pods}/{self._name}", gracePeriodSeconds="0")
            except ApiError as exc:
                if exc.status == 404:
                    return ""
                words = str(exc)
            except Unanswered as exc:
                words = str(exc)
            else:
                return ""
        return words


def exit_code(pod: Json) -> int | None:
    """That of the pod's container; None while it has not ended, and where it never began."""
    for container in (pod.get("status") or {}).get("containerStatuses") or []:
        ended = (container.get("state") or {}).get("terminated")
        if ended and ended.get("reason") not in HOPELESS:
            return int(ended.get("exitCode", 0))
    return None


def verdict(log: str, expected: int) -> list[Json]:
    """What the probe wrote. Raises C(Failed) if it wrote no verdict."""
    for line in reversed(log.splitlines()):
        if line.startswith(probe.MARK):
            with contextlib.suppress(ValueError):
                found = json.loads(line[len(probe.MARK) :])
                if isinstance(found, list) and len(found) == expected:
                    return found
    raise Failed(f"the probe wrote no verdict: {log.strip()[-300:] or 'nothing at all'}")


def manifest(plan: Plan, *, name: str) -> Json:
    """The pod: as little as can be, and admitted at every pod security level."""
    environment = {
        probe.SERVICES: json.dumps([service.as_dict() for service in plan.services]),
        probe.AUTHORITY: plan.authority,
        probe.TIMEOUT: f"{plan.timeout:g}",
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": LABELS},
        "spec": {
            "restartPolicy": "Never",
            # Kubernetes' own deadline, should nobody be there any more to delete the pod.
            "activeDeadlineSeconds": max(1, round(plan.deadline)),
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "probe",
                    "image": plan.image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python3", "-c", probe_text()],
                    "env": [{"name": name, "value": value} for name, value in environment.items()],
                    "resources": {
                        "requests": {"cpu": "50m", "memory": "64Mi"},
                        "limits": {"cpu": "500m", "memory": "128Mi"},
                    },
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                        "readOnlyRootFilesystem": True,
                    },
                }
            ],
        },
    }


def probe_text() -> str:
    """The program of the pod, also from within the archive that Ansible sends to a host."""
    return inspect.getsource(probe)


def _service_rows(report: Report, service: Service, seen: Json, *, after: Check) -> None:
    """Rows for one service, up to the one that failed."""
    context = {"endpoint": service.endpoint, "host": service.host}
    if service.registry:
        row = report.blocked(REGISTRY, after=[after], **context)
        if not row:
            done = seen.get("step") == probe.DONE
            report.add(REGISTRY, PASSED if done else FAILED, observed=str(seen.get("seen", "")), **context)
        return
    step, words = str(seen.get("step", "")), str(seen.get("seen", ""))

    def outcome(mine: tuple[str, ...], good: str) -> str:
        if step in mine:
            raise Failed(words, id={probe.WAY: WAY}.get(step, ""))
        return good

    row = report.check(NAME, lambda: outcome((probe.NAME,), "it does"), after=[after], **context)
    row = report.check(PORT, lambda: outcome((probe.PORT, probe.WAY), words), after=[row], **context)
    if not service.verify:
        return

    def trusted() -> str:
        if step == probe.TLS:
            raise Failed(words, id=_certificate_id(int(seen["code"])))
        return words

    report.check("TLS-11", trusted, after=[row], endpoint=f"{service.endpoint} (as pods see it)", host=service.host)


def _certificate_id(code: int) -> str:
    if not code:
        return "TLS-10"
    if code in EXPIRED:
        return "TLS-13"
    return "TLS-12" if code in WRONG_NAME else "TLS-11"


def sweep(api: Api, pods: str, *, now: datetime.datetime) -> list[str]:
    """Delete pods of checks that are over; one that another check waits for just now is left alone."""
    swept = []
    for pod in api.items(pods, labelSelector=SELECTOR):
        name = str(pod["metadata"]["name"])
        made = datetime.datetime.strptime(pod["metadata"]["creationTimestamp"], "%Y-%m-%dT%H:%M:%SZ")
        age = (now - made.replace(tzinfo=datetime.timezone.utc)).total_seconds()
        if age > float((pod.get("spec") or {}).get("activeDeadlineSeconds") or 0):
            api.delete(f"{pods}/{name}", gracePeriodSeconds="0")
            swept.append(name)
    return swept
