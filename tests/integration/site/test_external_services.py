# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A site whose database, object store and certificates somebody else supplies, set up as the documents say.

The tests build on each other in their order.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator

import pytest
from support.leaks import shown
from testbed.builder import hosts

from .conftest import CANARIES, Box, changes, fresh_box
from .services import services_of_others


@pytest.fixture(scope="module")
def external(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """A fresh host of a site that brings along all that is not Kubernetes or Flyte."""
    folder = tmp_path_factory.mktemp("external")
    with (
        fresh_box("flyte-onprem-external", folder, ["k3s_servers"]) as box,
        services_of_others(folder, hosts.gateway()) as variables,
    ):
        box.describe(**variables)
        yield box


def test_a_site_comes_up_on_them(external: Box) -> None:
    code, output = external.run("site")
    assert code == 0, output[-4000:]
    assert external.shell("ls /etc/postgresql /etc/minio 2>/dev/null", check=False) == ""


def test_the_provided_certificate_is_shown(external: Box) -> None:
    context = ssl.create_default_context(cafile=str(external.folder / "pki/ca.crt"))
    with (
        socket.create_connection((external.address, 443), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="flyte.test") as tls,
    ):
        assert ("DNS", "flyte.test") in tls.getpeercert()["subjectAltName"]


def test_verify_passes(external: Box) -> None:
    code, output = external.run("verify")
    assert code == 0, output[-4000:]
    assert changes(output) == 0


def test_a_second_run_changes_nothing(external: Box) -> None:
    code, output = external.run("site")
    assert code == 0, output[-4000:]
    assert set(re.findall(r"changed=(\d+)", output)) == {"0"}, re.findall(r"^changed: .*", output, re.M)


def test_no_secret_was_shown(external: Box) -> None:
    assert shown(external.output, CANARIES) == {}
    assert external.leaks == set()
