# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.flyte.onprem.plugins.filter.failure_reason import HIDDEN, NONE, failure_reason

TASK = {"name": "Do it", "no_log": None}


@pytest.mark.parametrize(
    # result of the task, the reason
    ("result", "reason"),
    [
        ({"msg": "no space left"}, "no space left"),
        ({"msg": ["1 of 3 checks failed.", "[S3-04] …"]}, "1 of 3 checks failed.\n[S3-04] …"),
        ({}, NONE),
        ({"msg": ""}, NONE),
        (
            {"msg": "One or more items failed", "results": [{"msg": "fine"}, {"failed": True, "msg": "no space left"}]},
            "no space left",
        ),
        ({"msg": "One or more items failed", "results": [{"failed": True}]}, "One or more items failed"),
    ],
)
def test_the_message_is_the_reason(result: dict, reason: str) -> None:
    assert failure_reason(result, TASK) == reason


@pytest.mark.parametrize(
    # result, task
    ("result", "task"),
    [
        ({"msg": "hunter2"}, {"name": "Do it", "no_log": True}),
        ({"msg": "hunter2", "_ansible_no_log": True}, TASK),
        ({"results": [{"failed": True, "msg": "hunter2", "_ansible_no_log": True}]}, TASK),
    ],
    ids=["task", "result", "item"],
)
def test_a_secret_is_not_repeated(result: dict, task: dict) -> None:
    assert failure_reason(result, task) == HIDDEN
