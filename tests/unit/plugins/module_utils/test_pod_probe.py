# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the pod's program does by itself; against servers it is in tests/integration/modules/test_pod_probe.py."""

from __future__ import annotations

import ast
import json
import sys

import pytest
from support.servers import LOOPBACK, free_port

from ansible_collections.flyte.onprem.plugins.module_utils import _pod_probe as probe
from ansible_collections.flyte.onprem.plugins.module_utils._pod import probe_text


def test_the_program_needs_nothing_but_pythons_own_library() -> None:
    tree = ast.parse(probe_text(), feature_version=(3, 7))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported - set(sys.stdlib_module_names) == set()


@pytest.mark.parametrize("host", ["nowhere.invalid", f"{'x' * 64}.example.com"])
def test_a_name_that_is_none_ends_at_the_name(host: str) -> None:
    found = probe.look({"scheme": "tcp", "host": host, "port": 1, "verify": False}, 2, "")
    assert found["step"] == "name"
    assert found["seen"]


def test_main_writes_one_line_and_fails_with_a_service(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    service = {"scheme": "tcp", "host": LOOPBACK, "port": free_port(), "verify": False}
    monkeypatch.setenv(probe.SERVICES, json.dumps([service, service]))
    monkeypatch.setenv(probe.TIMEOUT, "2")
    assert probe.main() == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert [item["step"] for item in json.loads(line.removeprefix(probe.MARK))] == ["port", "port"]
