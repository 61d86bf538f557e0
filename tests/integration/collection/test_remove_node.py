# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the playbook remove_node refuses, on hosts that do not answer: it refuses before it asks them for anything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from .conftest import ROOT, run_ansible
from .test_sites import NOBODY, SECRETS

SERVERS = ["server-1", "server-2", "server-3"]


def remove(tmp_path: Path, pattern: str, servers: list[str]) -> subprocess.CompletedProcess:
    inventory = {
        "all": {
            "hosts": dict.fromkeys([*SERVERS, "worker-1"], NOBODY),
            "children": {
                "k3s_servers": {"hosts": dict.fromkeys(servers)},
                "k3s_agents": {"hosts": {"worker-1": None}},
            },
            "vars": {"site_domain": "flyte.example.com", **dict.fromkeys(SECRETS, "secret")},
        }
    }
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(inventory))
    run = run_ansible(Path(sys.executable).parent, ROOT / ".collections", tmp_path)
    return run(
        "ansible-playbook", "flyte.onprem.remove_node", "-i", "hosts.yml", "-e", f"remove_node={pattern}", check=False
    )


@pytest.mark.parametrize(
    ("pattern", "servers"),
    [("server-1", SERVERS[:1]), ("k3s_servers", SERVERS), ("server-1:server-2:server-3", SERVERS), ("all", SERVERS)],
)
def test_the_last_servers_of_a_cluster_are_not_removed(tmp_path: Path, pattern: str, servers: list[str]) -> None:
    result = remove(tmp_path, pattern, servers)
    assert result.returncode == 2, result.stdout
    assert f"Nothing was removed. {pattern} has all servers of the cluster ({', '.join(servers)})" in result.stdout
    assert "flyte.onprem.uninstall" in result.stdout
    assert "TASK [Look at the host]" not in result.stdout


@pytest.mark.parametrize("pattern", ["server-3", "server-2:server-3", "worker-1"])
def test_hosts_beside_a_server_that_stays_may_be_removed(tmp_path: Path, pattern: str) -> None:
    result = remove(tmp_path, pattern, SERVERS)
    assert "Nothing was removed" not in result.stdout
    assert "TASK [Look at the host]" in result.stdout


@pytest.mark.parametrize("pattern", ["server-4", "server-3:server-4", "server-4,worker-1"])
def test_a_host_that_the_inventory_does_not_have_is_refused(tmp_path: Path, pattern: str) -> None:
    result = remove(tmp_path, pattern, SERVERS)
    assert result.returncode == 2, result.stdout
    assert "The inventory has no host 'server-4'" in result.stdout
    assert "kubectl delete node NAME" in result.stdout
