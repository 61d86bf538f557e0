# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Input that cannot work stops the run before the host is touched, with a sentence that says what to do."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import Box, changes, from_file

# what is wrong, variables, what the message must say
BAD_INPUT: list[tuple[str, dict[str, Any], list[str]]] = [
    (
        "no host in a needed group",
        {"site_minio_hosts": []},
        ["SITE-03", "group minio", "Add the host to the group", "set site_k3s_servers, "],
    ),
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
        # On the one mount of these hosts whose size is told.
        {
            "postgresql_minimum_free_mb": 900_000_000,
            "postgresql_settings": {"data_directory": "/var/lib/rancher/postgresql"},
        },
        ["PG-07", "900000000 MB", "/var/lib/rancher/postgresql", "Free space"],
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


def touched(box: Box) -> list[str]:
    """What changed on the host since /run/before, on its volumes too; by the date that no copy can keep."""
    return box.shell(
        "find /etc /usr /opt /var/lib -cnewer /run/before -not -path '/var/lib/systemd/*' | sort"
    ).splitlines()


@pytest.fixture
def untouched(box: Box) -> Iterator[None]:
    """Compare the host's files and the site's directory before and after."""
    box.shell("touch /run/before; sleep 1")
    yield
    assert touched(box) == []
    assert not box.site_directory.exists()


@pytest.fixture
def unsupported_distribution(box: Box) -> Iterator[None]:
    """A host that says it is a Slackware. A test names this before C(untouched), for which it is then as found."""
    box.shell("cp -a /usr/lib/os-release /run/os-release; mv /etc/debian_version /run/")
    box.shell("printf 'NAME=Slackware\nID=slackware\nVERSION_ID=15.0\n' >/usr/lib/os-release")
    yield
    box.shell("cp -a /run/os-release /usr/lib/os-release; mv /run/debian_version /etc/")


def test_what_a_run_would_touch_is_seen(box: Box) -> None:
    """The control of C(untouched): files on the system, on a volume, and one that keeps its old date."""
    planted = ["/etc/planted", "/var/lib/rancher/planted", "/usr/local/bin/planted"]
    box.shell("touch /run/before; sleep 1")
    try:
        box.shell(f"touch {' '.join(planted)}; touch -d 2020-01-01 {planted[2]}")
        assert set(planted) <= set(touched(box))
    finally:
        box.shell(f"rm -f {' '.join(planted)}")


@pytest.mark.parametrize(("variables", "said"), [case[1:] for case in BAD_INPUT], ids=[case[0] for case in BAD_INPUT])
@pytest.mark.usefixtures("untouched")
def test_bad_input_stops_before_anything_changes(box: Box, variables: dict[str, Any], said: list[str]) -> None:
    code, output = box.run("site", variables=variables)
    assert code != 0
    assert [word for word in said if word not in output] == []
    assert changes(output) == 0


@pytest.mark.usefixtures("untouched")
def test_a_port_already_taken_is_named(box: Box) -> None:
    box.shell("setsid python3 -m http.server 5432 >/dev/null 2>&1 & echo $! >/run/occupier; sleep 1")
    try:
        code, output = box.run("site")
    finally:
        box.shell("kill $(cat /run/occupier)")
    assert code != 0
    assert "PG-" in output and "5432" in output
    assert changes(output) == 0


@pytest.mark.usefixtures("untouched")
def test_a_missing_default_route_is_named(box: Box) -> None:
    route = box.shell("ip route show default").strip()
    box.shell("ip route del default")
    try:
        code, output = box.run("site")
    finally:
        box.shell(f"ip route add {route}")
    assert code != 0
    assert "SITE-11" in output and "ip route add default" in output
    assert changes(output) == 0


@pytest.mark.usefixtures("unsupported_distribution", "untouched")
def test_an_unsupported_distribution_is_named(box: Box) -> None:
    code, output = box.run("site")
    assert code != 0
    assert "SITE-12" in output
    assert changes(output) == 0


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
    assert "SITE-07" in output and chart.name in output
    assert changes(output) == 0


TOKEN = "TokenOfTheClusterThatIsThere"


@pytest.fixture
def state_of_a_cluster(box: Box) -> Iterator[None]:
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
    assert "K3S-61" in output and "put the old token back" in output and "flyte.onprem.rotate_token" in output
    assert changes(output) == 0
    assert TOKEN not in output


@pytest.mark.usefixtures("state_of_a_cluster")
@pytest.mark.parametrize("token", [TOKEN, f"K10{'0b' * 32}::server:{TOKEN}"], ids=["password", "in full"])
def test_the_clusters_own_token_is_not_refused(box: Box, token: str) -> None:
    code, output = box.run("preflight", variables={"site_kubernetes_token": token})
    assert code == 0, output[-2000:]


@pytest.fixture
def environment_of_a_store(box: Box) -> Iterator[None]:
    """The file that MinIO starts with. A test names this before C(untouched), for which it is then as found."""
    box.shell("touch /etc/default/minio")
    yield
    box.shell("rm /etc/default/minio")


@pytest.mark.usefixtures("environment_of_a_store", "untouched")
def test_a_lost_secret_of_a_store_that_is_there_is_refused(box: Box) -> None:
    lost = {
        name: from_file(name.removeprefix("site_")) for name in ("site_database_password", "site_minio_root_password")
    }
    code, output = box.run("backends", variables=lost)
    assert code != 0
    assert "[SITE-18] minio_root_password of site" in output and "minio_root_password.old" in output
    assert changes(output) == 0
