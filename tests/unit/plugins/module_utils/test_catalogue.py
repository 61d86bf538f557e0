# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ansible_collections.flyte.onprem.plugins.module_utils import _catalogue
from ansible_collections.flyte.onprem.plugins.module_utils._checks import Entry

ENTRIES = [
    entry
    for value in vars(_catalogue).values()
    if isinstance(value, tuple)
    for entry in value
    if isinstance(entry, Entry)
]
UTILS = Path(_catalogue.__file__).parent


def test_every_entry_is_in_the_catalogue_once() -> None:
    assert sorted(entry.id for entry in ENTRIES) == sorted(_catalogue.CATALOGUE)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.id)
def test_an_entry_says_all_that_a_person_needs(entry: Entry) -> None:
    assert re.fullmatch(r"(S3|DB|K8S|FLYTE|ING|TLS)-\d\d", entry.id)
    for text in (entry.title, entry.expected, entry.cause, entry.fix):
        assert text
        assert text == text.strip()
    assert entry.cause.endswith(".")
    assert entry.fix.endswith((".", ";"))  # a sentence, or SQL to paste
    assert not entry.title.endswith(".")
    assert entry.reference == "" or re.match(r"https://|docs/", entry.reference)


def test_each_check_of_an_area_asks_something_else() -> None:
    questions = [(entry.id.partition("-")[0], entry.title) for entry in ENTRIES]
    assert len(questions) == len(set(questions))


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.id)
def test_an_entry_is_used(entry: Entry) -> None:
    others = [path for path in UTILS.glob("_*.py") if path.name != "_catalogue.py"]
    assert any(f'"{entry.id}"' in path.read_text() for path in others)
