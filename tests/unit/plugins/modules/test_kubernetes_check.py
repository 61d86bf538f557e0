# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""kubernetes_check against an API with one fault at a time; a real cluster is in the Molecule scenarios."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.kubernetes_api import TOKEN, FakeApi, items, kubernetes_api, named, node, pod
from support.modules import Result, run_module
from support.pki import Authority
from support.servers import black_hole, free_port, silent_port

from ansible_collections.flyte.onprem.plugins.modules.kubernetes_check import main

DEFAULT_CLASS = {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}
PODS = "/api/v1/namespaces/kube-system/pods"


def healthy() -> dict[str, Any]:
    return {
        "/version": {"major": "1", "minor": "36", "gitVersion": "v1.36.4+k3s1"},
        "/readyz": "ok",
        "/api/v1/nodes": items(node("one"), node("two", cpu="1930m", memory="4194304Ki")),
        "/apis/storage.k8s.io/v1/storageclasses": items(
            named("local-path", metadata=DEFAULT_CLASS), named("slow", metadata={"annotations": None})
        ),
        "/apis/networking.k8s.io/v1/ingressclasses": items(
            named("traefik", spec={"controller": "traefik.io/ingress-controller"})
        ),
        PODS: items(
            pod("coredns", containerStatuses=[{"name": "coredns", "ready": True, "state": {"running": {}}}]),
            pod("helm-install", "Succeeded"),
        ),
        "/api/v1/pods": items(pod("traefik")),
        "/api/v1/namespaces/flyte": named("flyte"),
        "POST /api/v1/namespaces/flyte/pods": {},
    }


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with kubernetes_api(healthy()) as server:
        yield server


def check(kubeconfig: Path, **options: Any) -> Result:
    arguments = {"kubeconfig": str(kubeconfig), "ingress_class": "traefik", "timeout": 3, **options}
    result = run_module(main, arguments)
    assert TOKEN not in result.output
    return result


def test_a_healthy_cluster_passes(api: FakeApi, tmp_path: Path) -> None:
    result = check(api.kubeconfig(tmp_path), expected_nodes=2, minimum_cpu="5900m", minimum_memory="12Gi")
    assert not result.failed, result["msg"]
    assert result.statuses("warning") == []
    assert result["kubernetes_version"] == "v1.36.4+k3s1"
    assert "5.93 cores" in result.row("K8S-23")["observed"]
    written = [request for request in api.asked if not request.startswith(("GET", "POST /apis/authorization"))]
    assert written == ["POST /api/v1/namespaces/flyte/pods"]  # by way of trial


def located(name: str, *addresses: str) -> dict[str, Any]:
    """A node with its addresses; the one by which it is known outside is not that of its pods."""
    found = node(name)
    shown = [{"type": "InternalIP", "address": address} for address in addresses]
    found["status"]["addresses"] = [*shown, {"type": "ExternalIP", "address": "192.0.2.99"}]
    return found


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    return pod("broken", "Pending", containerStatuses=[{"name": "main", "ready": False, "state": state}])


UNSCHEDULED = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "Insufficient cpu"}

