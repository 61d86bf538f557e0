# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Six sites in one inventory, with an object store as their only part: what happens to one is no matter of the others.

The tests build on each other in their order.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.leaks import shown
from testbed.builder import inventory

from .conftest import BED, CANARIES, Box

# Site and its hosts. The site of two has its Kubernetes, which is not installed here, on the first of them.
SITES = {
    "alpha": ["alpha-1"],
    "beta": ["beta-1"],
    "broken": ["broken-1", "broken-2"],
    "dying": ["dying-1"],
    "epsilon": ["epsilon-1"],
    "zeta": ["zeta-1"],
}
HOSTS = [host for hosts in SITES.values() for host in hosts]
IN_ORDER = ["alpha-1", "beta-1", "epsilon-1", "zeta-1"]
MINIO = "/usr/local/bin/minio"


@dataclass
class Fleet:
    """The hosts, and the inventory that describes them."""

    boxes: dict[str, Box]

    @property
    def any_box(self) -> Box:
        """One of the hosts; all have the same inventory."""
        return self.boxes["alpha-1"]

    @property
    def inventory(self) -> Path:
        """The folder that is given to Ansible."""
        return self.any_box.inventory

    def describe(self, **broken: Any) -> None:
        """Write the inventory; *broken* are variables of the host broken-1."""
        hosts = {
            host: {"ansible_host": box.name, "site_name": host.rpartition("-")[0]} for host, box in self.boxes.items()
        }
        hosts["broken-1"] |= broken
        stores = [hosts_of[-1] for hosts_of in SITES.values()]
        variables = {
            "site_domain": "{{ site_name }}.flyte.test",
            "site_bundle": os.environ["FLYTE_ONPREM_BUNDLE"],
            "site_database": "external",
            **CANARIES,
        }
        groups = {"k3s_servers": [hosts_of[0] for hosts_of in SITES.values()], "minio": stores}
        self.inventory.mkdir(exist_ok=True)
        inventory.write(self.inventory / "hosts.yml", hosts, groups, variables)

    def run(self, playbook: str, *arguments: str) -> tuple[int, str]:
        return self.any_box.run(playbook, *arguments)

    @property
    def unfinished(self) -> list[str]:
        """The hosts that the last run says have to be done again."""
        path = self.inventory / "failed-sites.retry"
        return path.read_text().split() if path.exists() else []

    def page(self) -> dict[str, dict[str, Any]]:
        """The rows of the page of all sites, as programs read it."""
        return {row["site"]: row for row in json.loads((self.inventory / ".flyte/fleet.json").read_text())["sites"]}

    def with_store(self) -> list[str]:
        """The hosts on which an object store runs."""
        return [
            host
            for host in HOSTS
            if self.boxes[host].shell("systemctl is-active minio", check=False).strip() == "active"
        ]


