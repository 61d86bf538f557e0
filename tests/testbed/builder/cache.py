# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The cache: one directory an artefact, named by what it was made from.

An entry is made in a temporary directory and renamed into place, under a lock:
two builds at once give one entry, an interrupted build gives none.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_KEY_LENGTH = 16
_RECORD = "build.json"


def cache_root() -> Path:
    """Where built artefacts live: outside the tree, so that a fresh clone finds them."""
    configured = os.environ.get("FLYTE_ONPREM_CACHE")
    if configured:
        return Path(configured).expanduser().resolve()
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "flyte-onprem"


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def build_files(paths: Iterable[Path]) -> dict[str, str]:
    """Digests of files and of everything under directories, by relative name.

    Pages, tests and by-products of Python do not go into what is built.
    """
    digests: dict[str, str] = {}
    for top in paths:
        members = sorted(top.rglob("*")) if top.is_dir() else [top]
        for path in members:
            ignored = "__pycache__" in path.parts or path.name.endswith((".md", ".pyc", "_test.go"))
            if path.is_file() and not ignored:
                digests[f"{top.name}/{path.relative_to(top)}"] = file_digest(path)
    return digests


def key_of(description: Mapping[str, Any]) -> str:
    """Name a description: equal descriptions have equal names, in any order of keys."""
    text = json.dumps(description, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_KEY_LENGTH]


@dataclass(frozen=True)
class Entry:
    """A finished artefact in the cache."""

    path: Path
    seconds: float

    def file(self, name: str) -> Path:
        return self.path / name


class Cache:
    """Artefacts by name and key under one directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def directory(self, name: str, key: str) -> Path:
        return self.root / "artefacts" / name / key

    def find(self, name: str, key: str) -> Entry | None:
        """Return the finished entry, or None."""
        record = self.directory(name, key) / _RECORD
        try:
            data = json.loads(record.read_text())
        except FileNotFoundError:
            return None
        return Entry(record.parent, float(data["seconds"]))

    def make(self, name: str, key: str, build: Callable[[Path], Mapping[str, Any]]) -> Entry:
        """Return the entry, calling ``build`` with an empty directory if it is not there.

        What ``build`` returns is kept beside the files, for the person who
        wonders where they came from.
        """
        with self.lock(name):
            found = self.find(name, key)
            if found:
                return found
            with self.workspace() as work:
                start = time.monotonic()
                notes = build(work)
                seconds = round(time.monotonic() - start, 1)
                record = {"name": name, "key": key, "seconds": seconds, **notes}
                (work / _RECORD).write_text(json.dumps(record, indent=2) + "\n")
                work.chmod(0o755)
                target = self.directory(name, key)
                target.parent.mkdir(parents=True, exist_ok=True)
                work.rename(target)
            return Entry(target, seconds)

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """A directory on the cache's own file system, removed if it is still there at the end."""
        parent = self.root / "tmp"
        parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=parent))
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold the lock of one name; the kernel frees it when the process ends, however it ends."""
        path = self.root / "locks" / f"{name}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield
