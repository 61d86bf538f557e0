# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which architectures are admitted, by what a host is for (SITE-13) and for a site as a whole (SITE-20)."""

from __future__ import annotations

from typing import Any

import pytest
from unit.contract import ROLES_DIR
from unit.templates import loaded, role_variables, templated

VARS = role_variables("site", "vars")
TASKS = loaded(ROLES_DIR.parent / "playbooks/tasks/processors.yml")
PARTS = {"k3s": ["server", "node"], "postgresql": ["db"], "minio": ["server"]}


def rule(host: str, architecture: str, machine: str = "x86_64") -> dict[str, Any]:
    raw = next(each for each in VARS["__site_host_rules"] if each["id"] == "SITE-13")
    known = {"inventory_hostname": host, "site_architecture": architecture, "site_parts": PARTS}
    return dict(templated(raw, {**VARS, **known, "ansible_facts": {"architecture": machine}}))


@pytest.mark.parametrize(
    ("host", "architecture", "met"),
    [
        ("server", "amd64", True),
        ("db", "arm64", True),
        ("node", "arm", True),
        ("server", "arm", False),
        ("db", "arm", False),
        ("node", "s390x", False),
    ],
)
def test_an_architecture_is_admitted_for_what_a_host_does(host: str, architecture: str, met: bool) -> None:
    assert rule(host, architecture)["met"] is met


def test_the_finding_shows_what_was_judged_and_what_the_host_says() -> None:
    assert rule("node", "s390x")["seen"] == (
        "node has the architecture s390x (site_architecture; the host says x86_64)"
    )


def site_rule(*nodes: dict[str, Any], **known: Any) -> dict[str, Any]:
    """What is made of the nodes of a site, of which each is what is known of it."""
    hosts = {f"node-{number}": node for number, node in enumerate(nodes)}
    site = {"site_name": "hamburg", "site_kubernetes": "k3s", "site_parts": {"k3s": list(hosts)}}
    variables = {**TASKS[0]["vars"], **site, "hostvars": hosts, **known}
    return dict(templated(variables["sites_small_rule"], variables))


SMALL = {"ansible_facts": {"architecture": "armv7l"}}
LARGE = {"ansible_facts": {"architecture": "aarch64"}}


@pytest.mark.parametrize(
    "nodes",
    [
        [LARGE],
        [SMALL, LARGE],
        [SMALL, {"ansible_facts": {"architecture": "x86_64"}}],
        [{**SMALL, "site_architecture": "arm64"}],
        [SMALL, {}],  # of which nobody knows yet
    ],
)
def test_one_node_that_can_run_flyte_is_enough(nodes: list[dict[str, Any]]) -> None:
    assert site_rule(*nodes)["met"] is True


@pytest.mark.parametrize("nodes", [[SMALL], [SMALL, SMALL], [SMALL, {**LARGE, "site_architecture": "arm"}]])
def test_a_site_without_a_node_for_flyte_is_refused(nodes: list[dict[str, Any]]) -> None:
    assert site_rule(*nodes)["met"] is False


def test_a_cluster_that_exists_has_nodes_that_nobody_counts_here() -> None:
    assert site_rule(site_kubernetes="existing")["met"] is True


def test_the_nodes_that_cannot_run_flyte_are_named() -> None:
    assert site_rule(SMALL, SMALL)["seen"] == "All nodes of site 'hamburg' have armv7l (arm): node-0, node-1"
