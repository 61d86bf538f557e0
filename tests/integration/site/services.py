# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A database, an object store and certificates that somebody else supplies, set up as the documents say."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support.admin import admin_client, s3_client
from support.pki import Authority
from support.servers import minio
from testbed.postgresql import Cluster

from .conftest import CANARIES, ROOT

PASSWORD, SECRET_KEY = CANARIES["site_database_password"], CANARIES["site_object_store_secret_key"]
DATABASE, STORE = "db.example.test", "s3.example.test"


def documented(language: str) -> str:
    """The first block of this language that docs/existing-services.md tells its readers to use."""
    found = re.search(rf"```{language}\n(.*?)```", (ROOT / "docs/existing-services.md").read_text(), re.DOTALL)
    assert found
    return found[1]


@contextlib.contextmanager
def services_of_others(folder: Path, address: str) -> Iterator[dict[str, Any]]:
    """Services at *address*, and the variables of a site that uses them."""
    authority = Authority(folder / "pki")
    ca_file = str(authority.certificate)
    settings = {"listen_addresses": f"127.0.0.1,{address}", "ssl": "on", "max_connections": "200"}
    settings["password_encryption"] = "scram-sha-256"
    leaf = authority.issue(STORE, address)
    running = minio(folder / "s3", tls=leaf, ca_file=authority.certificate, address=address)
    with Cluster(17) as database, running as store:
        leaf = authority.issue(DATABASE)
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
        url = f"https://{STORE}:{store.port}"
        door = authority.issue("flyte.test")
        yield {
            "site_database": "external",
            "site_database_connection": {
                "host": DATABASE, "address": address, "port": database.port, "database": "flyte",
                "user": "flyte", "sslmode": "verify-full", "ca_file": ca_file,
            },
            "site_object_store": "external",
            "site_object_store_connection": {
                "endpoint": url, "public_endpoint": url, "address": address, "region": "us-east-1",
                "metadata_bucket": "flyte-metadata", "data_bucket": "flyte-data", "access_key": "flyte",
                "ca_file": ca_file,
            },
            "site_certificates": "provided",
            "site_certificate_files": {
                "ca": ca_file, "ingress": {"certificate": str(door.certificate), "key": str(door.key)},
            },
        }  # fmt: skip