# what it is, id that must fail, changed objects, options, words that must stand in what was seen
FAULTS: list[tuple[str, str, dict[str, Any], dict[str, Any], str]] = [
    ("too old", "K8S-20", {}, {"minimum_version": "1.37"}, "v1.36.4"),
    ("too new", "K8S-21", {}, {"maximum_version": "1.35"}, "v1.36.4"),
    ("node not ready", "K8S-22", {"/api/v1/nodes": items(node("one"), node("two", ready=False))}, {},
     "two: runtime is down"),
    ("node missing", "K8S-22", {}, {"expected_nodes": 3}, "one, two"),
    ("no node", "K8S-22", {"/api/v1/nodes": items()}, {}, "none"),
    ("node in another network", "K8S-35",
     {"/api/v1/nodes": items(located("one", "192.0.2.1"), located("two", "198.51.100.2"), located("three"))},
     {"node_networks": ["192.0.2.0/24"]}, "in none of them: two (198.51.100.2), three (no address)"),
    ("too few cores", "K8S-23", {}, {"minimum_cpu": "6"}, "5.93 cores"),
    ("cores of a cordoned node", "K8S-23",
     {"/api/v1/nodes": items(node("one"), node("two", unschedulable=True))}, {"minimum_cpu": "5"}, "4 cores"),
    ("cores of a tainted node", "K8S-23",
     {"/api/v1/nodes": items(node("one"), node("two", taints=[{"key": "a", "effect": "NoSchedule"}]))},
     {"minimum_cpu": "5"}, "4 cores, without the nodes that are cordoned or tainted: two"),
    ("memory of a node that evicts", "K8S-24",
     {"/api/v1/nodes": items(node("one"), node("two", taints=[{"key": "a", "effect": "NoExecute"}]))},
     {"minimum_memory": "9Gi"}, "8192 MiB, without the nodes that are cordoned or tainted: two"),
    ("too little memory", "K8S-24", {}, {"minimum_memory": "13Gi"}, "12288 MiB"),
    ("no default storage class", "K8S-25", {"/apis/storage.k8s.io/v1/storageclasses": items(named("slow"))}, {},
     "slow"),
    ("storage class missing", "K8S-25", {}, {"storage_class": "fast"}, "local-path, slow"),
    ("ingress class missing", "K8S-26", {}, {"ingress_class": "nginx"}, "traefik"),
    ("other controller", "K8S-27", {}, {"ingress_controller": "nginx.org/ingress-controller"}, "traefik.io"),
    ("image cannot be pulled", "K8S-28", {PODS: items(waiting("ImagePullBackOff", "no such host"))}, {},
     "broken: ImagePullBackOff (no such host)"),
    ("pod crashes", "K8S-28", {PODS: items(waiting("CrashLoopBackOff"))}, {}, "broken: CrashLoopBackOff"),
    ("pod not placed", "K8S-28", {PODS: items(pod("broken", "Pending", conditions=[UNSCHEDULED]))}, {},
     "Unschedulable (Insufficient cpu)"),
    ("pod failed", "K8S-28", {PODS: items(pod("broken", "Failed", reason="Evicted"))}, {}, "broken: Evicted"),
    ("container not ready", "K8S-28",
     {PODS: items(pod("broken", containerStatuses=[{"name": "main", "ready": False, "state": {"running": {}}}]))}, {},
     "container main not ready"),
    ("init container failed", "K8S-28",
     {PODS: items(pod("broken", "Pending", initContainerStatuses=[
         {"name": "init", "ready": False, "state": {"terminated": {"exitCode": 3, "reason": "Error"}}}]))}, {},
     "container init ended with 3"),
    ("no pod at all", "K8S-28", {PODS: items()}, {}, "there is no pod in it"),
    ("controller crashes", "K8S-34",
     {"/api/v1/pods": items(waiting("CrashLoopBackOff")), PODS: items(pod("coredns"), waiting("CrashLoopBackOff"))}, {},
     "broken: CrashLoopBackOff"),
    ("API not ready", "K8S-14", {"/readyz": (500, "[+]ping ok\n[-]etcd failed: reason withheld\nreadyz check failed")},
     {}, "not ready: etcd"),
    ("API breaks", "K8S-15", {"/api/v1/nodes": 500}, {}, "HTTP 500"),
    ("version that is none", "K8S-15", {"/version": {"gitVersion": "weird"}}, {}, "another shape"),
    ("something else answers", "K8S-15", {"/version": {}}, {}, "something other than an API server"),
    ("brackets without an end", "K8S-15", {"/api/v1/nodes": "[" * 100_000}, {}, "not a JSON object"),
    ("nodes without a name", "K8S-15", {"/api/v1/nodes": items({})}, {}, "another shape"),
    ("nodes that are none", "K8S-15", {"/api/v1/nodes": {"items": [3]}}, {}, "another shape"),
    ("namespace without a name", "K8S-15", {"/api/v1/namespaces/flyte": {}}, {}, "another shape"),
    ("sizes that are none", "K8S-15", {"/api/v1/nodes": items(node("one", cpu="lots"))}, {}, "another shape"),
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=[f"{row[0]}: {row[1]}" for row in FAULTS])
def test_each_fault_fails_its_own_check_and_nothing_else(
    api: FakeApi, tmp_path: Path, fault: tuple[str, str, dict[str, Any], dict[str, Any], str]
) -> None:
    _what, id, objects, options, words = fault
    api.objects.update(objects)
    result = check(api.kubeconfig(tmp_path), **options)
    assert result.statuses("failed") == [id], result["msg"]
    assert result.failed
    assert words in result.row(id)["observed"]
    assert result.row(id)["fix"]


