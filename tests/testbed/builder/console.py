# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Talking to the person who waits, and running the programs that do the work."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

_OUTPUT_TAIL = 30
_print_lock = threading.Lock()


class BedError(Exception):
    """Something that stops the bed and that its text lets a person put right."""


def say(message: str) -> None:
    """Print one line of progress; standard output stays free for results."""
    with _print_lock:
        print(message, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """Turn seconds into words: ``45 s``, ``3 min 20 s``."""
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


@contextmanager
def stage(name: str, what: str, usual: float | None = None) -> Iterator[None]:
    """Announce a stage with its usual duration, and say how long it took."""
    expected = f" (usually {duration(usual)})" if usual else ""
    say(f"[{name}] {what}{expected}")
    start = time.monotonic()
    yield
    say(f"[{name}] done in {duration(time.monotonic() - start)}")


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    low_priority: bool = False,
    timeout: float | None = None,
) -> str:
    """Run a program and return what it printed.

    Raises ``BedError`` with the end of its output when it fails: that is where
    compilers, apt and podman say why.
    """
    argv = [str(word) for word in command]
    if low_priority:
        argv = ["nice", "-n", "10", *argv]
    try:
        done = subprocess.run(
            argv,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as exc:
        raise BedError(
            f"The program {command[0]} is not installed. 'tests/testbed/bed.py tools' installs what the bed needs."
        ) from exc
    except subprocess.TimeoutExpired as exc:
        raise BedError(f"'{' '.join(argv)}' did not end within {duration(exc.timeout)}.") from exc
    if done.returncode != 0:
        tail = "\n".join(done.stdout.splitlines()[-_OUTPUT_TAIL:])
        raise BedError(f"'{' '.join(argv)}' ended with {done.returncode}. It said last:\n{tail}")
    return done.stdout
