# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""kubernetes_check against a real kube-apiserver; what takes a kubelet is in tests/integration/site."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.apiserver import ADMINISTRATOR, LOOPBACK, NAME, ApiServer, apiserver
from support.flyte import wait_for
from support.modules import Result, run_module
from support.pki import Authority, Leaf
from support.servers import black_hole, free_port

from ansible_collections.flyte.onprem.plugins.module_utils._kubernetes_rights import Right, installing_flyte
from ansible_collections.flyte.onprem.plugins.module_utils._pod import SELECTOR
from ansible_collections.flyte.onprem.plugins.modules.kubernetes_check import main

Json = dict[str, Any]
PODS = "/api/v1/namespaces/flyte/pods"
RULES = installing_flyte(1, namespace="flyte")
IMAGE = "registry.example.com/python:3"


@dataclass
class Cluster:
    """A cluster that is right in every way, as far as an API server can tell."""

    server: ApiServer
    clients: dict[str, Leaf]
    options: Json = field(default_factory=dict)

    def check(self, *, check_mode: bool = False, user: str = ADMINISTRATOR, **changes: Any) -> Result:
        arguments = {
            "kubeconfig": str(changes.pop("kubeconfig", None) or self.server.kubeconfig(user=user)),
            "ingress_class": "traefik",
            "ingress_controller": "traefik.io/ingress-controller",
            "expected_nodes": 2,
            "minimum_cpu": "6",
            "minimum_memory": "12Gi",
            "task_cpu": "4",
            "task_memory": "8Gi",
            "timeout": 5,
            **changes,
        }
        given = {key: value for key, value in arguments.items() if value is not None}
        result = run_module(main, given, check=check_mode)
        assert [token for token in self.server.tokens.values() if token in result.output] == []
        return result

    def left(self) -> list[str]:
        return self.server.names(f"{PODS}?labelSelector={SELECTOR.replace('=', '%3D').replace(',', '%2C')}")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    authority = Authority(tmp_path_factory.mktemp("kubernetes") / "pki")
    shown = {
        "expired.example.com": authority.issue("expired.example.com", days=-1),
        "ending.example.com": authority.issue("ending.example.com", days=5),
        "renamed.example.com": authority.issue("other.example.com"),
    }
    clients = {name: authority.issue("user", days=days, group="system:masters")
               for name, days in (("good", 90), ("ending", 5), ("expired", -1))}  # fmt: skip
    with apiserver(tmp_path_factory.mktemp("apiserver"), authority, others=shown) as server:
        server.namespace("flyte")
        for name in ("one", "two"):
            server.node(name)
        default = {"storageclass.kubernetes.io/is-default-class": "true"}
        for name, annotations in (("local-path", default), ("slow", {})):
            server.create(
                "/apis/storage.k8s.io/v1/storageclasses",
                {"metadata": {"name": name, "annotations": annotations}, "provisioner": "rancher.io/local-path"},
            )
        for name, controller in (
            ("traefik", "traefik.io/ingress-controller"),
            ("other", "nginx.org/ingress-controller"),
        ):
            server.create(
                "/apis/networking.k8s.io/v1/ingressclasses",
                {"metadata": {"name": name}, "spec": {"controller": controller}},
            )
        server.create("/api/v1/namespaces/kube-system/serviceaccounts", {"metadata": {"name": "default"}})
        for name, app in (("coredns", "coredns"), ("traefik", "traefik")):
            make_pod(server, name, app)
        yield Cluster(server, clients)


def make_pod(server: ApiServer, name: str, app: str = "") -> None:
    """A pod of the system that runs, as its kubelet would say."""
    body = {
        "metadata": {"name": name, "labels": {"app.kubernetes.io/name": app}},
        "spec": {"nodeName": "one", "containers": [{"name": "main", "image": "none"}]},
    }
    server.create("/api/v1/namespaces/kube-system/pods", body)
    server.pod_status("kube-system", name, RUNNING)


def statuses(state: Json, *, ready: bool = False) -> list[Json]:
    more = {"image": "none", "imageID": "", "restartCount": 0}
    return [{"name": "main", "ready": ready, "state": state, **more}]


