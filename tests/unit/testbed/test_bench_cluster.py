# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the bench of clusters says of its figures."""

from __future__ import annotations

import re

from testbed.bench_cluster import Case, Run, by_host, rows

ONE = Case("1 host, 1 site", 1, Run(60, 20, {"h1": 90}, {"h1": 40}), Run(20, 10, {"h1": 70}, {"h1": 12}))
TWO = Case("2 hosts", 2, Run(90, 40, {}, {}), Run(30, 15, {"h1": 70, "h2": 61}, {"h1": 12, "h2": 11}))


def figures(line: str) -> list[float]:
    return [float(number) for number in re.findall(r"[\d.]+", line[27:])][:6]


def test_each_run_is_compared_with_that_of_one_host() -> None:
    runs = [*rows(ONE, ONE), *rows(TWO, ONE)]
    # seconds, growth, a host, CPU seconds, growth, a host
    assert [figures(run) for run in runs] == [
        [60, 1, 60, 20, 1, 20],
        [20, 1, 20, 10, 1, 10],
        [90, 1.5, 45, 40, 2, 20],
        [30, 1.5, 15, 15, 1.5, 7.5],
    ]


def test_hosts_of_which_the_same_is_asked_are_counted_together() -> None:
    run = Run(20, 10, {"h1": 70, "h2": 61, "h3": 61}, {"h1": 12, "h2": 11, "h3": 11})
    assert by_host(run) == "1 x (70, 12), 2 x (61, 11)"
