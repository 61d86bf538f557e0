# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Workflows that run: the proof that credentials, trust, rights and images are right, which no health check sees.

A user's flytekit starts them, through the ingress, with the client configuration that the site wrote and its
certificate verified. Molecule runs the site a second time before these tests, and test_reboot.py comes after them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from testbed.builder.client import Client
from testinfra.host import Host

from .conftest import DOMAINS, Execution, RunWorkflow, Site

testinfra_hosts = ["ansible://k3s_servers"]

AT_ONCE = 10


@pytest.fixture(scope="module")
def answer(run_workflow: RunWorkflow) -> Execution:
    return run_workflow("answer", 21)


def test_two_tasks_succeed_with_the_right_output(answer: Execution) -> None:
    assert answer.said.returncode == 0, answer.said.stdout + answer.said.stderr
    assert answer.phase == "SUCCEEDED"
    assert answer.outputs == {"o0": {"scalar": {"primitive": {"stringValue": "the answer is 42"}}}}


def test_plain_grpc_lists_the_execution(answer: Execution) -> None:
    assert answer.listed


def test_a_failing_task_ends_the_execution_with_its_own_message(run_workflow: RunWorkflow) -> None:
    execution = run_workflow("failing", 7)
    assert execution.phase == "FAILED"
    assert "7 cannot be halved" in execution.error
    assert execution.said.returncode != 0
    assert "7 cannot be halved" in " ".join(execution.said.stdout.split())


def test_ten_executions_at_once_all_succeed(client: Client, run_workflow: RunWorkflow) -> None:
    pattern = run_workflow("single", 5)
    assert pattern.phase == "SUCCEEDED"
    started = client.python("executions.py", "repeat", pattern.project, pattern.name, str(AT_ONCE), timeout=600)
    assert started.returncode == 0, started.stderr
    assert list(json.loads(started.stdout).values()) == ["SUCCEEDED"] * AT_ONCE


def test_a_workflow_runs_in_a_project_that_came_later(
    make_project: Callable[[str], set[str]], run_workflow: RunWorkflow
) -> None:
    assert make_project("later") == {f"later-{domain}" for domain in DOMAINS}
    execution = run_workflow("answer", 3, project="later")
    assert (execution.phase, execution.error) == ("SUCCEEDED", "")
    assert execution.outputs["o0"]["scalar"]["primitive"] == {"stringValue": "the answer is 6"}


def test_what_runs_leave_behind_holds_no_secret(
    host: Host, site: Site, kubectl: Callable[..., Any], answer: Execution
) -> None:
    objects = kubectl("get", "flyteworkflow,pod,configmap,event", "-A", "-o", "json")["items"]
    texts = {f"{item['kind']} {item['metadata']['name']}": json.dumps(item) for item in objects}
    assert {f"FlyteWorkflow {answer.name}", f"Pod {answer.name}-n0-0", f"Pod {answer.name}-n1-0"} <= set(texts)
    texts["logs"] = host.check_output("cat /var/log/pods/*/*/*.log")
    secrets = site.secrets
    encoded = {name: base64.b64encode(value.encode()).decode() for name, value in secrets.items()}
    found = [
        (place, name)
        for place, text in texts.items()
        for name in secrets
        if secrets[name] in text or encoded[name] in text
    ]
    assert found == []
