# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.flyte.onprem.plugins.module_utils._postgresql import (
    END_OF_LIFE,
    GENERATION_TABLES,
    Facts,
    Version,
    dsn_password_problem,
    parse_version_num,
)

# number the server gives itself, version
VERSIONS = [
    (90224, Version(9, 2)),
    (90603, Version(9, 6)),
    (100000, Version(10, 0)),
    (110022, Version(11, 22)),
    (120000, Version(12, 0)),
    (170004, Version(17, 4)),
    (190000, Version(19, 0)),  # 19beta4
    (1000001, Version(100, 1)),
]


@pytest.mark.parametrize(("number", "version"), VERSIONS)
def test_a_version_is_read_from_the_servers_number(number: int, version: Version) -> None:
    assert parse_version_num(number) == version


def test_the_end_of_support_is_known_for_every_version_that_is_accepted_and_grows() -> None:
    days = [END_OF_LIFE[major] for major in range(12, 19)]
    assert days == sorted(days)


# password, word that the sentence must hold
UNSAFE = [
    ("", "empty"),
    ("has space", "white space"),
    ("has\ttab", "white space"),
    ("line\n", "white space"),
    ("no\u00a0break", "white space"),
    ("back\\slash", "backslash"),
    ("'quoted", "apostrophe"),
    ("nul\0nul", "NUL"),
    ("{{ user }}", "white space"),
    ("a{{b", "braces"),
]


@pytest.mark.parametrize(("password", "word"), UNSAFE)
def test_a_password_that_flytes_connection_string_cannot_carry_is_explained(password: str, word: str) -> None:
    problem = dsn_password_problem(password)
    assert word in problem
    assert problem.endswith(".")
    assert not password or password not in problem


@pytest.mark.parametrize("password", ["abcXYZ019", "with_under-score", "@:/#%&?=+", "it's", "{one}", "é", "="])
def test_a_password_that_the_connection_string_carries_is_no_problem(password: str) -> None:
    assert dsn_password_problem(password) == ""


# max_connections, reserved, limit of the role, of the database, room
ROOM = [
    (100, 3, -1, -1, 97),
    (100, 3, 20, -1, 20),
    (100, 3, -1, 10, 10),
    (100, 3, 50, 40, 40),
    (100, 3, 0, -1, 0),
]


@pytest.mark.parametrize(("most", "reserved", "role", "database", "room"), ROOM)
def test_room_is_the_least_of_all_limits(most: int, reserved: int, role: int, database: int, room: int) -> None:
    schema = ("public", "public", True, "flyte", [], [])
    facts = Facts(170004, "UTF8", most, reserved, role, database, False, False, *schema, 0.0)
    assert facts.room == room


def test_no_table_tells_of_both_generations() -> None:
    assert not set(GENERATION_TABLES[1]) & set(GENERATION_TABLES[2])
