# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role refuses option names by its own table; the stand-in for k3s has another, from the same facts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
ROLE = yaml.safe_load((ROOT / "roles/k3s/files/options.yml").read_text())
TABLE = (ROOT / "tests/testbed/k3s/internal/options/table.go").read_text()


@pytest.mark.parametrize(
    ("kind", "list_name"), [("shared", "Shared"), ("server", "ServerOnly"), ("agent", "AgentOnly")]
)
def test_role_and_stand_in_know_the_same_options(kind: str, list_name: str) -> None:
    rows = re.search(rf"^var {list_name} = \[\]Option{{\n(.*?)^}}", TABLE, re.DOTALL | re.MULTILINE)
    assert rows is not None
    assert set(re.findall(r'{Name: "([^"]+)"', rows[1])) == set(ROLE[kind])
    assert len(ROLE[kind]) == len(set(ROLE[kind]))


@pytest.mark.parametrize(("kind", "list_name"), [("Bool", "switches"), ("Int", "numbers"), ("Duration", "durations")])
def test_role_and_stand_in_read_the_same_kinds_of_values(kind: str, list_name: str) -> None:
    assert re.findall(rf'{{Name: "([^"]+)", Kind: {kind}\b', TABLE)
    assert set(re.findall(rf'{{Name: "([^"]+)", Kind: {kind}\b', TABLE)) == set(ROLE[list_name])