def test_what_another_row_has_said_of_a_pod_is_not_said_again(api: FakeApi, tmp_path: Path) -> None:
    crashes = waiting("CrashLoopBackOff")
    api.objects |= {"/api/v1/pods": items(crashes), PODS: items(crashes, pod("coredns"))}
    result = check(api.kubeconfig(tmp_path))
    assert result.row("K8S-28")["status"] == "skipped"
    assert result.row("K8S-28")["observed"].startswith("K8S-34 failed")
    api.objects[PODS] = items(crashes, pod("other", "Pending"))
    result = check(api.kubeconfig(tmp_path))
    assert result.statuses("failed") == ["K8S-34", "K8S-28"]
    assert result.row("K8S-28")["observed"] == "not running: other: Pending"


def test_nodes_with_an_address_in_one_of_the_networks_are_taken(api: FakeApi, tmp_path: Path) -> None:
    api.objects["/api/v1/nodes"] = items(located("one", "192.0.2.1", "2001:db8::1"), located("two", "203.0.113.2"))
    networks = ["2001:db8::/64", "203.0.113.2/32"]
    row = check(api.kubeconfig(tmp_path), node_networks=networks).row("K8S-35")
    assert (row["status"], row["observed"]) == ("passed", "one (192.0.2.1, 2001:db8::1), two (203.0.113.2)")
    assert "K8S-35" not in [row["id"] for row in check(api.kubeconfig(tmp_path))["checks"]]


def test_missing_rights_are_named(api: FakeApi, tmp_path: Path) -> None:
    # Flyte's own right, in the whole cluster, is another one.
    missing = ("create", "secrets", "flyte")
    api.allows = lambda right: (
        right["resource"] != "*" and (right["verb"], right["resource"], right.get("namespace")) != missing
    )
    result = check(api.kubeconfig(tmp_path))
    assert result.statuses("failed") == ["K8S-29"]
    assert result.row("K8S-29")["observed"] == "not allowed: create secrets in flyte"


def test_only_the_rights_asked_for_are_looked_at(api: FakeApi, tmp_path: Path) -> None:
    only = {"verb": "get", "group": "apps", "resource": "deployments", "namespace": "flyte"}
    api.allows = lambda right: right == only
    rights = [{"verbs": ["get", "list"], "group": "apps", "resources": ["deployments"], "namespace": "flyte"}]
    result = check(api.kubeconfig(tmp_path), rights=rights)
    assert result.row("K8S-29")["observed"] == "not allowed: list deployments.apps in flyte"
    assert check(api.kubeconfig(tmp_path), rights=[]).row("K8S-29")["status"] == "skipped"


def test_what_the_user_may_not_see_is_skipped_and_said(api: FakeApi, tmp_path: Path) -> None:
    api.objects["/api/v1/nodes"] = 403
    result = check(api.kubeconfig(tmp_path))
    assert not result.failed
    assert result.row("K8S-22")["status"] == "skipped"
    assert "may not ask" in result.row("K8S-22")["observed"]
    assert "K8S-22" in result.row("K8S-23")["observed"]


