# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What flyte_check sees of Flyte in a cluster: real objects of a real kube-apiserver, behind a Flyte that answers."""

from __future__ import annotations

import base64
import contextlib
import datetime
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.apiserver import ApiServer, Refused, apiserver
from support.flyte import flyte, wait_for
from support.flyte2 import flyte2
from support.modules import Result, run_module
from support.pki import Authority
from support.servers import admission_webhook, free_port

from ansible_collections.flyte.onprem.plugins.modules.flyte_check import main

Json = dict[str, Any]
IMAGES = ["cr.flyte.org/flyteorg/flyte-binary-release:v1.16.8", "docker.io/library/postgres:15-alpine"]
NAMESPACES = ["flytesnacks-development", "flytesnacks-production"]
PODS = "/api/v1/namespaces/flyte/pods"
SECRETS = "/api/v1/namespaces/flyte/secrets"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
HOOKS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
SERVICES = "/api/v1/namespaces/flyte/services"
KEYS = {"FLYTE_AWS_ACCESS_KEY_ID": "a2V5", "FLYTE_AWS_SECRET_ACCESS_KEY": "c2VjcmV0LW9mLWZseXRl"}


def encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


@dataclass
class Installed:
    """Flyte as it lies in a cluster when all is well, but for a kubelet that runs it."""

    server: ApiServer
    authority: Authority
    urls: dict[int, str]

    def check(self, **changes: Any) -> Result:
        arguments = {
            "url": self.urls[changes.get("generation", 1)],
            "kubeconfig": str(self.server.kubeconfig()),
            "release": "flyte-binary",
            "domains": ["development", "production"],
            "task_secret": "flyte-task-s3",
            "images": IMAGES,
            "upload": False,
            "timeout": 5,
            **changes,
        }
        result = run_module(main, arguments)
        assert [value for value in (*KEYS.values(), "secret-of-flyte") if value in result.output] == []
        return result

    def make_pod(self, image: str = IMAGES[0], status: Json | None = None) -> None:
        body = {
            "metadata": {"name": "flyte-binary-0", "labels": {"app.kubernetes.io/instance": "flyte-binary"}},
            "spec": {
                "nodeName": "one",
                "initContainers": [{"name": "wait-for-db", "image": IMAGES[1]}],
                "containers": [{"name": "flyte", "image": image}],
            },
        }
        self.server.delete(f"{PODS}/flyte-binary-0")
        self.server.create(PODS, body)
        self.server.pod_status("flyte", "flyte-binary-0", status or pod_status({"running": {}}, ready=True))

    def make_definition(self, name: str) -> None:
        plural, _, group = name.partition(".")
        kind = {"flyteworkflows": "FlyteWorkflow", "taskactions": "TaskAction"}[plural]
        schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
        body = {
            "metadata": {"name": name},
            "spec": {
                "group": group,
                "scope": "Namespaced",
                "names": {"plural": plural, "kind": kind},
                "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
            },
        }
        self.server.create(CRDS, body)
        # Until its objects are served, the API server cannot finish a deletion of it either.
        wait_for(lambda: self.serves(f"/apis/{group}/v1/{plural}"), what=name, seconds=60)

    def serves(self, path: str) -> bool:
        try:
            self.server.ask("GET", path)
        except Refused:
            return False
        return True

    def make_webhook(self, name: str = "flyte-binary-webhook", ca: Path | None = None) -> None:
        service = {"namespace": "flyte", "name": name, "port": 443}
        hook = {
            "name": "flyte-pod-webhook.flyte.org",
            "clientConfig": {"service": service, "caBundle": encoded(ca or self.authority.certificate)},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
            "objectSelector": {"matchLabels": {"inject-flyte-secrets": "true"}},
            "failurePolicy": "Fail",
            "sideEffects": "NoneOnDryRun",
            "admissionReviewVersions": ["v1"],
        }
        self.server.create(HOOKS, {"metadata": {"name": name}, "webhooks": [hook]})

    def make_webhook_secret(self, *, days: float = 90) -> None:
        leaf = self.authority.issue("flyte-binary-webhook.flyte.svc", days=days)
        data = {"ca.crt": encoded(self.authority.certificate), "tls.crt": encoded(leaf.certificate)}
        self.server.delete(f"{SECRETS}/flyte-binary-webhook-secret")
        self.server.create(SECRETS, {"metadata": {"name": "flyte-binary-webhook-secret"}, "data": data})

    def make_task_secret(self, namespace: str, data: Json = KEYS) -> None:
        self.server.delete(f"/api/v1/namespaces/{namespace}/secrets/flyte-task-s3")
        self.server.create(
            f"/api/v1/namespaces/{namespace}/secrets", {"metadata": {"name": "flyte-task-s3"}, "data": data}
        )


