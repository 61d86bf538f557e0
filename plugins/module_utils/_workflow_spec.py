# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is PRIVATE to the collection. It can change at any time.

"""The workflow that a check runs, as Flyte's HTTP interface wants it: two tasks, one input, one output.

The first task writes a word into the bucket for data and hands on its address; the second reads it, removes it and
returns what it read. So each task needs what users' tasks need: the image, the code, the keys, the certificates, and
both buckets. Only literals travel between them, so that nothing but the standard library is needed to describe them.

Sources: flyteidl's messages at v1.16.8, and what flytekit 1.16.31 registers for the same code.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import typing as t
from dataclasses import dataclass, field

Json = dict[str, t.Any]

MODULE = "flyte_onprem_check"
ARCHIVE = f"{MODULE}.tar.gz"
INPUT = "word"
OUTPUT = "o0"  # flytekit's name for the one result of a function
WORD = "flyte"
ANSWER = f"{WORD} works"
# Flyte names what its webhook mounts after the group, a Secret, and a key in it.
ASKED_KEY = "FLYTE_AWS_ACCESS_KEY_ID"

CODE = '''\
"""Sent by flyte.onprem to see whether a workflow runs."""

import os
import tempfile

from flytekit import task, workflow
from flytekit.core.context_manager import FlyteContextManager


def files():
    return FlyteContextManager.current_context().file_access


@task
def write(word: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        local = os.path.join(folder, "word")
        with open(local, "w") as stream:
            stream.write(word + " works")
        remote = files().get_random_remote_path("word")
        files().put_data(local, remote)
    return remote


@task
def read(address: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        local = os.path.join(folder, "word")
        files().get_data(address, local)
        with open(local) as stream:
            word = stream.read()
    files().get_filesystem_for_path(address).rm(address)
    return word


@workflow
def check(word: str) -> str:
    return read(address=write(word=word))
'''


def archive() -> bytes:
    """The code as flytekit's tasks fetch it; the same bytes each time, so that the upload has the same address."""
    content = CODE.encode()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        member = tarfile.TarInfo(f"{MODULE}.py")
        member.size, member.mode = len(content), 0o644
        tar.addfile(member, io.BytesIO(content))
    return gzip.compress(packed.getvalue(), mtime=0)


