# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What role k3s refuses before it changes anything: each finding by its id, with what to do.

The look at the host goes to this machine, which is only read; its own findings (ports, cgroups) do not matter here.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
ADDRESSES = {"a": "192.0.2.1", "b": "192.0.2.2", "c": "192.0.2.3", "d": "192.0.2.4"}
CLUSTER: dict[str, Any] = {
    "site_domain": "flyte.example.com",
    "site_address": "192.0.2.1",
    "site_host_addresses": ADDRESSES,
    "site_host_names": {name: f"node-{name}" for name in ADDRESSES},
    "k3s_node_name": "node-a",
    "k3s_servers": ["a", "b", "c"],
    "k3s_agents": ["d"],
    "k3s_api_port": 1,  # nobody answers there
}
# what is wrong, variables, the finding, what its text must say
BAD_INPUT: list[tuple[str, dict[str, Any], str, list[str]]] = [
    ("an even number of etcd members", {"k3s_servers": ["a", "b"]}, "K3S-57", ["2 servers (a, b)", "datastore"]),
    ("a host of both kinds", {"k3s_agents": ["a", "d"]}, "K3S-62", ["a is both", "k3s_agents"]),
    ("an unknown option", {"k3s_config": {"tls-sans": ["x"]}}, "K3S-63", ["tls-sans", "k3s server --help"]),
    ("an option with a variable", {"k3s_config": {"token": "x"}}, "K3S-64", ["token is set by k3s_token"]),
    ("a name that two hosts have", {"k3s_node_name": "node-b"}, "K3S-65", ["a and another host", "hostnamectl"]),
    ("a variable that is an option", {"k3s_environment": {"K3S_TOKEN": "x"}}, "K3S-50", ["K3S_TOKEN", "k3s_config"]),
    ("a variable of two lines", {"k3s_environment": {"A": "x\nB=y"}}, "K3S-50", ["k3s_environment has A"]),
    ("a name that is none", {"k3s_environment": {"A B": "x"}}, "K3S-50", ["A B"]),
    (
        "agents without a cluster",
        {"k3s_servers": [], "k3s_agents": ["a"], "k3s_join_url": "https://:6443"},
        "K3S-66",
        ["a is an agent", "k3s_join_url"],
    ),
    (
        "two datastores",
        {"k3s_datastore_endpoint": "postgres://u:p@h/d", "k3s_config": {"cluster-init": True}},
        "K3S-67",
        ["Leave one of the two out"],
    ),
]


def findings(
    tmp_path: Path, *, hosts: Sequence[str] = ("a",), phase: str = "preflight", **variables: Any
) -> dict[str, str]:
    """Run a phase of the role in check mode; its findings by id."""
    playbook = [
        {
            "name": "Look",
            "hosts": "all",
            "gather_facts": False,
            "vars_files": [str(ROOT / "roles/site/defaults/main.yml")],
            "tasks": [{"ansible.builtin.import_role": {"name": "flyte.onprem.k3s", "tasks_from": phase}}],
        }
    ]
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory = {"all": {"hosts": dict.fromkeys(hosts), "vars": local}}
    files = {
        "playbook": playbook,
        "inventory": inventory,
        "variables": {**CLUSTER, "site_directory": str(tmp_path), **variables},
    }
    for name, content in files.items():
        (tmp_path / f"{name}.yml").write_text(yaml.safe_dump(content))
    run = subprocess.run(
        ["ansible-playbook", "--check", "--inventory=inventory.yml", "--extra-vars=@variables.yml", "playbook.yml"],
        cwd=tmp_path,
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"), "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    output = run.stdout + run.stderr
    assert "PLAY RECAP" in output and re.findall(r"changed=[1-9]", output) == [], output
    return dict(re.findall(r"\[(K3S-\d+)\] (.*?)(?:Read more|docs/problems)", output, re.DOTALL))


@pytest.mark.parametrize(
    ("variables", "identifier", "said"), [case[1:] for case in BAD_INPUT], ids=[case[0] for case in BAD_INPUT]
)
def test_bad_input_is_refused_by_name(
    tmp_path: Path, variables: dict[str, Any], identifier: str, said: list[str]
) -> None:
    found = findings(tmp_path, **variables)
    assert identifier in found
    assert [word for word in said if word not in found[identifier]] == []


def test_a_lost_first_server_does_not_found_a_second_cluster(tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text("{}")
    assert "none of b, c answers" in findings(tmp_path)["K3S-68"]


def test_a_cluster_that_can_be_built_is_not_refused(tmp_path: Path) -> None:
    about_the_cluster = {identifier for _, _, identifier, _ in BAD_INPUT} | {"K3S-68"}
    assert findings(tmp_path).keys() & about_the_cluster == set()


def test_two_servers_do_not_leave_a_cluster_at_once(tmp_path: Path) -> None:
    found = findings(tmp_path, hosts=("b", "c"), phase="uninstall")
    assert "b, c would leave" in found["K3S-69"]