def pod_status(state: Json, *, ready: bool = False) -> Json:
    more = {"image": "none", "imageID": "", "restartCount": 0}
    return {
        "phase": "Running",
        "initContainerStatuses": [
            {"name": "wait-for-db", "ready": True, "state": {"terminated": {"exitCode": 0}}, **more}
        ],
        "containerStatuses": [{"name": "flyte", "ready": ready, "state": state, **more}],
    }


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    authority = Authority(tmp_path_factory.mktemp("cluster") / "pki")
    with (
        apiserver(tmp_path_factory.mktemp("apiserver"), authority) as server,
        admission_webhook(authority.issue("flyte-binary-webhook.flyte.svc")) as listening,
        flyte() as one,
        flyte2() as two,
    ):
        made = Installed(
            server, authority, {1: f"http://127.0.0.1:{one.http_port}", 2: f"http://127.0.0.1:{two.http_port}"}
        )
        server.namespace("flyte")
        for namespace in NAMESPACES:
            server.namespace(namespace)
            made.make_task_secret(namespace)
        made.make_pod()
        for name in ("flyteworkflows.flyte.lyft.com", "taskactions.flyte.org"):
            made.make_definition(name)
        server.service("flyte", "flyte-binary-webhook", *listening)
        made.make_webhook()
        made.make_webhook_secret()
        yield made


@pytest.mark.parametrize("generation", [1, 2])
def test_a_healthy_installation_passes(installed: Installed, generation: int) -> None:
    result = installed.check(generation=generation)
    assert not result.failed, result["msg"]
    assert result.statuses("warning") == []
    # Nothing that is asked of the cluster, but what Flyte 2 does not make ahead.
    skipped = [row["id"] for row in result["checks"] if row["status"] == "skipped" and row["id"] != "K8S-02"]
    asked = ("FLYTE-30", "FLYTE-31", "FLYTE-33", "FLYTE-34", "FLYTE-35", "FLYTE-36", "TLS-02")
    assert [id for id in skipped if id in asked] == []


# A fault is a context: given the installation, it breaks something, says with which options to look, and mends it.
Fault = Callable[[Installed], AbstractContextManager[Json]]


def absent(path: str, mend: Callable[[Installed], None]) -> Fault:
    @contextlib.contextmanager
    def fault(installed: Installed) -> Iterator[Json]:
        installed.server.delete(path)
        try:
            yield {}
        finally:
            mend(installed)

    return fault


def pod(**changes: Any) -> Fault:
    @contextlib.contextmanager
    def fault(installed: Installed) -> Iterator[Json]:
        installed.make_pod(**changes)
        try:
            yield {}
        finally:
            installed.make_pod()

    return fault


@contextlib.contextmanager
def just_started(installed: Installed) -> Iterator[Json]:
    now = datetime.datetime.now(datetime.timezone.utc)
    status = pod_status({"running": {"startedAt": f"{now:%Y-%m-%dT%H:%M:%SZ}"}})
    with pod(status=status)(installed):
        yield {}


