# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Counts the module executions of a run and adds up their time by task, for ``make bench-site``."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: count_modules
type: aggregate
short_description: Count module executions
description: Writes the number of module executions and of tasks, and the slowest tasks, to the file in COUNT_MODULES.
"""

# These run inside ansible-playbook and start no module.
CONTROLLER_ONLY = {
    "assert", "debug", "fail", "group_by", "import_playbook", "import_role", "import_tasks", "include_role",
    "include_tasks", "include_vars", "meta", "pause", "set_fact", "set_stats", "validate_argument_spec", "add_host",
}  # fmt: skip


class CallbackModule(CallbackBase):
    """Counts every result of a module, each item of a loop as one."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "count_modules"

    def __init__(self) -> None:
        super().__init__()
        self.executions: Counter[str] = Counter()
        self.seconds: dict[str, float] = {}
        self.task, self.started = "", time.monotonic()

    def _close(self) -> None:
        now = time.monotonic()
        if self.task:
            self.seconds[self.task] = self.seconds.get(self.task, 0.0) + now - self.started
        self.started = now

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """Close the time of the task before this one."""
        self._close()
        self.task = task.get_name()

    v2_playbook_on_handler_task_start = v2_playbook_on_task_start

    def _count(self, result: Any) -> None:
        action = str(result._task.action).rpartition(".")[2]
        looped = "results" in result._result and result._task.loop is not None
        if action not in CONTROLLER_ONLY and not looped:
            self.executions[result._host.get_name()] += int(result._result.get("attempts", 1))

    def v2_runner_on_ok(self, result: Any) -> None:
        """Count a task that went well."""
        self._count(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Count a task that failed."""
        self._count(result)

    def v2_runner_item_on_ok(self, result: Any) -> None:
        """Count one item of a loop."""
        self._count(result)

    v2_runner_item_on_failed = v2_runner_item_on_ok

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Write what was counted."""
        self._close()
        slowest = sorted(self.seconds.items(), key=lambda pair: -pair[1])[:12]
        with open(os.environ["COUNT_MODULES"], "w", encoding="utf-8") as stream:
            json.dump(
                {
                    "executions": self.executions.total(),
                    "executions_by_host": self.executions,
                    "tasks_by_host": {host: stats.summarize(host)["ok"] for host in sorted(stats.processed)},
                    "slowest": slowest,
                },
                stream,
            )
