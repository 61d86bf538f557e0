# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What main() does before it asks a server; the rest is in tests/integration/modules/test_postgresql_check.py."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import struct
import sys
import threading
from typing import TYPE_CHECKING

import psycopg2.extensions
import pytest
from support.modules import run_module
from support.servers import black_hole

from ansible_collections.flyte.onprem.plugins.modules.postgresql_check import main

if TYPE_CHECKING:
    from collections.abc import Iterator

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


def parameter(name: str, value: str) -> bytes:
    body = f"{name}\0{value}\0".encode()
    return b"S" + struct.pack("!i", len(body) + 4) + body


# No password is asked for; then what psycopg2 wants to know of a server, and that it is ready.
WELCOME = (
    b"R" + struct.pack("!ii", 8, 0)
    + parameter("server_version", "17.4") + parameter("client_encoding", "UTF8") + parameter("DateStyle", "ISO, MDY")
    + b"Z" + struct.pack("!i", 5) + b"I"
)  # fmt: skip


@contextlib.contextmanager
def server_that_lets_in(answer: bytes | None) -> Iterator[int]:
    """Every login succeeds; a query is answered so, or not at all (C(None))."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(4096)
            self.request.sendall(WELCOME)
            while (message := self.request.recv(4096)) and message[:1] != b"X":
                if answer is not None:
                    self.request.sendall(answer)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


def test_queries_that_are_not_answered_end_at_the_time_limit() -> None:
    with server_that_lets_in(answer=None) as port:
        result = run_module(main, {**ARGUMENTS, "port": port, "timeout": 0.3})
    assert result.statuses("failed") == ["DB-21"]
    assert result.row("DB-21")["observed"] == "no answer within 0.3 seconds"
    assert result.row("DB-08")["observed"] == "skipped because DB-21 failed"
    assert psycopg2.extensions.get_wait_callback() is None


def test_a_query_that_is_refused_is_told_in_the_servers_words() -> None:
    body = b"SERROR\0C57014\0Mthe pooler knows no such server\0\0"
    refusal = b"E" + struct.pack("!i", len(body) + 4) + body + b"Z" + struct.pack("!i", 5) + b"I"
    with server_that_lets_in(answer=refusal) as port:
        result = run_module(main, {**ARGUMENTS, "port": port, "timeout": 5})
    assert result.statuses("failed") == ["DB-21"]
    assert result.row("DB-21")["observed"] == "the pooler knows no such server"


@pytest.mark.parametrize("option", ["host", "address"])
def test_an_address_with_a_password_is_refused_by_name(option: str) -> None:
    result = run_module(main, {**ARGUMENTS, option: "postgresql://flyte:canary/secret@db.example.com"})
    assert result.failed
    assert result["msg"] == f"{option}: an address must not hold a user name or password"
    assert "canary" not in result.output


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"port": 0}, "port: 0 is no TCP port"),
        ({"port": 65536 + 5432}, "port: 70968 is no TCP port"),
        ({"timeout": -1}, "timeout: -1 is no number of seconds"),
        ({"timeout": 1e12}, "timeout: 1e+12 is no number of seconds"),
        ({"retries": -1}, "retries: -1 is no number of further tries"),
        ({"pool_size": -1}, "pool_size: -1 cannot be meant"),
        ({"max_clock_skew": -1}, "max_clock_skew: -1 cannot be meant"),
        ({"max_clock_skew": "nan"}, "max_clock_skew: nan cannot be meant"),
        ({"minimum_version": 17, "maximum_version": 16}, "minimum_version: 17 is above maximum_version, which is 16"),
    ],
)
def test_a_number_that_cannot_be_meant_is_refused_by_name(changes: dict[str, object], words: str) -> None:
    result = run_module(main, {**ARGUMENTS, **changes})
    assert result.failed
    assert result["msg"].startswith(words)
    assert "checks" not in result.values
