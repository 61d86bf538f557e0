# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Executions by plain gRPC, with flyteidl's stubs and nothing of flytekit; answers are JSON.

executions.py show PROJECT NAME            phase, error, outputs, seconds from request to end, whether the list has it
executions.py repeat PROJECT NAME COUNT    start COUNT more like it at once, wait for their ends; phases by name
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import grpc
import yaml
from flyteidl.admin import common_pb2, execution_pb2
from flyteidl.core import execution_pb2 as core_execution_pb2
from flyteidl.core import identifier_pb2
from flyteidl.service.admin_pb2_grpc import AdminServiceStub
from google.protobuf.json_format import MessageToDict

DOMAIN = "development"
SECONDS = 30
PHASES = core_execution_pb2.WorkflowExecution
ENDS = {PHASES.SUCCEEDED, PHASES.FAILED, PHASES.ABORTED, PHASES.TIMED_OUT}


def connect() -> AdminServiceStub:
    """A channel to the address, with the authority, of the configuration that FLYTECTL_CONFIG names."""
    admin = yaml.safe_load(Path(os.environ["FLYTECTL_CONFIG"]).read_text())["admin"]
    credentials = grpc.ssl_channel_credentials(Path(admin["caCertFilePath"]).read_bytes())
    return AdminServiceStub(grpc.secure_channel(admin["endpoint"], credentials))


def identify(project: str, name: str) -> identifier_pb2.WorkflowExecutionIdentifier:
    """The identity of an execution."""
    return identifier_pb2.WorkflowExecutionIdentifier(project=project, domain=DOMAIN, name=name)


def get(admin: AdminServiceStub, project: str, name: str) -> execution_pb2.Execution:
    """One execution."""
    request = execution_pb2.WorkflowExecutionGetRequest(id=identify(project, name))
    return admin.GetExecution(request, timeout=SECONDS)


def show(admin: AdminServiceStub, project: str, name: str) -> dict[str, object]:
    """What a user can learn of one execution."""
    closure = get(admin, project, name).closure
    data = admin.GetExecutionData(
        execution_pb2.WorkflowExecutionGetDataRequest(id=identify(project, name)), timeout=SECONDS
    )
    where = common_pb2.NamedEntityIdentifier(project=project, domain=DOMAIN)
    listed = admin.ListExecutions(common_pb2.ResourceListRequest(id=where, limit=100), timeout=SECONDS)
    return {
        "phase": PHASES.Phase.Name(closure.phase),
        "error": closure.error.message,
        "outputs": MessageToDict(data.full_outputs).get("literals", {}),
        "seconds": (closure.updated_at.ToDatetime() - closure.created_at.ToDatetime()).total_seconds(),
        "listed": name in [execution.id.name for execution in listed.executions],
    }


def repeat(admin: AdminServiceStub, project: str, name: str, count: int) -> dict[str, str]:
    """Start copies of an execution at once and wait until each has ended."""
    pattern = get(admin, project, name)
    data = admin.GetExecutionData(
        execution_pb2.WorkflowExecutionGetDataRequest(id=identify(project, name)), timeout=SECONDS
    )
    names = [f"{name}-{number}" for number in range(count)]
    requests = [
        execution_pb2.ExecutionCreateRequest(
            project=project,
            domain=DOMAIN,
            name=copy,
            spec=execution_pb2.ExecutionSpec(
                launch_plan=pattern.spec.launch_plan,
                metadata=execution_pb2.ExecutionMetadata(mode=execution_pb2.ExecutionMetadata.MANUAL),
            ),
            inputs=data.full_inputs,
        )
        for copy in names
    ]
    for started in [admin.CreateExecution.future(request, timeout=SECONDS) for request in requests]:
        started.result()
    return {copy: wait(admin, project, copy) for copy in names}


def wait(admin: AdminServiceStub, project: str, name: str) -> str:
    """The phase an execution ends in. Whoever called ends this program when that takes too long."""
    while (phase := get(admin, project, name).closure.phase) not in ENDS:
        time.sleep(1)
    return str(PHASES.Phase.Name(phase))


if __name__ == "__main__":
    action, project, name, *rest = sys.argv[1:]
    stub = connect()
    print(json.dumps(show(stub, project, name) if action == "show" else repeat(stub, project, name, int(rest[0]))))
