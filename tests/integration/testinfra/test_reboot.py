# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that restarts brings its site back by itself. These tests run last."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest
from testinfra.host import Host

from .conftest import Request, RunWorkflow, Site, from_inventory

testinfra_hosts = ["ansible://k3s_servers"]


def test_the_site_comes_back_after_a_reboot(
    host: Host, site: Site, request_url: Request, kubectl: Callable[..., Any]
) -> None:
    name, connection = from_inventory(host, "ansible_host", "ansible_connection")
    if connection != "containers.podman.podman":
        pytest.skip("reboots only hosts that are containers of this machine")
    before = host.check_output("stat -c %Y /proc/1")
    subprocess.run(["podman", "restart", "--time", "60", name], check=True, capture_output=True)
    assert host.check_output("stat -c %Y /proc/1") != before

    def healthy() -> bool:
        try:
            return request_url(f"{site.url}/api/v1/projects").status == 200
        except OSError:
            return False

    deadline = time.monotonic() + 300
    while not healthy():
        assert time.monotonic() < deadline, "the site did not come back within five minutes"
        time.sleep(3)
    nodes = kubectl("get", "nodes", "-o", "json")["items"]
    ready = [condition["status"] for condition in nodes[0]["status"]["conditions"] if condition["type"] == "Ready"]
    assert ready == ["True"]


def test_a_workflow_runs_after_the_reboot(run_workflow: RunWorkflow) -> None:
    execution = run_workflow("answer", 4)
    assert (execution.phase, execution.error) == ("SUCCEEDED", "")
    assert execution.outputs["o0"]["scalar"]["primitive"] == {"stringValue": "the answer is 8"}
