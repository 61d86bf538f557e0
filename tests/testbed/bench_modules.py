#!/usr/bin/env python3
# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long the check modules take: ``make bench-modules``, and a part of ``make bench-site``.

On healthy services of this machine each run is a process of its own, as Ansible's are: Python's start and imports are
in the figures, Ansible's own work is not. Where nothing answers, the figure is that of the module alone, beside the
timeout that was given.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.admin import make_user, s3_client
from support.pki import Authority, Leaf
from support.servers import black_hole, minio, seaweedfs, secret_of
from testbed.postgresql import Cluster

ROOT = Path(__file__).resolve().parents[2]
PATHS = (str(ROOT / ".collections"), str(ROOT / "tests"))
ROUNDS = 3
AIM = 5.0
TIMEOUT = 2.0
BUCKET = "flyte-data"
PASSWORD = "BenchPassword"
POSTGRESQL = 17
# What a module imports when it starts to ask.
LIBRARY = {
    "s3_bucket_check": "boto3",
    "postgresql_check": "psycopg2",
    "kubernetes_check": "kubernetes.client",
    "flyte_check": "kubernetes.client",
}
# What it prints is a JSON document: the module's own seconds, without the imports, and its result.
_RUN = (
    "import importlib, json, sys, time; from support.modules import run_module; importlib.import_module(sys.argv[2]);"
    "module = importlib.import_module('ansible_collections.flyte.onprem.plugins.modules.' + sys.argv[1]);"
    "started = time.monotonic(); values = run_module(module.main, json.load(sys.stdin)).values;"
    "print(json.dumps([time.monotonic() - started, values]))"
)


@dataclass(frozen=True)
class Figure:
    """Seconds of one case; C(limit) is the aim, or the timeout that was given."""

    name: str
    seconds: float
    limit: float

    @property
    def line(self) -> str:
        """What the bench prints."""
        return f"{self.name:52}{self.seconds:>8.2f}{self.limit:>8.1f}"


HEADER = f"{'check module':52}{'seconds':>8}{'aim':>8}"


def seconds(module: str, arguments: Mapping[str, Any], *, passes: bool, rounds: int = ROUNDS) -> float:
    """The median time of a module that must end well, as a process; or of one that must end badly, by itself."""
    taken = []
    for _ in range(rounds):
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", _RUN, module, LIBRARY[module]],
            input=json.dumps(arguments),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(PATHS)},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        whole = time.monotonic() - started
        alone, result = json.loads(done.stdout)
        taken.append(whole if passes else alone)
        if result.get("passed") is not passes:
            raise RuntimeError(f"{module}: {result['msg']}")
    return statistics.median(taken)


def measure() -> list[Figure]:
    """All cases that need no site: stores and a database of this machine, and addresses where nothing is."""
    with tempfile.TemporaryDirectory(prefix="flyte-onprem-bench-") as scratch:
        folder = Path(scratch)
        authority = Authority(folder / "pki")
        leaf = authority.issue("localhost", "127.0.0.1")
        ca_file = str(authority.certificate)
        found = []
        for name, arguments in _stores(folder, leaf, authority):
            found.append(Figure(f"s3_bucket_check, {name}", seconds("s3_bucket_check", arguments, passes=True), AIM))
        with _database(leaf) as port:
            arguments = {"host": "127.0.0.1", "port": port, "password": PASSWORD, "ca_file": ca_file, "pool_size": 20}
            taken = seconds("postgresql_check", arguments, passes=True)
            found.append(Figure(f"postgresql_check, PostgreSQL {POSTGRESQL}", taken, AIM))
    return [*found, *_dead()]


def _stores(folder: Path, leaf: Leaf, authority: Authority) -> Iterator[tuple[str, dict[str, Any]]]:
    common = {"buckets": [BUCKET], "ca_file": str(authority.certificate)}
    with minio(folder / "minio", tls=leaf, ca_file=authority.certificate) as server:
        s3_client(server).create_bucket(Bucket=BUCKET)
        user = make_user(server, [BUCKET])
        keys = {"access_key": user.access_key, "secret_key": user.secret_key}
        yield "MinIO", {"endpoint": server.endpoint, **keys, **common}
    rights = [f"{action}:{BUCKET}" for action in ("Read", "Write", "List")]
    with seaweedfs(folder / "seaweedfs", users={"flyte": rights}, tls=leaf, ca_file=authority.certificate) as other:
        s3_client(other).create_bucket(Bucket=BUCKET)
        keys = {"access_key": "flyte", "secret_key": secret_of("flyte")}
        yield "SeaweedFS", {"endpoint": other.endpoint, **keys, **common}


@contextlib.contextmanager
def _database(leaf: Leaf) -> Iterator[int]:
    with Cluster(POSTGRESQL) as cluster:
        cluster.present(leaf.certificate, leaf.key)
        cluster.settings.update(ssl="on", ssl_cert_file="server.crt", ssl_key_file="server.key")
        cluster.restart()
        cluster.admit("hostssl all all 127.0.0.1/32 scram-sha-256\n")
        cluster.sql(f"CREATE ROLE flyte LOGIN PASSWORD '{PASSWORD}'", "CREATE DATABASE flyte OWNER flyte")
        yield cluster.port


def _kubeconfig(server: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "bench", "cluster": {"server": server}}],
        "users": [{"name": "bench", "user": {"token": PASSWORD}}],
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
        "current-context": "bench",
    }


def _dead() -> list[Figure]:
    """What it costs where nothing answers."""
    found = []
    store = {"access_key": "flyte", "secret_key": PASSWORD, "buckets": [BUCKET], "timeout": TIMEOUT}
    database = {"password": PASSWORD, "sslmode": "require", "timeout": TIMEOUT}
    with black_hole() as port, tempfile.TemporaryDirectory(prefix="flyte-onprem-bench-") as scratch:
        there = f"https://127.0.0.1:{port}"
        kubeconfig = Path(scratch) / "kubeconfig"
        kubeconfig.touch(mode=0o600)
        kubeconfig.write_text(json.dumps(_kubeconfig(there)))
        cases = {
            "s3_bucket_check, packets lost": ("s3_bucket_check", {**store, "endpoint": there}),
            "postgresql_check, packets lost": ("postgresql_check", {**database, "host": "127.0.0.1", "port": port}),
            "kubernetes_check, packets lost": ("kubernetes_check", {"kubeconfig": str(kubeconfig), "timeout": TIMEOUT}),
            "flyte_check, packets lost": ("flyte_check", {"url": there, "timeout": TIMEOUT}),
            "s3_bucket_check, name unknown": ("s3_bucket_check", {**store, "endpoint": "https://s3.nowhere.invalid"}),
            "postgresql_check, name unknown": ("postgresql_check", {**database, "host": "db.nowhere.invalid"}),
        }
        for name, (module, arguments) in cases.items():
            title = f"{name}, timeout {TIMEOUT:g} s"
            found.append(Figure(title, seconds(module, arguments, passes=False), TIMEOUT))
    return found


def main() -> int:
    """Measure and print."""
    print("check modules on services of this machine (usually 1 min)", flush=True)
    print(HEADER)
    for figure in measure():
        print(figure.line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
