# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers on this machine for tests: real S3 stores, a proxy that does what bad ones do, ports that misbehave."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import os
import shutil
import socket
import socketserver
import ssl
import subprocess
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from support.bundle import artifact, program

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from support.pki import Leaf

LOOPBACK = "127.0.0.1"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class S3Server:
    """A running MinIO."""

    port: int
    root_user: str
    root_password: str
    region: str
    scheme: str
    ca_file: Path | None
    address: str = LOOPBACK
    health: ClassVar[str] = "/"  # where it answers 200 once it is ready

    @property
    def endpoint(self) -> str:
        return f"{self.scheme}://{self.address}:{self.port}"


class Minio(S3Server):
    """A running MinIO."""

    health = "/minio/health/ready"


class SeaweedFS(S3Server):
    """A running SeaweedFS."""

    health = "/healthz"


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
    with (directory / "log").open("w") as log:
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
    with _running(process, server, directory / "log"):
        yield server


@contextlib.contextmanager
def seaweedfs(
    directory: Path,
    *,
    users: Mapping[str, Sequence[str]],
    domain: str = "",
    tls: Leaf | None = None,
    ca_file: Path | None = None,
) -> Iterator[SeaweedFS]:
    """Run a SeaweedFS with its data in C(directory) until the block ends.

    C(users) has the actions of each user, in the store's own words (C(Write:bucket)); its secret key is C(secret_of)
    its name. With C(domain), a bucket may be the first part of the host name.
    """
    server = SeaweedFS(
        port=free_port(),
        root_user="rootuser",
        root_password="root-" + os.urandom(8).hex(),
        region="us-east-1",
        scheme="https" if tls else "http",
        ca_file=ca_file,
    )
    (directory / "data").mkdir(parents=True)
    keys = {server.root_user: server.root_password, **{name: secret_of(name) for name in users}}
    identities = [
        {
            "name": name,
            "credentials": [{"accessKey": name, "secretKey": secret}],
            "actions": list(users.get(name, ["Admin", "Read", "Write", "List", "Tagging"])),
        }
        for name, secret in keys.items()
    ]
    (directory / "s3.json").write_text(json.dumps({"identities": identities}))
    ports = {f"{part}.port{kind}": free_port() for part in ("master", "volume", "filer") for kind in ("", ".grpc")}
    options = {
        **ports,
        "ip": LOOPBACK,
        "ip.bind": LOOPBACK,
        "dir": directory / "data",
        "master.telemetry": "false",
        "master.volumeSizeLimitMB": 64,
        "volume.max": 30,
        "filer.localSocket": directory / "filer.sock",
        "s3.localSocket": directory / "s3.sock",
        "s3.port": server.port,
        "s3.port.grpc": free_port(),
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.config": directory / "s3.json",
        "s3.domainName": domain,
        **({"s3.cert.file": tls.certificate, "s3.key.file": tls.key} if tls else {}),
    }
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(
            [
                program("seaweedfs/weed"), f"-logdir={directory}", "server", "-filer", "-s3",
                *(f"-{name}={value}" for name, value in options.items()),
            ],
            cwd=directory,
            stdout=log,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
    with _running(process, server, directory / "log"):
        yield server


def secret_of(user: str) -> str:
    """The secret key of a user of a SeaweedFS."""
    return f"secret-of-{user}"


@contextlib.contextmanager
def _running(process: subprocess.Popen[bytes], server: S3Server, log: Path, *, health: str = "") -> Iterator[None]:
    """Wait until the server says that it is ready; end it with the block, its data being of no use after it."""
    try:
        _wait_until_ready(process, server, log, health=health or server.health)
        yield
    finally:
        process.kill()
        process.wait(timeout=20)


def _wait_until_ready(process: subprocess.Popen[bytes], server: S3Server, log: Path, *, health: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = _connect(server, timeout=2)
            connection.request("GET", health)
            if connection.getresponse().status == 200:
                return
        time.sleep(0.1)
    raise RuntimeError(f"the server did not start: {log.read_text()}")


def _connect(server: S3Server, *, timeout: float) -> http.client.HTTPConnection:
    if server.scheme == "http":
        return http.client.HTTPConnection(server.address, server.port, timeout=timeout)
    trust = ssl.create_default_context()
    trust.check_hostname = False
    trust.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(server.address, server.port, timeout=timeout, context=trust)


@contextlib.contextmanager
def traefik(directory: Path, upstream: S3Server, **load_balancer: object) -> Iterator[str]:
    """Run a Traefik that forwards everything to C(upstream), with these settings of its service; yields its address."""
    port = free_port()
    directory.mkdir(parents=True, exist_ok=True)
    trust = {"rootCAs": [str(upstream.ca_file)]} if upstream.ca_file else {}
    service = {"servers": [{"url": upstream.endpoint}], "serversTransport": "store", **load_balancer}
    configuration = {
        "http": {
            "routers": {"all": {"rule": "PathPrefix(`/`)", "service": "store"}},
            "services": {"store": {"loadBalancer": service}},
            "serversTransports": {"store": trust},
        }
    }
    (directory / "routes.json").write_text(json.dumps(configuration))
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(
            [
                program("traefik/traefik"), f"--entrypoints.web.address={LOOPBACK}:{port}",
                f"--providers.file.filename={directory / 'routes.json'}", "--providers.file.watch=false",
                "--global.checknewversion=false", "--global.sendanonymoususage=false",
            ],
            cwd=directory,
            stdout=log,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
    door = S3Server(port=port, root_user="", root_password="", region="", scheme="http", ca_file=None)
    with _running(process, door, directory / "log", health=upstream.health):
        yield door.endpoint


@dataclass
class Message:
    """A request on its way in, or an answer on its way out; a hook changes it as a bad proxy would."""

    method: str
    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes
    status: int = 200
    missing: int = 0  # bytes that an answer announces and that never come
    stalls: bool = False  # whether the connection stays open then
    trickles: bool = False  # whether they do come, one now and then


@dataclass
class Hooks:
    """What a proxy does with what passes through. A request hook may answer by itself, with a Message."""

    request: object = field(default=lambda message: None)
    answer: object = field(default=lambda request, answer: None)


@contextlib.contextmanager
def proxy(upstream: S3Server, hooks: Hooks, *, tls: Leaf | None = None) -> Iterator[str]:
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
                length_said = (
                    str(len(answer.body) + answer.missing) if has_body else answer.headers.get("content-length", "0")
                )
                self.send_header("content-length", length_said)
            self.end_headers()
            if has_body:
                self.wfile.write(answer.body)
            if answer.missing:
                self.close_connection = True
                if answer.stalls:
                    self.rfile.read(1)  # until the client hangs up
                for _ in range(answer.missing if answer.trickles else 0):
                    self.wfile.write(b" ")
                    time.sleep(0.1)

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
def greeting_port(greeting: bytes) -> Iterator[int]:
    """A service of another kind: it speaks first, hears what comes, and hangs up."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                self.request.sendall(greeting)
                self.request.recv(4096)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server((LOOPBACK, 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


@contextlib.contextmanager
def server_that_sends(start: bytes, then: bytes, times: int, *, pause: float = 0.1) -> Iterator[str]:
    """An answer in pieces, a moment apart; yields the server's address."""
    gone = threading.Event()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(4096)
            with contextlib.suppress(OSError):  # the client has had enough
                self.request.sendall(start)
                for _ in range(times):
                    self.request.sendall(then)
                    gone.wait(pause)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server((LOOPBACK, 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield f"http://{LOOPBACK}:{server.server_address[1]}"
        finally:
            gone.set()
            server.shutdown()


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
