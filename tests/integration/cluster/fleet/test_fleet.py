# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Six sites in one inventory: what happens to one is no matter of the others.

The first is a whole Flyte site. The others have their cluster, in which a stub stands for what people run there; one of
them has an object store on a second host. The tests build on each other in their order.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import testinfra
from support.leaks import shown
from testinfra.host import Host

from ..conftest import door, variable
from ..playbooks import Playbooks, Run

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

    hosts: dict[str, Host]
    containers: dict[str, str]  # of the bed, by host
    inventory: Path
    directory: Path  # with the folders of all sites
    playbooks: Playbooks
    output: str = ""

    def run(self, playbook: str, *options: str, **variables: Any) -> Run:
        """Run to the end, whichever it is, and tell all there is to tell."""
        run = self.playbooks.run(f"flyte.onprem.{playbook}", "-vvv", "--diff", *options, **variables)
        self.output += run.output
        return run

    def do(self, playbook: str, *options: str, **variables: Any) -> Run:
        """Run to a good end."""
        run = self.run(playbook, *options, **variables)
        assert run.code == 0, run.output[-4000:]
        return run

    def unfinished(self, run: str = "") -> list[str]:
        """The hosts that have to be done again by the playbook site, or by another, with *run* in its list's name."""
        path = self.inventory / f"failed-sites{run}.retry"
        return path.read_text().split() if path.exists() else []

    def page(self) -> dict[str, dict[str, Any]]:
        """The rows of the page of all sites, as programs read it."""
        return {row["site"]: row for row in json.loads((self.directory / "fleet.json").read_text())["sites"]}

    def running(self, unit: str) -> list[str]:
        """The hosts on which a unit runs."""
        return [name for name, host in self.hosts.items() if host.run(f"systemctl is-active {unit}").succeeded]

    def deploy_stubs(self, hosts: list[str]) -> None:
        """Start the stub in clusters, and wait for it."""
        for name in hosts:
            self.hosts[name].check_output(f"printf %s {shlex.quote(json.dumps(STUB))} | k3s kubectl apply -f -")
        for name in hosts:
            self.hosts[name].check_output("k3s kubectl rollout status deployment/stub --timeout=120s")

    def stubs(self, hosts: list[str]) -> dict[str, tuple[str, int, str]]:
        """Of the stub in each cluster: its pod, how often it was started again, and what it answers."""
        found = {}
        for name in hosts:
            listed = self.hosts[name].check_output("k3s kubectl get pods --selector=app=stub --output=json")
            (pod,) = json.loads(listed)["items"]
            answer = self.hosts[name].run(f"curl --silent --max-time 10 http://{pod['status']['podIP']}/").stdout
            restarts = pod["status"]["containerStatuses"][0]["restartCount"]
            found[name] = (pod["metadata"]["uid"], restarts, answer.strip())
        return found


def site(host: str) -> str:
    """The site of a host."""
    return host.rpartition("-")[0]


def row(output: str, name: str) -> str:
    """The line of the table for a site; what stands before it in a talkative run is how things were then."""
    found = re.findall(rf'"({name} +(?:ok|failed|skipped)\b[^"]*)"', output)
    assert found, output[-3000:]
    return str(found[-1])


def states(output: str) -> dict[str, str]:
    """State of each site, as the table says it."""
    return {name: row(output, name).split()[1] for name in SITES}


