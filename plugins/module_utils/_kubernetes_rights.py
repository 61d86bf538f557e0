# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is PRIVATE to the collection. It can change at any time.

"""The rights that installing Flyte's chart takes, and which of them a user lacks.

There are two kinds. What Helm makes, it must be able to make: in the release's
namespace, where the object lies in one. And the rights that the chart's
ClusterRole hands to Flyte must be the user's own, in the whole cluster, since
Kubernetes lets nobody grant what he has not; unless he may escalate.

Sources: what Helm 4.2.3 renders from the charts flyte-binary v1.16.8 and
v2.0.42; Kubernetes' documentation of RBAC, "Privilege escalation prevention".
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.flyte.onprem.plugins.module_utils._checks import Failed, Skipped

if t.TYPE_CHECKING:
    from ansible_collections.flyte.onprem.plugins.module_utils._kubernetes import Api


@dataclass(frozen=True)
class Right:
    """One verb on one resource; C(namespace) is empty for all of them, and for what lies in none."""

    verb: str
    resource: str
    group: str = ""
    namespace: str = ""

    def __str__(self) -> str:
        thing = f"{self.resource}.{self.group}" if self.group else self.resource
        return f"{self.verb} {thing}" + (f" in {self.namespace}" if self.namespace else "")


@dataclass(frozen=True)
class Rights:
    """What a user must be able to do. C(granted) is what he hands on, and C(escalating) what lets him hand on all."""

    made: t.Sequence[Right]
    granted: t.Sequence[Right] = ()
    escalating: t.Sequence[Right] = ()


def _rights(*rules: tuple[str, str, str], namespace: str = "") -> tuple[Right, ...]:
    """Rights of rules of the form (group, resources, verbs); the two latter are lists of words."""
    return tuple(
        Right(verb=verb, resource=resource, group=group, namespace=namespace)
        for group, resources, verbs in rules
        for resource in resources.split()
        for verb in verbs.split()
    )


_EVERY = "create delete get list patch update"
_RBAC = "rbac.authorization.k8s.io"
_ESCALATING = _rights((_RBAC, "clusterroles", "bind escalate"))

# By the generation of Flyte.
_IN_THE_NAMESPACE = {
    1: (
        ("", "configmaps secrets serviceaccounts services", _EVERY),
        ("apps", "deployments", _EVERY),
        ("networking.k8s.io", "ingresses", _EVERY),
        ("", "pods pods/log", "get"),
        ("", "pods", "list"),
    ),
}
_IN_THE_NAMESPACE[2] = _IN_THE_NAMESPACE[1]
_IN_THE_CLUSTER = {
    1: (("", "namespaces", "create get list"), (_RBAC, "clusterrolebindings clusterroles", _EVERY)),
    2: (
        ("", "namespaces", "create get list"),
        (_RBAC, "clusterrolebindings clusterroles", _EVERY),
        ("apiextensions.k8s.io", "customresourcedefinitions", _EVERY),
    ),
}
_HANDED_ON = {
    1: (
        ("", "namespaces resourcequotas secrets serviceaccounts", "create get list patch update"),
        ("", "pods", "create delete get list patch update watch"),
        ("", "events", "create delete patch update"),
        ("", "podtemplates", "create get list patch watch"),
        # What the chart gives by default, and what role flyte adds to it.
        ("", "configmaps", "create get patch"),
        ("flyte.lyft.com", "flyteworkflows", "create delete deletecollection get list patch post update watch"),
        ("apiextensions.k8s.io", "customresourcedefinitions", "create get list"),
        ("admissionregistration.k8s.io", "mutatingwebhookconfigurations", "create get list patch update"),
    ),
    2: (
        ("", "namespaces", "create get list watch"),
        ("", "pods secrets", "create delete get list patch update watch"),
        ("", "pods/log", "get"),
        ("", "podtemplates", "get list watch"),
        ("", "events", "create delete get list patch update watch"),
        ("events.k8s.io", "events", "create delete get list patch update watch"),
        (
            "flyte.org",
            "taskactions taskactions/status taskactions/finalizers",
            "create delete get list patch update watch",
        ),
        ("admissionregistration.k8s.io", "mutatingwebhookconfigurations", "create get list patch update watch"),
    ),
}


def installing_flyte(generation: int, *, namespace: str) -> Rights:
    """The rights that installing the chart flyte-binary of a generation takes."""
    return Rights(
        made=_rights(*_IN_THE_NAMESPACE[generation], namespace=namespace) + _rights(*_IN_THE_CLUSTER[generation]),
        granted=_rights(*_HANDED_ON[generation]),
        escalating=_ESCALATING,
    )


def rights_verdict(api: Api, rights: Rights) -> str:
    """That the user has all rights. Raises C(Failed) with those that are missing."""
    if not rights.made and not rights.granted:
        raise Skipped("no rights were asked for")
    if may(api, Right("*", "*", "*")):
        return "this user may do everything"
    missing = [str(right) for right in rights.made if not may(api, right)]
    granted = [str(right) for right in rights.granted if not may(api, right)]
    escalates = bool(granted and rights.escalating) and all(may(api, right) for right in rights.escalating)
    parts = [f"not allowed: {'; '.join(missing)}"] if missing else []
    if granted and not escalates:
        parts.append(f"not allowed in the whole cluster, and so not to be granted to Flyte: {'; '.join(granted)}")
    if parts:
        raise Failed("; ".join(parts))
    if granted:
        return f"all {len(rights.made)} allowed, and rights may be granted that this user has not"
    return f"all {len(rights.made) + len(rights.granted)} allowed"


def may(api: Api, right: Right) -> bool:
    """Ask the API server whether the user has a right."""
    resource, _slash, part = right.resource.partition("/")
    attributes = {"verb": right.verb, "group": right.group, "resource": resource}
    if part:
        attributes["subresource"] = part
    if right.namespace:
        attributes["namespace"] = right.namespace
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = api.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
    return bool((answer.get("status") or {}).get("allowed"))
