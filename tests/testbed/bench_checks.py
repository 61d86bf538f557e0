# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long the checks of the cluster and of Flyte take, healthy and at a dead address: a part of ``make bench``.

Each is a process of its own, as Ansible would start it; Ansible's own half second comes on top.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from bench_modules import AIM, Figure
from builder import hosts

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "cr.flyte.org/flyteorg/flytekit:py3.11-1.16.31"
# Of TEST-NET-1: packets to it get lost, or are refused on the way.
DEAD = "192.0.2.1"
TIMEOUT = 3


def measure(host: str, directory: Path, domain: str) -> list[Figure]:
    """All cases that need a site: the name of its host, its directory on this machine, its domain."""
    address = hosts.address(host)
    kubeconfig, authority = directory / "kubeconfig", str(directory / "ca.crt")
    with tempfile.TemporaryDirectory() as scratch:
        dead = yaml.safe_load(kubeconfig.read_text())
        dead["clusters"][0]["cluster"]["server"] = f"https://{DEAD}:6443"
        other = Path(scratch) / "kubeconfig"
        other.touch(mode=0o600)
        other.write_text(yaml.safe_dump(dead))
        flyte = {"url": f"https://{domain}", "ca_file": authority, "timeout": TIMEOUT}
        cluster: dict[str, Any] = {"kubeconfig": str(kubeconfig), "timeout": TIMEOUT}
        pod = {
            "pod_image": IMAGE,
            "pod_services": [f"postgresql://postgresql.{domain}", f"https://s3.{domain}:9000"],
            "pod_ca_files": [authority],
        }
        resolve = dict.fromkeys((domain, f"s3.{domain}"), address)
        runs: tuple[tuple[str, str, dict[str, Any], float], ...] = (
            ("kubernetes_check", "a finished site", cluster, AIM),
            ("kubernetes_check", "a finished site, with its pod", {**cluster, **pod}, AIM),
            (
                "kubernetes_check",
                f"packets lost, timeout {TIMEOUT} s",
                {**cluster, "kubeconfig": str(other)},
                TIMEOUT,
            ),
            ("flyte_check", "a finished site", {**flyte, "kubeconfig": str(kubeconfig), "resolve": resolve}, AIM),
            ("flyte_check", f"packets lost, timeout {TIMEOUT} s", {**flyte, "resolve": {domain: DEAD}}, TIMEOUT),
        )
        return [Figure(f"{name}, {what}", seconds(name, options), limit) for name, what, options, limit in runs]


def seconds(module: str, options: dict[str, Any]) -> float:
    """How long one run takes; whether it passes does not matter."""
    program = f"from ansible_collections.flyte.onprem.plugins.modules.{module} import main; main()"
    with tempfile.NamedTemporaryFile("w", suffix=".json") as arguments:
        json.dump({"ANSIBLE_MODULE_ARGS": {**options, "report_only": True}}, arguments)
        arguments.flush()
        started = time.monotonic()
        subprocess.run(
            [sys.executable, "-c", program, arguments.name],
            env={**os.environ, "PYTHONPATH": str(ROOT / ".collections")},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        return time.monotonic() - started
