# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from ansible_collections.flyte.onprem.plugins.module_utils._limits import (
    refuse_port,
    refuse_retries,
    refuse_wait,
    within,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# what refuses; a number that it refuses; one that it takes
BORDERS = [
    (refuse_wait, 0, 0.1),
    (refuse_wait, -1, 10),
    (refuse_wait, 86401, 86400),
    (refuse_wait, float("inf"), 1),
    (refuse_wait, float("nan"), 1),
    (refuse_retries, -1, 0),
    (refuse_retries, 101, 100),
    (refuse_port, 0, 1),
    (refuse_port, 65536, 65535),
]


@pytest.mark.parametrize(("refuse", "bad", "good"), BORDERS)
def test_a_number_out_of_its_range_is_refused_by_its_options_name(
    refuse: Callable[[str, float], None], bad: float, good: float
) -> None:
    refuse("the_option", good)
    with pytest.raises(ValueError, match=rf"^the_option: {bad:g} is no .*; give one "):
        refuse("the_option", bad)


def test_what_takes_longer_than_it_may_is_left_alone() -> None:
    done = threading.Event()
    with pytest.raises(TimeoutError):  # else this would never end
        within(0.1, done.wait)
    done.set()


def test_what_ends_in_time_returns_or_raises_as_it_does_by_itself() -> None:
    assert within(30, lambda: None) is None
    with pytest.raises(KeyboardInterrupt):
        within(30, lambda: exec("raise KeyboardInterrupt"))


@pytest.fixture
def interruptible() -> Iterator[None]:
    """A signal to end raises, also where tests run in the background of a shell, which has it ignored there."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_a_signal_to_end_waits_for_what_is_under_way() -> None:
    ended = []

    def call() -> None:
        signal.pthread_kill(main, signal.SIGINT)
        time.sleep(0.3)
        ended.append("the call")

    main = threading.main_thread().ident
    assert main
    with pytest.raises(KeyboardInterrupt):
        within(30, call)
    assert ended == ["the call"]
