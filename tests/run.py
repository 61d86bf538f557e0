#!/usr/bin/env python3
# Copyright (c) 2026, The flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the stages of a test suite, say what is running, and sum up.

    tests/run.py check            the stages of one suite
    tests/run.py test --only "molecule default" --only unit
    tests/run.py --list

Needs nothing but Python: it runs before the tests' own environment exists. A stage is a command; a new one is a line
in STAGES. The last line is the count of tests of all stages, "N passed, N failed".
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = ".venv/bin/"
SILENCE = 30  # seconds without output after which the run says that it is still alive
NAMED = 3  # causes of a failed stage in the summary


@dataclass(frozen=True)
class Stage:
    """A command and what a person wants to know of it while it runs."""

    name: str
    command: str
    usual: str
    suites: tuple[str, ...]
    needed: bool = False  # without it nothing after it can work
    lane: str = ""  # stages of different lanes that follow each other run side by side


CHECK = ("check", "test", "test-all")
TEST = ("test", "test-all")
ALL = ("test-all",)
COLLECTION = "tests/integration/collection"
SITE = "tests/integration/site"
REFUSALS = " ".join(
    f"{COLLECTION}/test_{part}.py" for part in ("k3s_refusals", "k3s_inputs", "k3s_install", "remove_node", "artifact")
)
SHOWN = " ".join(f"{COLLECTION}/test_{part}.py" for part in ("examples", "inventories", "existing_cluster"))
# On one host, in this order.
LIFE = ("interrupted", "stopped_at_gates", "cluster_checks", "workflow_traps", "rotated_keys", "uninstalled")


def life(*left_out: str) -> str:
    """The command that plays the life of a site, without some of its parts."""
    return f"tests/scenario.sh pytest {' '.join(f'{SITE}/test_{part}.py' for part in LIFE if part not in left_out)}"


