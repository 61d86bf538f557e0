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
import http.server
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc

from support.servers import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Json = dict[str, Any]
Reply = tuple[int, Any]
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


@contextlib.contextmanager
def flyte2() -> Iterator[FakeFlyte2]:
    fake = FakeFlyte2()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_any(self) -> None:
            data = self.rfile.read(int(self.headers.get("content-length") or 0))
            status, answer = fake.answer(self.command, self.path, self.headers, data)
            body = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = handle_any  # noqa: N815

        def log_message(self, *_arguments: object) -> None:
            pass

    class Methods(grpc.GenericRpcHandler):
        def service(self, details: Any) -> Any:
            if not fake.serves_grpc or details.method != f"{PREFIX}project.ProjectService/ListProjects":
                return None
            return grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"")

    web = http.server.ThreadingHTTPServer((LOOPBACK, 0), Handler)
    web.daemon_threads = True
    threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    rpc = grpc.server(ThreadPoolExecutor(4), handlers=[Methods()])
    fake.http_port, fake.grpc_port = web.server_address[1], rpc.add_insecure_port(f"{LOOPBACK}:0")
    rpc.start()
    try:
        yield fake
    finally:
        rpc.stop(None)
        web.shutdown()
        web.server_close()