@pytest.fixture(scope="module")
def fleet(inventory: str, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """The inventory is a copy, since the list to run again is written beside it."""
    described = {name: testinfra.get_host(f"ansible://{name}", ansible_inventory=inventory) for name in HOSTS}
    copy = tmp_path_factory.mktemp("fleet") / "inventory"
    shutil.copytree(inventory, copy)
    return Fleet(
        hosts={name: door(host) for name, host in described.items()},
        containers={name: variable(host, "ansible_host") for name, host in described.items()},
        inventory=copy,
        directory=Path(variable(described[WHOLE], "site_directory")).parent,
        playbooks=Playbooks(str(copy)),
    )


def test_check_mode_tells_what_would_be_done_and_does_nothing(fleet: Fleet) -> None:
    run = fleet.do("site", "--check")
    assert [host for host in HOSTS if not run.changed[host]] == []
    assert fleet.running("k3s") == fleet.running("minio") == []
    assert not fleet.directory.exists()
    assert sorted(path.name for path in fleet.inventory.iterdir()) == ["group_vars", "hosts.yml"]


def test_one_site_is_broken_and_one_dies_and_the_others_are_finished(fleet: Fleet) -> None:
    dying = fleet.containers["dying-1"]

    def kill() -> None:
        """End the host as a lost power supply would, once its Kubernetes is described and before it is waited for.

        A task that tries again takes a dead host of the bed for one that is not ready yet, and all sites wait for it.
        """
        wait = f"until [ -s {K3S_CONFIG} ]; do sleep 0.1; done"
        subprocess.run(["podman", "exec", dying, "sh", "-c", wait], check=True, timeout=900)
        subprocess.run(["podman", "kill", dying], check=True, capture_output=True)

    with ThreadPoolExecutor(1) as pool:
        killed = pool.submit(kill)
        run = fleet.run("site", slip=True)
        killed.result(timeout=60)
    assert run.code != 0
    assert states(run.output) == {
        "alpha": "ok", "beta": "ok", "broken": "failed", "dying": "failed", "epsilon": "ok", "zeta": "ok",
    }, run.output[-6000:]  # fmt: skip
    assert "SITE-04" in row(run.output, "broken")
    assert "Kubernetes, on dying-1" in row(run.output, "dying")
    assert "4 ok, 2 failed, 0 skipped" in run.output
    assert run.lost == {"broken-1", "broken-2", "dying-1"}


def test_flyte_has_proved_itself_in_the_middle_of_this(fleet: Fleet) -> None:
    report = json.loads((fleet.directory / "alpha/report.json").read_text())
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
    assert [fleet.hosts[host].run(look).stdout for host in SITES["broken"]] == ["", ""]


def test_the_list_to_run_again_has_the_hosts_of_the_two(fleet: Fleet) -> None:
    assert fleet.unfinished() == ["broken-1", "broken-2", "dying-1"]


def test_only_what_failed_is_run_again_in_batches_that_divide_a_site(fleet: Fleet) -> None:
    before = fleet.stubs(FINISHED)
    subprocess.run(["podman", "start", fleet.containers["dying-1"]], check=True, capture_output=True)
    run = fleet.do("site", "--limit", f"@{fleet.inventory}/failed-sites.retry", fleet_serial=[1, 2])
    assert set(run.changed) - {"localhost"} == {"broken-1", "broken-2", "dying-1"}
    assert "4 more in the inventory were not in this run" in run.output
    assert {row(run.output, name).split()[1] for name in ("broken", "dying")} == {"ok"}
    assert fleet.unfinished() == []
    assert fleet.running("k3s") == [hosts_of[0] for hosts_of in SITES.values()]
    assert fleet.running("minio") == [WHOLE, "broken-2"]
    assert fleet.stubs(FINISHED) == before


def test_a_run_of_all_changes_nothing(fleet: Fleet) -> None:
    before = fleet.stubs(FINISHED)
    run = fleet.do("site")
    assert {host: run.changed[host] for host in HOSTS} == dict.fromkeys(HOSTS, 0)
    assert "6 ok, 0 failed, 0 skipped" in run.output
    assert fleet.stubs(FINISHED) == before


def test_check_mode_finds_nothing_to_change(fleet: Fleet) -> None:
    run = fleet.do("site", "--check")
    assert {host: run.changed[host] for host in HOSTS} == dict.fromkeys(HOSTS, 0)


def test_in_batches_the_run_stops_when_too_many_have_failed(fleet: Fleet) -> None:
    run = fleet.run("preflight", "--forks=2", slip=True, fleet_serial=2, fleet_max_fail_percentage=10)
    assert run.code != 0
    # The servers come first: broken-1 shares its batch with dying-1, which is done before the batch is over.
    assert states(run.output) == {
        "alpha": "ok", "beta": "ok", "broken": "failed", "dying": "ok", "epsilon": "skipped", "zeta": "skipped",
    }  # fmt: skip
    assert "too many other sites had failed" in row(run.output, "zeta")
    assert fleet.unfinished("-preflight") == ["broken-1", "broken-2", "epsilon-1", "zeta-1"]


def test_a_batch_that_fails_as_a_whole_stops_no_other(fleet: Fleet) -> None:
    run = fleet.run("preflight", slip=True, fleet_serial=1)
    assert run.code != 0
    assert states(run.output) == {site: "failed" if site == "broken" else "ok" for site in SITES}
    assert "zeta-1" not in run.lost


def test_no_secret_was_shown(fleet: Fleet) -> None:
    secrets = {str(path): path.read_text().strip() for path in fleet.directory.glob("*/secrets/*")}
    assert len(secrets) > len(SITES)
    assert shown(fleet.output, secrets) == {}