STAGES = (
    Stage("venv", "tests/venv.sh", "1 s, 30 s the first time", CHECK, needed=True),
    Stage("yamllint", f"{BIN}yamllint --strict .", "5 s", CHECK),
    Stage("ruff", f"{BIN}ruff check .", "1 s", CHECK),
    Stage("mypy", f"{BIN}mypy", "5 s, 30 s the first time", CHECK),
    Stage("changelog", f"{BIN}antsibull-changelog lint", "2 s", CHECK),
    Stage("ansible-lint", f"{BIN}ansible-lint -q --strict", "90 s", CHECK, lane="1"),
    Stage("unit", f"{BIN}pytest tests/unit", "2 to 4 min", CHECK, lane="2"),
    Stage("build", f"{BIN}pytest {COLLECTION}/test_build.py", "30 s", TEST),
    Stage("tools", f"{BIN}python tests/testbed/bed.py tools", "1 s, 60 s on a new machine", TEST, needed=True),
    Stage("bundle", f"{BIN}python tests/testbed/bed.py bundle", "1 s, 20 min the first time", TEST, needed=True),
    Stage("flyte chart", f"{BIN}pytest tests/unit/testbed/test_flyte_chart.py", "10 s", TEST),  # with the bundle's Helm
    Stage("host image", f"{BIN}python tests/testbed/bed.py host-image", "1 s, 3 min the first time", TEST, needed=True),
    Stage("molecule default", "tests/scenario.sh molecule test -s default", "20 to 40 min", TEST, lane="1"),
    Stage("molecule k3s_ha", "tests/scenario.sh molecule test -s k3s_ha", "15 to 30 min", TEST, lane="1"),
    Stage(
        "life of a site", life("cluster_checks", "workflow_traps", "rotated_keys"), "25 to 45 min", ("test",), lane="2"
    ),
    Stage("whole life of a site", life(), "35 to 80 min", ALL, lane="2"),
    Stage("bad input", f"tests/scenario.sh pytest {SITE}/test_bad_input.py", "5 min", TEST, lane="2"),
    Stage("modules", "tests/scenario.sh pytest tests/integration/modules", "4 to 12 min", TEST, lane="3"),
    Stage(
        "report", f"{BIN}pytest {COLLECTION}/test_report.py {COLLECTION}/test_sites.py", "4 to 15 min", TEST, lane="3"
    ),
    Stage("sanity", f"{BIN}pytest {COLLECTION}/test_sanity.py", "30 to 60 s", TEST, lane="3"),
    Stage("ansible-core", f"{BIN}pytest {COLLECTION}/test_ansible_core.py", "30 to 60 s", TEST, lane="3"),
    Stage("as shown", f"{BIN}pytest {SHOWN}", "15 to 60 s", TEST, lane="3"),
    Stage("k3s refusals", f"{BIN}pytest {REFUSALS}", "5 to 15 min", TEST, lane="3"),
    Stage("k3s drain", f"{BIN}pytest {COLLECTION}/test_k3s_drain.py", "15 min", ALL, lane="3"),
    Stage("molecule k3s_changes", "tests/scenario.sh molecule test -s k3s_changes", "35 to 75 min", ALL),
    Stage("molecule k3s_operations", "tests/scenario.sh molecule test -s k3s_operations", "60 min", ALL),
    Stage("molecule k3s_agents", "tests/scenario.sh molecule test -s k3s_agents", "15 min", ALL),
    Stage("molecule k3s_datastore", "tests/scenario.sh molecule test -s k3s_datastore", "15 min", ALL),
    Stage("molecule k3s_dual_stack", "tests/scenario.sh molecule test -s k3s_dual_stack", "15 min", ALL),
    Stage("molecule existing_cluster", "tests/scenario.sh molecule test -s existing_cluster", "15 min", ALL),
    Stage("external services", f"tests/scenario.sh pytest {SITE}/test_external_services.py", "6 min", ALL),
    Stage("between nodes", f"tests/scenario.sh pytest {SITE}/test_between_nodes.py", "10 min", ALL),
    Stage("moved server", f"tests/scenario.sh pytest {SITE}/test_moved_server.py", "6 min", ALL),
    Stage("molecule fleet", "tests/scenario.sh molecule test -s fleet", "25 to 45 min", ALL),
)


class Output:
    """Passes a command's output on and remembers when there last was any, the last count of tests, and what failed."""

    summary = re.compile(r"^(?:=+ )?(?=.*\b\d+ (?:passed|failed|error))(?P<counts>[\d\w, ]+?)(?: in [\d.]+s.*)?$")

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.last = time.monotonic()
        self.counts: tuple[int, int] | None = None
        self.failed: list[str] = []
        self.last_line = ""

    def copy(self, stream) -> None:
        for line in stream:
            sys.stdout.write(self.prefix + line)
            sys.stdout.flush()
            self.last = time.monotonic()
            bare = re.sub(r"\x1b\[[\d;]*m", "", line).strip()
            match = self.summary.match(bare)
            if match:
                self.counts = count(match["counts"])
            if bare.startswith(("FAILED ", "ERROR ")):  # of pytest's summary
                self.failed.append(bare)
            self.last_line = bare or self.last_line


def count(text: str) -> tuple[int, int]:
    """Passed and failed in ``5 passed, 1 failed, 2 errors``; an error is a failure."""
    found = {word.rstrip("s"): int(number) for number, word in re.findall(r"(\d+) (passed|failed|errors?)", text)}
    return found.get("passed", 0), found.get("failed", 0) + found.get("error", 0)


@dataclass(frozen=True)
class Row:
    """How a stage ended. One without tests counts as one."""

    stage: Stage
    result: str
    seconds: float
    passed: int
    failed: int
    causes: Sequence[str] = ()

    @property
    def text(self) -> str:
        tests = f"{self.passed} passed, {self.failed} failed"
        return f"{self.stage.name:<24}{self.result:<10}{duration(self.seconds):>10}   {tests}"


