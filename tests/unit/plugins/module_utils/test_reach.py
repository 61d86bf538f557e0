# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import socket
import threading
import time

import pytest
from support.servers import black_hole, free_port

from ansible_collections.flyte.onprem.plugins.module_utils._reach import connect, lookup, parse_url


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


def test_a_secret_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValueError, match="must not hold") as caught:
        parse_url("https://user:canary@example.com")
    assert "canary" not in str(caught.value)


def test_a_resolver_that_hangs_costs_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    given_up = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: [given_up.wait()])
    with pytest.raises(TimeoutError):  # else this would never end
        lookup("s3.example.com", 443, timeout=0.2)
    given_up.set()


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
