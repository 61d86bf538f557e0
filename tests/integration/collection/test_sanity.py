# Copyright (c) 2026, The flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sanity tests that ansible itself has for collections, on what users get."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from .conftest import BINARIES, DEPENDENCIES

# Left out: pylint, pep8 and yamllint, for which this project has rules of its own in ruff and yamllint, and those that
# look at files the collection does not have.
TESTS = [
    "action-plugin-docs", "ansible-doc", "compile", "empty-init", "ignores", "import", "line-endings", "no-assert",
    "no-get-exception", "no-illegal-filenames", "no-smart-quotes", "replace-urlopen", "runtime-metadata", "shebang",
    "symlinks", "use-argspec-type-path", "use-compat-six", "validate-modules",
]  # fmt: skip


@pytest.fixture(scope="module")
def checkout(tarball: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked tarball, at a path and under git as ansible-test wants it."""
    path = tmp_path_factory.mktemp("sanity") / "ansible_collections/flyte/onprem"
    with tarfile.open(tarball) as archive:
        archive.extractall(path, filter="data")
    for command in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", *command], cwd=path, check=True)
    return path


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the one file that ansible-test would download instead of taking it from Python or PyPI."""
    path = tmp_path_factory.mktemp("home")
    requirements = DEPENDENCIES / "ansible_test/_internal/python_requirements.py"
    version = re.search(r"\bpip='([\d.]+)'", requirements.read_text())
    assert version, f"{requirements} does not say which pip it wants"
    cache = path / ".ansible/test/cache"
    cache.mkdir(parents=True)
    script = "import ensurepip\n\nensurepip.bootstrap(upgrade=True)\n"
    (cache / f"get_pip_{version[1].replace('.', '_')}.py").write_text(script)
    return path


def test_ansible_finds_no_fault(checkout: Path, home: Path) -> None:
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    command = [BINARIES / "ansible-test", "sanity", "--local", "--color", "no", "--python", version]
    done = subprocess.run(
        [*command, *(f"--test={name}" for name in TESTS)],
        cwd=checkout,
        env=dict(os.environ, HOME=str(home), PATH=f"{BINARIES}:{os.environ['PATH']}"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert [line for line in done.stderr.splitlines() if line.startswith(("ERROR", "FATAL"))] == [], done.stderr
    assert done.returncode == 0, done.stderr