def run(stage: Stage, title: str) -> Row:
    """Run one stage; a line of one that runs beside others begins with its name."""
    print(f"\n== {title} {stage.name}: usually {stage.usual}", flush=True)
    start = time.monotonic()
    output = Output(f"{stage.name} | " if stage.lane else "")
    with subprocess.Popen(
        ["/bin/sh", "-c", f"exec {stage.command}"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        # molecule and ansible-lint start ansible's commands by name. Without bytecode each of thousands of processes
        # compiles all of Ansible that it uses, a fifth of what a run takes; empty means as if it were not set.
        env=dict(
            os.environ,
            PYTHONUNBUFFERED="1",
            PYTHONDONTWRITEBYTECODE="",
            COLUMNS="180",
            PATH=f"{ROOT / BIN}:{os.environ['PATH']}",
        ),
    ) as process:
        reader = threading.Thread(target=output.copy, args=(process.stdout,), daemon=True)
        reader.start()
        while reader.is_alive():
            reader.join(timeout=1)
            if time.monotonic() - output.last > SILENCE:
                print(f"   ... {stage.name} has been running for {duration(time.monotonic() - start)}", flush=True)
                output.last = time.monotonic()
        code = process.wait()
    passed, failed = output.counts or (int(code == 0), int(code != 0))
    result = "passed" if code == 0 else "FAILED"
    causes = (output.failed or [output.last_line])[:NAMED] if code else []
    return Row(stage, result, time.monotonic() - start, passed, max(failed, int(code != 0)), causes)


def side_by_side(stages: Sequence[tuple[str, Stage]]) -> list[Row]:
    """Run the stages of each lane one after the other, and the lanes side by side: Ansible waits more than it works."""
    lanes: dict[str, list[tuple[str, Stage]]] = {}
    for title, stage in stages:
        lanes.setdefault(stage.lane, []).append((title, stage))
    with ThreadPoolExecutor(len(lanes)) as pool:
        done = pool.map(lambda lane: [run(stage, title) for title, stage in lane], lanes.values())
        return [row for lane in done for row in lane]


def duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", nargs="?", choices=["check", "test", "test-all"], default="test")
    parser.add_argument("--only", action="append", metavar="STAGE", help="run this stage of the suite; may be repeated")
    parser.add_argument("--list", action="store_true", help="show the stages of the suite")
    options = parser.parse_args()

    stages = [stage for stage in STAGES if options.suite in stage.suites]
    unknown = set(options.only or ()) - {stage.name for stage in stages}
    if unknown:
        parser.error(f"no such stage in {options.suite}: {', '.join(sorted(unknown))}")
    if options.only:
        stages = [stage for stage in stages if stage.name in options.only]
    if options.list:
        for stage in stages:
            print(f"{stage.name:<20} usually {stage.usual}")
        return 0

    if options.suite != "test-all":
        os.environ["PYTEST_ADDOPTS"] = f"{os.environ.get('PYTEST_ADDOPTS', '')} -m 'not further'"
    rows: list[Row] = []
    begin = time.monotonic()
    titled = [(f"{number}/{len(stages)}", stage) for number, stage in enumerate(stages, 1)]
    for in_lanes, block in itertools.groupby(titled, key=lambda item: bool(item[1].lane)):
        for part in [list(block)] if in_lanes else [[item] for item in block]:
            if any(row.stage.needed and row.failed for row in rows):
                rows += [Row(stage, "not run", 0, 0, 1) for _, stage in part]
            else:
                rows += side_by_side(part)

    print(f"\n{'stage':<24}{'result':<10}{'duration':>10}   tests")
    for row in rows:
        print(row.text)
    print(f"{'all':<24}{'':<10}{duration(time.monotonic() - begin):>10}\n")
    for row in rows:
        for cause in row.causes:
            print(f"{row.stage.name}: {cause[:200]}")
    passed, failed = sum(row.passed for row in rows), sum(row.failed for row in rows)
    print(f"{passed} passed, {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
