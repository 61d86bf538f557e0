# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from ansible_collections.flyte.onprem.plugins.module_utils._imports import (
    Library,
    LibraryMissing,
    available,
    load,
    numbers,
)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("lib_for_test")
    module.__file__ = "/somewhere/lib_for_test.py"
    monkeypatch.setitem(sys.modules, "lib_for_test", module)
    return module


def test_a_missing_library_is_named_with_its_version_and_traceback() -> None:
    with pytest.raises(LibraryMissing, match=r"no-such-package >= 1\.2") as caught:
        load(Library(name="no_such_library", package="no-such-package", minimum="1.2"))
    assert "ModuleNotFoundError" in caught.value.details


@pytest.mark.parametrize(
    ("version", "minimum", "enough"),
    [
        # what is there, what is needed, whether that will do
        ("1.26.0", "1.26", True),
        ("1.9.9", "1.26", False),
        ("2.9.5 (dt dec pq3 ext lo64)", "2.8", True),
        ("", "2.8", True),
        ("1.0", "", True),
    ],
)
def test_a_library_too_old_is_not_available(library: ModuleType, version: str, minimum: str, enough: bool) -> None:
    library.__version__ = version
    assert available(Library(name="lib_for_test", package="lib", minimum=minimum)) == enough


def test_a_library_too_old_is_named_with_its_place(library: ModuleType) -> None:
    library.__version__ = "0.9"
    with pytest.raises(LibraryMissing, match=r"lib 0\.9 at /somewhere/lib_for_test\.py is too old; 1\.0 or newer"):
        load(Library(name="lib_for_test", package="lib", minimum="1.0"))


@pytest.mark.parametrize(
    ("text", "expected"), [("1.26.3", (1, 26, 3)), ("2.9.5 (dt)", (2, 9, 5)), ("4.0b1", (4, 0)), ("devel", ())]
)
def test_numbers_of_a_version(text: str, expected: tuple[int, ...]) -> None:
    assert numbers(text) == expected
