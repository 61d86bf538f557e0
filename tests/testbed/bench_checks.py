# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long the checks of the cluster and of Flyte take on a finished site: a part of ``make bench-site``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench_modules import AIM, Figure, seconds
from builder import hosts

IMAGE = "cr.flyte.org/flyteorg/flytekit:py3.11-1.16.31"


def measure(host: str, directory: Path, domain: str) -> list[Figure]:
    """All cases that need a site: the name of its host, its directory on this machine, its domain."""
    authority = str(directory / "ca.crt")
    cluster: dict[str, Any] = {"kubeconfig": str(directory / "kubeconfig")}
    pod = {
        "pod_image": IMAGE,
        "pod_services": [f"postgresql://postgresql.{domain}", f"https://s3.{domain}:9000"],
        "pod_ca_files": [authority],
    }
    resolve = dict.fromkeys((domain, f"s3.{domain}"), hosts.address(host))
    flyte = {**cluster, "url": f"https://{domain}", "ca_file": authority, "resolve": resolve}
    cases = {
        "kubernetes_check, a finished site": ("kubernetes_check", cluster),
        "kubernetes_check, a finished site, with its pod": ("kubernetes_check", {**cluster, **pod}),
        "flyte_check, a finished site": ("flyte_check", flyte),
    }
    return [Figure(name, seconds(module, options, passes=True), AIM) for name, (module, options) in cases.items()]
