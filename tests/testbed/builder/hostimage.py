# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The image of a host: a small Debian with systemd, as podman runs it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import machine
from .cache import Cache, build_files, key_of
from .console import BedError, run, stage

NAME = "localhost/flyte-onprem-host"
_USUAL_SECONDS = 180.0
_CONFIGURE = Path(__file__).parent.parent / "host" / "configure.sh"
# Documentation and translations are a third of what packages write.
_DPKG_EXCLUDES = "".join(f"path-exclude=/usr/share/{part}/*\n" for part in ("doc", "man", "info", "locale"))


def reference(pins: Mapping[str, Any]) -> str:
    """The image's name, with the key of what it is made from as its tag."""
    sources = machine.machine_sources(pins["debian_suite"])
    key = key_of(
        {
            "pins": pins,
            "distribution": sources.distribution,
            "suite": sources.suite,
            "sources": sources.as_deb822(),
            "settings": machine.apt_settings(),
            "files": build_files([_CONFIGURE, *machine.own_authorities()]),
        }
    )
    return f"{NAME}:{key}"


def exists(image: str) -> bool:
    """Say whether podman has the image."""
    found = subprocess.run(["podman", "image", "exists", image], check=False, capture_output=True)
    return found.returncode == 0


def ensure(cache: Cache, pins: Mapping[str, Any]) -> str:
    """Return the image's name, making the image if podman does not have it."""
    machine.require_root("build the image of its hosts")
    machine.require_namespaces()
    image = reference(pins)
    with cache.lock("host-image"):
        if not exists(image):
            with stage("host image", f"debootstrap of {image}", _USUAL_SECONDS):
                _build(cache, pins, image)
    return image


def remove_all() -> None:
    """Remove every image of a host that no container uses."""
    for image in run(["podman", "images", "--quiet", NAME]).split():
        subprocess.run(["podman", "rmi", image], check=False, capture_output=True)


def _build(cache: Cache, pins: Mapping[str, Any], image: str) -> None:
    sources = machine.machine_sources(pins["debian_suite"])
    with cache.workspace() as work:
        root = work / "root"
        run(
            [
                "debootstrap",
                "--variant=minbase",
                f"--components={sources.components.replace(' ', ',')}",
                f"--keyring={sources.keyring}",
                f"--include={','.join(pins['packages'])}",
                sources.suite,
                root,
                sources.archive,
            ],
            timeout=1800,
        )
        _copy_settings(root, sources)
        shutil.copy(_CONFIGURE, root / "tmp" / "configure.sh")
        run(["chroot", root, "/tmp/configure.sh"], timeout=1800)
        (root / "tmp" / "configure.sh").unlink()
        _import(root, image)


def _copy_settings(root: Path, sources: machine.Sources) -> None:
    apt = root / "etc" / "apt"
    (apt / "sources.list").unlink(missing_ok=True)
    (apt / "sources.list.d" / "machine.sources").write_text(sources.as_deb822())
    (apt / "apt.conf.d" / "90machine").write_text(machine.apt_settings() + 'Acquire::Languages "none";\n')
    (root / "etc" / "dpkg" / "dpkg.cfg.d" / "small").write_text(_DPKG_EXCLUDES)
    for certificate in machine.own_authorities():
        shutil.copy(certificate, root / "usr" / "local" / "share" / "ca-certificates")


def _import(root: Path, image: str) -> None:
    pack = subprocess.Popen(["tar", "--create", "--numeric-owner", f"--directory={root}", "."], stdout=subprocess.PIPE)
    imported = subprocess.run(
        ["podman", "import", "--quiet", "--change", 'CMD ["/sbin/init"]', "-", image],
        stdin=pack.stdout,
        capture_output=True,
        text=True,
        check=False,
    )
    if pack.wait() != 0 or imported.returncode != 0:
        raise BedError(f"podman could not import the host image: {imported.stderr.strip()}")
