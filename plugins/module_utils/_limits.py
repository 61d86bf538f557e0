# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is PRIVATE to the collection. It can change at any time.

"""Ranges of numbers that many options share, and the one limit of time for libraries that have none.

What refuses a number raises C(ValueError) with the option's name and a text for people.
"""

from __future__ import annotations

import threading
import time
import typing as t

LONGEST_WAIT = 86400  # a day; longer ones overflow in the libraries that wait
MOST_RETRIES = 100
LAST_PORT = 65535

Returned = t.TypeVar("Returned")


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


def refuse_below(name: str, number: float, least: float) -> None:
    if not number >= least:  # nan is refused as well
        raise ValueError(f"{name}: {number:g} cannot be meant; give {least:g} or more")


def refuse_range(least_name: str, least: int, most_name: str, most: int | None) -> None:
    if most is not None and least > most:
        raise ValueError(f"{least_name}: {least} is above {most_name}, which is {most}")


def within(seconds: float, call: t.Callable[[], Returned]) -> Returned:
    """What C(call) returns or raises, or C(TimeoutError) where that takes longer.

    The call is not ended then but left alone in its thread, which does not outlive the module: a resolver may wait for
    minutes, and an HTTP library begins its time anew with each byte that comes.
    """
    returned: list[Returned] = []
    raised: list[BaseException] = []
    ended = threading.Event()

    def run() -> None:
        try:
            returned.append(call())
        except BaseException as exc:
            raised.append(exc)
        finally:
            ended.set()

    deadline = time.monotonic() + seconds
    try:
        threading.Thread(target=run, daemon=True).start()
        ended.wait(seconds)
    except BaseException:  # by a signal to end
        # What is under way would else be done after the cleaning up.
        ended.wait(max(0.0, deadline - time.monotonic()))
        raise
    if raised:
        raise raised[0]
    if not returned:
        raise TimeoutError(f"no whole answer within {seconds:g} seconds")
    return returned[0]


def exchanged(timeout: float, request: t.Callable[[], Returned]) -> Returned:
    """What a request of an HTTP library returns, whose connection and whose answer may take C(timeout) each.

    A library that is given both ends what is silent by itself; this is for what trickles. Raises C(TimeoutError).
    """
    return within(2 * timeout, request)