def definition_hangs(name: str, generation: int) -> Fault:
    """Deleted while an object of it is held by a finalizer that nobody takes away, as after helm uninstall."""

    @contextlib.contextmanager
    def fault(installed: Installed) -> Iterator[Json]:
        plural, _, group = name.partition(".")
        objects = f"/apis/{group}/v1/namespaces/flyte/{plural}"
        kind = {"flyteworkflows": "FlyteWorkflow", "taskactions": "TaskAction"}[plural]
        held = {"name": "held", "finalizers": ["flyte.org/plugin-finalizer"]}
        installed.server.create(objects, {"apiVersion": f"{group}/v1", "kind": kind, "metadata": held})
        installed.server.delete(f"{CRDS}/{name}")
        try:
            yield {"generation": generation}
        finally:
            installed.server.merge(f"{objects}/held", {"metadata": {"finalizers": None}})
            until_gone(installed, f"{CRDS}/{name}")
            installed.make_definition(name)

    return fault


def until_gone(installed: Installed, path: str) -> None:
    wait_for(
        lambda: path.rpartition("/")[2] not in installed.server.names(path.rpartition("/")[0]),
        what="the end",
        seconds=60,
    )


def crd_missing(name: str, generation: int) -> Fault:
    @contextlib.contextmanager
    def fault(installed: Installed) -> Iterator[Json]:
        installed.server.delete(f"{CRDS}/{name}")
        until_gone(installed, f"{CRDS}/{name}")
        try:
            yield {"generation": generation}
        finally:
            installed.make_definition(name)

    return fault


def task_secret(data: Json | None) -> Fault:
    @contextlib.contextmanager
    def fault(installed: Installed) -> Iterator[Json]:
        if data is None:
            installed.server.delete(f"/api/v1/namespaces/{NAMESPACES[1]}/secrets/flyte-task-s3")
        else:
            installed.make_task_secret(NAMESPACES[1], data)
        try:
            yield {}
        finally:
            installed.make_task_secret(NAMESPACES[1])

    return fault


@contextlib.contextmanager
def certificate_expired(installed: Installed) -> Iterator[Json]:
    installed.make_webhook_secret(days=-1)
    try:
        yield {}
    finally:
        installed.make_webhook_secret()


@contextlib.contextmanager
def another_ca(installed: Installed) -> Iterator[Json]:
    """The API server cannot call the webhook, so pods that ask for secrets are refused."""
    installed.server.delete(f"{HOOKS}/flyte-binary-webhook")
    installed.make_webhook(ca=Authority(installed.authority.directory.parent / "other").certificate)
    try:
        yield {}
    finally:
        installed.server.delete(f"{HOOKS}/flyte-binary-webhook")
        installed.make_webhook()


@contextlib.contextmanager
def no_webhook(installed: Installed) -> Iterator[Json]:
    """The Service leads to a port where nothing listens, as while Flyte is starting."""
    slices = "/apis/discovery.k8s.io/v1/namespaces/flyte/endpointslices/flyte-binary-webhook"
    ports = installed.server.ask("GET", slices)["ports"]
    installed.server.merge(slices, {"ports": [{**ports[0], "port": free_port()}]})
    wait_for(lambda: not admits(installed), what="the webhook's end")
    try:
        yield {}
    finally:
        installed.server.merge(slices, {"ports": ports})
        wait_for(lambda: admits(installed), what="the webhook")


def admits(installed: Installed) -> bool:
    """Whether a pod that asks for a secret is admitted."""
    labelled = {
        "metadata": {"name": "x", "labels": {"inject-flyte-secrets": "true"}},
        "spec": {"containers": [{"name": "x", "image": "x"}]},
    }
    try:
        installed.server.create(f"{PODS}?dryRun=All", labelled)
    except Refused:
        return False
    return True


