# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Six sites in one inventory: what happens to one is no matter of the others.

The first is a whole Flyte site. The others have their cluster, in which a stub stands for what people run there; one of
them has an object store on a second host. The tests build on each other in their order.
"""

from __future__ import annotations

import json
import os
import re
import shlex
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

WHOLE = "alpha-1"
# Site and its hosts: the first has the cluster, the second of one site its object store.
SITES = {
    "alpha": [WHOLE],
    "beta": ["beta-1"],
    "broken": ["broken-1", "broken-2"],
    "dying": ["dying-1"],
    "epsilon": ["epsilon-1"],
    "zeta": ["zeta-1"],
}
HOSTS = [host for hosts in SITES.values() for host in hosts]
FINISHED = ["alpha-1", "beta-1", "epsilon-1", "zeta-1"]
K3S_CONFIG = "/etc/rancher/k3s/config.yaml"
# Of a site that ends with its cluster.
CLUSTER_ONLY = {
    "site_database": "external",
    "site_object_store": "external",
    "k3s_disable": ["traefik"],
    "k3s_ingress_ports": [],
    "k3s_cluster_dns_hosts": {},
}
PARTS = ("certificates", "k3s", "existing_cluster", "postgresql", "minio", "ingress", "flyte")
STUB = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "stub"},
    "spec": {
        "selector": {"matchLabels": {"app": "stub"}},
        "template": {
            "metadata": {"labels": {"app": "stub"}},
            "spec": {
                "containers": [
                    {
                        "name": "web",
                        "image": "docker.io/rancher/mirrored-library-busybox:1.37.0",
                        "command": ["sh", "-c", "mkdir /www && echo here >/www/index.html && exec httpd -f -h /www"],
                    }
                ]
            },
        },
    },
}


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
        hosts = {host: {"ansible_host": box.name, "site_name": site(host)} for host, box in self.boxes.items()}
        for host in set(HOSTS) - {WHOLE}:
            hosts[host] |= CLUSTER_ONLY
            hosts[host]["k3s_bundle"] = os.environ["FLYTE_ONPREM_CLUSTER_BUNDLE"]
            hosts[host]["site_parts"] = {part: [f"{site(host)}-1"] if part == "k3s" else [] for part in PARTS}
        for host in SITES["broken"]:
            hosts[host]["site_object_store"] = "minio"
            hosts[host]["site_parts"] |= {"certificates": ["broken-1"], "minio": ["broken-2"]}
        hosts["broken-1"] |= broken
        variables = {
            "site_domain": "{{ site_name }}.flyte.test",
            "site_bundle": os.environ["FLYTE_ONPREM_BUNDLE"],
            **CANARIES,
        }
        groups = {
            "k3s_servers": [hosts_of[0] for hosts_of in SITES.values()],
            "postgresql": [WHOLE],
            "minio": [WHOLE, "broken-2"],
        }
        self.inventory.mkdir(exist_ok=True)
        inventory.write(self.inventory / "hosts.yml", hosts, groups, variables)

    def run(self, playbook: str, *arguments: str) -> tuple[int, str]:
        return self.any_box.run(playbook, *arguments)

    def unfinished(self, run: str = "") -> list[str]:
        """The hosts that have to be done again by the playbook site, or by another, with *run* in its list's name."""
        path = self.inventory / f"failed-sites{run}.retry"
        return path.read_text().split() if path.exists() else []

    def page(self) -> dict[str, dict[str, Any]]:
        """The rows of the page of all sites, as programs read it."""
        return {row["site"]: row for row in json.loads((self.inventory / ".flyte/fleet.json").read_text())["sites"]}

    def running(self, unit: str) -> list[str]:
        """The hosts on which a unit runs."""
        return [
            host
            for host in HOSTS
            if self.boxes[host].shell(f"systemctl is-active {unit}", check=False).strip() == "active"
        ]

    def deploy_stubs(self, hosts: list[str]) -> None:
        """Start the stub in clusters, and wait for it."""
        for host in hosts:
            self.boxes[host].shell(f"printf %s {shlex.quote(json.dumps(STUB))} | k3s kubectl apply -f -")
        for host in hosts:
            self.boxes[host].shell("k3s kubectl rollout status deployment/stub --timeout=120s")

    def stubs(self, hosts: list[str]) -> dict[str, tuple[str, int, str]]:
        """Of the stub in each cluster: its pod, how often it was started again, and what it answers."""
        found = {}
        for host in hosts:
            listed = json.loads(self.boxes[host].kubectl("get", "pods", "--selector=app=stub", "--output=json"))
            (pod,) = listed["items"]
            answer = self.boxes[host].shell(f"curl --silent --max-time 10 http://{pod['status']['podIP']}/")
            restarts = pod["status"]["containerStatuses"][0]["restartCount"]
            found[host] = (pod["metadata"]["uid"], restarts, answer.strip())
        return found