RUNNING = {"phase": "Running", "containerStatuses": statuses({"running": {}}, ready=True)}


def test_a_healthy_cluster_passes(cluster: Cluster) -> None:
    result = cluster.check()
    assert not result.failed, result["msg"]
    assert result.statuses("warning") == []
    # The user has a token.
    assert result.statuses("skipped") == ["K8S-02"]
    assert result["kubernetes_version"].startswith("v1.")


def test_a_client_with_a_certificate_passes(cluster: Cluster) -> None:
    result = cluster.check(kubeconfig=cluster.server.kubeconfig(client=cluster.clients["good"]))
    assert not result.failed, result["msg"]
    assert result.row("K8S-02")["status"] == "passed"


def test_the_name_that_a_kubeconfig_gives_the_server_is_the_one_that_counts(cluster: Cluster) -> None:
    result = cluster.check(kubeconfig=cluster.server.kubeconfig(server_name=NAME))
    assert not result.failed, result["msg"]
    assert NAME in result.row("TLS-12")["observed"]


WARNINGS: list[tuple[str, str, Callable[[Cluster], Json]]] = [
    ("client's certificate ends soon", "K8S-02",
     lambda cluster: {"kubeconfig": cluster.server.kubeconfig(client=cluster.clients["ending"])}),
    ("server's certificate ends soon", "TLS-13",
     lambda cluster: {"kubeconfig": cluster.server.kubeconfig(server_name="ending.example.com")}),
    ("server not verified", "K8S-03", lambda cluster: {"kubeconfig": cluster.server.kubeconfig(verify=False)}),
    ("no pod of the controller", "K8S-34",
     lambda _cluster: {"ingress_class": "other", "ingress_controller": "nginx.org/ingress-controller"}),
]  # fmt: skip


@pytest.mark.parametrize("warning", WARNINGS, ids=[f"{row[0]}: {row[1]}" for row in WARNINGS])
def test_what_works_and_should_be_known_is_a_warning(
    cluster: Cluster, warning: tuple[str, str, Callable[[Cluster], Json]]
) -> None:
    _what, id, options = warning
    result = cluster.check(**options(cluster))
    assert not result.failed, result["msg"]
    assert result.statuses("warning") == [id]


# A fault is a context: given the cluster, it breaks something, says with which options to look, and mends it.
Fault = Callable[[Cluster], AbstractContextManager[Json]]


def options(**changes: Any) -> Fault:
    return lambda _cluster: contextlib.nullcontext(changes)


def kubeconfig(make: Callable[[Cluster], Path]) -> Fault:
    return lambda cluster: contextlib.nullcontext({"kubeconfig": make(cluster)})


def elsewhere(address: str) -> Fault:
    def fault(cluster: Cluster) -> AbstractContextManager[Json]:
        path = cluster.server.kubeconfig()
        path.write_text(path.read_text().replace(cluster.server.url, address))
        return contextlib.nullcontext({"kubeconfig": path, "timeout": 2})

    return fault


@contextlib.contextmanager
def lost(cluster: Cluster) -> Iterator[Json]:
    with black_hole() as port, elsewhere(f"https://{LOOPBACK}:{port}")(cluster) as changes:
        yield {**changes, "timeout": 1}


@contextlib.contextmanager
def plugin_hangs(cluster: Cluster) -> Iterator[Json]:
    """With a certificate beside it that would do."""
    path = cluster.server.kubeconfig(client=cluster.clients["good"])
    document = yaml.safe_load(path.read_text())
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "sleep", "args": ["60"]}
    document["users"][0]["user"]["exec"] = plugin
    path.write_text(yaml.safe_dump(document))
    yield {"kubeconfig": path, "timeout": 1}


@contextlib.contextmanager
def no_datastore(cluster: Cluster) -> Iterator[Json]:
    with cluster.server.without_datastore():
        yield {}


def other_ca(cluster: Cluster) -> Path:
    return cluster.server.kubeconfig(ca_file=Authority(cluster.server.directory / "stranger").certificate)


@contextlib.contextmanager
def node_not_ready(cluster: Cluster) -> Iterator[Json]:
    cluster.server.node_status("two", ready=False)
    try:
        yield {}
    finally:
        cluster.server.node_status("two", ready=True)


