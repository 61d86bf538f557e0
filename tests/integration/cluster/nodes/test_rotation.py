# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The token of a cluster without members of etcd changes: one server with SQLite, or several with a datastore.

With members of etcd it does in ../operations.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ..conftest import TOKENS, Kubectl, Machine, condition, joins, nodes_now, processes, restarted
from ..playbooks import Playbooks


@pytest.fixture(scope="module")
def playbooks(inventory: str, secrets: Path, servers: list[Machine]) -> Playbooks:
    # The address of the datastore, which a playbook that does not ask that host cannot know.
    config = yaml.safe_load(servers[0].host.file("/etc/rancher/k3s/config.yaml").content_string)
    endpoint = config.get("datastore-endpoint", "")
    if len(servers) > 1 and not endpoint:
        pytest.skip("members of etcd in this scenario")
    variables = {"k3s_datastore_endpoint": endpoint} if endpoint else {}
    return Playbooks(inventory, {name: (secrets / name).read_text().strip() for name in TOKENS}, variables)


def known(servers: list[Machine], tokens: dict[str, str]) -> dict[str, list[bool]]:
    """Whether each server takes these tokens; one without etcd has nothing for others to begin with."""
    return {name: [answer != 401 for answer in answers] for name, answers in joins(servers, tokens).items()}


def test_after_a_rotation_the_old_token_is_of_no_use(
    playbooks: Playbooks, machines: list[Machine], servers: list[Machine], kubectl: Kubectl, secrets: Path
) -> None:
    old = dict(playbooks.secrets)
    assert known(servers, old) == {server.name: [True, True] for server in servers}
    (secrets / TOKENS[0]).rename(secrets / f"{TOKENS[0]}.old")
    before = processes(machines)
    playbooks.do("flyte.onprem.rotate_token", "--diff")
    new = {name: (secrets / name).read_text().strip() for name in TOKENS}
    playbooks.secrets["new"] = new[TOKENS[0]]
    assert new[TOKENS[0]] != old[TOKENS[0]]
    # Agents have a token of their own, which stays.
    assert restarted(machines, before) == {server.name for server in servers}
    assert known(servers, new) == {server.name: [True, True] for server in servers}
    assert known(servers, old) == {server.name: [False, True] for server in servers}
    ready = {name: condition(node, "Ready") for name, node in nodes_now(kubectl).items()}
    assert ready == {machine.node: "True" for machine in machines}
    assert set(playbooks.do("flyte.onprem.rotate_token").values()) == {0}
