# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an inventory has to say of a cluster, since it takes the place of all that role site says (SITE-27)."""

from __future__ import annotations

from typing import Any

import pytest
from unit.templates import role_variables, templated

VARS = role_variables("site", "vars")
THEIRS = {
    "kubeconfig": "/home/admin/kubeconfig", "context": "theirs", "pod_cidr": "10.244.0.0/16",
    "storage_class": "", "ingress_class": "public",
}  # fmt: skip
OURS = {**THEIRS, "server": "https://192.0.2.1:6443", "service_cidr": "10.43.0.0/16"}


def rule(kubernetes: str, connection: dict[str, Any], *, own_database: bool = False) -> dict[str, Any]:
    raw = next(each for each in VARS["__site_inventory_rules"] if each["id"] == "SITE-27")
    known: dict[str, Any] = {"site_kubernetes": kubernetes, "site_kubernetes_connection": connection}
    known["site_parts"] = {"postgresql": ["data-1"] if own_database else []}
    return dict(templated(raw, {**VARS, **known}))


@pytest.mark.parametrize(("kubernetes", "connection"), [("existing", THEIRS), ("existing", OURS), ("k3s", OURS)])
def test_a_connection_with_all_that_is_read_is_taken(kubernetes: str, connection: dict[str, Any]) -> None:
    assert rule(kubernetes, connection)["met"] is True


def test_the_default_is_complete() -> None:
    default = role_variables("site", "defaults")["site_kubernetes_connection"]
    assert rule("k3s", dict.fromkeys(default, "x"))["met"] is True


def test_a_database_of_our_own_has_to_know_the_nodes_of_others() -> None:
    assert rule("k3s", OURS, own_database=True)["met"] is True
    assert rule("existing", {**THEIRS, "node_cidr": ""}, own_database=True)["met"] is True
    found = rule("existing", THEIRS, own_database=True)
    assert found["met"] is False
    assert found["seen"] == "site_kubernetes_connection has no node_cidr"


@pytest.mark.parametrize("key", OURS)
def test_a_key_that_is_missing_or_says_nothing_is_named(key: str) -> None:
    for connection in ({name: OURS[name] for name in OURS if name != key}, {**OURS, key: None}):
        found = rule("k3s", connection)
        assert found["met"] is False
        assert found["seen"] == f"site_kubernetes_connection has no {key}"