@contextlib.contextmanager
def disk_full(cluster: Cluster) -> Iterator[Json]:
    path = "/api/v1/nodes/two/status"
    conditions = cluster.server.ask("GET", path)["status"]["conditions"]
    pressure = {"type": "DiskPressure", "status": "True", "reason": "KubeletHasDiskPressure"}
    cluster.server.merge(path, {"status": {"conditions": [*conditions, pressure]}})
    try:
        yield {}
    finally:
        cluster.server.merge(path, {"status": {"conditions": conditions}})


def cordoned(**changes: Any) -> Fault:
    @contextlib.contextmanager
    def fault(cluster: Cluster) -> Iterator[Json]:
        cluster.server.merge("/api/v1/nodes/two", {"spec": {"unschedulable": True}})
        try:
            yield changes
        finally:
            cluster.server.merge("/api/v1/nodes/two", {"spec": {"unschedulable": None}})

    return fault


@contextlib.contextmanager
def no_default_class(cluster: Cluster) -> Iterator[Json]:
    path = "/apis/storage.k8s.io/v1/storageclasses/local-path"
    mark = "storageclass.kubernetes.io/is-default-class"
    cluster.server.merge(path, {"metadata": {"annotations": {mark: "false"}}})
    try:
        yield {}
    finally:
        cluster.server.merge(path, {"metadata": {"annotations": {mark: "true"}}})


def system_pod(name: str, status: Json) -> Fault:
    """A pod in kube-system has another status."""

    @contextlib.contextmanager
    def fault(cluster: Cluster) -> Iterator[Json]:
        exists = name in cluster.server.names("/api/v1/namespaces/kube-system/pods")
        if not exists:
            make_pod(cluster.server, name)
        cluster.server.pod_status("kube-system", name, status)
        try:
            yield {}
        finally:
            if exists:
                cluster.server.pod_status("kube-system", name, RUNNING)
            else:
                cluster.server.delete(f"/api/v1/namespaces/kube-system/pods/{name}")

    return fault


def waiting(reason: str, message: str = "") -> Json:
    return {"phase": "Pending", "containerStatuses": statuses({"waiting": {"reason": reason, "message": message}})}


UNPLACED = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "Insufficient cpu"}


def user_without(missing: Right) -> Fault:
    """A user with exactly the rights that the module asks for, but one."""

    @contextlib.contextmanager
    def fault(cluster: Cluster) -> Iterator[Json]:
        with user_with(cluster.server, [right for right in (*RULES.made, *RULES.granted) if right != missing]):
            yield {"user": "installer"}

    return fault


