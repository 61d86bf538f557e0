# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import yaml
from support.kubernetes_api import TOKEN, FakeApi, kubernetes_api

from ansible_collections.flyte.onprem.plugins.module_utils._checks import Failed
from ansible_collections.flyte.onprem.plugins.module_utils._kubernetes import Unanswered, open_api

CREDENTIAL = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential"}


def with_plugin(server: FakeApi, directory: Path, *command: str, **user: str) -> str:
    """A kubeconfig whose user has a plugin, and what C(user) says beside it."""
    path = server.kubeconfig(directory)
    document = yaml.safe_load(path.read_text())
    plugin = {"apiVersion": CREDENTIAL["apiVersion"], "interactiveMode": "Never"}
    if command:
        plugin |= {"command": command[0], "args": list(command[1:])}
    document["users"][0]["user"] = {"exec": plugin, **user}
    path.write_text(yaml.safe_dump(document))
    return str(path)


def answer(**status: str) -> str:
    return json.dumps({**CREDENTIAL, "status": status})


NOWHERE = FakeApi(server="https://127.0.0.1:1")
# the plugin and its arguments, what is seen of it
PLUGINS = [
    (["/absent/aws-iam"], "the plugin aws-iam gave no credentials: No such file or directory"),
    (["/bin/sh --password=canary"], "the plugin sh gave no credentials: No such file or directory"),
    (["sh", "-c", "echo canary >&2; exit 3"], "the plugin sh gave no credentials: it ended with 3"),
    (["sleep", "60"], "the plugin sleep gave no credentials: no answer within 0.3 seconds"),
    (["echo", "canary"], "its answer holds none"),
    (["echo", answer(token="")], "its answer holds none"),
    (["echo", answer(clientCertificateData="canary", clientKeyData="")], "its answer holds none"),
    (["echo", answer(clientCertificateData="canary")], "its answer holds none"),
    (["echo", json.dumps({**CREDENTIAL, "status": None})], "its answer holds none"),
    ([], "the plugin without a command gave no credentials"),
]


@pytest.mark.parametrize("user", [{}, {"client-certificate": "user.crt", "client-key": "user.key"}])
@pytest.mark.parametrize(("command", "seen"), PLUGINS)
def test_a_plugin_that_gives_no_credentials_is_named_whatever_else_the_user_has(
    tmp_path: Path, command: list[str], seen: str, user: dict[str, str]
) -> None:
    for name in user.values():
        (tmp_path / name).touch()
    with pytest.raises(Failed) as caught:
        open_api(with_plugin(NOWHERE, tmp_path, *command, **user), None, timeout=0.3)
    assert caught.value.id == "K8S-04"
    assert seen in caught.value.observed
    assert "canary" not in str(caught.value)


def ended(process: int) -> bool:
    """Whether a process is gone, or dead and not yet collected; a signal takes a moment."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    time.sleep(0 if state in "XZ" else 0.1)
    return state in "XZ"


def test_what_a_plugin_started_is_killed_with_it(tmp_path: Path) -> None:
    script = f"sleep 60 & echo $! >{tmp_path}/pid; wait"
    with pytest.raises(Failed, match="no answer within"):
        open_api(with_plugin(NOWHERE, tmp_path, "sh", "-c", script), None, timeout=0.5)
    process = int((tmp_path / "pid").read_text())
    assert any(ended(process) for _ in range(100)), "it still runs"


def test_a_plugin_is_asked_again_for_what_has_expired_and_within_the_time_as_well(tmp_path: Path) -> None:
    given = answer(token=TOKEN, expirationTimestamp="2020-01-01T00:00:00Z")
    script = f"cd {tmp_path}; echo x >>asked; [ $(wc -l <asked) -lt 3 ] || exec sleep 60; echo '{given}'"
    with kubernetes_api({"/version": {"gitVersion": "v1.36.4"}}) as server:
        api = open_api(with_plugin(server, tmp_path, "sh", "-c", script), None, timeout=2)
        assert api.get("/version")["gitVersion"] == "v1.36.4"
        with pytest.raises(Unanswered, match=r"GET /version: the plugin sh gave no credentials: no answer within 2 s"):
            api.get("/version")
        api.close()
