#!/usr/bin/env python3
# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the time of role k3s grows with hosts and with sites: ``make bench-cluster``.

Clusters of one, two and four hosts (a server and its agents) and fleets of one, two and four sites (a server each) are
built and run again without a change, one case after the other. Ratios can be compared with those of another day or
machine, seconds cannot. The control node's own CPU time is beside them: other work on the machine hardly changes that.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from builder import inventory

ROOT = Path(__file__).resolve().parents[2]
BED = [sys.executable, str(ROOT / "tests/testbed/bed.py")]
PLAYBOOK = "flyte.onprem.cluster"
NAME = "flyte-onprem-bench-{}"
SIZES = (1, 2, 4)
# What comes on top of the clusters is left out.
ALONE = {
    "site_database": "external",
    "site_object_store": "external",
    "k3s_disable": ["traefik"],
    "k3s_ingress_ports": [],
    "k3s_cluster_dns_hosts": {},
}


@dataclass(frozen=True)
class Run:
    """What one run of the playbook took, in all and by host."""

    seconds: float
    cpu: float
    tasks: dict[str, int]
    executions: dict[str, int]


@dataclass(frozen=True)
class Case:
    """A cluster of some hosts, or as many sites of a host each; its first run and one without a change."""

    title: str
    hosts: int
    first: Run
    second: Run


def cpu_of_children() -> float:
    """CPU seconds of all processes that this one has started and that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def play(folder: Path) -> Run:
    """Run the playbook once."""
    counted = folder / "counted.json"
    environment = dict(
        os.environ,
        ANSIBLE_CONFIG=str(ROOT / "ansible.cfg"),
        ANSIBLE_CALLBACK_PLUGINS=str(ROOT / "tests/testbed/callbacks"),
        ANSIBLE_CALLBACKS_ENABLED="count_modules",
        COUNT_MODULES=str(counted),
    )
    command = [str(Path(sys.executable).parent / "ansible-playbook"), PLAYBOOK, "-i", str(folder / "hosts.yml")]
    started, used = time.monotonic(), cpu_of_children()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    seconds, cpu = time.monotonic() - started, cpu_of_children() - used
    if done.returncode:
        raise RuntimeError(f"{PLAYBOOK} failed:\n{done.stdout[-3000:]}{done.stderr[-1000:]}")
    found: dict[str, Any] = json.loads(counted.read_text())
    return Run(seconds, cpu, found["tasks_by_host"], found["executions_by_host"])


def case(title: str, hosts: int, *, sites: bool, bundle: str) -> Case:
    """Build the clusters of a case on fresh hosts, run again, remove them."""
    names = [f"h{number}" for number in range(1, hosts + 1)]
    described = {name: {"ansible_host": NAME.format(name), "site_name": name if sites else "bench"} for name in names}
    groups = {"k3s_servers": names if sites else names[:1], "k3s_agents": [] if sites else names[1:]}
    try:
        for name in names:
            subprocess.run([*BED, "host-down", NAME.format(name)], check=True, stdout=subprocess.DEVNULL)
            subprocess.run([*BED, "host-up", NAME.format(name)], check=True, stdout=subprocess.DEVNULL)
        with tempfile.TemporaryDirectory(prefix="flyte-onprem-bench-") as scratch:
            folder = Path(scratch)
            variables = {**ALONE, "site_domain": "{{ site_name }}.flyte.test", "site_bundle": bundle}
            variables["site_directory"] = f"{scratch}/{{{{ site_name }}}}"
            inventory.write(folder / "hosts.yml", described, groups, variables)
            return Case(title, hosts, play(folder), play(folder))
    finally:
        for name in names:
            subprocess.run([*BED, "host-down", NAME.format(name)], check=True, stdout=subprocess.DEVNULL)


def measure() -> list[Case]:
    """All cases; one host is a cluster and a fleet at once."""
    bundle = subprocess.run([*BED, "bundle", "--cluster"], check=True, stdout=subprocess.PIPE, text=True)
    found = []
    for sites, word in ((False, "host"), (True, "site")):
        for size in SIZES if not sites else SIZES[1:]:
            title = f"{size} {word}s" if size > 1 else "1 host, 1 site"
            found.append(case(title, size, sites=sites, bundle=bundle.stdout.split()[-1]))
            print("\n".join(rows(found[-1], found[0])), flush=True)
    return found


HEADER = (
    f"{'role k3s':16}{'run':11}{'seconds':>8}{'growth':>8}{'a host':>8}{'CPU s':>8}{'growth':>8}{'a host':>8}"
    "   hosts x (tasks, module executions)"
)


def rows(each: Case, one: Case) -> list[str]:
    """How long both runs of a case took, how much longer than with one host, and what was asked of each host."""
    made = []
    for name, run, least in (("first", each.first, one.first), ("no change", each.second, one.second)):
        figures = (
            f"{mine:8.0f}{mine / of_one:8.2f}{mine / each.hosts:8.1f}"
            for mine, of_one in ((run.seconds, least.seconds), (run.cpu, least.cpu))
        )
        made.append(f"{each.title:16}{name:11}{''.join(figures)}   {by_host(run)}")
    return made


def by_host(run: Run) -> str:
    """Tasks and module executions of each host, those of equal hosts once."""
    found: dict[tuple[int, int], int] = {}
    for host, tasks in run.tasks.items():
        pair = (tasks, run.executions.get(host, 0))
        found[pair] = found.get(pair, 0) + 1
    return ", ".join(f"{count} x ({tasks}, {executions})" for (tasks, executions), count in found.items())


def main() -> int:
    """Measure and print."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(
        f"{PLAYBOOK} on one, two and four hosts and sites (usually 20 min); load of the machine before: {load}",
        flush=True,
    )
    print(HEADER, flush=True)
    cases = measure()
    print(f"load of the machine after: {', '.join(f'{value:.1f}' for value in os.getloadavg())}")
    for each in cases:
        print(f"{each.title}: no change / first {each.second.seconds / each.first.seconds:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