@dataclass(frozen=True)
class Workflow:
    """What makes one version of the workflow. C(distribution) is the address of its code in the object store.

    C(requests) and C(limits) are quantities by C(cpu) and C(memory); empty leaves a task to the site's defaults.
    C(secret) is a Secret that the first task asks Flyte's webhook for; empty leaves the webhook out.
    """

    project: str
    domain: str
    image: str
    distribution: str
    requests: t.Mapping[str, str] = field(default_factory=dict)
    limits: t.Mapping[str, str] = field(default_factory=dict)
    secret: str = ""

    @property
    def namespace(self) -> str:
        return f"{self.project}-{self.domain}"

    @property
    def version(self) -> str:
        """The same for the same specification, image and code, so that registering it again changes nothing."""
        content = json.dumps([self._bodies("v"), hashlib.sha256(archive()).hexdigest()], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    @property
    def tasks(self) -> list[Json]:
        return self._tasks(self.version)

    @property
    def workflow(self) -> Json:
        return self._workflow(self.version)

    @property
    def launch_plan(self) -> Json:
        return self._launch_plan(self.version)

    def execution(self, name: str) -> Json:
        """The request that starts the workflow, with its one input."""
        return {
            "project": self.project,
            "domain": self.domain,
            "name": name,
            "spec": {
                "launch_plan": self._id("LAUNCH_PLAN", "check", self.version),
                "metadata": {"mode": "MANUAL", "principal": "flyte.onprem"},
            },
            "inputs": {"literals": {INPUT: {"scalar": {"primitive": {"string_value": WORD}}}}},
        }

    def _bodies(self, version: str) -> list[Json]:
        return [*self._tasks(version), self._workflow(version), self._launch_plan(version)]

    def _id(self, kind: str, name: str, version: str) -> Json:
        return {
            "resource_type": kind,
            "project": self.project,
            "domain": self.domain,
            "name": f"{MODULE}.{name}",
            "version": version,
        }

    def _tasks(self, version: str) -> list[Json]:
        return [
            self._task("write", "word", version, secret=self.secret),
            self._task("read", "address", version),
        ]

    def _task(self, name: str, parameter: str, version: str, *, secret: str = "") -> Json:
        identity = self._id("TASK", name, version)
        template: Json = {
            "id": identity,
            "type": "python-task",
            # The line of flytekit whose form this is; what the image holds may be another.
            "metadata": {"runtime": {"type": "FLYTE_SDK", "version": "1.16", "flavor": "python"}, "retries": {}},
            "interface": {"inputs": _variables(parameter), "outputs": _variables(OUTPUT)},
            "container": {
                "image": self.image,
                "args": _arguments(self.distribution, name),
                "resources": {"requests": _resources(self.requests), "limits": _resources(self.limits)},
            },
        }
        if secret:
            asked = {"group": secret, "key": ASKED_KEY, "mount_requirement": "ENV_VAR"}
            template["security_context"] = {"secrets": [asked]}
        return {"id": identity, "spec": {"template": template}}

    def _workflow(self, version: str) -> Json:
        identity = self._id("WORKFLOW", "check", version)
        template = {
            "id": identity,
            "metadata": {},
            "metadata_defaults": {},
            "interface": {"inputs": _variables(INPUT), "outputs": _variables(OUTPUT)},
            "nodes": [
                self._node("n0", "write", version, parameter="word", promise={"var": INPUT}),
                self._node("n1", "read", version, parameter="address", promise={"node_id": "n0", "var": OUTPUT}),
            ],
            "outputs": [{"var": OUTPUT, "binding": {"promise": {"node_id": "n1", "var": OUTPUT}}}],
        }
        return {"id": identity, "spec": {"template": template}}

    def _node(self, id: str, name: str, version: str, *, parameter: str, promise: Json) -> Json:
        node: Json = {
            "id": id,
            "metadata": {"name": name, "retries": {}},
            "inputs": [{"var": parameter, "binding": {"promise": promise}}],
            "task_node": {"reference_id": self._id("TASK", name, version)},
        }
        if "node_id" in promise:
            node["upstream_node_ids"] = [promise["node_id"]]
        return node

    def _launch_plan(self, version: str) -> Json:
        parameter = {"var": _variables(INPUT)["variables"][INPUT], "required": True}
        spec = {
            "workflow_id": self._id("WORKFLOW", "check", version),
            "entity_metadata": {},
            "default_inputs": {"parameters": {INPUT: parameter}},
            "fixed_inputs": {},
        }
        return {"id": self._id("LAUNCH_PLAN", "check", version), "spec": spec}


def _variables(name: str) -> Json:
    return {"variables": {name: {"type": {"simple": "STRING"}, "description": name}}}


def _resources(quantities: t.Mapping[str, str]) -> list[Json]:
    return [{"name": name.upper(), "value": value} for name, value in sorted(quantities.items())]


def _arguments(distribution: str, task: str) -> list[str]:
    """How flytekit starts a task: fetch the code, then run it; Flyte fills in what stands in braces."""
    return [
        *("pyflyte-fast-execute", "--additional-distribution", distribution, "--dest-dir", ".", "--"),
        *("pyflyte-execute", "--inputs", "{{.input}}", "--output-prefix", "{{.outputPrefix}}"),
        *("--raw-output-data-prefix", "{{.rawOutputDataPrefix}}"),
        *("--checkpoint-path", "{{.checkpointOutputPrefix}}", "--prev-checkpoint", "{{.prevCheckpointPrefix}}"),
        *("--resolver", "flytekit.core.python_auto_container.default_task_resolver", "--"),
        *("task-module", MODULE, "task-name", task),
    ]


def output_of(answer: Json) -> str | None:
    """The workflow's output in the answer of GetExecutionData, or None where it holds none."""
    outputs = answer.get("full_outputs") or answer.get("fullOutputs") or {}
    primitive = (((outputs.get("literals") or {}).get(OUTPUT) or {}).get("scalar") or {}).get("primitive") or {}
    found = primitive.get("string_value", primitive.get("stringValue"))
    return None if found is None else str(found)
