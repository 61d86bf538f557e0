# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Flyte is not deployed while the store or the database cannot carry it; the message is the check's own.

Runs on the site that test_interrupted.py leaves behind; each fault is produced for real.
"""

from __future__ import annotations

import email.utils
import http.client
import http.server
import ssl
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import urllib3
from minio import MinioAdmin
from minio.credentials import StaticProvider
from support.admin import s3_client
from support.servers import S3Server
from testbed import postgresql

from ansible_collections.flyte.onprem.plugins.module_utils._s3 import PROBE_FOLDER

from .conftest import CANARIES, Box

# Each right and the check that finds it missing.
RIGHTS = {"s3:ListBucket": "S3-11", "s3:PutObject": "S3-12", "s3:GetObject": "S3-13", "s3:DeleteObject": "S3-14"}
BUCKETS = ["flyte-metadata", "flyte-data"]


def store(box: Box, **changes: Any) -> dict[str, Any]:
    url = "https://s3.flyte.test:9000"
    connection = {
        "endpoint": url, "public_endpoint": url, "address": box.address, "region": "us-east-1",
        "metadata_bucket": BUCKETS[0], "data_bucket": BUCKETS[1], "access_key": "flyte",
        "ca_file": str(box.site_directory / "ca.crt"),
    }  # fmt: skip
    return {"site_object_store_connection": connection | changes}


def database(box: Box, **changes: Any) -> dict[str, Any]:
    connection = {
        "host": "postgresql.flyte.test", "address": box.address, "port": 5432, "database": "flyte", "user": "flyte",
        "sslmode": "verify-full", "ca_file": str(box.site_directory / "ca.crt"),
    }  # fmt: skip
    return {"site_database_connection": connection | changes}


def assert_stopped(box: Box, variables: dict[str, Any], said: list[str]) -> None:
    """Run the flyte playbook: it must stop with *said*, and the release must be as it was."""
    before = box.kubectl("get secret -n flyte -l owner=helm -o name")
    assert before
    code, output = box.run("flyte", variables=variables)
    assert code != 0
    assert [word for word in said if word not in output] == [], output[-3000:]
    assert box.kubectl("get secret -n flyte -l owner=helm -o name") == before


@pytest.fixture(scope="module")
def admin(box: Box) -> MinioAdmin:
    user = box.shell('. /etc/default/minio; printf %s "$MINIO_ROOT_USER"')
    pool = urllib3.PoolManager(cert_reqs="CERT_REQUIRED", ca_certs=str(box.site_directory / "ca.crt"))
    credentials = StaticProvider(user, CANARIES["site_minio_root_password"])
    return MinioAdmin(endpoint=f"{box.address}:9000", credentials=credentials, secure=True, http_client=pool)


@pytest.fixture(scope="module", autouse=True)
def tidy(box: Box) -> Iterator[None]:
    """What a check could not delete goes at the end, as its message says; verify would tell of it."""
    yield
    secret = CANARIES["site_object_store_secret_key"]
    server = S3Server(9000, "flyte", secret, "us-east-1", "https", box.site_directory / "ca.crt", box.address)
    client = s3_client(server)
    left = client.list_objects_v2(Bucket=BUCKETS[0], Prefix=PROBE_FOLDER)["Contents"]
    client.delete_objects(Bucket=BUCKETS[0], Delete={"Objects": [{"Key": each["Key"]} for each in left]})


def user_with(admin: MinioAdmin, key: str, actions: list[str], buckets: list[str]) -> dict[str, Any]:
    """Make a user with these rights on these buckets; the variables that make it Flyte's."""
    secret = "SomeOtherUser0123456789abcdef"
    resources = [arn for bucket in buckets for arn in (f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*")]
    statement = {"Effect": "Allow", "Action": actions, "Resource": resources}
    admin.policy_add(key, policy={"Version": "2012-10-17", "Statement": [statement]})
    admin.user_add(key, secret)
    admin.attach_policy([key], user=key)
    return {"access_key": key, "secret_key": secret}


# The user may list the bucket: one that may not is told "denied" for a bucket that is missing, too.
def test_a_missing_bucket_stops_it(box: Box, admin: MinioAdmin) -> None:
    user = user_with(admin, "lacksbucket", [*RIGHTS, "s3:AbortMultipartUpload"], [BUCKETS[0], "not-there"])
    variables = store(box, access_key=user["access_key"], data_bucket="not-there")
    assert_stopped(box, variables | {"site_object_store_secret_key": user["secret_key"]}, ["S3-04", "not-there"])


@pytest.mark.parametrize("missing", RIGHTS)
def test_a_missing_right_stops_it(box: Box, admin: MinioAdmin, missing: str) -> None:
    others = [right for right in [*RIGHTS, "s3:AbortMultipartUpload"] if right != missing]
    user = user_with(admin, f"lacks{missing[3:]}", others, BUCKETS)
    variables = store(box, access_key=user["access_key"]) | {"site_object_store_secret_key": user["secret_key"]}
    assert_stopped(box, variables, [RIGHTS[missing], missing])


def an_hour_later(date: str) -> str:
    return email.utils.formatdate(email.utils.parsedate_to_datetime(date).timestamp() + 3600, usegmt=True)


@pytest.fixture
def slow_clock(box: Box) -> Iterator[str]:
    """A way to the store on which its clock seems to be an hour off."""
    context = ssl.create_default_context(cafile=str(box.site_directory / "ca.crt"))
    target = box.address

    class Proxy(http.server.BaseHTTPRequestHandler):
        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            upstream = http.client.HTTPSConnection(target, 9000, context=context, timeout=30)
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                upstream.putheader(name, value)
            upstream.endheaders(body)
            answer = upstream.getresponse()
            content = answer.read()
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() != "transfer-encoding":
                    self.send_header(name, an_hour_later(value) if name.lower() == "date" else value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = forward  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_a_store_whose_clock_is_an_hour_off_stops_it(box: Box, slow_clock: str) -> None:
    variables = store(box, endpoint=slow_clock, public_endpoint=slow_clock, address="127.0.0.1")
    assert_stopped(box, variables, ["S3-08", "clock"])


def test_a_database_that_does_not_answer_stops_it(box: Box) -> None:
    assert_stopped(box, database(box, port=5499), ["DB-", "5499"])


def test_a_database_that_is_too_old_stops_it(box: Box) -> None:
    files = postgresql.programs(11)
    box.shell("rm -rf /opt/old && mkdir -p /opt/old")
    packed = subprocess.run(["tar", "-C", files, "-cf", "-", "."], check=True, capture_output=True).stdout
    subprocess.run(["podman", "exec", "-i", box.name, "tar", "-C", "/opt/old", "-xf", "-"], input=packed, check=True)
    box.shell(
        "chown -R postgres /opt/old; cd /opt/old; "
        "runuser -u postgres -- ./bin/initdb --auth=trust -D /opt/old/data >/dev/null; "
        "runuser -u postgres -- ./bin/pg_ctl -w -D /opt/old/data -o '-p 5511 -k /tmp' -l /opt/old/log start; "
        "sql='runuser -u postgres -- psql -h /tmp -p 5511 -d postgres'; "
        "$sql -c 'create role flyte login superuser'; $sql -c 'create database flyte owner flyte'"
    )
    try:
        variables = database(box, host="localhost", address="127.0.0.1", port=5511, sslmode="disable")
        assert_stopped(box, variables, ["DB-08", "11", "12"])
    finally:
        box.shell(
            "runuser -u postgres -- /opt/old/bin/pg_ctl -D /opt/old/data -m immediate stop; rm -rf /opt/old",
            check=False,
        )
