# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: failure_reason
author:
  - flyte.onprem contributors
short_description: Why a task failed, as far as it may be shown
version_added: 0.1.0
description:
  - Gives the message of a failed task, of a loop that of the item that failed. In the C(rescue) of a block Ansible
    hands over the result as it is, also of a task with C(no_log), of which nothing is repeated here.
positional: _input, task
options:
  _input:
    description: The variable C(ansible_failed_result).
    type: dict
    required: true
  task:
    description: The variable C(ansible_failed_task).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Do it, and say in the end why it was not done
  block:
    - name: Do it
      ansible.builtin.command: /bin/false
      changed_when: false
  rescue:
    - name: Say why
      ansible.builtin.debug:
        msg: "{{ ansible_failed_result | flyte.onprem.failure_reason(ansible_failed_task) }}"
"""

RETURN = r"""
_value:
  description: A sentence or several lines of text.
  type: str
"""

import typing as t
from collections.abc import Mapping

HIDDEN = "it handles a secret, so its message is not shown"
NONE = "it gives no reason"


def failure_reason(result: Mapping[str, t.Any], task: Mapping[str, t.Any]) -> str:
    """Return why *task* failed with *result*."""
    items = [item for item in result.get("results") or [] if item.get("failed") or item.get("unreachable")]
    if task.get("no_log") or any(found.get("_ansible_no_log") for found in (result, *items)):
        return HIDDEN
    found = items[0] if items else result
    message = found.get("msg") or result.get("msg") or NONE
    # `assert` and `debug` take lists, a line each.
    return "\n".join(map(str, message)) if isinstance(message, (list, tuple)) else str(message)


class FilterModule:
    """The filter plugin."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filters by name."""
        return {"failure_reason": failure_reason}
