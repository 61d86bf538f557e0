# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeps workflows from running, brought about on a finished site one after the other; each is named and undone.

A trap is a context: given the site, it breaks something, says with which options to look, and mends it.
"""

from __future__ import annotations

import contextlib
import copy
import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
import yaml
from support.flyte import wait_for

from .conftest import Box
from .whole import IMAGE, NAMESPACE, RELEASE, SECRET, TEMPLATE, Json, Site

Trap = Callable[[Site], AbstractContextManager[Json]]


@pytest.fixture(scope="module")
def site(box: Box) -> Site:
    """The host of the tests before this one, on which a whole site runs."""
    whole = Site(box)
    result = whole.check()
    assert not result.failed, result["msg"]
    return whole


@contextlib.contextmanager
def changed(
    site: Site, kind: str, name: str, change: Callable[[Json], None], *, namespace: str = NAMESPACE
) -> Iterator[None]:
    """An object is otherwise for a while."""
    found = site.get(kind, name, namespace=namespace)
    other = copy.deepcopy(found)
    change(other)
    site.replace(other)
    try:
        yield
    finally:
        site.replace(found)


@contextlib.contextmanager
def absent(site: Site, kind: str, name: str, *, namespace: str = NAMESPACE) -> Iterator[None]:
    """An object is gone for a while. Flyte itself does not bring it back before it is restarted."""
    found = site.get(kind, name, namespace=namespace)
    site.kubectl("-n", namespace, "delete", kind, name)
    try:
        yield
    finally:
        site.replace(found)


@contextlib.contextmanager
def there(site: Site, document: Json) -> Iterator[None]:
    """There is one more object for a while."""
    site.kubectl("create", "-f", "-", given=document)
    try:
        yield
    finally:
        site.kubectl("delete", "-f", "-", given=document)


def options(**changes: Any) -> Trap:
    return lambda _site: contextlib.nullcontext(changes)


@contextlib.contextmanager
def wrong_key(site: Site) -> Iterator[Json]:
    def change(secret: Json) -> None:
        secret["data"]["FLYTE_AWS_SECRET_ACCESS_KEY"] = "d3JvbmctYXMtY2FuLWJl"

    with changed(site, "secret", SECRET, change):
        yield {}


@contextlib.contextmanager
def no_secret(site: Site) -> Iterator[Json]:
    with absent(site, "secret", SECRET):
        yield {}


def no_right(right: str, bucket: str) -> Trap:
    @contextlib.contextmanager
    def trap(site: Site) -> Iterator[Json]:
        policy = json.loads(site.minio.policy_info("flyte"))
        deny = {"Effect": "Deny", "Action": [right], "Resource": [f"arn:aws:s3:::{bucket}/*"]}
        site.minio.policy_add("flyte", policy={**policy, "Statement": [*policy["Statement"], deny]})
        try:
            yield {}
        finally:
            site.minio.policy_add("flyte", policy=policy)

    return trap


@contextlib.contextmanager
def no_authority(site: Site) -> Iterator[Json]:
    with absent(site, "configmap", "site-ca"):
        yield {}


@contextlib.contextmanager
def unnamed_authority(site: Site) -> Iterator[Json]:
    def change(template: Json) -> None:
        template["template"]["spec"]["containers"][0]["env"] = []

    with changed(site, "podtemplate", TEMPLATE, change):
        yield {}


@contextlib.contextmanager
def no_pull_policy(site: Site) -> Iterator[Json]:
    """As it is without a policy in the template: the API server fills in Always for the placeholder's name."""
    local = "registry.invalid/side-loaded/flytekit:1"

    def change(template: Json) -> None:
        del template["template"]["spec"]["containers"][0]["imagePullPolicy"]

    site.box.shell(f"k3s ctr images tag {IMAGE} {local}")
    try:
        listed = ("get", "nodes", "-o", "jsonpath={..images}")
        wait_for(lambda: local in site.kubectl(*listed), what="the node's list of images", seconds=60)
        with changed(site, "podtemplate", TEMPLATE, change):
            yield {"image": local}
    finally:
        site.box.shell(f"k3s ctr images rm {local}")


@contextlib.contextmanager
def no_template(site: Site) -> Iterator[Json]:
    with absent(site, "podtemplate", TEMPLATE):
        yield {}


@contextlib.contextmanager
def no_name(site: Site) -> Iterator[Json]:
    """The cluster's DNS does not know the site's names."""

    def change(configmap: Json) -> None:
        configmap["data"] = {"flyte.server": "nowhere.invalid:53 {\n    errors\n}\n"}

    try:
        with changed(site, "configmap", "coredns-custom", change, namespace="kube-system"):
            site.restart("coredns", namespace="kube-system")
            yield {}
    finally:
        site.restart("coredns", namespace="kube-system")


@contextlib.contextmanager
def small_quota(site: Site) -> Iterator[Json]:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "trap", "namespace": NAMESPACE}}
    with there(site, {**quota, "spec": {"hard": {"limits.cpu": "100m"}}}):
        yield {}


@contextlib.contextmanager
def no_node(site: Site) -> Iterator[Json]:
    node = json.loads(site.kubectl("get", "nodes", "-o", "json"))["items"][0]["metadata"]["name"]
    site.kubectl("cordon", node)
    try:
        yield {"run_timeout": 20}
    finally:
        site.kubectl("uncordon", node)