@contextlib.contextmanager
def user_with(server: ApiServer, rights: list[Right], user: str = "installer") -> Iterator[None]:
    """The user has these rights: those with a namespace by a Role in it, the others by a ClusterRole."""
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    looking = [Right("get list", resource, group) for group, resource in (
        ("", "nodes pods namespaces"), ("storage.k8s.io", "storageclasses"),
        ("networking.k8s.io", "ingressclasses"),
    )]  # fmt: skip
    made = []
    try:
        for namespace in {right.namespace for right in rights} | {""}:
            mine = [right for right in rights if right.namespace == namespace] + ([] if namespace else looking)
            kind = "Role" if namespace else "ClusterRole"
            where = f"{rbac}/namespaces/{namespace}" if namespace else rbac
            role: Json = {"metadata": {"name": user}, "rules": [
                {"apiGroups": [right.group], "resources": right.resource.split(), "verbs": right.verb.split()}
                for right in mine
            ]}  # fmt: skip
            if not namespace:
                # kubectl's own: readiness may be asked for by everybody whom the administrator lets.
                role["rules"].append({"nonResourceURLs": ["/readyz", "/version"], "verbs": ["get"]})
            binding = {
                "metadata": {"name": user},
                "subjects": [{"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}],
                "roleRef": {"kind": kind, "name": user, "apiGroup": "rbac.authorization.k8s.io"},
            }
            for path, body in ((f"{kind.lower()}s", role), (f"{kind.lower()}bindings", binding)):
                server.create(f"{where}/{path}", body)
                made.append(f"{where}/{path}/{user}")
        yield
    finally:
        for path in made:
            server.delete(path)


@contextlib.contextmanager
def restricted(cluster: Cluster) -> Iterator[Json]:
    mark = "pod-security.kubernetes.io/enforce"
    cluster.server.merge("/api/v1/namespaces/flyte", {"metadata": {"labels": {mark: "restricted"}}})
    try:
        yield {}
    finally:
        cluster.server.merge("/api/v1/namespaces/flyte", {"metadata": {"labels": {mark: None}}})


@contextlib.contextmanager
def quota_used_up(cluster: Cluster) -> Iterator[Json]:
    path = "/api/v1/namespaces/flyte/resourcequotas"
    hard = {"limits.cpu": "100m"}
    cluster.server.create(path, {"metadata": {"name": "small"}, "spec": {"hard": hard}})
    # As the controller would.
    cluster.server.merge(f"{path}/small/status", {"status": {"hard": hard, "used": {"limits.cpu": "0"}}})
    try:
        yield {}
    finally:
        cluster.server.delete(f"{path}/small")


@contextlib.contextmanager
def limited(cluster: Cluster) -> Iterator[Json]:
    path = "/api/v1/namespaces/flyte/limitranges"
    limits = [{"type": "Container", "max": {"memory": "64Mi"}}]
    cluster.server.create(path, {"metadata": {"name": "small"}, "spec": {"limits": limits}})
    try:
        yield {}
    finally:
        cluster.server.delete(f"{path}/small")


@contextlib.contextmanager
def forbidden_by_policy(cluster: Cluster) -> Iterator[Json]:
    path = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolic"
    rules = [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]
    policy = {
        "metadata": {"name": "signed-only"},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": rules},
            "validations": [{"expression": "false", "message": "only signed images may run"}],
        },
    }
    binding = {"metadata": {"name": "signed-only"},
               "spec": {"policyName": "signed-only", "validationActions": ["Deny"]}}  # fmt: skip
    cluster.server.create(f"{path}ies", policy)
    cluster.server.create(f"{path}ybindings", binding)
    try:
        # The policy counts a moment after it was made.
        probe = {"metadata": {"name": "x"}, "spec": {"containers": [{"name": "x", "image": "x"}]}}
        wait_for(lambda: refused(cluster.server, probe), what="the policy")
        yield {}
    finally:
        cluster.server.delete(f"{path}ybindings/signed-only")
        cluster.server.delete(f"{path}ies/signed-only")
        wait_for(lambda: not refused(cluster.server, probe), what="the end of the policy")


def refused(server: ApiServer, pod: Json) -> bool:
    try:
        server.create(f"{PODS}?dryRun=All", pod)
    except Exception as exc:
        return "signed-only" in str(exc)
    return False


@contextlib.contextmanager
def kubelet(cluster: Cluster, status: Json) -> Iterator[Json]:
    """What a kubelet would say of the check's pod, once it is there."""
    stop = threading.Event()

    def tell() -> None:
        while not stop.wait(0.1):
            for name in cluster.left():
                with contextlib.suppress(Exception):  # it may be gone by now
                    cluster.server.pod_status("flyte", name, status)

    thread = threading.Thread(target=tell)
    thread.start()
    try:
        yield {**POD, "pod_timeout": 20}
    finally:
        stop.set()
        thread.join()


POD: Json = {"pod_image": IMAGE, "pod_services": ["https://s3.example.com:9000"]}


def said(status: Json) -> Fault:
    return lambda cluster: kubelet(cluster, status)


def without(verb: str, resource: str, rights: Sequence[Right] = RULES.made) -> Right:
    return next(right for right in rights if (right.verb, right.resource) == (verb, resource))


# what it is, id that must fail, the fault, words that must stand in what was seen
FAULTS: list[tuple[str, str, Fault, str]] = [
    ("no kubeconfig", "K8S-01", options(kubeconfig="/nonexistent/kubeconfig"), "no file"),
    ("client's certificate expired", "K8S-02",
     kubeconfig(lambda cluster: cluster.server.kubeconfig(client=cluster.clients["expired"])), "expired"),
    ("credential plugin hangs", "K8S-04", plugin_hangs, "no answer within 1 seconds"),
    ("name unknown", "K8S-10", elsewhere("https://nowhere.invalid:6443"), "not known"),
    ("lost packets", "K8S-11", lost, "no answer"),
    ("closed port", "K8S-12", elsewhere(f"https://{LOOPBACK}:{free_port()}"), "refused"),
    ("unknown CA", "TLS-11", kubeconfig(other_ca), "issuer"),
    ("certificate for another name", "TLS-12",
     kubeconfig(lambda cluster: cluster.server.kubeconfig(server_name="renamed.example.com")), "renamed.example.com"),
    ("server's certificate expired", "TLS-13",
     kubeconfig(lambda cluster: cluster.server.kubeconfig(server_name="expired.example.com")), "expired"),
    ("unknown token", "K8S-13", kubeconfig(lambda cluster: cluster.server.kubeconfig(token="0" * 32)), "Unauthorized"),
    ("datastore hangs", "K8S-14", no_datastore, "etcd"),
    ("too old", "K8S-20", options(minimum_version="1.99"), "v1."),
    ("too new", "K8S-21", options(maximum_version="1.30"), "v1."),
    ("node not ready", "K8S-22", node_not_ready, "two: runtime is down"),
    ("disk of a node full", "K8S-22", disk_full, "two: DiskPressure"),
    ("node missing", "K8S-22", options(expected_nodes=3), "one, two"),
    ("nodes without an address", "K8S-35", options(node_networks=["192.0.2.0/24"]),
     "one (no address), two (no address)"),
    ("too few cores", "K8S-23", options(minimum_cpu="9"), "8 cores"),
    ("cores of a cordoned node", "K8S-23", cordoned(minimum_memory="1"), "4 cores"),
    ("memory of a cordoned node", "K8S-24", cordoned(minimum_cpu="1"), "8192 MiB"),
    ("no node large enough", "K8S-31", options(task_cpu="5"), "4 cores and 8192 MiB"),
    ("no node with both", "K8S-31", options(task_memory="9Gi"), "4 cores and 8192 MiB"),
    ("no default storage class", "K8S-25", no_default_class, "local-path, slow"),
    ("storage class missing", "K8S-25", options(storage_class="fast"), "local-path"),
    ("ingress class missing", "K8S-26", options(ingress_class="nginx"), "traefik"),
    ("other controller", "K8S-27", options(ingress_class="other"), "nginx.org"),
    ("controller crashes", "K8S-34", system_pod("traefik", waiting("CrashLoopBackOff")), "traefik: CrashLoopBackOff"),
    ("image cannot be pulled", "K8S-28", system_pod("broken", waiting("ImagePullBackOff", "no such host")),
     "broken: ImagePullBackOff (no such host)"),
    ("no pod in a namespace", "K8S-28", options(system_namespaces=["default"]), "no pod"),
    ("pod not placed", "K8S-28", system_pod("broken", {"phase": "Pending", "conditions": [UNPLACED]}),
     "Unschedulable (Insufficient cpu)"),
    ("no right to make Deployments", "K8S-29", user_without(without("create", "deployments")),
     "create deployments.apps in flyte"),
    ("no right to change Services", "K8S-29", user_without(without("patch", "services")),
     "patch services in flyte"),
    ("no right to make ClusterRoles", "K8S-29", user_without(without("create", "clusterroles")),
     "create clusterroles.rbac.authorization.k8s.io"),
    ("a right of Flyte's that the user has not", "K8S-29",
     user_without(without("watch", "podtemplates", RULES.granted)), "watch podtemplates"),
    ("a verb of Flyte's that Kubernetes has not", "K8S-29",
     user_without(without("post", "flyteworkflows", RULES.granted)), "post flyteworkflows.flyte.lyft.com"),
    ("namespace restricted", "K8S-30", restricted, 'violates PodSecurity "restricted'),
    ("quota too small", "K8S-32", quota_used_up, "exceeded quota: small"),
    ("limit range too small", "K8S-32", limited, "maximum memory usage per Container is 64Mi"),
    ("policy refuses pods", "K8S-33", forbidden_by_policy, "only signed images may run"),
    ("no node takes the pod", "K8S-40", options(**POD, pod_timeout=1), "not done within 1 seconds"),
    ("image of the pod cannot be pulled", "K8S-40", said(waiting("ImagePullBackOff", "no such host")),
     "ImagePullBackOff (no such host)"),
    ("image of the pod without Python", "K8S-40",
     said({"phase": "Failed", "containerStatuses": statuses(
         {"terminated": {"exitCode": 128, "reason": "StartError", "message": "exec: python3: not found"}})}),
     "StartError"),
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=[f"{row[0]}: {row[1]}" for row in FAULTS])
def test_each_fault_fails_its_own_check_and_nothing_else(cluster: Cluster, fault: tuple[str, str, Fault, str]) -> None:
    _what, id, breaking, words = fault
    with breaking(cluster) as changes:
        result = cluster.check(**changes)
    result.assert_fails_only(id, words)
    assert cluster.left() == []


def test_a_user_with_exactly_the_rights_that_are_asked_for_may_install(cluster: Cluster) -> None:
    with user_with(cluster.server, [*RULES.made, *RULES.granted]):
        result = cluster.check(user="installer")
    assert not result.failed, result["msg"]
    assert f"all {len(RULES.made) + len(RULES.granted)} allowed" in result.row("K8S-29")["observed"]


def test_a_user_who_may_escalate_need_not_have_what_he_grants(cluster: Cluster) -> None:
    with user_with(cluster.server, [*RULES.made, *RULES.escalating]):
        result = cluster.check(user="installer")
    assert "may be granted" in result.row("K8S-29")["observed"]


def test_what_is_asked_of_a_user_is_what_kubernetes_asks_of_him(cluster: Cluster) -> None:
    """The user can make a ClusterRole of Flyte's rights with them, and cannot with one less."""
    rules = [{"apiGroups": [right.group], "resources": [right.resource], "verbs": [right.verb]}
             for right in RULES.granted]  # fmt: skip
    role = json.dumps({"metadata": {"name": "flyte"}, "rules": rules})
    for granted, made in ((RULES.granted, True), (RULES.granted[:-1], False)):
        with user_with(cluster.server, [*RULES.made, *granted]):
            assert creates_role(cluster, role) is made


def creates_role(cluster: Cluster, role: str) -> bool:
    """Whether the installer may make a ClusterRole; by way of trial."""
    request = urllib.request.Request(
        f"{cluster.server.url}/apis/rbac.authorization.k8s.io/v1/clusterroles?dryRun=All",
        data=role.encode(),
        headers={
            "Authorization": f"Bearer {cluster.server.tokens['installer']}",
            "Content-Type": "application/json",
        },
    )
    trust = ssl.create_default_context(cafile=str(cluster.server.authority.certificate))
    try:
        urllib.request.urlopen(request, context=trust, timeout=10).close()
    except urllib.error.HTTPError as exc:
        assert exc.code == 403
        return False
    return True


def test_a_user_who_may_only_look_is_told_what_he_may_not(cluster: Cluster) -> None:
    with user_with(cluster.server, [], user="reader"):
        result = cluster.check(user="reader")
    assert result.statuses("failed") == ["K8S-29"]
    assert "may not ask" in result.row("K8S-30")["observed"]


def test_a_pod_that_cannot_be_deleted_is_told(cluster: Cluster) -> None:
    rights = [right for right in (*RULES.made, *RULES.granted) if (right.verb, right.resource) != ("delete", "pods")]
    with user_with(cluster.server, rights):
        result = cluster.check(user="installer", **POD, pod_timeout=1, rights=[])
    (left,) = cluster.left()
    cluster.server.delete(f"{PODS}/{left}")
    assert result.statuses("failed") == ["K8S-40", "K8S-45"]
    assert f"{left}: " in result.row("K8S-45")["observed"]
    assert "cannot delete" in result.row("K8S-45")["observed"]


def test_every_namespace_of_tasks_must_admit_pods(cluster: Cluster) -> None:
    cluster.server.namespace("edge-production", {"pod-security.kubernetes.io/enforce": "restricted"})
    try:
        result = cluster.check(task_namespaces=["edge-production", "edge-staging"])
    finally:
        cluster.server.delete("/api/v1/namespaces/edge-production")
    rows = {row["title"]: row["status"] for row in result["checks"] if row["id"] == "K8S-30"}
    assert list(rows.values()) == ["passed", "failed", "skipped"]


def test_without_a_namespace_none_is_looked_at(cluster: Cluster) -> None:
    with restricted(cluster):
        result = cluster.check(namespace="")
    assert not result.failed, result["msg"]
    assert "K8S-30" not in [row["id"] for row in result["checks"]]


def test_services_without_an_image_are_skipped_and_said(cluster: Cluster) -> None:
    result = cluster.check(pod_services=POD["pod_services"])
    assert not result.failed, result["msg"]
    assert result.row("K8S-40")["observed"] == "no pod_image was given"


def test_check_mode_makes_no_pod_and_says_so(cluster: Cluster) -> None:
    result = cluster.check(check_mode=True, **POD)
    assert not result.failed, result["msg"]
    assert "check mode" in result.row("K8S-40")["observed"]
    assert cluster.left() == []


def start_module(cluster: Cluster, **options: Any) -> subprocess.Popen[bytes]:
    """The module as a process of its own, so that it can be ended."""
    arguments = {"kubeconfig": str(cluster.server.kubeconfig()), "timeout": 5, **POD, **options}
    path = cluster.server.directory / "arguments.json"
    path.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": arguments}))
    program = f"from {main.__module__} import main; main()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_a_check_that_is_told_to_end_deletes_its_pod(cluster: Cluster) -> None:
    process = start_module(cluster, pod_timeout=60)
    wait_for(lambda: cluster.left() != [], what="the pod")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) != 0
    assert cluster.left() == []


