# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the bench of clusters says of its figures."""

from __future__ import annotations

import re

from testbed.bench_cluster import Case, Run, by_host, lines

ONE = Case("1 host, 1 site", 1, Run(60, {"h1": 90}, {"h1": 40}), Run(20, {"h1": 70}, {"h1": 12}))
TWO = Case("2 hosts", 2, Run(90, {}, {}), Run(30, {"h1": 70, "h2": 61}, {"h1": 12, "h2": 11}))


def test_each_case_is_compared_with_one_host_and_with_its_own_first_run() -> None:
    _, one, two = lines([ONE, TWO])
    # first run, growth, a host, no change, growth, a host, ratio
    assert re.findall(r"[\d.]+", one.removeprefix(ONE.title))[:7] == ["60", "1.00", "60", "20", "1.00", "20", "0.33"]
    assert re.findall(r"[\d.]+", two.removeprefix(TWO.title))[:7] == ["90", "1.50", "45", "30", "1.50", "15", "0.33"]


def test_hosts_of_which_the_same_is_asked_are_counted_together() -> None:
    run = Run(20, {"h1": 70, "h2": 61, "h3": 61}, {"h1": 12, "h2": 11, "h3": 11})
    assert by_host(run) == "1 x (70, 12), 2 x (61, 11)"
