# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which rights are asked for; how they are asked is in tests/integration/modules/test_kubernetes_check.py."""

from __future__ import annotations

import pytest

from ansible_collections.flyte.onprem.plugins.module_utils._kubernetes_rights import Right, installing_flyte


def test_a_right_is_named_as_kubectl_names_it() -> None:
    assert str(Right("create", "deployments", "apps", "flyte")) == "create deployments.apps in flyte"
    assert str(Right("list", "nodes")) == "list nodes"


@pytest.mark.parametrize(("generation", "group", "resource"), [
    (1, "flyte.lyft.com", "flyteworkflows"), (2, "flyte.org", "taskactions"),
])  # fmt: skip
def test_each_generation_hands_on_its_own_rights(generation: int, group: str, resource: str) -> None:
    rights = installing_flyte(generation, namespace="edge")
    assert Right("create", resource, group) in rights.granted
    assert Right("create", "deployments", "apps", "edge") in rights.made
    assert {right.namespace for right in rights.granted} == {""}
    other = {1: "flyte.org", 2: "flyte.lyft.com"}[generation]
    assert other not in {right.group for right in rights.granted}
