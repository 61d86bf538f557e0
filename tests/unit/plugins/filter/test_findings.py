# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.flyte.onprem.plugins.filter.findings import findings

RULE = {"id": "SITE-01", "met": False, "seen": "It is red", "expected": "green", "fix": "Paint it."}


def test_rules_that_are_met_give_an_empty_text() -> None:
    assert findings([RULE | {"met": True}, RULE | {"met": "True"}]) == ""


def test_an_unmet_rule_says_what_was_seen_what_was_expected_and_what_to_do() -> None:
    assert findings([RULE]) == (
        "[SITE-01] It is red. Expected: green.\n  What to do: Paint it.\n  Read more: docs/problems.md#site-01"
    )


def test_all_unmet_rules_are_told_at_once() -> None:
    text = findings([RULE, RULE | {"met": "False", "id": "SITE-02"}, RULE | {"met": True, "id": "SITE-03"}])
    assert [name in text for name in ("SITE-01", "SITE-02", "SITE-03")] == [True, True, False]


@pytest.mark.parametrize("met", ["", "maybe", None, 1, []])
def test_a_rule_whose_verdict_is_no_truth_value_is_an_error(met: object) -> None:
    with pytest.raises(AnsibleFilterError, match="SITE-01: met is"):
        findings([RULE | {"met": met}])


def test_a_rule_without_a_part_is_an_error() -> None:
    with pytest.raises(AnsibleFilterError, match="'SITE-01' has no fix"):
        findings([{key: value for key, value in RULE.items() if key != "fix"}])
