# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The small parts; the whole of it is tested through the module."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest
from support.servers import black_hole, free_port, resolving_to, server_that_sends

from ansible_collections.flyte.onprem.plugins.module_utils._checks import Failed
from ansible_collections.flyte.onprem.plugins.module_utils._reach import parse_url
from ansible_collections.flyte.onprem.plugins.module_utils._resolve import pinned
from ansible_collections.flyte.onprem.plugins.module_utils._s3 import (
    Bucket,
    Store,
    http_request,
    parse_bucket,
    parse_endpoint,
    real_version,
    same,
)


@pytest.mark.parametrize(
    ("given", "bucket", "folder"),
    [
        # as given, as understood, where the check writes
        ("data", Bucket("data"), "flyte-onprem-check/"),
        ({"name": "data"}, Bucket("data"), "flyte-onprem-check/"),
        ({"name": "data", "prefix": None}, Bucket("data"), "flyte-onprem-check/"),
        ({"name": "data", "prefix": "/a/b/"}, Bucket("data", "/a/b/"), "a/b/flyte-onprem-check/"),
    ],
)
def test_a_bucket_is_a_name_or_a_dictionary(given: Any, bucket: Bucket, folder: str) -> None:
    assert parse_bucket(given) == bucket
    assert bucket.folder == folder


@pytest.mark.parametrize("given", ["", 5, None, {}, {"prefix": "a"}, {"name": "data", "path": "a"}])
def test_what_is_no_bucket_is_refused(given: Any) -> None:
    with pytest.raises(ValueError, match="neither a name nor a dictionary"):
        parse_bucket(given)


def test_a_store_has_no_path() -> None:
    assert parse_endpoint("endpoint", "https://s3.example.com/").host == "s3.example.com"
    with pytest.raises(ValueError, match=r"^endpoint: 'https://example.com/s3' has a path"):
        parse_endpoint("endpoint", "https://example.com/s3")


@pytest.mark.parametrize(
    ("answer", "version"), [({}, ""), ({"VersionId": None}, ""), ({"VersionId": "null"}, ""), ({"VersionId": "v"}, "v")]
)
def test_a_bucket_without_versions_has_none(answer: dict[str, Any], version: str) -> None:
    assert real_version(answer) == version


def test_other_content_fails_with_its_size_and_not_with_itself() -> None:
    assert same(b"one", b"one")
    with pytest.raises(Failed, match="3 bytes were written, 4 bytes with other content came back") as caught:
        same(b"four", b"one", id="S3-16")
    assert caught.value.id == "S3-16"


def test_secrets_are_in_no_representation() -> None:
    store = Store(endpoint="https://s3.example.com", secret_key="canary", session_token="canary")
    assert "canary" not in repr(store)


@pytest.mark.parametrize(
    ("start", "then"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"HTTP/1.1 200 OK\r\n", b"X-Header: x\r\n"),
    ],
)
def test_an_answer_that_trickles_ends_at_the_time_limit(start: bytes, then: bytes) -> None:
    with (
        server_that_sends(start, then, 20) as address,
        pytest.raises(Failed, match=r"whole answer within 0\.5") as caught,
    ):
        http_request(parse_url(address), "GET", "/", ca_file=None, timeout=0.5)
    assert caught.value.id == "S3-23"


@pytest.mark.parametrize(
    ("body", "seen"),
    [(b"Content-Length: 20\r\n\r\nx", "IncompleteRead"), (b"\r\n" + b"x" * (16 * 1024 * 1024 + 1), "more than 16 MiB")],
)
def test_an_answer_that_is_cut_or_endless_is_none(body: bytes, seen: str) -> None:
    with (
        server_that_sends(b"HTTP/1.1 200 OK\r\n" + body, b"", 0) as address,
        pytest.raises(Failed, match=seen) as caught,
    ):
        http_request(parse_url(address), "GET", "/", ca_file=None, timeout=30)
    assert caught.value.id == "S3-23"


def test_an_answer_of_the_announced_length_is_whole() -> None:
    with server_that_sends(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", b"x", 3) as address:
        assert http_request(parse_url(address), "GET", "/", ca_file=None, timeout=30)[2] == b"xxx"


def test_the_first_address_of_a_name_may_be_dead(tried: list[Any]) -> None:
    with server_that_sends(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"", 0) as address:
        port = parse_url(address).port
        with black_hole("127.0.0.9", port), resolving_to("s3.example.com", "127.0.0.9", "127.0.0.1"):
            tried.clear()  # those that fill the hole
            for _ in range(2):
                found = http_request(parse_url(f"http://s3.example.com:{port}"), "GET", "/", ca_file=None, timeout=1)
                assert found[0] == 200
    # It is not waited for a second time.
    assert tried == [("127.0.0.9", port), ("127.0.0.1", port), ("127.0.0.1", port)]


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Each address that was tried, in order."""
    addresses: list[Any] = []

    class Socket(socket.socket):
        def connect(self, address: Any) -> None:
            addresses.append(address)
            super().connect(address)

    monkeypatch.setattr(socket, "socket", Socket)
    return addresses


def test_a_resolver_that_hangs_costs_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    given_up = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: [given_up.wait()])
    with pytest.raises(Failed, match=r"no answer from DNS within 0\.2 seconds"):  # else this would never end
        http_request(parse_url("http://s3.example.com"), "GET", "/", ca_file=None, timeout=0.2)
    given_up.set()


@pytest.mark.parametrize("host", ["a..b", ".example", "x" * 64])
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("resolve", [True, False])
def test_what_is_no_host_name_is_a_row(scheme: str, host: str, resolve: bool) -> None:
    address = parse_url(f"{scheme}://{host}:{free_port()}")
    with pinned({host: "127.0.0.1"} if resolve else {}), pytest.raises(Failed) as caught:
        http_request(address, "GET", "/", ca_file=None, timeout=5)
    assert caught.value.id == "S3-23"
