# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64

import pytest
from support.leaks import forms, shown

SECRETS = {"password": "CanaryDatabase0a1b2c3d4e5f6g7h8i", "key": "CanaryStore9z8y7x6w5v4u3t2s1r0q"}


@pytest.mark.parametrize("before", ["", "a", "ab", "abc", "password: "])
@pytest.mark.parametrize("after", ["", "z", "zy", "\n"])
def test_a_secret_is_seen_in_base64_wherever_it_stands(before: str, after: str) -> None:
    encoded = base64.b64encode((before + SECRETS["password"] + after).encode()).decode()
    assert set(shown(f"+  value: {encoded}\n", SECRETS)) == {"password"}


def test_a_secret_is_seen_in_plain_text_with_what_stands_around_it() -> None:
    assert shown(f"psql {SECRETS['key']} flyte", SECRETS) == {"key": f"psql {SECRETS['key']} flyte"}


def test_what_is_no_secret_is_not_taken_for_one() -> None:
    other = "CanaryDatabase0a1b2c3d4e5f7g7h8i"
    text = other + base64.b64encode(other.encode()).decode() + base64.b64encode(b"nothing").decode()
    assert shown(text, SECRETS) == {}


def test_no_form_is_so_short_that_it_would_be_met_by_chance() -> None:
    assert min(map(len, forms(SECRETS["key"]))) >= len(SECRETS["key"])