def recap(output: str) -> dict[str, dict[str, int]]:
    """Counts of each host at the end of a run."""
    lines = re.findall(r"^(\S+) +: (ok=.*)$", output, re.MULTILINE)
    return {host: {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", counts)} for host, counts in lines}


def row(output: str, site: str) -> str:
    """The line of the table for a site; what stands before it in a talkative run is how things were then."""
    found = re.findall(rf'"({site} +(?:ok|failed|skipped)\b[^"]*)"', output)
    assert found, output[-3000:]
    return str(found[-1])


def states(output: str) -> dict[str, str]:
    """State of each site, as the table says it."""
    return {site: row(output, site).split()[1] for site in SITES}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Fresh hosts for all sites."""
    folder = tmp_path_factory.mktemp("fleet")
    made = Fleet({host: Box(f"flyte-onprem-fleet-{host}", folder) for host in HOSTS})

    def down() -> None:
        for box in made.boxes.values():
            subprocess.run([*BED, "host-down", box.name], check=True, capture_output=True)

    down()
    try:
        for box in made.boxes.values():
            subprocess.run([*BED, "host-up", box.name], check=True)
        yield made
    finally:
        down()


def test_check_mode_tells_what_would_be_done_and_does_nothing(fleet: Fleet) -> None:
    fleet.describe()
    code, output = fleet.run("backends", "--check")
    assert code == 0, output[-4000:]
    stores = [hosts_of[-1] for hosts_of in SITES.values()]
    assert [host for host in stores if not recap(output)[host]["changed"]] == []
    assert fleet.with_store() == []
    assert sorted(path.name for path in fleet.inventory.iterdir()) == ["hosts.yml"]


def test_one_site_is_broken_and_one_dies_and_the_others_are_finished(fleet: Fleet) -> None:
    fleet.describe(site_domain="https://flyte")
    dying = fleet.boxes["dying-1"].name

    def kill() -> None:
        """End the host as a lost power supply would, once the object store's program is on it."""
        wait = f"until [ -e {MINIO} ]; do sleep 0.1; done"
        subprocess.run(["podman", "exec", dying, "sh", "-c", wait], check=True, timeout=300)
        subprocess.run(["podman", "kill", dying], check=True, capture_output=True)

    with ThreadPoolExecutor(1) as pool:
        killed = pool.submit(kill)
        code, output = fleet.run("backends")
        killed.result(timeout=60)
    assert code != 0
    assert [word for word in ("Know the hosts, on broken-1", "SITE-01") if word not in row(output, "broken")] == []
    assert "MinIO, on dying-1" in row(output, "dying")
    assert states(output) == {
        "alpha": "ok", "beta": "ok", "broken": "failed", "dying": "failed", "epsilon": "ok", "zeta": "ok",
    }  # fmt: skip
    assert "4 ok, 2 failed, 0 skipped" in output
    counts = recap(output)
    assert {host for host in counts if counts[host]["failed"] or counts[host]["unreachable"]} == {
        "broken-1", "broken-2", "dying-1",
    }  # fmt: skip


def test_the_page_of_all_sites_says_where_and_why(fleet: Fleet) -> None:
    page = fleet.page()
    assert {site: found["state"] for site, found in page.items()} == {
        site: "failed" if site in ("broken", "dying") else "unknown" for site in SITES
    }
    assert "SITE-01" in page["broken"]["problems"][0]


def test_the_object_stores_of_the_others_run(fleet: Fleet) -> None:
    assert fleet.with_store() == IN_ORDER


def test_the_other_host_of_the_broken_site_is_untouched(fleet: Fleet) -> None:
    assert fleet.boxes["broken-2"].shell(f"ls {MINIO} /etc/minio 2>/dev/null", check=False) == ""


def test_the_list_to_run_again_has_the_hosts_of_the_two(fleet: Fleet) -> None:
    assert fleet.unfinished == ["broken-1", "broken-2", "dying-1"]


def test_only_what_failed_is_run_again(fleet: Fleet) -> None:
    fleet.describe()
    subprocess.run(["podman", "start", fleet.boxes["dying-1"].name], check=True, capture_output=True)
    code, output = fleet.run("backends", "--limit", f"@{fleet.inventory}/failed-sites.retry")
    assert code == 0, output[-4000:]
    assert set(recap(output)) == {"broken-1", "broken-2", "dying-1"}
    assert "4 more in the inventory were not in this run" in output
    assert fleet.unfinished == []
    assert set(fleet.with_store()) == {*IN_ORDER, "broken-2", "dying-1"}
    assert {row(output, site).split()[1] for site in ("broken", "dying")} == {"ok"}


def test_a_run_of_all_changes_nothing(fleet: Fleet) -> None:
    code, output = fleet.run("backends")
    assert code == 0, output[-4000:]
    assert {host: counts["changed"] for host, counts in recap(output).items()} == dict.fromkeys(HOSTS, 0)
    assert "6 ok, 0 failed, 0 skipped" in output


def test_check_mode_finds_nothing_to_change(fleet: Fleet) -> None:
    code, output = fleet.run("backends", "--check")
    assert code == 0, output[-4000:]
    assert {host: counts["changed"] for host, counts in recap(output).items()} == dict.fromkeys(HOSTS, 0)


def test_in_batches_the_run_stops_when_too_many_have_failed(fleet: Fleet) -> None:
    fleet.describe(site_domain="https://flyte")
    code, output = fleet.run("preflight", "--forks=2", "-e", "fleet_serial=2", "-e", "fleet_max_fail_percentage=10")
    assert code != 0
    # The servers come first: broken-1 shares its batch with dying-1, which is done before the batch is over.
    assert states(output) == {
        "alpha": "ok", "beta": "ok", "broken": "failed", "dying": "ok", "epsilon": "skipped", "zeta": "skipped",
    }  # fmt: skip
    assert "too many other sites had failed" in row(output, "zeta")
    assert fleet.unfinished == ["broken-1", "broken-2", "epsilon-1", "zeta-1"]


def test_a_batch_that_fails_as_a_whole_stops_no_other(fleet: Fleet) -> None:
    code, output = fleet.run("preflight", "-e", "fleet_serial=1")
    assert code != 0
    assert states(output) == {site: "failed" if site == "broken" else "ok" for site in SITES}
    assert recap(output)["zeta-1"]["failed"] == 0


def test_no_secret_was_shown(fleet: Fleet) -> None:
    assert shown(fleet.any_box.output, CANARIES) == {}
