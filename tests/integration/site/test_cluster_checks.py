# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""kubernetes_check and flyte_check on a finished site: what takes a kubelet, the cluster's DNS, a real ingress.

A fault is a context: given the site, it breaks something, says with which options to look, and mends it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
from support.flyte import wait_for
from support.leaks import shown
from support.modules import Result, run_module

from ansible_collections.flyte.onprem.plugins.module_utils._pod import SELECTOR
from ansible_collections.flyte.onprem.plugins.modules.flyte_check import main as flyte_check
from ansible_collections.flyte.onprem.plugins.modules.kubernetes_check import main as kubernetes_check

from .conftest import CANARIES, Box
from .test_workflow_traps import absent, changed, no_name
from .whole import IMAGE, RELEASE, SECRET, URL, Json, Site

Fault = Callable[[Site], AbstractContextManager[Json]]
# An image of every site that has no Python.
WITHOUT_PYTHON = "docker.io/library/postgres:15-alpine"
PODS_NETWORK = "10.42.0.0/16"


@pytest.fixture(scope="module")
def site(box: Box) -> Site:
    """The host of the tests before this one, on which a whole site runs."""
    return Site(box)


def kubernetes(site: Site, **options: Any) -> Result:
    arguments = {
        "kubeconfig": str(site.box.site_directory / "kubeconfig"),
        "ingress_class": "traefik",
        "ingress_controller": "traefik.io/ingress-controller",
        "task_namespaces": ["flytesnacks-development"],
        "task_cpu": "500m",
        "task_memory": "500Mi",
        "pod_image": IMAGE,
        "pod_services": ["postgresql://postgresql.flyte.test", "https://s3.flyte.test:9000"],
        "pod_ca_files": [site.ca_file],
        **options,
    }
    return run(kubernetes_check, arguments)


def flyte(site: Site, **options: Any) -> Result:
    arguments = {
        "url": URL,
        "ca_file": site.ca_file,
        "resolve": site.addresses,
        "http_port": 80,
        "kubeconfig": str(site.box.site_directory / "kubeconfig"),
        "release": RELEASE,
        "task_secret": SECRET,
        **options,
    }
    return run(flyte_check, arguments)


def run(main: Callable[[], None], arguments: Json) -> Result:
    result = run_module(main, arguments)
    assert shown(result.output, CANARIES) == {}
    return result


def left(site: Site) -> str:
    return site.kubectl("get", "pods", "-A", "-l", SELECTOR, "-o", "name")


def test_a_healthy_cluster_passes_and_nothing_is_left(site: Site) -> None:
    result = kubernetes(site)
    assert not result.failed, result["msg"]
    assert result.statuses("warning") == result.statuses("skipped") == []
    assert left(site) == ""


def test_a_healthy_flyte_passes(site: Site) -> None:
    result = flyte(site)
    assert not result.failed, result["msg"]
    assert result.statuses("warning") == result.statuses("skipped") == []


def options(**changes: Any) -> Fault:
    return lambda _site: contextlib.nullcontext(changes)


@contextlib.contextmanager
def database_stopped(site: Site) -> Iterator[Json]:
    site.box.shell("systemctl stop postgresql")
    try:
        yield {}
    finally:
        site.box.shell("systemctl start postgresql")


@contextlib.contextmanager
def store_closed_to_pods(site: Site) -> Iterator[Json]:
    rule = f"INPUT -s {PODS_NETWORK} -p tcp --dport 9000 -j DROP"
    site.box.shell(f"iptables -I {rule}")
    try:
        yield {"timeout": 2}
    finally:
        site.box.shell(f"iptables -D {rule}")


@contextlib.contextmanager
def no_node(site: Site) -> Iterator[Json]:
    node = site.kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
    site.kubectl("cordon", node)
    try:
        yield {"pod_timeout": 3, "task_cpu": "0", "task_memory": "0"}
    finally:
        site.kubectl("uncordon", node)


# Which one it is, is up to the DNS server that CoreDNS asks.
UNKNOWN = "not known|failure in name resolution"

