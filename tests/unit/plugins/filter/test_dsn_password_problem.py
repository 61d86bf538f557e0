# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.flyte.onprem.plugins.filter.dsn_password_problem import FilterModule

dsn_password_problem = FilterModule().filters()["dsn_password_problem"]


def test_a_safe_password_gives_an_empty_text() -> None:
    assert dsn_password_problem("abcXYZ019") == ""


def test_an_unsafe_password_gives_a_sentence_without_it() -> None:
    problem = dsn_password_problem("two words")
    assert "white space" in problem
    assert "two words" not in problem


def test_what_is_no_text_is_refused_without_being_shown() -> None:
    with pytest.raises(AnsibleFilterError, match="int") as caught:
        dsn_password_problem(8675309)
    assert "8675309" not in str(caught.value)
