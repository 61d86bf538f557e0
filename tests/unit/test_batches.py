# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the playbooks take as batches, as Ansible does, and as a share of sites that may fail (SITE-26)."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.utils.helpers import pct_to_int
from unit.contract import ROLES_DIR
from unit.templates import loaded, templated

RULES = loaded(ROLES_DIR.parent / "playbooks/tasks/batches.yml")[0]["vars"]


def rule(name: str, **given: Any) -> dict[str, Any]:
    return dict(templated(RULES[name], {**RULES, **given}))


@pytest.mark.parametrize("serial", [3, "3", "20%", [1, "25%"], ["1", 5], 0])
def test_batches_that_ansible_can_make_are_taken(serial: Any) -> None:
    for batch in serial if isinstance(serial, list) else [serial]:
        assert pct_to_int(batch, 10) >= 0
    assert rule("sites_serial_rule", fleet_serial=serial)["met"] is True


@pytest.mark.parametrize("serial", ["abc", "1.5", 1.5, '[1,"25%"]', "", "-1", True, [1, "x"], {"a": 1}])
def test_other_batches_are_refused(serial: Any) -> None:
    assert rule("sites_serial_rule", fleet_serial=serial)["met"] is False


def test_a_list_of_batches_that_came_as_text_is_shown_as_it_has_to_be_given() -> None:
    found = rule("sites_serial_rule", fleet_serial="[1,25%]")
    assert found["seen"] == 'fleet_serial is "[1,25%]"'
    assert """-e '{"fleet_serial": [1, "25%"]}'""" in found["fix"]


@pytest.mark.parametrize(
    ("share", "met"),
    [
        (0, True), (20, True), ("20", True), ("20%", True), (12.5, True), ("100%", True),
        (-1, False), ("-1", False), (101, False), ("all", False), ("", False), (None, False), ([20], False),
    ],
)  # fmt: skip
def test_a_share_of_sites_is_of_a_hundred(share: Any, met: bool) -> None:
    found = rule("sites_percentage_rule", fleet_max_fail_percentage=share)
    assert found["met"] is met
    assert found["seen"].startswith("fleet_max_fail_percentage is ")


def test_without_batches_there_is_nothing_to_refuse() -> None:
    assert [rule(name)["met"] for name in ("sites_serial_rule", "sites_percentage_rule")] == [True, True]