@contextlib.contextmanager
def leftover_webhook(site: Site) -> Iterator[Json]:
    """The configuration of another release, whose Service went with it."""
    found = site.get("mutatingwebhookconfiguration", f"{RELEASE}-webhook", namespace="default")
    hook = found["webhooks"][0]
    hook["clientConfig"]["service"] |= {"namespace": "flyte", "name": "uninstalled-webhook"}
    kept = {key: found[key] for key in ("apiVersion", "kind")}
    with there(site, {**kept, "metadata": {"name": "uninstalled-webhook"}, "webhooks": [hook]}):
        yield {}


# what it is, id that must fail, the trap, words that must stand in what was seen or is to be done
TRAPS: list[tuple[str, str, Trap, str]] = [
    ("wrong key in the Secret of tasks", "FLYTE-76", wrong_key, "SignatureDoesNotMatch"),
    ("Secret of tasks absent", "S3-02", no_secret, SECRET),
    ("no right to write data", "S3-12", no_right("s3:PutObject", "flyte-data"), "flyte-data"),
    ("no right to write records", "S3-12", no_right("s3:PutObject", "flyte-metadata"), "flyte-metadata"),
    ("authority absent in tasks", "FLYTE-78", no_authority, "AWS_CA_BUNDLE"),
    ("authority not named in tasks", "FLYTE-78", unnamed_authority, "certificate verify failed"),
    ("PodTemplate without pull policy", "FLYTE-72", no_pull_policy, "Always"),
    ("PodTemplate absent", "FLYTE-62", no_template, TEMPLATE),
    ("image absent", "FLYTE-71", options(image="registry.invalid/none:1"), "registry.invalid"),
    ("name unknown to pods", "FLYTE-80", no_name, "s3.flyte.test"),
    ("quota too small", "FLYTE-82", small_quota, "limits.cpu=100m"),
    ("no node", "FLYTE-83", no_node, "unschedulable"),
    ("more than the site's limits", "FLYTE-84", options(resources={"requests": {"cpu": "64"}}), "64"),
    ("too little memory", "FLYTE-86", options(resources={"limits": {"memory": "24Mi"}}), "24Mi"),
    ("too little CPU", "FLYTE-85", options(resources={"limits": {"cpu": "20m"}}, run_timeout=25), "20m"),
    ("webhook of an uninstalled release", "FLYTE-34", leftover_webhook, "uninstalled-webhook"),
]


@pytest.mark.parametrize("trap", TRAPS, ids=[f"{row[0]}: {row[1]}" for row in TRAPS])
def test_each_trap_is_named(site: Site, trap: tuple[str, str, Trap, str]) -> None:
    _what, id, breaking, words = trap
    with breaking(site) as changes:
        result = site.check(**changes)
    assert result.statuses("failed") == [id], result["msg"]
    row = result.row(id)
    assert words in " ".join((row["title"], row["observed"])), result["msg"]
    assert row["cause"]
    assert row["fix"]
    assert_clean(site)


def assert_clean(site: Site) -> None:
    """Neither objects of the controller nor pods are left."""
    assert site.kubectl("-n", NAMESPACE, "get", "flyteworkflows,pods", "-o", "name") == ""


def restart_flyte(site: Site) -> None:
    site.restart(RELEASE, namespace="flyte")
    wait_for(site.answers, what="Flyte behind the ingress")


@pytest.fixture(scope="class")
def half(site: Site) -> Iterator[Site]:
    """Flyte without its controller and without the template for namespaces, for as long as the tests below last."""

    def no_controller(configmap: Json) -> None:
        core = yaml.safe_load(configmap["data"]["000-core.yaml"])
        core["flyte"]["propeller"]["disabled"] = True
        configmap["data"]["000-core.yaml"] = yaml.safe_dump(core)

    def no_namespaces(configmap: Json) -> None:
        for name in [name for name in configmap["data"] if "namespace" in name]:
            del configmap["data"][name]

    with (
        changed(site, "configmap", f"{RELEASE}-config", no_controller, namespace="flyte"),
        changed(site, "configmap", f"{RELEASE}-cluster-resource-templates", no_namespaces, namespace="flyte"),
    ):
        restart_flyte(site)
        yield site
    restart_flyte(site)


class TestHalf:
    """One restart of Flyte before and after both."""

    def test_a_controller_that_does_not_run_is_named(self, half: Site) -> None:
        result = half.check()
        assert result.statuses("failed") == ["FLYTE-88"], result["msg"]
        assert_clean(half)

    def test_a_namespace_that_is_never_made_is_named(self, half: Site) -> None:
        project = f"trap-{uuid.uuid4().hex[:8]}"
        try:
            result = half.check(project=project, run_timeout=45)
        finally:
            # Flyte can remove no project; archived, it does nothing more for it.
            half.ask("PUT", f"/api/v1/projects/{project}", {"id": project, "state": "ARCHIVED"})
        assert result.statuses("failed") == ["FLYTE-32"], result["msg"]
        assert f"{project}-development" in result.row("FLYTE-32")["observed"]


def test_afterwards_a_workflow_runs_as_before(site: Site) -> None:
    result = site.check()
    assert not result.failed, result["msg"]
    assert result.statuses("warning") == result.statuses("skipped") == []
    assert_clean(site)
