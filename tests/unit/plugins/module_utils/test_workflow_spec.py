# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is registered and run; that it is what flytekit would register was compared with flytekit 1.16.31."""

from __future__ import annotations

import ast
import dataclasses
import io
import tarfile
from typing import Any

import pytest

from ansible_collections.flyte.onprem.plugins.module_utils._workflow_spec import (
    ANSWER,
    ARCHIVE,
    CODE,
    MODULE,
    WORD,
    Workflow,
    archive,
    output_of,
)

WORKFLOW = Workflow("verify", "development", "flytekit:1", f"s3://bucket/key/{ARCHIVE}")


def test_the_archive_is_the_same_each_time_and_holds_the_module() -> None:
    assert archive() == archive()
    with tarfile.open(fileobj=io.BytesIO(archive())) as tar:
        (member,) = tar.getmembers()
        assert (member.name, member.mode, member.mtime) == (f"{MODULE}.py", 0o644, 0)
        assert tar.extractfile(member).read().decode() == CODE  # type: ignore[union-attr]


def test_the_code_defines_the_tasks_that_are_registered() -> None:
    defined = {node.name for node in ast.parse(CODE).body if isinstance(node, ast.FunctionDef)}
    registered = {task["id"]["name"].partition(".")[2] for task in WORKFLOW.tasks}
    assert registered | {WORKFLOW.workflow["id"]["name"].partition(".")[2]} <= defined


def test_a_task_is_started_as_flytekit_starts_one() -> None:
    write = WORKFLOW.tasks[0]["spec"]["template"]
    arguments = write["container"]["args"]
    assert arguments[:3] == ["pyflyte-fast-execute", "--additional-distribution", WORKFLOW.distribution]
    assert arguments[-4:] == ["task-module", MODULE, "task-name", "write"]
    assert write["container"]["image"] == "flytekit:1"
    for word in ("input", "outputPrefix", "rawOutputDataPrefix", "checkpointOutputPrefix", "prevCheckpointPrefix"):
        assert f"{{{{.{word}}}}}" in arguments


def test_the_second_task_waits_for_the_first() -> None:
    first, second = WORKFLOW.workflow["spec"]["template"]["nodes"]
    assert "upstream_node_ids" not in first
    assert second["upstream_node_ids"] == [first["id"]]
    assert second["inputs"][0]["binding"]["promise"]["node_id"] == first["id"]


def test_the_input_is_part_of_the_answer() -> None:
    literals = WORKFLOW.execution("v1")["inputs"]["literals"]
    assert literals["word"]["scalar"]["primitive"]["string_value"] == WORD
    assert ANSWER.startswith(WORD)


def test_without_resources_a_task_is_left_to_the_defaults() -> None:
    assert WORKFLOW.tasks[0]["spec"]["template"]["container"]["resources"] == {"requests": [], "limits": []}
    asked = dataclasses.replace(WORKFLOW, requests={"cpu": "1"}, limits={"memory": "1Gi", "cpu": "2"})
    assert asked.tasks[1]["spec"]["template"]["container"]["resources"] == {
        "requests": [{"name": "CPU", "value": "1"}],
        "limits": [{"name": "CPU", "value": "2"}, {"name": "MEMORY", "value": "1Gi"}],
    }


def test_a_secret_is_asked_for_by_the_first_task_only_if_it_is_named() -> None:
    assert all("security_context" not in task["spec"]["template"] for task in WORKFLOW.tasks)
    first, second = dataclasses.replace(WORKFLOW, secret="task-s3").tasks
    assert first["spec"]["template"]["security_context"]["secrets"][0]["group"] == "task-s3"
    assert "security_context" not in second["spec"]["template"]


@pytest.mark.parametrize(
    "change",
    [{"image": "flytekit:2"}, {"distribution": "s3://other/key"}, {"limits": {"cpu": "1"}}, {"secret": "x"}],
    ids=lambda change: next(iter(change)),
)
def test_the_version_changes_with_what_would_run(change: dict[str, Any]) -> None:
    assert dataclasses.replace(WORKFLOW).version == WORKFLOW.version
    assert dataclasses.replace(WORKFLOW, **change).version != WORKFLOW.version


def test_everything_registered_carries_the_version() -> None:
    bodies = [*WORKFLOW.tasks, WORKFLOW.workflow, WORKFLOW.launch_plan]
    assert {body["id"]["version"] for body in bodies} == {WORKFLOW.version}
    assert WORKFLOW.execution("v1")["spec"]["launch_plan"]["version"] == WORKFLOW.version


# answer of GetExecutionData, output
ANSWERS = [
    ({"full_outputs": {"literals": {"o0": {"scalar": {"primitive": {"string_value": "x"}}}}}}, "x"),
    ({"fullOutputs": {"literals": {"o0": {"scalar": {"primitive": {"stringValue": "x"}}}}}}, "x"),
    ({"full_outputs": {"literals": {"o0": {"scalar": {"primitive": {"string_value": ""}}}}}}, ""),
    ({"full_outputs": {"literals": {}}}, None),
    ({"full_outputs": None}, None),
    ({}, None),
]


@pytest.mark.parametrize(("answer", "output"), ANSWERS)
def test_the_output_is_read_from_the_answer(answer: dict[str, Any], output: str | None) -> None:
    assert output_of(answer) == output