def site(host: str) -> str:
    """The site of a host."""
    return host.rpartition("-")[0]


def recap(output: str) -> dict[str, dict[str, int]]:
    """Counts of each host at the end of a run."""
    lines = re.findall(r"^(\S+) +: (ok=.*)$", output, re.MULTILINE)
    return {host: {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", counts)} for host, counts in lines}


def row(output: str, name: str) -> str:
    """The line of the table for a site; what stands before it in a talkative run is how things were then."""
    found = re.findall(rf'"({name} +(?:ok|failed|skipped)\b[^"]*)"', output)
    assert found, output[-3000:]
    return str(found[-1])


def states(output: str) -> dict[str, str]:
    """State of each site, as the table says it."""
    return {name: row(output, name).split()[1] for name in SITES}


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
    code, output = fleet.run("site", "--check")
    assert code == 0, output[-4000:]
    assert [host for host in HOSTS if not recap(output)[host]["changed"]] == []
    assert fleet.running("k3s") == fleet.running("minio") == []
    assert sorted(path.name for path in fleet.inventory.iterdir()) == ["hosts.yml"]


def test_one_site_is_broken_and_one_dies_and_the_others_are_finished(fleet: Fleet) -> None:
    fleet.describe(site_https_port=9000)
    dying = fleet.boxes["dying-1"].name

    def kill() -> None:
        """End the host as a lost power supply would, once its Kubernetes is described and before it is waited for.

        A task that tries again takes a dead host of the bed for one that is not ready yet, and all sites wait for it.
        """
        wait = f"until [ -s {K3S_CONFIG} ]; do sleep 0.1; done"
        subprocess.run(["podman", "exec", dying, "sh", "-c", wait], check=True, timeout=900)
        subprocess.run(["podman", "kill", dying], check=True, capture_output=True)

    with ThreadPoolExecutor(1) as pool:
        killed = pool.submit(kill)
        code, output = fleet.run("site")
        killed.result(timeout=60)
    assert code != 0
    assert states(output) == {
        "alpha": "ok", "beta": "ok", "broken": "failed", "dying": "failed", "epsilon": "ok", "zeta": "ok",
    }, output[-6000:]  # fmt: skip
    assert "SITE-04" in row(output, "broken")
    assert "Kubernetes, on dying-1" in row(output, "dying")
    assert "4 ok, 2 failed, 0 skipped" in output
    counts = recap(output)
    assert {host for host in counts if counts[host]["failed"] or counts[host]["unreachable"]} == {
        "broken-1", "broken-2", "dying-1",
    }  # fmt: skip


def test_flyte_has_proved_itself_in_the_middle_of_this(fleet: Fleet) -> None:
    report = json.loads((fleet.inventory / ".flyte/alpha/report.json").read_text())
    checks = [check for area in report["areas"] for check in area["checks"]]
    assert [check["status"] for check in checks if check["id"] == "FLYTE-60"] == ["passed"]


def test_the_page_of_all_sites_says_where_and_why(fleet: Fleet) -> None:
    page = fleet.page()
    assert {name for name, found in page.items() if found["state"] == "failed"} == {"broken", "dying"}
    assert set(page) == set(SITES)
    assert "SITE-04" in page["broken"]["problems"][0]


def test_the_clusters_of_the_others_carry_work(fleet: Fleet) -> None:
    assert fleet.running("k3s") == FINISHED
    fleet.deploy_stubs(FINISHED)
    assert {host: stub[2] for host, stub in fleet.stubs(FINISHED).items()} == dict.fromkeys(FINISHED, "here")


def test_the_hosts_of_the_broken_site_are_untouched(fleet: Fleet) -> None:
    look = "ls -d /usr/local/bin/* /etc/minio /etc/rancher 2>/dev/null"
    assert [fleet.boxes[host].shell(look, check=False) for host in SITES["broken"]] == ["", ""]


def test_the_list_to_run_again_has_the_hosts_of_the_two(fleet: Fleet) -> None:
    assert fleet.unfinished() == ["broken-1", "broken-2", "dying-1"]


def test_only_what_failed_is_run_again(fleet: Fleet) -> None:
    fleet.describe()
    before = fleet.stubs(FINISHED)
    subprocess.run(["podman", "start", fleet.boxes["dying-1"].name], check=True, capture_output=True)
    code, output = fleet.run("site", "--limit", f"@{fleet.inventory}/failed-sites.retry")
    assert code == 0, output[-4000:]
    assert set(recap(output)) - {"localhost"} == {"broken-1", "broken-2", "dying-1"}
    assert "4 more in the inventory were not in this run" in output
    assert {row(output, name).split()[1] for name in ("broken", "dying")} == {"ok"}
    assert fleet.unfinished() == []
    assert fleet.running("k3s") == [hosts_of[0] for hosts_of in SITES.values()]
    assert fleet.running("minio") == [WHOLE, "broken-2"]
    assert fleet.stubs(FINISHED) == before


def test_a_run_of_all_changes_nothing(fleet: Fleet) -> None:
    before = fleet.stubs(FINISHED)
    code, output = fleet.run("site")
    assert code == 0, output[-4000:]
    counts = recap(output)
    assert {host: counts[host]["changed"] for host in HOSTS} == dict.fromkeys(HOSTS, 0)
    assert "6 ok, 0 failed, 0 skipped" in output
    assert fleet.stubs(FINISHED) == before


def test_check_mode_finds_nothing_to_change(fleet: Fleet) -> None:
    code, output = fleet.run("site", "--check")
    assert code == 0, output[-4000:]
    counts = recap(output)
    assert {host: counts[host]["changed"] for host in HOSTS} == dict.fromkeys(HOSTS, 0)


def test_in_batches_the_run_stops_when_too_many_have_failed(fleet: Fleet) -> None:
    fleet.describe(site_https_port=9000)
    code, output = fleet.run("preflight", "--forks=2", "-e", "fleet_serial=2", "-e", "fleet_max_fail_percentage=10")
    assert code != 0
    # The servers come first: broken-1 shares its batch with dying-1, which is done before the batch is over.
    assert states(output) == {
        "alpha": "ok", "beta": "ok", "broken": "failed", "dying": "ok", "epsilon": "skipped", "zeta": "skipped",
    }  # fmt: skip
    assert "too many other sites had failed" in row(output, "zeta")
    assert fleet.unfinished("-preflight") == ["broken-1", "broken-2", "epsilon-1", "zeta-1"]


def test_a_batch_that_fails_as_a_whole_stops_no_other(fleet: Fleet) -> None:
    code, output = fleet.run("preflight", "-e", "fleet_serial=1")
    assert code != 0
    assert states(output) == {site: "failed" if site == "broken" else "ok" for site in SITES}
    assert recap(output)["zeta-1"]["failed"] == 0


def test_no_secret_was_shown(fleet: Fleet) -> None:
    assert shown(fleet.any_box.output, CANARIES) == {}
