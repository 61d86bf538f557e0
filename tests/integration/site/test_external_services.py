# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A site whose database, object store and certificates somebody else supplies, set up as the documents say.

The tests build on each other in their order.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
from collections.abc import Iterator

import pytest
from support.admin import admin_client, s3_client
from support.leaks import shown
from support.pki import Authority
from support.servers import minio
from testbed.builder import hosts
from testbed.postgresql import Cluster

from .conftest import CANARIES, ROOT, Box, changes, fresh_box

PASSWORD, SECRET_KEY = CANARIES["site_database_password"], CANARIES["site_object_store_secret_key"]


def documented(language: str) -> str:
    """The first block of this language that docs/existing-services.md tells its readers to use."""
    found = re.search(rf"```{language}\n(.*?)```", (ROOT / "docs/existing-services.md").read_text(), re.DOTALL)
    assert found
    return found[1]


@pytest.fixture(scope="module")
def external(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """A fresh host of a site that brings along all that is not Kubernetes or Flyte."""
    folder = tmp_path_factory.mktemp("external")
    with fresh_box("flyte-onprem-external", folder, ["k3s_servers"]) as box:
        authority, address = Authority(folder / "pki"), hosts.gateway()
        ca_file = str(authority.certificate)
        settings = {"listen_addresses": f"127.0.0.1,{address}", "ssl": "on", "max_connections": "200"}
        settings |= {"ssl_cert_file": "server.crt", "ssl_key_file": "server.key"}
        settings["password_encryption"] = "scram-sha-256"
        leaf = authority.issue("s3.example.test", address)
        running = minio(folder / "s3", tls=leaf, ca_file=authority.certificate, address=address)
        with Cluster(17) as database, running as store:
            leaf = authority.issue("db.example.test")
            database.present(leaf.certificate, leaf.key)
            database.settings.update(settings)
            database.restart()
            database.admit("hostssl flyte flyte all scram-sha-256")
            database.sql(*documented("sql").replace("…", PASSWORD).strip().rstrip(";").split(";"))
            for bucket in ("flyte-metadata", "flyte-data"):
                s3_client(store).create_bucket(Bucket=bucket)
            admin = admin_client(store)
            admin.user_add("flyte", SECRET_KEY)
            admin.policy_add("flyte", policy=json.loads(documented("json")))
            admin.attach_policy(["flyte"], user="flyte")
            url = f"https://s3.example.test:{store.port}"
            door = authority.issue("flyte.test")
            box.describe(
                site_database="external",
                site_database_connection={
                    "host": "db.example.test", "address": address, "port": database.port, "database": "flyte",
                    "user": "flyte", "sslmode": "verify-full", "ca_file": ca_file,
                },
                site_object_store="external",
                site_object_store_connection={
                    "endpoint": url, "public_endpoint": url, "address": address, "region": "us-east-1",
                    "metadata_bucket": "flyte-metadata", "data_bucket": "flyte-data", "access_key": "flyte",
                    "ca_file": ca_file,
                },
                site_certificates="provided",
                site_certificate_files={
                    "ca": ca_file, "ingress": {"certificate": str(door.certificate), "key": str(door.key)},
                },
            )  # fmt: skip
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
