# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from testbed.builder.cache import Cache, build_files, cache_root, key_of


def test_key_does_not_depend_on_the_order_of_fields() -> None:
    assert key_of({"a": 1, "b": [2]}) == key_of({"b": [2], "a": 1})
    assert key_of({"a": 1}) != key_of({"a": 2})


def test_build_files_see_content_and_names_and_leave_out_tests_and_pages(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "main.go").write_text("package main")
    before = build_files([source])
    (source / "sub" / "main_test.go").write_text("package main")
    (source / "README.md").write_text("words")
    assert build_files([source]) == before
    (source / "sub" / "main.go").write_text("package other")
    assert build_files([source]) != before
    (source / "sub" / "main.go").write_text("package main")
    (source / "sub" / "main.go").rename(source / "main.go")
    assert build_files([source]) != before


def test_entry_is_built_once(tmp_path: Path) -> None:
    cache, calls = Cache(tmp_path), []

    def build(work: Path) -> Mapping[str, Any]:
        calls.append(work)
        (work / "file").write_text("made")
        return {"source": "here"}

    first = cache.make("thing", "k1", build)
    again = cache.make("thing", "k1", build)
    assert first == again
    assert len(calls) == 1
    assert first.file("file").read_text() == "made"
    assert cache.find("thing", "k2") is None


def test_failed_build_leaves_nothing_and_can_be_tried_again(tmp_path: Path) -> None:
    cache = Cache(tmp_path)

    def fail(work: Path) -> Mapping[str, Any]:
        (work / "half").write_text("made")
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        cache.make("thing", "k1", fail)
    assert cache.find("thing", "k1") is None
    assert list((tmp_path / "tmp").iterdir()) == []
    assert cache.make("thing", "k1", lambda work: {}).path.is_dir()


def test_cache_lies_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FLYTE_ONPREM_CACHE", str(tmp_path / "given"))
    assert cache_root() == tmp_path / "given"
    monkeypatch.delenv("FLYTE_ONPREM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_root() == tmp_path / "flyte-onprem"
