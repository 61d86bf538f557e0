# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: findings
author:
  - flyte.onprem contributors
short_description: Text of the rules that are not met
version_added: 0.1.0
description:
  - Takes a role's preflight rules and gives one text with all that are not met, or an empty one.
positional: _input
options:
  _input:
    description:
      - The rules. Each has C(id), C(met), C(seen), C(expected) and C(fix).
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Refuse what cannot work
  ansible.builtin.assert:
    that: (rules | flyte.onprem.findings) == ''
    fail_msg: "{{ rules | flyte.onprem.findings }}"
  vars:
    rules:
      - id: SITE-01
        met: "{{ site_domain is match('[a-z]') }}"
        seen: "site_domain is {{ site_domain }}"
        expected: a host name
        fix: Set site_domain to the name that users type.
"""

RETURN = r"""
_value:
  description: One paragraph a rule that is not met, or an empty string.
  type: str
"""

from ansible.errors import AnsibleFilterError

PARTS = ("id", "met", "seen", "expected", "fix")


def findings(rules):
    """Return a paragraph for each of *rules* whose ``met`` is false; '' when all are met.

    Raises AnsibleFilterError when a rule lacks a part or its ``met`` is no truth value.
    """
    paragraphs = []
    for rule in rules:
        missing = [part for part in PARTS if part not in rule]
        if missing:
            raise AnsibleFilterError(f"rule {rule.get('id', rule)!r} has no {', '.join(missing)}")
        met = rule["met"]
        if isinstance(met, str) and met in ("True", "False"):
            met = met == "True"  # what Jinja gives without native types
        if not isinstance(met, bool):
            raise AnsibleFilterError(f"rule {rule['id']}: met is {met!r}, not true or false")
        if not met:
            paragraphs.append(
                f"[{rule['id']}] {rule['seen']}. Expected: {rule['expected']}.\n"
                f"  What to do: {rule['fix']}\n"
                f"  Read more: docs/problems.md#{rule['id'].lower()}"
            )
    return "\n".join(paragraphs)


class FilterModule:
    """The filter plugin."""

    def filters(self):
        """Return the filters by name."""
        return {"findings": findings}
