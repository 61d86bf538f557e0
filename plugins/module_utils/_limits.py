# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is PRIVATE to the collection. It can change at any time.

"""Ranges of numbers that many options share. All raise C(ValueError) with the name and a text for people."""

from __future__ import annotations

LONGEST_WAIT = 86400  # a day; longer ones overflow in the libraries that wait
MOST_RETRIES = 100
LAST_PORT = 65535


def refuse_wait(name: str, seconds: float) -> None:
    if not 0 < seconds <= LONGEST_WAIT:  # nan is refused as well
        raise ValueError(
            f"{name}: {seconds:g} is no number of seconds to wait; give one above 0 and up to {LONGEST_WAIT}"
        )


def refuse_retries(name: str, retries: int) -> None:
    if not 0 <= retries <= MOST_RETRIES:
        raise ValueError(f"{name}: {retries} is no number of further tries; give one from 0 to {MOST_RETRIES}")


def refuse_port(name: str, port: int) -> None:
    if not 0 < port <= LAST_PORT:
        raise ValueError(f"{name}: {port} is no TCP port; give one from 1 to {LAST_PORT}")