def kill_one(cluster: Cluster, *, pod_timeout: int) -> str:
    """Kill a check while its pod is there; the pod's name."""
    process = start_module(cluster, pod_timeout=pod_timeout)
    wait_for(lambda: cluster.left() != [], what="the pod")
    process.kill()
    process.wait(timeout=20)
    (left,) = cluster.left()
    return left


def test_a_pod_that_another_check_may_still_wait_for_is_left_alone(cluster: Cluster) -> None:
    left = kill_one(cluster, pod_timeout=3600)
    try:
        result = cluster.check(**POD, pod_timeout=1, rights=[])
        assert result.row("K8S-45")["status"] == "passed"
        assert cluster.left() == [left]
    finally:
        cluster.server.delete(f"{PODS}/{left}")


def test_the_next_check_deletes_what_a_killed_one_has_left_and_says_so(cluster: Cluster) -> None:
    left = kill_one(cluster, pod_timeout=1)
    killed = time.monotonic()
    wait_for(lambda: time.monotonic() - killed > 3, what="the deadline of the pod")
    result = cluster.check(**POD, pod_timeout=1, rights=[])
    assert left in result.row("K8S-45")["observed"]
    assert cluster.left() == []


def test_the_pod_is_admitted_where_the_namespace_is_restricted(cluster: Cluster) -> None:
    with restricted(cluster):
        result = cluster.check(**POD, pod_timeout=1)
    assert result.statuses("failed") == ["K8S-30", "K8S-40"]
    assert "not done within" in result.row("K8S-40")["observed"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pod_services": ["postgresql://"]}, "postgresql://"),
        ({"pod_services": ["tcp://host"]}, "no port"),
        (
            {"pod_services": ["https://user:with/hidden-word@host"]},
            "pod_services: an address must not hold a user name",
        ),
        ({"pod_ca_files": ["/nonexistent/ca.crt"]}, "/nonexistent/ca.crt"),
        ({"pod_timeout": 0}, "above 0"),
        ({"pod_image": IMAGE, "namespace": ""}, "needs a namespace"),
        ({"task_cpu": "much"}, "much"),
    ],
)
def test_bad_parameters_are_refused_before_anything_is_asked(cluster: Cluster, changes: Json, words: str) -> None:
    result = cluster.check(**changes)
    assert result.failed
    assert "checks" not in result.values
    assert words in result["msg"]
    assert "hidden-word" not in result.output
