# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What role existing_cluster refuses of its inputs, before it asks the cluster."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from unit.contract import ROLES_DIR

VARS = DataLoader().load_from_file(str(ROLES_DIR / "existing_cluster/vars/main.yml"), trusted_as_template=True)
GIVEN = {
    "existing_cluster_in_cluster": False,
    "existing_cluster_kubeconfig": "none",
    "existing_cluster_context": "theirs",
    "existing_cluster_namespace": "flyte",
    "existing_cluster_namespaces": [],
}


def rule(id: str, **changes: Any) -> dict[str, Any]:
    raw = next(each for each in VARS["__existing_cluster_rules"] if each["id"] == id)
    variables = {**VARS, **GIVEN, **changes, "__existing_cluster_rule": raw}
    return dict(Templar(loader=DataLoader(), variables=variables).template(raw))


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