def test_wrong_credentials_fail_and_skip_the_rest(api: FakeApi, tmp_path: Path) -> None:
    result = check(api.kubeconfig(tmp_path, token="of-another-cluster"))
    assert result.statuses("failed") == ["K8S-13"]
    assert "K8S-13 failed" in result.row("K8S-22")["observed"]
    assert "of-another-cluster" not in result.output


def server(address: str) -> Callable[[], contextlib.AbstractContextManager[str]]:
    return lambda: contextlib.nullcontext(address)


@contextlib.contextmanager
def at(port: Callable[[], contextlib.AbstractContextManager[int]]) -> Iterator[str]:
    with port() as number:
        yield f"http://127.0.0.1:{number}"


UNREACHABLE = [
    ("name", "K8S-10", server("https://nowhere.invalid:6443")),
    ("closed port", "K8S-12", server(f"https://127.0.0.1:{free_port()}")),
    ("lost packets", "K8S-11", lambda: at(black_hole)),
    ("silence", "K8S-15", lambda: at(silent_port)),
]


@pytest.mark.parametrize(("id", "where"), [row[1:] for row in UNREACHABLE], ids=[row[0] for row in UNREACHABLE])
def test_each_way_of_not_being_there_has_its_own_check(
    tmp_path: Path, id: str, where: Callable[[], contextlib.AbstractContextManager[str]]
) -> None:
    with where() as address:
        result = check(FakeApi(server=address).kubeconfig(tmp_path), timeout=1)
    assert result.statuses("failed") == [id], result["msg"]


def test_a_server_that_falls_silent_is_one_row_and_is_asked_no_more(api: FakeApi, tmp_path: Path) -> None:
    still = threading.Event()
    api.objects["/api/v1/nodes"] = lambda: still.wait(30)
    try:
        result = check(
            api.kubeconfig(tmp_path),
            timeout=0.5,
            pod_image="python",
            pod_services=["https://s3"],
            task_namespaces=["a"],
        )
    finally:
        still.set()
    assert result.statuses("failed") == ["K8S-15"]
    assert [row["id"] for row in result["checks"] if row["status"] == "failed"] == ["K8S-15"]
    assert api.asked[-1] == "GET /api/v1/nodes"
    for id in ("K8S-25", "K8S-28", "K8S-29", "K8S-30", "K8S-40"):
        assert result.row(id)["observed"] == "skipped because K8S-15 failed"


def test_a_request_that_is_refused_says_nothing_about_the_others(api: FakeApi, tmp_path: Path) -> None:
    api.objects["/api/v1/nodes"] = 500
    result = check(api.kubeconfig(tmp_path))
    assert result.statuses("failed") == ["K8S-15"]
    assert result.row("K8S-25")["status"] == "passed"


BROKEN_FILES = [
    ("missing", None, "no file"),
    ("empty", "", "kubeconfig"),
    ("not YAML", "{: }: [", "not YAML"),
    ("a list", "[1, 2]", "kubeconfig"),
    ("no cluster", "apiVersion: v1\nkind: Config\n", "kubeconfig"),
]


@pytest.mark.parametrize(("text", "words"), [row[1:] for row in BROKEN_FILES], ids=[row[0] for row in BROKEN_FILES])
def test_a_kubeconfig_that_cannot_be_used_is_a_row(tmp_path: Path, text: str | None, words: str) -> None:
    path = tmp_path / "kubeconfig"
    if text is not None:
        path.write_text(text)
    result = check(path)
    assert result.statuses("failed") == ["K8S-01"]
    assert words in result.row("K8S-01")["observed"]
    assert "K8S-01 failed" in result.row("K8S-29")["observed"]


def test_a_plugin_that_hangs_costs_the_timeout_once_and_is_what_fails(api: FakeApi, tmp_path: Path) -> None:
    path = api.kubeconfig(tmp_path)
    document = yaml.safe_load(path.read_text())
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "sleep", "args": ["60"]}
    document["users"][0]["user"] = {"exec": plugin}
    path.write_text(yaml.safe_dump(document))
    result = check(path, timeout=0.3)
    assert result.statuses("failed") == ["K8S-04"]
    assert result.row("K8S-04")["observed"].endswith("no answer within 0.3 seconds")
    assert result.row("K8S-01")["observed"] == "skipped because K8S-04 failed"
    assert api.asked == []


