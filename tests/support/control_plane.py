# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of Flyte's HTTP interface that registers and runs workflows, and a bucket beside it, as a test wants them.

It is strict: what Flyte would refuse (an unknown project, a reference to what is not registered, a body without its
identifier) is refused, and what no Flyte has is 404 without a word of Flyte's.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from support.services import Reply, web

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Json = dict[str, Any]

BUCKET = "flyte-metadata"
CODES = {400: 3, 401: 16, 404: 5, 409: 6, 499: 1, 500: 13, 503: 14}


def refusal(status: int, words: str) -> Reply:
    return status, {"error": words, "code": CODES[status], "message": words, "details": []}


@dataclass
class FakeControlPlane:
    """Projects, what is registered, executions. C(closures) are what an execution says of itself, one a look; the
    last one stays. C(answers) replaces the answer to a method and path (without its query)."""

    port: int = 0
    projects: dict[str, str] = field(default_factory=dict)  # their states
    descriptions: dict[str, str] = field(default_factory=dict)
    registered: dict[tuple[str, str, str], Json] = field(default_factory=dict)
    executions: list[Json] = field(default_factory=list)
    closures: list[Json] = field(default_factory=lambda: [{"phase": "SUCCEEDED"}])
    # Whether the namespace is there. Without it Flyte accepts an execution and records at once that it failed.
    has_namespace: Callable[[], bool] = lambda: True
    nodes: list[Json] = field(default_factory=list)
    tasks: list[Json] = field(default_factory=list)
    output: str = "flyte works"
    uploads: dict[str, bytes] = field(default_factory=dict)
    terminated: list[str] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def web(self, method: str, path: str, headers: Any, body: bytes) -> Reply:
        return self.answer(method, urlsplit(path).path, body, headers)

    def answer(self, method: str, path: str, body: bytes, headers: Any) -> Reply:
        self.asked.append(f"{method} {path}")
        if f"{method} {path}" in self.answers:
            found = self.answers[f"{method} {path}"]
            return found() if callable(found) else found
        if path.startswith(f"/{BUCKET}/"):
            return self.put(method, path, body, headers)
        if path == "/healthcheck":
            return 200, {}
        document = json.loads(body or b"{}")
        for pattern, handler in self.routes.items():
            found = re.fullmatch(pattern, f"{method} {path}")
            if found:
                return handler(self, document, *found.groups())
        return 404, "404 page not found"

    def put(self, method: str, path: str, body: bytes, headers: Any) -> Reply:
        digest = base64.b64encode(hashlib.md5(body).digest()).decode()
        if method != "PUT" or headers.get("content-md5") != digest:
            return 403, "<Error><Code>SignatureDoesNotMatch</Code></Error>"
        self.uploads[path] = body
        return 200, ""

    def sign(self, asked: Json) -> Reply:
        key = f"{asked['project']}/{asked['domain']}/{base64.b32encode(asked['content_md5'].encode()).decode()}"
        place = f"{BUCKET}/{key}/{asked['filename']}"
        url = f"{self.url}/{place}?X-Amz-Signature=of-a-test"
        headers = {"Content-Length": str(len(asked["content_md5"])), "Content-MD5": asked["content_md5"]}
        return 200, {"signed_url": url, "native_url": f"s3://{place}", "headers": headers}

    def create_project(self, asked: Json) -> Reply:
        id = asked["project"]["id"]
        if id in self.projects:
            return refusal(409, f"project with id {id} already exists")
        self.projects[id] = "ACTIVE"
        self.descriptions[id] = asked["project"]["description"]
        return 200, {}

    def get_project(self, _asked: Json, id: str) -> Reply:
        if id not in self.projects:
            return refusal(404, f"project [{id}] not found")
        return 200, {"id": id, "description": self.descriptions.get(id, ""), "state": self.projects[id]}

    def update_project(self, asked: Json, id: str) -> Reply:
        if id not in self.projects or asked["id"] != id:
            return refusal(404, f"project [{id}] not found")
        self.projects[id] = asked["state"]
        return 200, {}

    def register(self, asked: Json, kind: str) -> Reply:
        id = asked["id"]
        if self.projects.get(id["project"]) != "ACTIVE":
            return refusal(400, f"failed to validate that project [{id['project']}] is active, err: [not found]")
        key = (id["resource_type"], id["name"], id["version"])
        wanted = {"tasks": "TASK", "workflows": "WORKFLOW", "launch_plans": "LAUNCH_PLAN"}[kind]
        if key[0] != wanted:
            return refusal(400, f"unexpected resource type {key[0]}")
        for reference in references(asked["spec"]):
            if reference != id and (reference["resource_type"], reference["name"], reference["version"]) not in (
                self.registered
            ):
                return refusal(404, f"missing entity of type {reference['resource_type']} {reference['name']}")
        if key in self.registered:
            if self.registered[key] != asked:
                return refusal(400, f"{id['name']} with different structure already exists")
            return refusal(409, f"{kind} with identical structure already exists")
        self.registered[key] = asked
        return 200, {}

    def create_execution(self, asked: Json) -> Reply:
        plan = asked["spec"]["launch_plan"]
        if (plan["resource_type"], plan["name"], plan["version"]) not in self.registered:
            return refusal(404, "missing entity of type LAUNCH_PLAN")
        if "word" not in asked["inputs"]["literals"]:
            return refusal(400, "expected_inputs word missing")
        id = {"project": asked["project"], "domain": asked["domain"], "name": asked["name"]}
        self.executions.insert(0, {"id": id, "spec": asked["spec"]})
        if not self.has_namespace():
            words = f'failed to create workflow in propeller namespaces "{id["project"]}-{id["domain"]}" not found'
            self.executions[0]["closure"] = {"phase": "FAILED", "error": {"code": "Internal", "message": words}}
        return 200, {"id": id}

    def list_executions(self, _asked: Json, project: str, domain: str) -> Reply:
        found = [item for item in self.executions if (item["id"]["project"], item["id"]["domain"]) == (project, domain)]
        return 200, {"executions": found, "token": ""}

    def get_execution(self, _asked: Json, name: str) -> Reply:
        found = [item for item in self.executions if item["id"]["name"] == name]
        if not found:
            return refusal(404, f"missing entity of type execution with identifier {name}")
        if "closure" in found[0]:
            return 200, found[0]
        closure = self.closures.pop(0) if len(self.closures) > 1 else self.closures[0]
        return 200, {"id": {"name": name}, "closure": closure}

    def terminate(self, asked: Json, name: str) -> Reply:
        if not asked.get("cause"):
            return refusal(400, "missing cause")
        self.terminated.append(name)
        return 200, {}

    def get_data(self, _asked: Json, _name: str) -> Reply:
        value = {"scalar": {"primitive": {"string_value": self.output}}}
        return 200, {"full_inputs": {}, "full_outputs": {"literals": {"o0": value}}}

    routes: ClassVar[dict[str, Any]] = {
        "POST /api/v1/dataproxy/artifact_urn": sign,
        "POST /api/v1/projects": create_project,
        r"GET /api/v1/projects/([^/]+)": get_project,
        r"PUT /api/v1/projects/([^/]+)": update_project,
        "POST /api/v1/(tasks|workflows|launch_plans)": register,
        "POST /api/v1/executions": create_execution,
        r"GET /api/v1/executions/([^/]+)/([^/]+)": list_executions,
        r"GET /api/v1/executions/[^/]+/[^/]+/([^/]+)": get_execution,
        r"DELETE /api/v1/executions/[^/]+/[^/]+/([^/]+)": terminate,
        r"GET /api/v1/data/executions/[^/]+/[^/]+/([^/]+)": get_data,
        r"GET /api/v1/node_executions/[^/]+/[^/]+/[^/]+": lambda self, _: (200, {"node_executions": self.nodes}),
        r"GET /api/v1/task_executions/[^/]+/[^/]+/[^/]+/[^/]+": lambda self, _: (200, {"task_executions": self.tasks}),
    }


def references(value: Any) -> Iterator[Json]:
    """Every identifier below a specification."""
    if isinstance(value, dict):
        if "resource_type" in value:
            yield value
        for child in value.values():
            yield from references(child)
    elif isinstance(value, list):
        for child in value:
            yield from references(child)


@contextlib.contextmanager
def control_plane() -> Iterator[FakeControlPlane]:
    fake = FakeControlPlane()
    with web(fake.web) as fake.port:
        yield fake
