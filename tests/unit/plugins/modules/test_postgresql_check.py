# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What main() does before it asks a server; the rest is in tests/integration/modules/test_postgresql_check.py."""

from __future__ import annotations

import socket
import sys

import pytest
from support.modules import run_module
from support.servers import black_hole

from ansible_collections.flyte.onprem.plugins.modules.postgresql_check import main

ARGUMENTS = {"host": "127.0.0.1", "password": "secret-of-flyte", "sslmode": "disable"}


def test_a_missing_library_is_named_with_the_package_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    result = run_module(main, ARGUMENTS)
    assert result.failed
    assert "python3-psycopg2" in result["msg"]


def test_an_empty_password_is_told_without_asking_a_server() -> None:
    result = run_module(main, {**ARGUMENTS, "password": "", "host": "nowhere.invalid"})
    assert result.statuses("failed") == ["DB-02"]
    assert "DB-10" in result.statuses("skipped")


def test_no_secret_is_in_a_failed_report() -> None:
    result = run_module(main, {**ARGUMENTS, "host": "nowhere.invalid"})
    assert result.statuses("failed") == ["DB-10"]
    assert "secret-of-flyte" not in result.output


def test_a_dead_address_is_tried_once_and_nothing_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[object] = []

    class Socket(socket.socket):
        def connect(self, address: object) -> None:
            tried.append(address)
            super().connect(address)

    with black_hole() as port:
        monkeypatch.setattr(socket, "socket", Socket)
        monkeypatch.setattr("psycopg2.connect", lambda **_settings: tried.append("libpq"))
        result = run_module(main, {**ARGUMENTS, "port": port, "timeout": 0.3, "retries": 5})
    assert tried == [("127.0.0.1", port)]
    assert result.statuses("failed") == ["DB-11"]
