# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real kube-apiserver over kine, without kubelet or controllers: rights, admission, certificates are the real ones.

What a kubelet or a controller would write, a test writes through the same API.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import signal
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml
from testbed.builder.cache import Cache, cache_root
from testbed.builder.recipes import Recipes, load_pins

from support.servers import LOOPBACK, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from support.pki import Authority, Leaf

Json = dict[str, Any]
ADMINISTRATOR = "administrator"
# Users that tests may give rights to; a kube-apiserver reads its tokens once.
USERS = ("installer", "reader")
NAME = "kubernetes.example.com"


class Refused(Exception):
    """The API server did not do what a test needs."""


@dataclass
class ApiServer:
    """A running API server and those who may use it."""

    port: int
    authority: Authority
    directory: Path
    tokens: dict[str, str]
    process: subprocess.Popen[bytes]
    kine: subprocess.Popen[bytes]
    _made: int = field(default=0)

    @property
    def url(self) -> str:
        return f"https://{LOOPBACK}:{self.port}"

    @contextlib.contextmanager
    def without_datastore(self) -> Iterator[None]:
        """The datastore hangs for a while."""
        self.kine.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.kine.send_signal(signal.SIGCONT)
            _wait(lambda: _ready(self), "kube-apiserver", self.process)

    def kubeconfig(
        self,
        *,
        user: str = ADMINISTRATOR,
        server_name: str = "",
        ca_file: Path | None = None,
        client: Leaf | None = None,
        verify: bool = True,
        token: str = "",
    ) -> Path:
        """A kubeconfig for C(user), or for the certificate C(client); C(server_name) picks the server's certificate."""
        cluster: Json = {"server": self.url}
        if verify:
            cluster["certificate-authority"] = str(ca_file or self.authority.certificate)
        else:
            cluster["insecure-skip-tls-verify"] = True
        if server_name:
            cluster["tls-server-name"] = server_name
        credentials: Json = {"token": token or self.tokens[user]}
        if client:
            credentials = {"client-certificate": str(client.certificate), "client-key": str(client.key)}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "default",
            "clusters": [{"name": "default", "cluster": cluster}],
            "users": [{"name": "default", "user": credentials}],
            "contexts": [{"name": "default", "context": {"cluster": "default", "user": "default"}}],
        }
        self._made += 1
        path = self.directory / f"kubeconfig-{self._made}"
        path.write_text(yaml.safe_dump(document))
        return path

    def ask(self, method: str, path: str, body: Json | None = None, *, kind: str = "application/json") -> Json:
        """Ask as the administrator. Raises C(Refused)."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=json.dumps(body).encode() if body is not None else None,
            headers={"Authorization": f"Bearer {self.tokens[ADMINISTRATOR]}", "Content-Type": kind},
        )
        trust = ssl.create_default_context(cafile=str(self.authority.certificate))
        try:
            with urllib.request.urlopen(request, timeout=30, context=trust) as answer:
                text = answer.read().decode()
        except urllib.error.HTTPError as exc:
            raise Refused(f"{method} {path}: {exc.code} {exc.read().decode()}") from exc
        return dict(json.loads(text)) if text.startswith("{") else {"text": text}

    def create(self, path: str, body: Json) -> Json:
        return self.ask("POST", path, body)

    def merge(self, path: str, changes: Json) -> Json:
        return self.ask("PATCH", path, changes, kind="application/merge-patch+json")

    def delete(self, path: str) -> None:
        with contextlib.suppress(Refused):
            self.ask("DELETE", path + "?gracePeriodSeconds=0")

    def names(self, path: str) -> list[str]:
        return [item["metadata"]["name"] for item in self.ask("GET", path)["items"]]

    def namespace(self, name: str, labels: Mapping[str, str] | None = None) -> None:
        """A namespace with the service account that a controller would make."""
        self.create("/api/v1/namespaces", {"metadata": {"name": name, "labels": dict(labels or {})}})
        self.create(f"/api/v1/namespaces/{name}/serviceaccounts", {"metadata": {"name": "default"}})

    def node(self, name: str, *, cpu: str = "4", memory: str = "8Gi") -> None:
        """A node as its kubelet would report it."""
        self.create("/api/v1/nodes", {"metadata": {"name": name}})
        # A new node is tainted until a controller has seen it.
        self.merge(f"/api/v1/nodes/{name}", {"spec": {"taints": None}})
        self.node_status(name, ready=True, cpu=cpu, memory=memory)

    def node_status(self, name: str, *, ready: bool, cpu: str = "4", memory: str = "8Gi") -> None:
        sizes = {"cpu": cpu, "memory": memory, "pods": "110"}
        condition = {"type": "Ready", "status": str(ready), "reason": "KubeletNotReady", "message": "runtime is down"}
        self.merge(
            f"/api/v1/nodes/{name}/status",
            {"status": {"capacity": sizes, "allocatable": sizes, "conditions": [condition]}},
        )

    def service(self, namespace: str, name: str, address: str, port: int) -> None:
        """A Service at port 443 whose only endpoint is a server of a test."""
        self.create(
            f"/api/v1/namespaces/{namespace}/services",
            {"metadata": {"name": name}, "spec": {"ports": [{"name": "https", "port": 443, "targetPort": port}]}},
        )
        self.create(
            f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices",
            {
                "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
                "addressType": "IPv4",
                "ports": [{"name": "https", "port": port}],
                "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
            },
        )

    def pod_status(self, namespace: str, name: str, status: Json) -> None:
        self.merge(f"/api/v1/namespaces/{namespace}/pods/{name}/status", {"status": status})


@contextlib.contextmanager
def apiserver(
    directory: Path, authority: Authority, *, leaf: Leaf | None = None, others: Mapping[str, Leaf] | None = None
) -> Iterator[ApiServer]:
    """Run an API server until the block ends; who asks for a name in C(others) is shown that certificate."""
    recipes = Recipes(Cache(cache_root()), load_pins())
    directory.mkdir(parents=True, exist_ok=True)
    serving = leaf or authority.issue(LOOPBACK, NAME)
    tokens = {user: secrets.token_hex(16) for user in (ADMINISTRATOR, *USERS)}
    groups = {ADMINISTRATOR: ',"system:masters"'}
    (directory / "tokens").write_text(
        "".join(f"{token},{user},{user}{groups.get(user, '')}\n" for user, token in tokens.items())
    )
    (directory / "tokens").chmod(0o600)
    socket, port = directory / "kine.sock", free_port()
    with (directory / "kine.log").open("w") as kine_log, (directory / "apiserver.log").open("w") as log:
        kine = subprocess.Popen(
            [
                recipes.make("kine").file("kine"),
                f"--endpoint=sqlite://{directory}/state.db?_journal=WAL&cache=shared&_busy_timeout=30000&_txlock=immediate",
                f"--listen-address=unix://{socket}",
                "--metrics-bind-address=0",
            ],
            cwd=directory,
            stdout=kine_log,
            stderr=kine_log,
        )
        process = None
        try:
            _wait(socket.exists, "kine", kine)
            process = subprocess.Popen(
                [
                    recipes.make("kubernetes").file("kubernetes"),
                    "kube-apiserver",
                    f"--etcd-servers=unix://{socket}",
                    f"--bind-address={LOOPBACK}",
                    f"--secure-port={port}",
                    "--advertise-address=192.0.2.1",
                    "--endpoint-reconciler-type=none",
                    # Webhooks are called at the addresses of a Service's endpoints: there is no kube-proxy.
                    "--enable-aggregator-routing=true",
                    "--authorization-mode=RBAC",
                    "--anonymous-auth=false",
                    f"--token-auth-file={directory / 'tokens'}",
                    f"--client-ca-file={authority.certificate}",
                    f"--tls-cert-file={serving.certificate}",
                    f"--tls-private-key-file={serving.key}",
                    *(
                        f"--tls-sni-cert-key={shown.certificate},{shown.key}:{name}"
                        for name, shown in (others or {}).items()
                    ),
                    f"--cert-dir={directory / 'certificates'}",
                    "--service-account-issuer=https://kubernetes.default.svc",
                    f"--service-account-key-file={serving.certificate}",
                    f"--service-account-signing-key-file={serving.key}",
                    "--service-cluster-ip-range=10.43.0.0/16",
                ],
                stdout=log,
                stderr=log,
            )
            server = ApiServer(port, authority, directory, tokens, process, kine)
            _wait(lambda: _ready(server), "kube-apiserver", process)
            yield server
        finally:
            for program in (process, kine):
                if program:
                    program.terminate()
                    program.wait(timeout=60)


def _wait(condition: Any, what: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{what} did not start")
        time.sleep(0.1)


def _ready(server: ApiServer) -> bool:
    try:
        return server.ask("GET", "/readyz")["text"] == "ok"
    except (Refused, OSError):
        return False
