# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Input that cannot work stops the run before the host is touched, with a sentence that says what to do."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from .conftest import Box

# what is wrong, variables, what the message must say
BAD_INPUT: list[tuple[str, dict[str, Any], list[str]]] = [
    ("no host in a needed group", {"site_minio_hosts": []}, ["SITE-03", "group minio", "Add the host to the group"]),
    ("a domain that is no host name", {"site_domain": "https://flyte"}, ["SITE-01", "https://flyte", "without scheme"]),
    ("an unknown provider", {"site_database": "mysql"}, ["site_database", "postgresql, external", "mysql"]),
    (
        "a password that breaks the DSN",
        {"site_database_password": "with space"},
        ["PG-", "site_database_password", "letters"],
    ),
    ("too little memory", {"site_minimum_memory_mb": 9_000_000}, ["SITE-14", "9000000 MB", "Add memory"]),
    ("too little disk", {"site_minimum_disk_mb": 900_000_000}, ["SITE-15", "900000000 MB", "Free space"]),
    (
        "too little disk for the databases",
        {"postgresql_minimum_free_mb": 900_000_000},
        ["PG-07", "900000000 MB", "Free space"],
    ),
    ("an unsupported architecture", {"site_architecture": "riscv64"}, ["SITE-13", "x86_64 or aarch64"]),
    ("a bundle that is not there", {"site_bundle": "/nonexistent"}, ["SITE-05", "/nonexistent", "Correct the path"]),
    (
        "a proof without time and image",
        {"flyte_verify_timeout": 0, "flyte_verify_image": ""},
        ["FLYTE-48", "flyte_verify_timeout is 0", "FLYTE-49", "flyte_verify_image is ''"],
    ),
    ("two parts on one port", {"site_s3_port": 443}, ["SITE-04", "443", "site_*_port"]),
]


@pytest.fixture
def untouched(box: Box) -> Any:
    """Compare the host's files and the site's directory before and after."""

    def state() -> tuple[str, bool]:
        listing = "find /etc /usr /opt /var/lib -xdev -newer /run/before -not -path '/var/lib/systemd/*' | sort"
        return box.shell(listing), box.site_directory.exists()

    box.shell("touch /run/before; sleep 1")
    before = state()
    yield
    assert state() == before == ("", False)


@pytest.mark.parametrize(("variables", "said"), [case[1:] for case in BAD_INPUT], ids=[case[0] for case in BAD_INPUT])
@pytest.mark.usefixtures("untouched")
def test_bad_input_stops_before_anything_changes(box: Box, variables: dict[str, Any], said: list[str]) -> None:
    code, output = box.run("site", variables=variables)
    assert code != 0
    assert [word for word in said if word not in output] == []
    assert "changed=0" in output


@pytest.mark.usefixtures("untouched")
def test_a_port_already_taken_is_named(box: Box) -> None:
    box.shell("setsid python3 -m http.server 5432 >/dev/null 2>&1 & echo $! >/run/occupier; sleep 1")
    try:
        code, output = box.run("site")
    finally:
        box.shell("kill $(cat /run/occupier)")
    assert code != 0
    assert "PG-" in output and "5432" in output and "changed=0" in output


@pytest.mark.usefixtures("untouched")
def test_a_missing_default_route_is_named(box: Box) -> None:
    route = box.shell("ip route show default").strip()
    box.shell("ip route del default")
    try:
        code, output = box.run("site")
    finally:
        box.shell(f"ip route add {route}")
    assert code != 0
    assert "SITE-11" in output and "ip route add default" in output and "changed=0" in output


def test_an_unsupported_distribution_is_named(box: Box) -> None:
    box.shell("cp -a /usr/lib/os-release /run/os-release; mv /etc/debian_version /run/")
    box.shell("printf 'NAME=Slackware\nID=slackware\nVERSION_ID=15.0\n' >/usr/lib/os-release")
    try:
        code, output = box.run("site")
    finally:
        box.shell("cp -a /run/os-release /usr/lib/os-release; mv /run/debian_version /etc/")
    assert code != 0
    assert "SITE-12" in output and "changed=0" in output


@pytest.mark.usefixtures("untouched")
def test_a_bundle_with_a_wrong_checksum_is_named(box: Box, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(os.environ["FLYTE_ONPREM_BUNDLE"], bundle, copy_function=os.link)
    chart = next((bundle / "charts").iterdir())
    content = chart.read_bytes()
    chart.unlink()
    chart.write_bytes(content + b"\0")
    code, output = box.run("site", variables={"site_bundle": str(bundle)})
    assert code != 0
    assert "SITE-07" in output and chart.name in output and "changed=0" in output


TOKEN = "TokenOfTheClusterThatIsThere"


@pytest.fixture
def state_of_a_cluster(box: Box) -> Any:
    """What tells the token of a cluster whose state the host has."""
    box.shell(
        "install -d -m 0700 /var/lib/rancher/k3s/server && umask 077 && "
        f"echo K10{'0a' * 32}::server:{TOKEN} >/var/lib/rancher/k3s/server/token"
    )
    yield
    box.shell("rm -r /var/lib/rancher/k3s")


@pytest.mark.usefixtures("state_of_a_cluster")
@pytest.mark.parametrize("mode", [[], ["--check"]], ids=["run", "check mode"])
def test_another_token_than_the_clusters_is_refused_and_not_shown(box: Box, mode: list[str]) -> None:
    code, output = box.run("preflight", *mode)
    assert code != 0
    assert "K3S-61" in output and "Put the old token back" in output and "changed=0" in output
    assert TOKEN not in output


@pytest.mark.usefixtures("state_of_a_cluster")
@pytest.mark.parametrize("token", [TOKEN, f"K10{'0b' * 32}::server:{TOKEN}"], ids=["password", "in full"])
def test_the_clusters_own_token_is_not_refused(box: Box, token: str) -> None:
    code, output = box.run("preflight", variables={"site_kubernetes_token": token})
    assert code == 0, output[-2000:]
