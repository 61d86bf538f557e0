# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which architectures role site admits, by what a host is for (SITE-13)."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from unit.contract import ROLES_DIR

VARS = DataLoader().load_from_file(str(ROLES_DIR / "site/vars/main.yml"), trusted_as_template=True)
PARTS = {"k3s": ["server", "node"], "postgresql": ["db"], "minio": ["server"]}


def rule(host: str, architecture: str, machine: str = "x86_64") -> dict[str, Any]:
    raw = next(each for each in VARS["__site_host_rules"] if each["id"] == "SITE-13")
    known = {"inventory_hostname": host, "site_architecture": architecture, "site_parts": PARTS}
    variables = {**VARS, **known, "ansible_facts": {"architecture": machine}, "__site_rule": raw}
    return dict(Templar(loader=DataLoader(), variables=variables).template(variables["__site_rule"]))


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
