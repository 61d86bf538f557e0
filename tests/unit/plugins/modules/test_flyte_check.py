# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What main() does by itself; the checks are in tests/integration/modules and module_utils/test_flyte.py."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support.modules import run_module
from support.servers import free_port

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
