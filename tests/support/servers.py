# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers on this machine for tests: a real MinIO, a proxy that does what bad proxies do, and ports that misbehave."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from support.bundle import artifact

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.pki import Leaf

LOOPBACK = "127.0.0.1"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Minio:
    """A running MinIO."""

    port: int
    root_user: str
    root_password: str
    region: str
    scheme: str
    ca_file: Path | None
    address: str = LOOPBACK

    @property
    def endpoint(self) -> str:
        return f"{self.scheme}://{self.address}:{self.port}"


@contextlib.contextmanager
def minio(
    directory: Path,
    *,
    region: str = "",
    tls: Leaf | None = None,
    ca_file: Path | None = None,
    address: str = LOOPBACK,
) -> Iterator[Minio]:
    """Run a MinIO with its data in C(directory) until the block ends."""
    server = Minio(
        port=free_port(),
        root_user="rootuser",
        root_password="root-" + os.urandom(8).hex(),
        region=region,
        scheme="https" if tls else "http",
        ca_file=ca_file,
        address=address,
    )
    certificates = directory / "certs"
    (directory / "data").mkdir(parents=True)
    certificates.mkdir()
    if tls:
        shutil.copy(tls.certificate, certificates / "public.crt")
        shutil.copy(tls.key, certificates / "private.key")
    log = (directory / "log").open("w")
    process = subprocess.Popen(
        [
            artifact("minio"), "server", "--quiet", "--certs-dir", certificates,
            "--address", f"{address}:{server.port}", "--console-address", f"{LOOPBACK}:{free_port()}",
            directory / "data",
        ],
        env={
            "HOME": str(directory),
            "MINIO_ROOT_USER": server.root_user,
            "MINIO_ROOT_PASSWORD": server.root_password,
            "MINIO_SITE_REGION": region,
            "MINIO_BROWSER": "off",
        },
        stdout=log,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        _wait_until_ready(server, process, directory / "log")
        yield server
    finally:
        process.terminate()
        process.wait(timeout=20)
        log.close()


def _wait_until_ready(server: Minio, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = _connect(server, timeout=2)
            connection.request("GET", "/minio/health/ready")
            if connection.getresponse().status == 200:
                return
        time.sleep(0.1)
    raise RuntimeError(f"MinIO did not start: {log.read_text()}")


def _connect(server: Minio, *, timeout: float) -> http.client.HTTPConnection:
    if server.scheme == "http":
        return http.client.HTTPConnection(server.address, server.port, timeout=timeout)
    trust = ssl.create_default_context()
    trust.check_hostname = False
    trust.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(server.address, server.port, timeout=timeout, context=trust)


@dataclass
class Message:
    """A request on its way in, or an answer on its way out; a hook changes it as a bad proxy would."""

    method: str
    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes
    status: int = 200


@dataclass
class Hooks:
    """What a proxy does with what passes through. A request hook may answer by itself, with a Message."""

    request: object = field(default=lambda message: None)
    answer: object = field(default=lambda request, answer: None)


@contextlib.contextmanager
def proxy(upstream: Minio, hooks: Hooks, *, tls: Leaf | None = None) -> Iterator[str]:
    """Forward to C(upstream); yields the proxy's address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Message(self.command, self.path, headers, self.rfile.read(length))
            answer = hooks.request(request) or self.ask(request)
            hooks.answer(request, answer)
            self.send_response_only(answer.status)
            for name, value in answer.headers.items():
                if name not in ("transfer-encoding", "connection", "content-length"):
                    self.send_header(name, value)
            # An answer to HEAD says how long its body would be.
            has_body = self.command != "HEAD" and answer.status != 204
            if answer.status != 204:
                length_said = str(len(answer.body)) if has_body else answer.headers.get("content-length", "0")
                self.send_header("content-length", length_said)
            self.end_headers()
            if has_body:
                self.wfile.write(answer.body)

        def ask(self, request: Message) -> Message:
            connection = _connect(upstream, timeout=30)
            headers = {name: value for name, value in request.headers.items() if name != "expect"}
            connection.request(request.method, request.path, body=request.body or None, headers=headers)
            answer = connection.getresponse()
            with contextlib.closing(connection):
                given = {name.lower(): value for name, value in answer.getheaders()}
                return Message(request.method, request.path, given, answer.read(), answer.status)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = forward  # noqa: N815

        def log_message(self, *_arguments: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_arguments: object) -> None:
            """Clients that hang up, or shake no hands, are what some tests are about."""

    server = Server((LOOPBACK, 0), Handler)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls.certificate, tls.key)
        # The handshake belongs into the connection's own thread: one bad client must not stop the others.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield f"{'https' if tls else 'http'}://{LOOPBACK}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def silent_port() -> Iterator[int]:
    """Connections are accepted by the kernel, and nobody ever answers."""
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        listener.listen(64)
        yield listener.getsockname()[1]


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """A port to which packets are lost: Linux drops connection requests once the queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((LOOPBACK, 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(listener.getsockname())
        yield listener.getsockname()[1]


def own_address() -> str:
    """An address of this machine that is not loopback; which one does not matter, and nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])


@contextlib.contextmanager
def admission_webhook(leaf: Leaf) -> Iterator[tuple[str, int]]:
    """A webhook that admits every object of a Kubernetes API; yields where it listens."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            review = json.loads(self.rfile.read(int(self.headers["content-length"])))
            answer = {"uid": review["request"]["uid"], "allowed": True}
            data = json.dumps(
                {"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": answer}
            ).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_arguments: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_arguments: object) -> None:
            """A client that does not trust it is what a test is about."""

    server = Server((own_address(), 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(leaf.certificate, leaf.key)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield server.server_address[0], server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
