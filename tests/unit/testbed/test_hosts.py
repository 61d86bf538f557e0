# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from testbed.builder.hosts import Host, on_loopback, volume_name
from testbed.builder.machine import parse_sources

DEB822 = """\
Types: deb
# a note
URIs: http://mirror.example.com/debian
Suites: bookworm bookworm-updates
Components: main

Types: deb-src
URIs: http://mirror.example.com/sources
Suites: bookworm

Types: deb
URIs: http://mirror.example.com/off
Suites: bookworm
Enabled: no
"""


def test_deb822_sources_give_enabled_binary_archives() -> None:
    assert parse_sources(DEB822) == [("http://mirror.example.com/debian", ["bookworm", "bookworm-updates"])]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("deb http://a.example.com/debian bookworm main", [("http://a.example.com/debian", ["bookworm"])]),
        (
            "deb [arch=amd64 signed-by=/k.gpg] https://a.example.com/s noble-security main",
            [("https://a.example.com/s", ["noble-security"])],
        ),
        ("# deb http://a.example.com/debian bookworm main", []),
        ("deb-src http://a.example.com/debian bookworm main", []),
    ],
)
def test_one_line_sources(line: str, expected: list[tuple[str, list[str]]]) -> None:
    assert parse_sources(line) == expected


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [("8443:443", "127.0.0.1:8443:443"), ("10.0.0.1:8443:443", "10.0.0.1:8443:443")],
)
def test_ports_are_published_on_loopback_unless_told_otherwise(mapping: str, expected: str) -> None:
    assert on_loopback(mapping) == expected


def test_host_keeps_what_cannot_lie_on_an_overlay_on_volumes_of_its_own() -> None:
    command = Host(name="demo", image="image", hostname="flyte1", memory="4g").run_command("10.0.0.7")
    assert volume_name("demo", "/var/lib/rancher") == "demo-var-lib-rancher"
    assert "--volume=demo-var-lib-rancher:/var/lib/rancher" in command
    assert "--volume=demo-var-lib-kubelet:/var/lib/kubelet" in command
    assert "--cgroupns=private" in command
    assert "--hostname=flyte1" in command
    assert "--memory=4g" in command
    assert command[-2:] == ["image", "/sbin/init"]
