# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Kubernetes API that knows only what a test puts into it, for faults that a real cluster is hard to bring to."""

from __future__ import annotations

import contextlib
import http.server
import json
import ssl
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.pki import Leaf

TOKEN = "token-of-a-test-user"
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@dataclass
class FakeApi:
    """Objects by path, or by method and path. A list path answers a dict as it is; an int answers that HTTP status.

    A function is asked each time. What is deleted is gone, unless the method and path have an answer of their own.
    """

    objects: dict[str, Any] = field(default_factory=dict)
    allows: Callable[[dict[str, str]], bool] = field(default=lambda attributes: True)
    server: str = ""
    asked: list[str] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)
    sent: list[dict[str, Any]] = field(default_factory=list)

    def kubeconfig(self, directory: Path, *, ca_file: Path | None = None, **user: str) -> Path:
        cluster = {"server": self.server, **({"certificate-authority": str(ca_file)} if ca_file else {})}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "default",
            "clusters": [{"name": "default", "cluster": cluster}],
            "users": [{"name": "default", "user": user or {"token": TOKEN}}],
            "contexts": [{"name": "default", "context": {"cluster": "default", "user": "default"}}],
        }
        path = directory / "kubeconfig"
        path.write_text(yaml.safe_dump(document))
        return path

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        self.asked.append(f"{method} {path}")
        self.sent.append(body)
        if method == "POST" and path == REVIEWS:
            return 201, {"status": {"allowed": self.allows(body["spec"]["resourceAttributes"])}}
        found = self.objects.get(f"{method} {path}", self.objects.get(path, 404))
        if method == "DELETE" and f"{method} {path}" not in self.objects:
            self.objects.pop(path, None)
        if callable(found):
            found = found()
        if isinstance(found, int):
            return found, {"kind": "Status", "message": f"status {found} for {path}", "code": found}
        if isinstance(found, tuple):
            return found
        return 200, found


@contextlib.contextmanager
def kubernetes_api(objects: dict[str, Any], *, tls: Leaf | None = None) -> Iterator[FakeApi]:
    """Serve C(objects) on loopback until the block ends."""
    api = FakeApi(objects)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # head and body are two writes; held back, each answer takes 40 ms

        def handle_any(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            body = json.loads(self.rfile.read(length) or b"{}")
            if self.headers.get("authorization") == f"Bearer {TOKEN}":
                called = urlsplit(self.path)
                api.queries.append(called.query)
                status, answer = api.answer(self.command, called.path, body)
            else:
                status, answer = 401, {"kind": "Status", "message": "Unauthorized", "code": 401}
            data = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-type", "text/plain" if isinstance(answer, str) else "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = do_DELETE = handle_any  # noqa: N815

        def log_message(self, *_arguments: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_arguments: object) -> None:
            """A client that did not wait is part of a test."""

    server = Server(("127.0.0.1", 0), Handler)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls.certificate, tls.key)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    api.server = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()


def items(*objects: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "List", "items": list(objects)}


def named(name: str, **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, **more.pop("metadata", {})}, **more}


def node(name: str, *, ready: bool = True, cpu: str = "4", memory: str = "8Gi", **spec: Any) -> dict[str, Any]:
    condition = {"type": "Ready", "status": str(ready), "reason": "KubeletNotReady", "message": "runtime is down"}
    return named(name, spec=spec, status={"conditions": [condition], "allocatable": {"cpu": cpu, "memory": memory}})


def pod(name: str, phase: str = "Running", **status: Any) -> dict[str, Any]:
    return named(name, status={"phase": phase, **status})
