# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The manifest for a cluster's owner gives what kubernetes_check asks for by default, and what is said here."""

from __future__ import annotations

import pytest
from unit.contract import ROLES_DIR
from unit.templates import role_variables, templated

from ansible_collections.flyte.onprem.plugins.filter.manifest_rights import manifest_rights
from ansible_collections.flyte.onprem.plugins.module_utils._kubernetes_rights import Right, installing_flyte

NAMESPACE = "flyte"
RBAC = "rbac.authorization.k8s.io"


def rights(verbs: str, resources: str, group: str = "", namespace: str = "") -> set[Right]:
    return {Right(verb, resource, group, namespace) for verb in verbs.split() for resource in resources.split()}


# Why a right is there that installing the chart does not take.
BEYOND = {
    "Helm watches what it makes and removes until it is there, or gone": (
        rights("watch", "clusterroles clusterrolebindings", RBAC)
        | rights("watch", "configmaps secrets serviceaccounts services", namespace=NAMESPACE)
        | rights("watch", "deployments", "apps", NAMESPACE)
        | rights("watch", "ingresses", "networking.k8s.io", NAMESPACE)
    ),
    "the chart brings the kind FlyteWorkflow, which changes with its version and goes with the last Flyte": (
        rights("delete patch watch", "customresourcedefinitions", "apiextensions.k8s.io")
    ),
    "the checks look at the cluster": (
        rights("list", "nodes events")
        | rights("list", "storageclasses", "storage.k8s.io")
        | rights("list", "ingressclasses", "networking.k8s.io")
    ),
    "the checks look for Services of webhooks, and at logs of tasks, in namespaces that Flyte makes": (
        rights("get", "services pods/log")
    ),
    "an uninstallation removes the namespaces and the webhook, and looks for other installations": (
        rights("delete", "namespaces")
        | rights("delete", "mutatingwebhookconfigurations", "admissionregistration.k8s.io")
        | rights("list", "deployments", "apps")
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def given() -> set[Right]:
    """What the manifest gives."""
    text = (ROLES_DIR / "existing_cluster/files/owner.yml").read_text()
    rules = manifest_rights(text, NAMESPACE)
    return {
        right
        for rule in rules
        for right in rights(" ".join(rule["verbs"]), " ".join(rule["resources"]), rule["group"], rule["namespace"])
    }


@pytest.fixture(scope="module")
def asked() -> set[Right]:
    """What kubernetes_check asks for by default."""
    found = installing_flyte(1, namespace=NAMESPACE)
    return {*found.made, *found.granted}


def test_the_manifest_gives_what_the_check_asks_for(given: set[Right], asked: set[Right]) -> None:
    everywhere = {Right(right.verb, right.resource, right.group, NAMESPACE) for right in given if not right.namespace}
    assert sorted(map(str, asked - given - everywhere)) == []


def test_the_manifest_gives_nothing_else_without_a_reason(given: set[Right], asked: set[Right]) -> None:
    reasons = set().union(*BEYOND.values())
    assert sorted(map(str, given - asked)) == sorted(map(str, reasons))


def test_the_namespace_of_the_manifest_is_the_default_one() -> None:
    site = role_variables("site", "defaults")
    assert site["site_flyte_namespace"] == NAMESPACE
    assert templated(role_variables("flyte", "defaults")["flyte_namespace"], site) == NAMESPACE
    assert templated(role_variables("existing_cluster", "defaults")["existing_cluster_namespace"], site) == NAMESPACE
