# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Flyte's answers over HTTP and gRPC, as a test wants them, behind a real Traefik with TLS."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol
from urllib.parse import parse_qsl, urlsplit

import yaml
from testbed.builder.cache import Cache, cache_root
from testbed.builder.recipes import Recipes, load_pins

from ansible_collections.flyte.onprem.plugins.modules import flyte_check
from support.modules import Result, run_module
from support.servers import LOOPBACK, free_port
from support.services import Reply, rpc, web

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.pki import Authority, Leaf
    from support.servers import Minio

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

    def web(self, method: str, path: str, _headers: Any, data: bytes) -> Reply:
        parts = urlsplit(path)
        found = self.answers.get(f"{method} {parts.path}", 501)
        if callable(found):
            found = found(json.loads(data) if data else dict(parse_qsl(parts.query)))
        return (found, {"error": f"status {found}"}) if isinstance(found, int) else (200, found)

    def rpc(self, method: str) -> bytes | None:
        known = {"/grpc.health.v1.Health/Check": self.health, "/flyteidl.service.AdminService/GetVersion": self.version}
        return known.get(method)


@contextlib.contextmanager
def flyte() -> Iterator[FakeFlyte]:
    fake = FakeFlyte()
    with web(fake.web) as fake.http_port, rpc(fake.rpc) as fake.grpc_port:
        yield fake


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


@dataclass
class PlayedSite:
    """A Flyte that is right in every way and is played, behind a real ingress and with a real object store."""

    flyte: Any
    ingress: Ingress
    store: Minio
    authority: Authority
    generation: ClassVar[int] = 1

    def check(self, *, check_mode: bool = False, **changes: Any) -> Result:
        arguments = {
            "url": f"https://{HOST}:{self.ingress.https_port}",
            "generation": self.generation,
            "ca_file": str(self.authority.certificate),
            "http_port": self.ingress.http_port,
            "resolve": {HOST: LOOPBACK},
            "timeout": 5,
            **changes,
        }
        given = {key: value for key, value in arguments.items() if value is not None}
        result = run_module(flyte_check.main, given, check=check_mode)
        # A signed URL is a secret.
        assert "X-Amz-Signature" not in result.output
        return result


def _open(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1):
        return True
    return False