def test_a_node_that_says_no_sizes_gives_none(api: FakeApi, tmp_path: Path) -> None:
    status = {"conditions": [{"type": "Ready", "status": "True"}], "allocatable": None}
    api.objects["/api/v1/nodes"] = items(node("one"), named("two", status=status))
    assert check(api.kubeconfig(tmp_path)).row("K8S-23")["observed"] == "4 cores"


def test_a_node_that_is_only_avoided_counts(api: FakeApi, tmp_path: Path) -> None:
    api.objects["/api/v1/nodes"] = items(node("one", taints=[{"key": "a", "effect": "PreferNoSchedule"}]))
    assert check(api.kubeconfig(tmp_path)).row("K8S-23")["observed"] == "4 cores"


def test_a_proxy_on_the_way_is_named_without_its_password(
    api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    for name in ("NO_PROXY", "no_proxy", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", f"http://somebody:of-the-proxy@127.0.0.1:{port}")
    result = check(api.kubeconfig(tmp_path))
    assert result.statuses("failed") == ["K8S-15"]
    assert result.row("K8S-15")["observed"].endswith(f"(asked through the proxy http://127.0.0.1:{port})")
    assert "NO_PROXY" in result.row("K8S-15")["fix"]
    assert "of-the-proxy" not in result.output


def test_an_unknown_context_is_a_row(api: FakeApi, tmp_path: Path) -> None:
    assert check(api.kubeconfig(tmp_path), context="production").statuses("failed") == ["K8S-01"]


@pytest.mark.parametrize(("days", "status"), [(-1, "failed"), (5, "warning"), (90, "passed")])
def test_the_clients_certificate_is_looked_at(tmp_path: Path, days: int, status: str) -> None:
    authority = Authority(tmp_path / "pki")
    leaf = authority.issue("127.0.0.1")
    client = authority.issue("user", days=days)
    with kubernetes_api(healthy(), tls=leaf) as api:
        path = api.kubeconfig(
            tmp_path, ca_file=authority.certificate, **{
                "token": TOKEN, "client-certificate": str(client.certificate), "client-key": str(client.key)
            }
        )  # fmt: skip
        result = check(path)
    assert result.row("K8S-02")["status"] == status, result["msg"]
    assert result.row("TLS-11")["status"] == "passed"


def test_a_server_of_another_ca_is_told(tmp_path: Path) -> None:
    with kubernetes_api(healthy(), tls=Authority(tmp_path / "one").issue("127.0.0.1")) as api:
        result = check(api.kubeconfig(tmp_path, ca_file=Authority(tmp_path / "other").certificate))
    assert result.statuses("failed") == ["TLS-11"]


# option, what is no value for it
REFUSED: list[tuple[str, Any]] = [
    ("minimum_version", "new"),
    ("minimum_version", "1.25junk"),
    ("maximum_version", "1.24"),
    ("minimum_memory", "lots"),
    ("minimum_cpu", "-1"),
    ("expected_nodes", -1),
    ("node_networks", ["192.0.2.1/24"]),
    ("namespace", "Flyte"),
    ("namespace", "a/b"),
    ("namespace", "../nodes"),
    ("namespace", "-flyte"),
    ("namespace", "f" * 64),
    ("task_namespaces", ["edge_development"]),
    ("system_namespaces", [""]),
]


@pytest.mark.parametrize(("option", "value"), REFUSED)
def test_bad_parameters_are_refused_by_name_before_anything_is_asked(tmp_path: Path, option: str, value: Any) -> None:
    result = check(tmp_path / "absent", **{option: value})
    assert result.failed
    assert "checks" not in result.values
    assert result["msg"].startswith(f"{option}: ")
    assert str(value[0] if isinstance(value, list) else value) in result["msg"]


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    result = check(tmp_path / "absent")
    assert result.failed
    assert "kubernetes" in result["msg"]
