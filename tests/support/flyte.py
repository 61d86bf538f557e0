# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Flyte's answers over HTTP and gRPC, as a test wants them, behind a real Traefik with TLS."""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import subprocess
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import grpc
import yaml
from testbed.builder.cache import Cache, cache_root
from testbed.builder.recipes import Recipes, load_pins

from support.servers import LOOPBACK, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.pki import Leaf

HOST = "flyte.example.com"
VERSION = "v1.16.8"
HTTP_PATHS = ("/healthcheck", "/api", "/.well-known", "/config")
GRPC_PATHS = ("/grpc.health.v1.Health", "/flyteidl.service.")


def healthy_answers() -> dict[str, Any]:
    return {
        "GET /healthcheck": "",
        "GET /api/v1/version": {"control_plane_version": {"Build": "abc", "Version": VERSION, "BuildTime": "today"}},
        "GET /api/v1/projects": {"projects": [{"id": "flytesnacks", "name": "flytesnacks"}], "token": ""},
    }


@dataclass
class FakeFlyte:
    """Answers by method and path: a document, a text, an HTTP status, or a function of the request's document."""

    http_port: int = 0
    grpc_port: int = 0
    answers: dict[str, Any] = field(default_factory=healthy_answers)
    # HealthCheckResponse{status: SERVING}; None is no health service.
    health: bytes | None = b"\x08\x01"
    # GetVersionResponse{control_plane_version: Version{Version: "v1.16.8"}}
    version: bytes | None = b"\x0a\x09\x12\x07" + VERSION.encode()

    def reset(self) -> None:
        fresh = FakeFlyte()
        self.answers, self.health, self.version = fresh.answers, fresh.health, fresh.version


@contextlib.contextmanager
def flyte() -> Iterator[FakeFlyte]:
    fake = FakeFlyte()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_any(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}")
            found = fake.answers.get(f"{self.command} {self.path}", 501)
            if callable(found):
                found = found(body)
            status, answer = (found, {"error": f"status {found}"}) if isinstance(found, int) else (200, found)
            data = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = handle_any  # noqa: N815

        def log_message(self, *_arguments: object) -> None:
            pass

    class Methods(grpc.GenericRpcHandler):
        def service(self, details: Any) -> Any:
            answer = {
                "/grpc.health.v1.Health/Check": fake.health,
                "/flyteidl.service.AdminService/GetVersion": fake.version,
            }.get(details.method)
            return grpc.unary_unary_rpc_method_handler(lambda _request, _context: answer) if answer else None

    web = http.server.ThreadingHTTPServer((LOOPBACK, 0), Handler)
    web.daemon_threads = True
    web.handle_error = lambda *_: None  # a client that did not wait is part of a test
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


class Backend(Protocol):
    """What an ingress needs to know of a Flyte."""

    http_port: int
    grpc_port: int


@dataclass
class Ingress:
    """A Traefik before Flyte; C(configure) takes effect within a second, as an Ingress object's change does.

    With C(by_content) the content type tells gRPC from HTTP, for one whose paths are the same.
    """

    https_port: int
    http_port: int
    flyte: Backend
    file: Path
    leaf: Leaf
    api_port: int
    by_content: bool = False
    changes: int = 0

    def configure(
        self,
        *,
        leaf: Leaf | None = None,
        host: str = HOST,
        grpc_scheme: str = "h2c",
        http_paths: tuple[str, ...] = HTTP_PATHS,
        grpc_paths: tuple[str, ...] = GRPC_PATHS,
        request_headers: dict[str, str] | None = None,
        http_port: int | None = None,
        protocols: tuple[str, ...] = ("h2", "http/1.1"),
    ) -> None:
        self.changes += 1
        shown = leaf or self.leaf
        certificate = {"certFile": str(shown.certificate), "keyFile": str(shown.key)}
        backends = {
            "http": f"http://{LOOPBACK}:{http_port or self.flyte.http_port}",
            "grpc": f"{grpc_scheme}://{LOOPBACK}:{self.flyte.grpc_port}",
        }
        routers = {"http": (host, http_paths), "grpc": (host, grpc_paths)}
        content = {"grpc": " && HeaderRegexp(`content-type`, `^application/grpc`)"} if self.by_content else {}
        first = {"grpc": {"priority": 1000}} if self.by_content else {}
        changing = {"middlewares": ["headers"]} if request_headers else {}
        document = {
            "http": {
                "routers": {
                    # By its own name each change can be waited for.
                    f"change-{self.changes}": {"rule": f"Host(`change-{self.changes}`)", "service": "http", "tls": {}},
                    **{
                        name: {
                            "rule": f"Host(`{where}`) && ({' || '.join(f'PathPrefix(`{path}`)' for path in paths)})"
                            + content.get(name, ""),
                            "service": name,
                            "tls": {},
                            **first.get(name, {}),
                            **changing,
                        }
                        for name, (where, paths) in routers.items()
                        if paths
                    },
                },
                **(
                    {"middlewares": {"headers": {"headers": {"customRequestHeaders": request_headers}}}}
                    if request_headers
                    else {}
                ),
                "services": {name: {"loadBalancer": {"servers": [{"url": url}]}} for name, url in backends.items()},
            },
            "tls": {
                "stores": {"default": {"defaultCertificate": certificate}},
                "options": {"default": {"alpnProtocols": list(protocols)}},
            },
        }
        # One rename, so that Traefik never reads half a file.
        temporary = self.file.with_suffix(".new")
        temporary.write_text(yaml.safe_dump(document))
        temporary.rename(self.file)
        wait_for(lambda: f'"change-{self.changes}@file"' in self._routers(), what="Traefik's new configuration")

    def _routers(self) -> str:
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(
                f"http://{LOOPBACK}:{self.api_port}/api/http/routers?per_page=100", timeout=2
            ) as answer,
        ):
            return str(answer.read().decode())
        return ""


def wait_for(condition: Callable[[], bool], *, what: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} did not come within {seconds:g} s")
        time.sleep(0.05)


@contextlib.contextmanager
def ingress(directory: Path, fake: Backend, *, leaf: Leaf, by_content: bool = False) -> Iterator[Ingress]:
    program = Recipes(Cache(cache_root()), load_pins()).make("traefik").file("traefik")
    https_port, http_port, api_port = free_port(), free_port(), free_port()
    front = Ingress(https_port, http_port, fake, directory / "dynamic.yaml", leaf, api_port, by_content)
    with (directory / "traefik.log").open("w") as log:
        process = subprocess.Popen(
            [
                str(program),
                f"--entrypoints.websecure.address={LOOPBACK}:{https_port}",
                f"--entrypoints.web.address={LOOPBACK}:{http_port}",
                f"--entrypoints.web.http.redirections.entrypoint.to=:{https_port}",
                "--entrypoints.web.http.redirections.entrypoint.scheme=https",
                f"--entrypoints.traefik.address={LOOPBACK}:{api_port}",
                "--api.insecure=true",
                f"--providers.file.directory={directory}",
                "--providers.providersthrottleduration=0.1s",
                "--global.sendanonymoususage=false",
                "--global.checknewversion=false",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        wait_for(lambda: _open(https_port), what="Traefik")
        front.configure()
        yield front
    finally:
        process.terminate()
        process.wait(timeout=20)


def _open(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1):
        return True
    return False