# what it is, id that must fail, the fault, words of which one must stand in what was seen
FAULTS: list[tuple[str, str, Fault, str]] = [
    ("name unknown to pods", "K8S-41", no_name, UNKNOWN),
    ("database stopped", "K8S-42", database_stopped, "refused"),
    ("store closed to pods", "K8S-43", store_closed_to_pods, "no answer within 2 seconds"),
    ("registry out of reach", "K8S-44", options(pod_registries=["https://registry.invalid"]), UNKNOWN),
    ("authority unknown to pods", "TLS-11", options(pod_ca_files=[]), "issuer"),
    (
        "certificate for another name",
        "TLS-12",
        options(pod_services=["https://postgresql.flyte.test:9000"]),
        "mismatch",
    ),
    ("no TLS", "TLS-10", options(pod_services=["postgresql://s3.flyte.test:9000"]), "no TLS"),
    ("image of the pod absent", "K8S-40", options(pod_image="registry.invalid/none:1"), "registry.invalid"),
    ("image of the pod without Python", "K8S-40", options(pod_image=WITHOUT_PYTHON), "python3"),
    ("no node for the pod", "K8S-40", no_node, "unschedulable"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=[f"{row[0]}: {row[1]}" for row in FAULTS])
def test_each_fault_of_the_cluster_fails_its_own_check_and_nothing_else(
    site: Site, fault: tuple[str, str, Fault, str]
) -> None:
    _what, id, breaking, words = fault
    with breaking(site) as changes:
        result = kubernetes(site, **changes)
    result.assert_fails_only(id, *words.split("|"))
    assert left(site) == ""


@contextlib.contextmanager
def no_grpc_route(site: Site) -> Iterator[Json]:
    with absent(site, "ingress", f"{RELEASE}-grpc", namespace="flyte"):
        yield {}


@contextlib.contextmanager
def no_h2c(site: Site) -> Iterator[Json]:
    def change(service: Json) -> None:
        service["metadata"]["annotations"] = {}

    with changed(site, "service", f"{RELEASE}-grpc", change, namespace="flyte"):
        yield {}


@contextlib.contextmanager
def no_metadata_route(site: Site) -> Iterator[Json]:
    def change(ingress: Json) -> None:
        http = ingress["spec"]["rules"][0]["http"]
        http["paths"] = [path for path in http["paths"] if not path["path"].startswith(("/.well-known", "/config"))]

    with changed(site, "ingress", f"{RELEASE}-http", change, namespace="flyte"):
        yield {}


# what it is, id that must fail, the fault, words that must stand in what was seen
FLYTE_FAULTS: list[tuple[str, str, Fault, str]] = [
    ("no route for gRPC", "FLYTE-21", no_grpc_route, "404"),
    ("gRPC port taken for HTTP/1.1", "ING-01", no_h2c, "status: 50"),
    ("no route to the login's metadata", "FLYTE-26", no_metadata_route, "404"),
    ("plain HTTP for the address", "FLYTE-25", options(url="http://flyte.test"), "https://flyte.test"),
    ("another image than chosen", "FLYTE-35", options(images=["cr.flyte.org/flyteorg/flyte-binary-release:v0"]), ":v1"),
]


@pytest.mark.parametrize("fault", FLYTE_FAULTS, ids=[f"{row[0]}: {row[1]}" for row in FLYTE_FAULTS])
def test_each_fault_of_flyte_fails_its_own_check_and_nothing_else(
    site: Site, fault: tuple[str, str, Fault, str]
) -> None:
    _what, id, breaking, words = fault
    with breaking(site) as changes:
        # An ingress controller takes up a change of the cluster a moment later, and not all of it at once.
        seen: list[Result] = []

        def as_it_must() -> bool:
            seen.append(flyte(site, **changes))
            return seen[-1].statuses("failed") == [id]

        with contextlib.suppress(RuntimeError):  # in vain: what was seen last says more
            wait_for(as_it_must, what="the fault")
    seen[-1].assert_fails_only(id, words)
    wait_for(lambda: not flyte(site).failed, what="the site as it was", seconds=60)
