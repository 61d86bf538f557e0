# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs for tests, from the bundle that the test bed builds and caches, and those that only tests need."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

from testbed.builder.cache import Cache, cache_root
from testbed.builder.recipes import Recipes, load_pins

ROOT = Path(__file__).resolve().parents[2]


@functools.cache
def directory() -> Path:
    """The bundle; FLYTE_ONPREM_BUNDLE names one that is there already."""
    given = os.environ.get("FLYTE_ONPREM_BUNDLE")
    if given:
        return Path(given)
    command = [sys.executable, str(ROOT / "tests/testbed/bed.py"), "bundle"]
    return Path(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()[-1])


def artifact(name: str) -> Path:
    """The file of one artefact of the bundle's manifest."""
    manifest = json.loads((directory() / "manifest.json").read_text())
    return directory() / manifest["artifacts"][name]["file"]


@functools.cache
def program(place: str) -> Path:
    """A program of the bed by C(artefact/file), whether sites install it or not; made the first time (about 10 s)."""
    name, _, file = place.partition("/")
    return Recipes(Cache(cache_root()), load_pins()).make(name).file(file)
