# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What main() does by itself; the checks are in tests/integration/modules and module_utils/test_flyte.py."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.flyte import wait_for
from support.kubernetes_api import FakeApi, kubernetes_api
from support.modules import run_module
from support.pki import Authority
from support.servers import free_port, silent_port
from support.services import web

from ansible_collections.flyte.onprem.plugins.modules.flyte_check import main


def test_the_library_for_the_cluster_is_needed_with_a_kubeconfig_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    url = f"http://127.0.0.1:{free_port()}"
    assert run_module(main, {"url": url}).statuses("failed") == ["FLYTE-12"]
    missing = run_module(main, {"url": url, "kubeconfig": "/absent"})
    assert missing.failed
    assert "kubernetes" in missing["msg"]


def test_the_cluster_is_looked_at_even_if_the_address_is_dead(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    result = run_module(main, {"url": url, "kubeconfig": str(tmp_path / "absent"), "report_only": True})
    assert not result.failed
    assert not result["passed"]
    assert result.statuses("failed") == ["FLYTE-12", "K8S-01"]
    assert "K8S-01 failed" in result.row("FLYTE-30")["observed"]


def test_a_password_in_the_address_is_refused_and_nowhere_in_the_result() -> None:
    result = run_module(main, {"url": "https://user:with/hidden-word@flyte.example.com"})
    assert result.failed
    assert result["msg"] == "url: an address must not hold a user name or password"
    assert "hidden-word" not in result.output


def test_an_address_that_is_none_is_refused_by_name() -> None:
    result = run_module(main, {"url": "http://flyte.example.com", "resolve": {"flyte.example.com": ["192.0.2.1"]}})
    assert result.failed
    assert result["msg"].startswith("resolve: flyte.example.com: its value is no IP address")


def test_a_namespace_that_can_be_none_is_refused_by_name() -> None:
    result = run_module(main, {"url": "http://flyte.example.com", "namespace": "../nodes"})
    assert result.failed
    assert result["msg"].startswith("namespace: '../nodes' is no name of a namespace")


def test_a_server_that_falls_silent_is_one_row_and_is_asked_no_more(tmp_path: Path) -> None:
    """Flyte after its health, and its cluster's API server after its version."""
    still = threading.Event()
    asked: list[str] = []

    def answer(_method: str, path: str, _headers: Any, _body: bytes) -> tuple[int, Any]:
        asked.append(path)
        if path != "/healthcheck":
            still.wait(30)
        return 200, {}

    cluster = {"/version": {"gitVersion": "v1.36.4"}, "/readyz": "ok"}
    pods = {"/api/v1/namespaces/flyte/pods": lambda: still.wait(30)}
    with web(answer) as port, kubernetes_api({**cluster, **pods}) as api:
        options = {"url": f"http://127.0.0.1:{port}", "http_port": port, "timeout": 0.5}
        result = run_module(main, {**options, "kubeconfig": str(api.kubeconfig(tmp_path))})
        still.set()
    assert [row["id"] for row in result["checks"] if row["status"] == "failed"] == ["FLYTE-19", "K8S-15"]
    assert asked == ["/healthcheck", "/api/v1/version"]
    assert api.asked == ["GET /version", "GET /readyz", "GET /api/v1/namespaces/flyte/pods"]
    for id in ("FLYTE-17", "FLYTE-18", "FLYTE-20", "FLYTE-23"):
        assert result.row(id)["observed"] == "skipped because FLYTE-19 failed"
    for id in ("FLYTE-31", "FLYTE-33", "FLYTE-34"):
        assert result.row(id)["observed"] == "skipped because K8S-15 failed"


def started(directory: Path, user: dict[str, Any], *, server: str) -> subprocess.Popen[bytes]:
    """The module as a process of its own, which can be told to end; its temporary files are in C(directory)/tmp."""
    path = FakeApi(server=server).kubeconfig(directory)
    document = yaml.safe_load(path.read_text())
    document["users"][0]["user"] = user
    path.write_text(yaml.safe_dump(document))
    arguments = {"url": f"http://127.0.0.1:{free_port()}", "kubeconfig": str(path), "timeout": 60}
    given = directory / "arguments.json"
    given.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": arguments}))
    (directory / "tmp").mkdir()
    return subprocess.Popen(
        [sys.executable, "-c", f"from {main.__module__} import main; main()", str(given)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(directory / "tmp")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_a_check_that_is_told_to_end_leaves_no_key_of_the_client(tmp_path: Path) -> None:
    """The library writes what stands in a kubeconfig to files."""
    leaf = Authority(tmp_path / "pki").issue("user")
    user = {
        f"client-{name}-data": base64.b64encode(file.read_bytes()).decode()
        for name, file in (("certificate", leaf.certificate), ("key", leaf.key))
    }

    def left() -> list[str]:
        return [file.read_text() for file in (tmp_path / "tmp").rglob("*") if file.is_file()]

    with silent_port() as port:
        process = started(tmp_path, user, server=f"https://127.0.0.1:{port}")
        wait_for(lambda: any("PRIVATE KEY" in text for text in left()), what="the key's file")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=100) != 0
    assert left() == []


def test_a_check_that_is_told_to_end_ends_the_plugin_that_it_waits_for(tmp_path: Path) -> None:
    script = f"echo $$ >{tmp_path}/new && mv {tmp_path}/new {tmp_path}/pid; exec sleep 60"
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", script]}
    process = started(tmp_path, {"exec": {**plugin, "interactiveMode": "Never"}}, server="https://127.0.0.1:1")
    wait_for((tmp_path / "pid").exists, what="the plugin")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) != 0
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
