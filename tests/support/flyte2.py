# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for Flyte 2's server: Connect calls as a Flyte 2.0.43 answered them, and nothing else.

It is strict: a method other than POST is 405, another content type 415, a path that Flyte has not 404, and a request
that lacks what Flyte asks for is refused. The real server takes HTTP and gRPC on one port; here they are two.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from support.services import Reply, rpc, web

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Json = dict[str, Any]
PREFIX = "/flyteidl2."
PATHS = (PREFIX,)


def refusal(code: str, words: str) -> Reply:
    return {"invalid_argument": 400, "unauthenticated": 401, "unimplemented": 501}[code], {
        "code": code,
        "message": words,
    }


@dataclass
class FakeFlyte2:
    """C(answers) replaces the answer to a path; C(sign) makes the signed URL for a request."""

    http_port: int = 0
    grpc_port: int = 0
    projects: list[str] = field(default_factory=lambda: ["flytesnacks"])
    sign: Callable[[Json], str] = lambda _asked: ""
    answers: dict[str, Any] = field(default_factory=dict)
    serves_grpc: bool = True

    def reset(self) -> None:
        fresh = FakeFlyte2()
        self.projects, self.answers, self.serves_grpc = fresh.projects, fresh.answers, True

    def answer(self, method: str, path: str, headers: Any, data: bytes) -> Reply:
        if path in ("/healthz", "/readyz"):
            return (200, {}) if method == "GET" else (405, "")
        handler = self.methods().get(path.removeprefix(PREFIX)) if path.startswith(PREFIX) else None
        if handler is None:
            return 404, "404 page not found\n"
        if method != "POST":
            return 405, ""
        if headers.get("content-type") != "application/json":
            return 415, ""
        if path in self.answers:
            found = self.answers[path]
            return (found, "") if isinstance(found, int) else found
        try:
            asked = json.loads(data)
        except ValueError:
            return refusal("invalid_argument", "the body is not JSON")
        return handler(asked, headers)

    def methods(self) -> dict[str, Callable[[Json, Any], Reply]]:
        return {
            "project.ProjectService/ListProjects": lambda _asked, _headers: (
                200,
                {"projects": {"projects": [{"id": id, "name": id} for id in self.projects]}},
            ),
            "cluster.ClusterService/SelectCluster": lambda _asked, headers: (
                200,
                {"clusterEndpoint": f"{headers.get('x-forwarded-proto', 'http')}://{headers.get('host')}"},
            ),
            "workflow.RunService/ListRuns": self.list_runs,
            "dataproxy.DataProxyService/CreateUploadLocation": self.create_upload_location,
            "auth.IdentityService/UserInfo": lambda _asked, _headers: refusal("unauthenticated", "no identity"),
            "settings.SettingsService/GetSettings": lambda _asked, _headers: refusal(
                "unimplemented", "not implemented"
            ),
            "app.AppService/List": lambda _asked, _headers: refusal("unimplemented", "not implemented"),
        }

    def list_runs(self, asked: Json, _headers: Any) -> Reply:
        if not {"name", "domain"} <= set(asked.get("projectId") or {}):
            return refusal("invalid_argument", "projectId is missing")
        return 200, {"runs": []}

    def create_upload_location(self, asked: Json, _headers: Any) -> Reply:
        try:
            digest = base64.b64decode(asked.get("contentMd5", ""), validate=True)
        except (binascii.Error, TypeError):
            digest = b""
        if len(digest) != 16 or not {"project", "domain", "filename"} <= set(asked):
            return refusal("invalid_argument", "project, domain, filename and contentMd5 are needed")
        return 200, {"signedUrl": self.sign(asked)}

    def rpc(self, method: str) -> bytes | None:
        return b"" if self.serves_grpc and method == f"{PREFIX}project.ProjectService/ListProjects" else None


@contextlib.contextmanager
def flyte2() -> Iterator[FakeFlyte2]:
    fake = FakeFlyte2()
    with web(fake.answer) as fake.http_port, rpc(fake.rpc) as fake.grpc_port:
        yield fake