def leftover(generation: int) -> Fault:
    @contextlib.contextmanager
    def fault(installed: Installed) -> Iterator[Json]:
        installed.make_webhook("flyte2-webhook")
        hook = {"webhooks": installed.server.ask("GET", f"{HOOKS}/flyte2-webhook")["webhooks"]}
        hook["webhooks"][0]["clientConfig"]["service"]["namespace"] = "flyte2"
        installed.server.merge(f"{HOOKS}/flyte2-webhook", hook)
        try:
            yield {"generation": generation}
        finally:
            installed.server.delete(f"{HOOKS}/flyte2-webhook")

    return fault


def options(**changes: Any) -> Fault:
    return lambda _installed: contextlib.nullcontext(changes)


@contextlib.contextmanager
def pinless(installed: Installed) -> Iterator[Json]:
    with pod(image="cr.flyte.org/flyteorg/flyte-binary-release")(installed):
        yield {"images": []}


CRASH = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}
# what it is, id that must fail, the fault, words that must stand in what was seen
FAULTS: list[tuple[str, str, Fault, str]] = [
    ("no pod", "FLYTE-30", absent(f"{PODS}/flyte-binary-0", Installed.make_pod), "no pod of release flyte-binary"),
    ("pod crashes", "FLYTE-30", pod(status=pod_status(CRASH)), "CrashLoopBackOff"),
    ("pod just started", "FLYTE-30", just_started, "seconds ago"),
    ("another image", "FLYTE-35", pod(image="cr.flyte.org/flyteorg/flyte-binary-release:v1.15.0"), "v1.15.0"),
    ("image without a tag", "FLYTE-35",
     pinless, "cr.flyte.org/flyteorg/flyte-binary-release"),
    ("definition missing", "FLYTE-31", crd_missing("flyteworkflows.flyte.lyft.com", 1), "not there"),
    ("Flyte 2's definition missing", "FLYTE-31", crd_missing("taskactions.flyte.org", 2), "not there"),
    ("Flyte 2's definition hangs", "FLYTE-31", definition_hangs("taskactions.flyte.org", 2), "being deleted"),
    ("namespace missing", "FLYTE-32", options(domains=["development", "staging"]), "flytesnacks-staging"),
    ("Secret of tasks missing", "S3-02", task_secret(None), f"no Secret in {NAMESPACES[1]}"),
    ("key missing in the Secret of tasks", "S3-02", task_secret({"FLYTE_AWS_ACCESS_KEY_ID": "a2V5"}),
     f"no FLYTE_AWS_SECRET_ACCESS_KEY in {NAMESPACES[1]}"),
    ("webhook not registered", "FLYTE-33", absent(f"{HOOKS}/flyte-binary-webhook", Installed.make_webhook),
     "no webhook configuration leads to namespace flyte"),
    ("webhook's Secret missing", "TLS-02",
     absent(f"{SECRETS}/flyte-binary-webhook-secret", Installed.make_webhook_secret), "is not there"),
    ("webhook's certificate expired", "TLS-02", certificate_expired, "expired"),
    ("webhook of another CA", "TLS-02", another_ca, "does not trust it"),
    ("webhook does not answer", "FLYTE-36", no_webhook, "failed calling webhook"),
    ("webhook of an uninstalled Flyte", "FLYTE-34", leftover(1), "flyte2/flyte2-webhook is gone"),
    ("webhook of an uninstalled Flyte, seen by Flyte 2", "FLYTE-34", leftover(2), "flyte2/flyte2-webhook is gone"),
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=[f"{row[0]}: {row[1]}" for row in FAULTS])
def test_each_fault_fails_its_own_check_and_nothing_else(
    installed: Installed, fault: tuple[str, str, Fault, str]
) -> None:
    _what, id, breaking, words = fault
    with breaking(installed) as changes:
        result = installed.check(**changes)
    result.assert_fails_only(id, words)


def test_a_leftover_webhook_is_what_refuses_pods(installed: Installed) -> None:
    """The fault that FLYTE-34 names is one: with it no pod that asks for a secret is admitted anywhere."""
    assert admits(installed)
    with leftover(1)(installed):
        wait_for(lambda: not admits(installed), what="the webhook")
