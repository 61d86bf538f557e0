# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The bundle: everything an installation downloads, in one directory with a manifest."""

from __future__ import annotations

import json
import os
import re
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from .cache import Cache, Entry, file_digest, key_of
from .console import BedError, duration, say
from .recipes import Recipes

_FORMAT = 1
_AT_ONCE = 2
_README = """\
A bundle of flyte.onprem: everything an installation downloads.

Give its path to the playbooks as site_bundle. manifest.json says what each file
is, its version, its SHA-256 and where it came from; SHA256SUMS checks them all
('sha256sum --check SHA256SUMS' in this directory).
"""
_STAND_INS = """
Made by the test bed (tests/testbed/README.md). These are stand-ins, not the
published artefacts of that name, and are for tests and demonstrations only:
"""


def build_all(recipes: Recipes, names: set[str]) -> None:
    """Make artefacts and what they need: those that take longest first, two at a time."""
    missing = {name for name in _with_needs(recipes, names) if recipes.find(name) is None}
    if not missing:
        return
    usual = sum(recipes.specs[name].get("usual", 1) for name in missing) / _AT_ONCE
    say(
        f"[bundle] {len(missing)} artefacts to build: {', '.join(sorted(missing))}\n"
        f"[bundle] usually {duration(usual)} in all on two cores with empty caches; each is built once"
    )
    waiting = sorted(missing, key=lambda name: -_remaining(recipes, missing, name))
    running: dict[Future[Entry], str] = {}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            while waiting or running:
                for name in list(waiting):
                    blocked = recipes.needs(name) & {*waiting, *running.values()}
                    if len(running) < _AT_ONCE and not blocked:
                        waiting.remove(name)
                        running[pool.submit(_announced, recipes, name)] = name
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    del running[future]
                    future.result()
        finally:
            if running:
                say("[bundle] waiting for the builds under way")


def lay_out(cache: Cache, recipes: Recipes) -> Path:
    """Build what is missing and return the bundle's directory."""
    items, images = recipes.pins["bundle"], recipes.pins["images"]
    programs = {item["file"].split("/")[0] for item in items.values()}
    build_all(recipes, programs | {f"image-{name}" for name in images})
    target = directory(cache, recipes)
    with cache.lock("bundle"):
        if not target.exists():
            with cache.workspace() as work:
                _fill(work, recipes)
                target.parent.mkdir(exist_ok=True)
                work.chmod(0o755)
                work.rename(target)
    return target


def directory(cache: Cache, recipes: Recipes) -> Path:
    """Where the bundle of the present pins and build files lies, or will lie."""
    items = recipes.pins["bundle"]
    key = key_of(
        {
            "format": _FORMAT,
            "layout": file_digest(Path(__file__)),
            "items": items,
            "artefacts": {item["file"]: recipes.key(item["file"].split("/")[0]) for item in items.values()},
            "images": {name: [recipes.key(f"image-{name}"), spec] for name, spec in recipes.pins["images"].items()},
        }
    )
    return cache.root / "bundle" / key


def image_file_name(name: str) -> str:
    """A file name for an image: ``docker.io/a/b:1`` gives ``docker.io_a_b_1.tar``."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", name) + ".tar"


def sums(top: Path) -> str:
    """The text of SHA256SUMS for all files of a directory but itself."""
    files = sorted(path for path in top.rglob("*") if path.is_file() and path.name != "SHA256SUMS")
    return "".join(f"{file_digest(path)}  {path.relative_to(top)}\n" for path in files)


def stand_ins(manifest: dict[str, Any]) -> list[str]:
    """Names of what is not the published thing."""
    artefacts = [name for name, item in manifest["artifacts"].items() if item["stand_in"]]
    return [*artefacts, *(image["name"] for image in manifest["images"] if image["stand_in"])]


def _fill(top: Path, recipes: Recipes) -> None:
    artefacts = {}
    for name, item in recipes.pins["bundle"].items():
        source = recipes.file(item["file"])
        place = item.get("path") or f"{name}/{item['version']}/{name}"
        _link(source, top / place)
        artefacts[name] = {
            "version": item["version"],
            "file": place,
            "sha256": file_digest(source),
            "source": item["source"],
            "stand_in": item["stand_in"],
        }
    images = []
    for name, spec in recipes.pins["images"].items():
        source = recipes.image_file(name)
        place = f"images/{image_file_name(spec['name'])}"
        _link(source, top / place)
        images.append(
            {
                "name": spec["name"],
                "file": place,
                "sha256": file_digest(source),
                "source": spec["source"],
                "stand_in": spec["stand_in"],
            }
        )
    manifest = {
        "format": _FORMAT,
        "architecture": "amd64",
        "artifacts": artefacts,
        "images": sorted(images, key=lambda image: str(image["name"])),
    }
    (top / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    listed = "".join(f"- {name}\n" for name in stand_ins(manifest))
    (top / "README.txt").write_text(_README + (_STAND_INS + listed if listed else ""))
    (top / "SHA256SUMS").write_text(sums(top))


def _link(source: Path, target: Path) -> None:
    if not source.exists():
        raise BedError(f"{source} is missing from the cache: run 'tests/testbed/bed.py clean-cache'.")
    target.parent.mkdir(parents=True, exist_ok=True)
    os.link(source, target)


def _with_needs(recipes: Recipes, names: set[str]) -> set[str]:
    found: set[str] = set()
    pending = list(names)
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending.extend(recipes.needs(name))
    return found


def _remaining(recipes: Recipes, missing: set[str], name: str) -> float:
    """Seconds from the start of one artefact to the end of the last that waits for it."""
    users = [user for user in missing if name in recipes.needs(user)]
    after = max((_remaining(recipes, missing, user) for user in users), default=0.0)
    return float(recipes.specs[name].get("usual", 1)) + after


def _announced(recipes: Recipes, name: str) -> Entry:
    spec = recipes.specs[name]
    say(f"[{name}] {spec['kind']} (usually {duration(spec.get('usual', 1))} with empty caches)")
    entry = recipes.make(name)
    say(f"[{name}] done in {duration(entry.seconds)}")
    return entry
