# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
import time
from collections.abc import Iterator

import pytest
from support.servers import black_hole, free_port

from ansible_collections.flyte.onprem.plugins.module_utils._catalogue import CATALOGUE
from ansible_collections.flyte.onprem.plugins.module_utils._checks import Report
from ansible_collections.flyte.onprem.plugins.module_utils._reach import (
    ReachIds,
    connect,
    lookup,
    lookup_problem,
    parse_url,
    reach,
    wrong_scheme,
)


@pytest.mark.parametrize(
    ("url", "host", "port", "endpoint"),
    [
        # as given, host, port, as shown
        ("https://s3.example.com", "s3.example.com", 443, "https://s3.example.com"),
        ("http://S3.Example.com:80/", "s3.example.com", 80, "http://s3.example.com"),
        ("https://192.0.2.1:9000", "192.0.2.1", 9000, "https://192.0.2.1:9000"),
        ("https://[2001:db8::1]:9000", "2001:db8::1", 9000, "https://[2001:db8::1]:9000"),
    ],
)
def test_an_address_is_split(url: str, host: str, port: int, endpoint: str) -> None:
    address = parse_url(url)
    assert (address.host, address.port, address.endpoint) == (host, port, endpoint)


@pytest.mark.parametrize("url", ["", "s3.example.com", "ftp://example.com", "https://", "https://example.com:port"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"address|port"):
        parse_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://user:canary@example.com",
        "https://user:with/canary@example.com",
        "https://user:with#canary@example.com",
        "user:canary@example.com",
    ],
)
def test_a_secret_in_an_address_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="must not hold") as caught:
        parse_url(url)
    assert "canary" not in str(caught.value)


def test_a_resolver_that_hangs_costs_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    given_up = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: [given_up.wait()])
    with pytest.raises(TimeoutError):  # else this would never end
        lookup("s3.example.com", 443, timeout=0.2)
    given_up.set()


@pytest.mark.parametrize(
    ("raised", "seen"), [(RuntimeError("odd"), RuntimeError), (ValueError("embedded null character"), OSError)]
)
def test_what_goes_wrong_in_a_resolver_is_no_silence(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, seen: type[Exception]
) -> None:
    def resolve(*_args: object, **_kwargs: object) -> None:
        raise raised

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(seen, match=str(raised)):
        lookup("s3.example.com", 443, timeout=5)


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Each address that was tried, in order."""
    addresses: list[object] = []

    class Socket(socket.socket):
        def connect(self, address: object) -> None:
            addresses.append(address)
            super().connect(address)

    monkeypatch.setattr(socket, "socket", Socket)
    return addresses


def test_several_lost_addresses_share_one_timeout(tried: list[object]) -> None:
    with black_hole() as port:
        tried.clear()  # those that fill the hole
        addresses = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port))] * 3
        with pytest.raises(OSError, match="timed out"):
            connect(addresses, deadline=time.monotonic() + 0.6, retries=5)
    assert len(tried) == 3


def test_a_refusal_is_tried_again_within_the_deadline(tried: list[object]) -> None:
    addresses = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", free_port()))]
    with pytest.raises(ConnectionRefusedError):
        connect(addresses, deadline=time.monotonic() + 10, retries=1)
    assert len(tried) == 2


def test_a_name_that_nobody_knows_is_asked_for_once_and_nothing_is_connected(
    monkeypatch: pytest.MonkeyPatch, tried: list[object]
) -> None:
    asked: list[object] = []

    def unknown(host: object, *_args: object, **_kwargs: object) -> object:
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    report = Report(CATALOGUE, timeout="60")
    ids = ReachIds(name="S3-20", port="S3-21", way="S3-22")
    reach(report, parse_url("https://nowhere.example.com"), ids=ids, ca_file=None, timeout=60, retries=5)
    assert asked == ["nowhere.example.com"]
    assert tried == []
    assert [row.status for row in report.rows] == ["failed"] + ["skipped"] * (len(report.rows) - 1)


def test_a_lost_address_is_tried_once_however_many_retries_are_asked_for(tried: list[object]) -> None:
    report = Report(CATALOGUE, timeout="0.2")
    ids = ReachIds(name="S3-20", port="S3-21", way="S3-22")
    with black_hole() as port:
        tried.clear()  # those that fill the hole
        reach(report, parse_url(f"https://127.0.0.1:{port}"), ids=ids, ca_file=None, timeout=0.2, retries=5)
    assert tried == [("127.0.0.1", port)]
    assert [row.id for row in report.rows if row.status == "failed"] == ["S3-22"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        # what the resolver said, what a person reads of it
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "not known"),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), "no DNS server"),
        (TimeoutError("name resolution"), "within 7 seconds"),
    ],
)
def test_an_unknown_name_is_told_from_a_dns_server_that_is_silent(error: OSError, words: str) -> None:
    assert words in lookup_problem(error, timeout=7)


@pytest.mark.parametrize(
    ("url", "right"),
    [
        ("https://s3.example.com:9000", "http://s3.example.com:9000"),
        ("http://s3.example.com", "https://s3.example.com:80"),
        ("http://[2001:db8::1]:9000", "https://[2001:db8::1]:9000"),
    ],
)
def test_the_remedy_for_a_wrong_scheme_is_the_address_to_write(url: str, right: str) -> None:
    assert f"Write {right}, or" in wrong_scheme(parse_url(url), "").fix


HANDSHAKE_FAILURE = bytes([21, 3, 3, 0, 2, 2, 40])  # a record of TLS with a fatal alert


@contextlib.contextmanager
def refusing_tls() -> Iterator[int]:
    """A port of TLS that refuses every handshake with an alert, and tells who speaks plain HTTP that it is one."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            hello = self.request.recv(4096).startswith(b"\x16")
            self.request.sendall(HANDSHAKE_FAILURE if hello else b"HTTP/1.0 400 Bad Request\r\n\r\n")

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


def test_a_server_that_refuses_the_handshake_speaks_tls_whatever_it_says_to_plain_http() -> None:
    report = Report(CATALOGUE, timeout="5")
    ids = ReachIds(name="S3-20", port="S3-21", way="S3-22")
    with refusing_tls() as port:
        reach(report, parse_url(f"https://127.0.0.1:{port}"), ids=ids, ca_file=None, timeout=5)
    (row,) = [row for row in report.rows if row.status == "failed"]
    assert row.id == "TLS-10"
    assert "ALERT_HANDSHAKE_FAILURE" in row.observed
