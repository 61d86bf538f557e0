# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import socket

import pytest

from ansible_collections.flyte.onprem.plugins.module_utils._resolve import pinned


@pytest.mark.parametrize(
    "name", ["s3.example.invalid", "S3.Example.Invalid", "s3.example.invalid.", b"s3.example.invalid"]
)
def test_a_pinned_name_has_the_given_address(name: str | bytes) -> None:
    with pinned({"s3.example.invalid": "127.0.0.9"}):
        assert {info[4] for info in socket.getaddrinfo(name, 80)} == {("127.0.0.9", 80)}


def test_other_names_are_asked_for_as_always() -> None:
    with pinned({"s3.example.invalid": "127.0.0.9"}):
        assert {info[4] for info in socket.getaddrinfo("127.0.0.1", 80)} == {("127.0.0.1", 80)}


def test_after_the_block_names_are_asked_for_as_before() -> None:
    original = socket.getaddrinfo
    with pytest.raises(RuntimeError), pinned({"s3.example.invalid": "127.0.0.9"}):
        raise RuntimeError
    assert socket.getaddrinfo is original


@pytest.mark.parametrize("value", [5, None, ["192.0.2.10"], "", "s3.example.com", "192.0.2.10:443"])
def test_what_is_no_ip_address_is_refused_with_its_name(value: object) -> None:
    with (
        pytest.raises(ValueError, match=r"^resolve: s3\.example\.invalid: its value is no IP address"),
        pinned({"s3.example.invalid": value}),
    ):
        pass
