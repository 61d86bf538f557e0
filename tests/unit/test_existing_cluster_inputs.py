# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What role existing_cluster refuses of its inputs, before it asks the cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from unit.templates import role_variables, templated

from ansible_collections.flyte.onprem.plugins.filter.kubeconfig_contexts import kubeconfig_contexts

VARS = role_variables("existing_cluster", "vars")
GIVEN = {
    "existing_cluster_in_cluster": False,
    "existing_cluster_kubeconfig": "none",
    "existing_cluster_context": "theirs",
    "existing_cluster_namespace": "flyte",
    "existing_cluster_namespaces": [],
    "__existing_cluster_host": "10.96.0.1",
    "__existing_cluster_port": "443",
}


def value(raw: Any, **changes: Any) -> Any:
    """What the role makes of its inputs."""
    return templated(raw, {**VARS, **GIVEN, **changes})


def rule(id: str, **changes: Any) -> dict[str, Any]:
    return dict(value(next(each for each in VARS["__existing_cluster_rules"] if each["id"] == id), **changes))


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({}, ""),
        ({"existing_cluster_namespace": "Flyte_X"}, "'Flyte_X'"),
        ({"existing_cluster_namespace": ""}, "''"),
        (
            {"existing_cluster_namespaces": [{"name": "ml"}, {"name": "a.b"}, {"name": "x" * 64}]},
            f"'a.b', '{'x' * 64}'",
        ),
    ],
)
def test_a_namespace_has_a_name_that_kubernetes_takes(changes: dict[str, Any], wrong: str) -> None:
    found = rule("CLUSTER-55", **changes)
    assert found["met"] is not bool(wrong)
    assert found["seen"].removesuffix(" is to be a namespace") == wrong


@pytest.mark.parametrize(
    ("host", "server"),
    [
        ("10.96.0.1", "https://10.96.0.1:443"),
        ("fd00:10:96::1", "https://[fd00:10:96::1]:443"),
        ("kubernetes.default", "https://kubernetes.default:443"),
    ],
)
def test_a_pod_calls_the_api_where_kubernetes_says(host: str, server: str) -> None:
    kubeconfig = value(VARS["__existing_cluster_own_kubeconfig"], __existing_cluster_host=host)
    assert [each["cluster"]["server"] for each in kubeconfig["clusters"]] == [server]


ENVIRONMENT = "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT in the environment"


@pytest.mark.parametrize(
    ("in_cluster", "has_token", "environment", "lacks"),
    [
        (True, True, {}, ""),
        (True, False, {}, "{token}"),
        (True, True, {"__existing_cluster_host": ""}, ENVIRONMENT),
        (True, False, {"__existing_cluster_port": ""}, f"{{token}}, no {ENVIRONMENT}"),
        ("yes", False, {}, "{token}"),
        (False, False, {}, None),
        ("false", False, {"__existing_cluster_host": ""}, None),
    ],
)
def test_only_a_pod_with_an_account_takes_that(
    tmp_path: Path, in_cluster: Any, has_token: bool, environment: dict[str, str], lacks: str | None
) -> None:
    if has_token:
        (tmp_path / "token").touch()
    known = {"existing_cluster_in_cluster": in_cluster, "__existing_cluster_account": str(tmp_path), **environment}
    found = rule("CLUSTER-53", **known)
    assert found["met"] is not bool(lacks)
    if lacks:
        expected = lacks.format(token=tmp_path / "token")
        assert found["seen"] == f"existing_cluster_in_cluster is set, and there is no {expected}"


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("contexts: [{name: theirs}]", []),
        ("contexts: [{name: others}]", ["CLUSTER-52"]),
        ("contexts: []", ["CLUSTER-52"]),
        ("contexts:\n - a: b: geheim", ["CLUSTER-56"]),
        ("", ["CLUSTER-56"]),
    ],
)
def test_a_kubeconfig_is_one_and_has_the_context(tmp_path: Path, text: str, refused: list[str]) -> None:
    (tmp_path / "kubeconfig").touch()
    known = {
        "existing_cluster_kubeconfig": str(tmp_path / "kubeconfig"),
        "__existing_cluster_file": kubeconfig_contexts(text),
    }
    rules = [rule(f"CLUSTER-{number}", **known) for number in (51, 52, 56)]
    assert [found["id"] for found in rules if not found["met"]] == refused


@pytest.mark.parametrize(
    ("role", "name"),
    [
        ("existing_cluster", "existing_cluster_kubeconfig"),
        ("ingress", "ingress_kubeconfig"),
        ("k3s", "k3s_kubeconfig"),
        ("flyte", "__flyte_kubeconfig"),
    ],
)
def test_the_kubeconfig_may_lie_in_the_home_folder(role: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/admin")
    known = role_variables(role, "defaults") | role_variables(role, "vars")
    known |= {"site_kubernetes_connection": {"kubeconfig": "~/.kube/config"}}
    assert templated(known[name], known) == "/home/admin/.kube/config"
