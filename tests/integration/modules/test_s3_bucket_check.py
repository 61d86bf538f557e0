# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""s3_bucket_check against a real MinIO: healthy, and with every fault that can be produced."""

from __future__ import annotations

import contextlib
import email.utils
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.admin import ENOUGH, User, admin_client, contents, make_user, s3_client
from support.modules import Result, run_module
from support.pki import Authority
from support.servers import (
    Hooks,
    Message,
    Minio,
    ask,
    black_hole,
    free_port,
    greeting_port,
    minio,
    proxy,
    resolving_to,
    silent_port,
    traefik,
)

from ansible_collections.flyte.onprem.plugins.modules import s3_bucket_check

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Arrange = Callable[["Bed"], Iterator[dict[str, Any]]]

# No fault on loopback needs longer; a hanging server costs this.
TIMEOUT = 1.5


@dataclass(frozen=True)
class Bed:
    """A store with one bucket and one user who may do what Flyte needs and no more."""

    store: Minio
    authority: Authority
    bucket: str
    user: User

    def arguments(self, **changes: Any) -> dict[str, Any]:
        return {
            "endpoint": self.store.endpoint,
            "region": self.store.region,
            "access_key": self.user.access_key,
            "secret_key": self.user.secret_key,
            "ca_file": str(self.authority.certificate),
            "buckets": [self.bucket],
            "timeout": TIMEOUT,
            "retries": 1,
            **changes,
        }

    def check(self, *, check: bool = False, **changes: Any) -> Result:
        given = {name: value for name, value in self.arguments(**changes).items() if value is not None}
        return run_module(s3_bucket_check.main, given, check=check)

    def keys_of(self, user: User) -> dict[str, str]:
        return {"access_key": user.access_key, "secret_key": user.secret_key}


@pytest.fixture(scope="session")
def bed(store: Minio, authority: Authority) -> Bed:
    bucket = "flyte-data"
    s3_client(store).create_bucket(Bucket=bucket)
    return Bed(store=store, authority=authority, bucket=bucket, user=make_user(store, [bucket]))


@contextlib.contextmanager
def behind(bed: Bed, tls: Any = None, **hooks: Any) -> Iterator[str]:
    with proxy(bed.store, Hooks(**hooks), tls=tls) as address:
        yield address


def new_bucket(bed: Bed, **options: Any) -> str:
    name = "bucket-" + os.urandom(4).hex()
    s3_client(bed.store).create_bucket(Bucket=name, **options)
    return name


def html(status: int) -> Message:
    return Message("", "", {"content-type": "text/html", "server": "nginx"}, b"<html>no</html>", status)


def s3_error(status: int, code: str) -> Message:
    body = f"<Error><Code>{code}</Code><Message>words</Message></Error>".encode()
    return Message("", "", {"content-type": "application/xml"}, body, status)


@contextlib.contextmanager
def twin_of(bed: Bed, **rights: Any) -> Iterator[Minio]:
    """Another store, with a bucket and a user of the same name and keys."""
    with (
        tempfile.TemporaryDirectory() as directory,
        minio(Path(directory) / "twin", region=bed.store.region) as twin,
    ):
        s3_client(twin).create_bucket(Bucket=bed.bucket)
        make_user(twin, [bed.bucket], user=bed.user, **rights)
        yield twin


# Faults: what is produced, the check that it must fail or warn about, and that nothing else does.


@dataclass(frozen=True)
class Fault:
    name: str
    id: str
    status: str
    arrange: Arrange


FAULTS: list[Fault] = []


def fault(id: str, status: str = "failed") -> Callable[[Arrange], Arrange]:
    def register(arrange: Arrange) -> Arrange:
        name = arrange.__name__.replace("_", " ")
        FAULTS.append(Fault(name=name, id=id, status=status, arrange=contextlib.contextmanager(arrange)))
        return arrange

    return register


@fault("S3-20")
def name_that_does_not_resolve(bed):
    yield {"endpoint": "https://s3.nowhere.invalid"}


@fault("S3-21")
def closed_port(bed):
    yield {"endpoint": f"https://127.0.0.1:{free_port()}"}


@fault("S3-22")
def packets_that_are_lost(bed):
    with black_hole() as port:
        yield {"endpoint": f"https://127.0.0.1:{port}"}


@fault("S3-23")
def server_that_never_answers(bed):
    with silent_port() as port:
        yield {"endpoint": f"http://127.0.0.1:{port}"}


@fault("TLS-10")
def server_that_never_shakes_hands(bed):
    with silent_port() as port:
        yield {"endpoint": f"https://127.0.0.1:{port}"}


@fault("TLS-14")
def https_at_a_plain_port(bed):
    with behind(bed) as address:
        yield {"endpoint": address.replace("http:", "https:")}


@fault("TLS-14")
def http_at_a_tls_port(bed):
    yield {"endpoint": bed.store.endpoint.replace("https:", "http:")}


@fault("TLS-14")
def http_at_a_tls_port_that_hangs_up(bed):
    with behind(bed, tls=bed.authority.issue("127.0.0.1")) as address:
        yield {"endpoint": address.replace("https:", "http:")}


@fault("TLS-14")
def public_http_at_a_tls_port(bed):
    yield {"public_endpoint": bed.store.endpoint.replace("https:", "http:")}


@fault("TLS-10")
def https_at_a_port_of_something_else(bed):
    with greeting_port(b"SSH-2.0-OpenSSH_9.9\r\n") as port:
        yield {"endpoint": f"https://127.0.0.1:{port}"}


@fault("TLS-11")
def certificate_of_another_ca(bed):
    yield {"ca_file": str(Authority(bed.authority.directory.parent / "other").certificate)}


@fault("TLS-11")
def certificate_without_its_intermediate(bed):
    middle = Authority(bed.authority.directory.parent / "middle", parent=bed.authority)
    with behind(bed, tls=middle.issue("127.0.0.1")) as address:
        yield {"endpoint": address}


if ssl.create_default_context().verify_flags & ssl.VERIFY_X509_STRICT:  # from Python 3.13 on

    @fault("TLS-15")
    def certificate_that_does_not_name_its_issuer(bed):
        with behind(bed, tls=bed.authority.issue("127.0.0.1", issuer_named=False)) as address:
            yield {"endpoint": address}


@fault("TLS-12")
def certificate_for_another_name(bed):
    port = bed.store.port
    yield {"endpoint": f"https://minio.example.com:{port}", "resolve": {"minio.example.com": "127.0.0.1"}}


@fault("TLS-13")
def certificate_that_has_expired(bed):
    with behind(bed, tls=bed.authority.issue("127.0.0.1", days=-1)) as address:
        yield {"endpoint": address}


@fault("TLS-13", "warning")
def certificate_that_soon_expires(bed):
    with behind(bed, tls=bed.authority.issue("127.0.0.1", days=3)) as address:
        yield {"endpoint": address}


@fault("S3-23")
def plain_port_of_something_else(bed):
    with greeting_port(b"SSH-2.0-OpenSSH_9.9\r\n") as port:
        yield {"endpoint": f"http://127.0.0.1:{port}"}


@fault("S3-24")
def web_page_instead_of_s3(bed):
    with behind(bed, request=lambda message: html(200)) as address:
        yield {"endpoint": address}


@fault("S3-30")
def proxy_without_a_backend(bed):
    with behind(bed, request=lambda message: html(502)) as address:
        yield {"endpoint": address}


@fault("S3-30")
def store_that_is_not_ready(bed):
    def busy(message: Message) -> Message | None:
        return s3_error(503, "XMinioServerNotInitialized") if "authorization" in message.headers else None

    with behind(bed, request=busy) as address:
        yield {"endpoint": address}


def shifted(seconds: float) -> Callable[[Message, Message], None]:
    def shift(_request: Message, answer: Message) -> None:
        if "date" in answer.headers:
            answer.headers["date"] = email.utils.formatdate(time.time() + seconds, usegmt=True)

    return shift


@fault("S3-08")
def clock_an_hour_ahead(bed):
    with behind(bed, answer=shifted(3600)) as address:
        yield {"endpoint": address}


@fault("S3-08")
def clock_an_hour_behind(bed):
    with behind(bed, answer=shifted(-3600)) as address:
        yield {"endpoint": address}


@fault("S3-08", "warning")
def clock_two_minutes_behind(bed):
    with behind(bed, answer=shifted(-120)) as address:
        yield {"endpoint": address}


@fault("S3-25")
def unknown_access_key(bed):
    yield {"access_key": "nobody"}


@fault("S3-25")
def disabled_user(bed):
    user = make_user(bed.store, [bed.bucket])
    admin_client(bed.store).user_disable(user.access_key)
    yield bed.keys_of(user)


@fault("S3-26")
def wrong_secret_key(bed):
    yield {"secret_key": "not-the-secret-key"}


@fault("S3-27")
def wrong_session_token(bed):
    yield {"session_token": "no-such-token"}


@fault("S3-28")
def wrong_region(bed):
    yield {"region": "mars-1"}


@fault("S3-26")
def proxy_that_rewrites_the_host(bed):
    def rewrite(message: Message) -> None:
        message.headers["host"] = "minio.internal"

    with behind(bed, request=rewrite) as address:
        yield {"endpoint": address}


@fault("S3-04")
def missing_bucket(bed):
    yield {"buckets": ["no-such-bucket"], **bed.keys_of(make_user(bed.store, ["no-such-bucket"]))}


@fault("S3-04")
def missing_bucket_that_may_not_be_listed(bed):
    user = make_user(bed.store, ["no-such-bucket"], set(ENOUGH) - {"s3:ListBucket"})
    yield {"buckets": ["no-such-bucket"], **bed.keys_of(user)}


@fault("S3-10")
def bucket_name_that_is_none(bed):
    yield {"buckets": [bed.bucket, "no"]}


@fault("S3-06")
def virtual_host_style_without_dns(bed):
    port = bed.store.port
    yield {
        "addressing_style": "virtual",
        "endpoint": f"https://s3.example.com:{port}",
        "resolve": {"s3.example.com": "127.0.0.1"},
    }


@fault("S3-11")
def no_right_to_list(bed):
    yield bed.keys_of(make_user(bed.store, [bed.bucket], set(ENOUGH) - {"s3:ListBucket"}))


@fault("S3-12")
def no_right_to_put(bed):
    yield bed.keys_of(make_user(bed.store, [bed.bucket], set(ENOUGH) - {"s3:PutObject"}))


@fault("S3-13")
def no_right_to_get(bed):
    yield bed.keys_of(make_user(bed.store, [bed.bucket], set(ENOUGH) - {"s3:GetObject"}))


@fault("S3-14")
def no_right_to_delete(bed):
    # In a bucket of its own: what is written there stays.
    bucket = new_bucket(bed)
    yield {"buckets": [bucket], **bed.keys_of(make_user(bed.store, [bucket], set(ENOUGH) - {"s3:DeleteObject"}))}


@fault("S3-17", "warning")
def no_right_to_abandon_an_upload(bed):
    yield bed.keys_of(make_user(bed.store, [bed.bucket], set(ENOUGH) - {"s3:AbortMultipartUpload"}))


@fault("S3-29", "warning")
def other_buckets_that_are_visible(bed):
    yield bed.keys_of(make_user(bed.store, [bed.bucket, new_bucket(bed)]))


@fault("S3-41", "warning")
def all_rights_on_the_bucket(bed):
    yield bed.keys_of(make_user(bed.store, [bed.bucket], ["s3:*"]))


@fault("S3-41", "warning")
def right_to_set_the_policy(bed):
    yield bed.keys_of(make_user(bed.store, [bed.bucket], {*ENOUGH, "s3:PutBucketPolicy"}))


@fault("S3-41", "warning")
def right_to_delete_the_bucket(bed):
    yield bed.keys_of(make_user(bed.store, [bed.bucket], {*ENOUGH, "s3:DeleteBucket"}))


@fault("S3-42")
def proxy_that_takes_the_authorization(bed):
    def drop(message: Message) -> None:
        message.headers.pop("authorization", None)

    with behind(bed, request=drop) as address:
        yield {"endpoint": address}


@fault("S3-26")
def proxy_that_drops_a_signed_header(bed):
    def drop(message: Message) -> None:
        message.headers.pop("x-amz-content-sha256", None)

    with behind(bed, request=drop) as address:
        yield {"endpoint": address}


@fault("S3-40")
def proxy_that_cuts_bodies(bed):
    def cut(message: Message) -> None:
        if message.method == "POST" and message.body:
            message.body = message.body[:-40]
            message.headers["content-length"] = str(len(message.body))

    with behind(bed, request=cut) as address:
        yield {"endpoint": address, "public_endpoint": bed.store.endpoint}


@fault("S3-43")
def proxy_that_misses_a_length(bed):
    with behind(bed, request=lambda message: html(411) if message.method == "PUT" else None) as address:
        yield {"endpoint": address}


@fault("S3-44")
def prefix_that_is_too_long(bed):
    yield {"buckets": [{"name": bed.bucket, "prefix": "p" * 1000}]}


@fault("S3-31")
def used_up_quota(bed):
    bucket = new_bucket(bed)
    admin_client(bed.store).bucket_quota_set(bucket, 100)
    yield {"buckets": [bucket], **bed.keys_of(make_user(bed.store, [bucket]))}


@fault("S3-32")
def proxy_that_blocks_post(bed):
    with behind(bed, request=lambda message: html(405) if message.method == "POST" else None) as address:
        yield {"endpoint": address}


@fault("S3-32")
def proxy_that_blocks_delete(bed):
    # In a bucket of its own: what is written there stays.
    bucket = new_bucket(bed)
    with behind(bed, request=lambda message: html(405) if message.method == "DELETE" else None) as address:
        yield {"endpoint": address, "buckets": [bucket], **bed.keys_of(make_user(bed.store, [bucket]))}


@fault("S3-34")
def proxy_that_limits_large_parts(bed):
    limit = 3 * 1024 * 1024
    with behind(bed, request=lambda message: html(413) if len(message.body) > limit else None) as address:
        yield {"endpoint": address, "public_endpoint": bed.store.endpoint}


@fault("S3-16")
def cache_in_front_of_the_store(bed):
    known: dict[str, Message] = {}

    def lookup(message: Message) -> Message | None:
        return known.get(message.path) if message.method == "GET" else None

    def keep(request: Message, answer: Message) -> None:
        if request.method == "PUT" and answer.status == 200 and "partNumber" not in request.path:
            known.setdefault(request.path.partition("?")[0], Message("", "", {}, request.body))

    with behind(bed, request=lookup, answer=keep) as address:
        yield {"endpoint": address, "public_endpoint": bed.store.endpoint}


@fault("S3-18")
def proxy_that_decodes_paths(bed):
    def decode(message: Message) -> None:
        message.path = message.path.replace("%2B", "+").replace("%3D", "=").replace("%2520", "%20")

    with behind(bed, request=decode) as address:
        yield {"endpoint": address}


@fault("S3-40")
def proxy_that_changes_content(bed):
    def change(request: Message, answer: Message) -> None:
        if request.method == "GET" and "flyte-onprem-check/" in request.path and answer.status == 200:
            answer.body = b"x" + answer.body[1:]
            answer.headers.pop("etag", None)

    with behind(bed, answer=change) as address:
        yield {"endpoint": address}


@fault("S3-47")
def two_stores_at_one_address_that_take_turns(bed):
    turn: list[bool] = []

    def take(message: Message) -> Message | None:
        if "authorization" not in message.headers and "X-Amz-Signature" not in message.path:
            return None
        turn.append(True)
        return ask(twin, message) if len(turn) % 2 else None

    with twin_of(bed) as twin, behind(bed, request=take) as address:
        yield {"endpoint": address}
        # The other one is looked at for every fault.
        assert contents(twin, bed.bucket) == []


@fault("S3-47")
def two_stores_at_one_address_for_reading_and_writing(bed):
    with twin_of(bed) as twin, behind(bed, request=lambda m: ask(twin, m) if m.method == "GET" else None) as address:
        yield {"endpoint": address}


@fault("S3-47")
def second_store_that_has_not_the_large_object(bed):
    def head(message: Message) -> Message | None:
        return ask(twin, message) if message.method == "HEAD" and "/parts" in message.path else None

    with twin_of(bed) as twin, behind(bed, request=head) as address:
        yield {"endpoint": address}


@fault("S3-47")
def second_store_that_knows_no_upload(bed):
    with (
        twin_of(bed) as twin,
        behind(bed, request=lambda m: ask(twin, m) if "partNumber" in m.path else None) as address,
    ):
        yield {"endpoint": address}


@fault("S3-47")
def proxy_that_swallows_uploads(bed):
    def swallow(message: Message) -> Message | None:
        return Message("", "", {"etag": '"0"'}, b"") if message.method == "PUT" and "/object" in message.path else None

    with behind(bed, request=swallow) as address:
        yield {"endpoint": address}


@fault("S3-47")
def proxy_that_swallows_uploads_by_signed_url(bed):
    with behind(bed, request=lambda m: Message("", "", {}, b"") if "/signed?" in m.path else None) as address:
        yield {"endpoint": address}


@fault("S3-47")
def proxy_that_swallows_deletions(bed):
    # In a bucket of its own: what is written there stays.
    bucket = new_bucket(bed)
    with behind(bed, request=lambda m: Message("", "", {}, b"", 204) if m.method == "DELETE" else None) as address:
        yield {"endpoint": address, "buckets": [bucket], **bed.keys_of(make_user(bed.store, [bucket]))}


@fault("S3-47")
def proxy_that_answers_deletions_with_a_page(bed):
    # In a bucket of its own: what is written there stays.
    bucket = new_bucket(bed)
    with behind(bed, request=lambda m: html(200) if m.method == "DELETE" else None) as address:
        yield {"endpoint": address, "buckets": [bucket], **bed.keys_of(make_user(bed.store, [bucket]))}


@fault("S3-47")
def proxy_that_swallows_the_end_of_an_upload(bed):
    def swallow(message: Message) -> Message | None:
        return Message("", "", {}, b"", 204) if message.method == "DELETE" and "uploadId" in message.path else None

    with behind(bed, request=swallow) as address:
        yield {"endpoint": address}


@fault("S3-47")
def proxy_that_swallows_some_deletions(bed):
    # In a bucket of its own: what is written there stays.
    bucket = new_bucket(bed)

    def swallow(message: Message) -> Message | None:
        return Message("", "", {}, b"", 204) if message.method == "DELETE" and "/parts" in message.path else None

    with behind(bed, request=swallow) as address:
        yield {"endpoint": address, "buckets": [bucket], **bed.keys_of(make_user(bed.store, [bucket]))}


@fault("S3-23")
def store_that_stalls_in_the_middle(bed):
    def stall(message: Message) -> Message | None:
        if message.method != "PUT":
            return None
        time.sleep(2 * TIMEOUT)
        return html(504)

    with behind(bed, request=stall) as address:
        yield {"endpoint": address}


@fault("S3-23")
def answer_that_trickles(bed):
    def trickle(request: Message, answer: Message) -> None:
        answer.trickles = "list-type=2" in request.path
        answer.missing = 100 if answer.trickles else 0

    with behind(bed, answer=trickle) as address:
        yield {"endpoint": address}


@fault("S3-01")
def public_name_that_does_not_resolve(bed):
    yield {"public_endpoint": "https://s3.nowhere.invalid"}


@fault("S3-21")
def public_port_that_is_closed(bed):
    yield {"public_endpoint": f"https://127.0.0.1:{free_port()}"}


@fault("TLS-12")
def public_certificate_for_another_name(bed):
    port = bed.store.port
    yield {"public_endpoint": f"https://s3.example.org:{port}", "resolve": {"s3.example.org": "127.0.0.1"}}


@fault("S3-07")
def public_proxy_that_rewrites_the_host(bed):
    def rewrite(message: Message) -> None:
        message.headers["host"] = "minio.internal"

    with behind(bed, request=rewrite) as address:
        yield {"public_endpoint": address}


@fault("S3-07")
def public_traefik_that_does_not_pass_the_host(bed):
    with (
        tempfile.TemporaryDirectory() as directory,
        traefik(Path(directory), bed.store, passHostHeader=False) as address,
    ):
        yield {"public_endpoint": address}


@fault("S3-34")
def public_proxy_that_limits_bodies(bed):
    with behind(bed, request=lambda message: html(413) if len(message.body) > 1024 * 1024 else None) as address:
        yield {"public_endpoint": address}


@fault("S3-35")
def public_endpoint_that_is_a_web_page(bed):
    with behind(bed, request=lambda message: html(404)) as address:
        yield {"public_endpoint": address}


@fault("S3-35")
def public_endpoint_of_a_store_that_knows_no_such_user(bed):
    with behind(bed, request=lambda message: s3_error(403, "InvalidAccessKeyId")) as address:
        yield {"public_endpoint": address}


@fault("S3-35")
def public_endpoint_of_another_store_with_the_same_user(bed):
    with twin_of(bed) as twin:
        yield {"public_endpoint": twin.endpoint}
        assert contents(twin, bed.bucket) == []


@fault("S3-35")
def public_endpoint_of_which_only_the_downloads_lead_to_another_store(bed):
    with twin_of(bed) as twin, behind(bed, request=lambda m: ask(twin, m) if m.method == "GET" else None) as address:
        yield {"public_endpoint": address}


@fault("S3-35")
def public_proxy_that_swallows_uploads(bed):
    with behind(bed, request=lambda m: Message("", "", {}, b"") if "/signed" in m.path else None) as address:
        yield {"public_endpoint": address}


@fault("S3-30")
def public_proxy_without_a_backend(bed):
    with behind(bed, request=lambda message: html(502)) as address:
        yield {"public_endpoint": address}


@fault("S3-23")
def public_endpoint_that_never_answers(bed):
    with silent_port() as port:
        yield {"public_endpoint": f"http://127.0.0.1:{port}"}


@fault("S3-33", "warning")
def versions_that_may_not_be_deleted(bed):
    bucket = versioned_bucket(bed)
    user = make_user(bed.store, [bucket], denied=["s3:DeleteObjectVersion"])
    yield {"buckets": [bucket], **bed.keys_of(user)}


@fault("S3-45", "warning")
def objects_that_are_locked(bed):
    bucket = new_bucket(bed, ObjectLockEnabledForBucket=True)
    s3_client(bed.store).put_object_lock_configuration(
        Bucket=bucket,
        ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled",
            "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}},
        },
    )
    rights = {*ENOUGH, "s3:DeleteObjectVersion"}
    yield {"buckets": [bucket], **bed.keys_of(make_user(bed.store, [bucket], rights))}


@pytest.mark.parametrize("case", FAULTS, ids=lambda case: f"{case.name}: {case.id} {case.status}")
def test_each_fault_has_its_own_row_and_no_other(bed: Bed, case: Fault) -> None:
    with case.arrange(bed) as changes:
        result = bed.check(**changes)
    expected = {"failed": [], "warning": [], case.status: [case.id]}
    assert {status: result.statuses(status) for status in expected} == expected, result["msg"]
    assert result.failed == (case.status == "failed")
    row = next(row for row in result["checks"] if row["id"] == case.id and row["status"] == case.status)
    assert row["observed"] in result["msg"]
    assert row["cause"] in result["msg"]
    assert row["fix"] in result["msg"]
    assert bed.arguments(**changes)["secret_key"] not in str(result.values)
    assert "X-Amz-Signature" not in result.output
    assert contents(bed.store, bed.bucket) == []


@pytest.fixture(autouse=True)
def _empty_bucket(bed: Bed) -> Iterator[None]:
    """One fault must not be seen in the next test."""
    yield
    for key in contents(bed.store, bed.bucket):
        s3_client(bed.store).delete_object(Bucket=bed.bucket, Key=key)


# Health


def test_a_healthy_store_is_all_green_and_left_as_it_was(bed: Bed) -> None:
    before = contents(bed.store, bed.bucket)
    result = bed.check()
    assert not result.failed
    assert {row["status"] for row in result["checks"]} == {"passed"}, result["msg"]
    assert result["passed"]
    assert result["server"] == "MinIO"
    assert abs(result["clock_skew"]) < 2
    assert result["leftovers"] == []
    assert contents(bed.store, bed.bucket) == before


def test_an_empty_session_token_is_none(bed: Bed) -> None:
    result = bed.check(session_token="")
    assert {row["status"] for row in result["checks"]} == {"passed"}, result["msg"]


def test_names_are_pinned_and_stay_in_tls(bed: Bed) -> None:
    address = f"https://s3.example.com:{bed.store.port}"
    result = bed.check(endpoint=address, public_endpoint=address, resolve={"s3.example.com": "127.0.0.1"})
    assert {row["status"] for row in result["checks"]} == {"passed"}, result["msg"]


@pytest.mark.parametrize("option", ["endpoint", "public_endpoint"])
def test_a_name_whose_first_address_is_dead_is_no_fault_but_told(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    tried: list[Any] = []

    class Socket(socket.socket):
        def connect(self, address: Any) -> None:
            tried.append(address)
            super().connect(address)

    with behind(bed) as address:
        dead = ("127.0.0.9", int(address.rpartition(":")[2]))
        with black_hole(*dead), resolving_to("s3.example.com", dead[0], "127.0.0.1"):
            monkeypatch.setattr(socket, "socket", Socket)
            result = bed.check(**{option: address.replace("127.0.0.1", "s3.example.com")})
    assert {row["status"] for row in result["checks"]} == {"passed"}, result["msg"]
    seen = [row["observed"] for row in result["checks"] if row["id"] == "S3-21"]
    assert seen[-1].endswith(" ms; 127.0.0.9: no answer")
    # Each further wait would cost a part of the time that an answer has.
    assert tried.count(dead) == 1


def test_a_traefik_that_passes_the_host_is_no_fault(bed: Bed, tmp_path: Path) -> None:
    with traefik(tmp_path, bed.store) as address:
        result = bed.check(public_endpoint=address)
    assert {row["status"] for row in result["checks"]} == {"passed"}, result["msg"]


def test_a_certificate_with_its_intermediate_is_no_fault(bed: Bed) -> None:
    middle = Authority(bed.authority.directory.parent / "middle", parent=bed.authority)
    leaf = middle.issue("127.0.0.1")
    leaf.certificate.write_bytes(leaf.certificate.read_bytes() + middle.certificate.read_bytes())
    with behind(bed, tls=leaf) as address:
        result = bed.check(endpoint=address)
    assert {row["status"] for row in result["checks"]} == {"passed"}, result["msg"]


def test_a_slow_store_passes_and_its_latency_is_told(bed: Bed) -> None:
    def wait(_message: Message) -> None:
        time.sleep(0.2)

    with behind(bed, request=wait) as address:
        result = bed.check(endpoint=address)
    assert {row["status"] for row in result["checks"]} == {"passed"}, result["msg"]
    assert result["latency_ms"] >= 200


def test_keys_may_come_from_where_boto3_looks_for_them(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "credentials").write_text(
        f"[site]\naws_access_key_id = {bed.user.access_key}\naws_secret_access_key = {bed.user.secret_key}\n"
    )
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "site")
    result = bed.check(access_key=None, secret_key=None)
    assert {row["status"] for row in result["checks"]} == {"passed"}, result["msg"]
    assert "found by boto3" in result.row("S3-25")["observed"]
    assert bed.user.secret_key not in result.output


def test_every_bucket_and_prefix_is_asked(bed: Bed) -> None:
    other = new_bucket(bed)
    user = make_user(bed.store, [bed.bucket, other])
    result = bed.check(buckets=[bed.bucket, {"name": other, "prefix": "/deep/down/"}], **bed.keys_of(user))
    assert {row["status"] for row in result["checks"]} == {"passed"}, result["msg"]
    assert [row["expected"] for row in result["checks"] if row["id"] == "S3-19"] == [
        "nothing below flyte-onprem-check/",
        "nothing below deep/down/flyte-onprem-check/",
    ]


def test_a_versioned_bucket_is_cleaned_of_all_versions(bed: Bed) -> None:
    bucket = versioned_bucket(bed)
    user = make_user(bed.store, [bucket], {*ENOUGH, "s3:DeleteObjectVersion"})
    result = bed.check(buckets=[bucket], **bed.keys_of(user))
    assert {row["status"] for row in result["checks"]} == {"passed"}, result["msg"]
    assert contents(bed.store, bucket) == []


def versioned_bucket(bed: Bed, status: str = "Enabled") -> str:
    bucket = new_bucket(bed)
    for each in dict.fromkeys(("Enabled", status)):
        s3_client(bed.store).put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": each})
    return bucket


def drop_version(_request: Message, answer: Message) -> None:
    answer.headers.pop("x-amz-version-id", None)


def test_a_bucket_that_no_longer_keeps_versions_is_left_without_delete_markers(bed: Bed) -> None:
    bucket = versioned_bucket(bed, "Suspended")
    result = bed.check(buckets=[bucket], **bed.keys_of(make_user(bed.store, [bucket])))
    assert {row["status"] for row in result["checks"]} == {"passed"}, result["msg"]
    assert contents(bed.store, bucket) == []


@pytest.mark.parametrize("option", ["endpoint", "public_endpoint"])
def test_versions_that_a_proxy_hides_are_removed(bed: Bed, option: str) -> None:
    bucket = versioned_bucket(bed)
    with behind(bed, answer=drop_version) as address:
        result = bed.check(buckets=[bucket], **{option: address}, **bed.keys_of(make_user(bed.store, [bucket])))
    assert {row["status"] for row in result["checks"]} == {"passed"}, result["msg"]
    assert contents(bed.store, bucket) == []


def test_versions_that_a_proxy_hides_and_no_list_shows_are_named_and_not_brought_back(bed: Bed) -> None:
    bucket = versioned_bucket(bed)

    def deny(message: Message) -> Message | None:  # MinIO itself lists them to whoever may list
        return s3_error(403, "AccessDenied") if "?versions" in message.path else None

    with behind(bed, request=deny, answer=drop_version) as address:
        result = bed.check(buckets=[bucket], endpoint=address, **bed.keys_of(make_user(bed.store, [bucket])))
    assert result.statuses("warning") == ["S3-33"]
    left = {left["key"] for left in result["leftovers"]}
    assert left == set(contents(bed.store, bucket))
    assert len(left) == 6
    assert "Contents" not in s3_client(bed.store).list_objects_v2(Bucket=bucket)


def test_a_version_whose_answer_comes_too_late_is_removed(bed: Bed) -> None:
    bucket = versioned_bucket(bed)

    def wait(request: Message, _answer: Message) -> None:
        if request.method == "PUT" and "/replaced" in request.path:
            time.sleep(2 * TIMEOUT)

    with behind(bed, answer=wait) as address:
        result = bed.check(buckets=[bucket], endpoint=address, **bed.keys_of(make_user(bed.store, [bucket])))
    assert result.statuses("failed") == ["S3-23"]
    assert result["leftovers"] == []
    assert contents(bed.store, bucket) == []


def test_a_check_that_is_interrupted_in_a_write_leaves_no_version(bed: Bed) -> None:
    bucket = versioned_bucket(bed)
    with interrupted(bed, bucket, signal.SIGTERM):
        pass
    assert contents(bed.store, bucket) == []


# Check mode


def test_check_mode_writes_nothing_and_says_so(bed: Bed) -> None:
    seen: list[str] = []
    with behind(bed, request=lambda message: seen.append(message.method)) as address:
        result = bed.check(endpoint=address, check=True)
    assert set(seen) <= {"GET", "HEAD"}
    assert not result.failed
    assert result.row("S3-12")["observed"] == "check mode: nothing is written"
    assert result.row("S3-13")["status"] == "passed"
    assert result.statuses("skipped") == ["S3-12", "S3-14", "S3-16", "S3-18", "S3-15", "S3-17", "S3-07", "S3-41"]


@pytest.mark.parametrize(("right", "id"), [("s3:ListBucket", "S3-11"), ("s3:GetObject", "S3-13")])
def test_check_mode_still_tells_a_denied_read(bed: Bed, right: str, id: str) -> None:
    user = make_user(bed.store, [bed.bucket], set(ENOUGH) - {right})
    assert bed.check(check=True, **bed.keys_of(user)).statuses("failed") == [id]


# What must not stay


@pytest.mark.parametrize("at", ["", "/parts"])
@pytest.mark.parametrize("listed", [True, False])
def test_what_stays_though_its_deletion_was_answered_is_named(bed: Bed, at: str, listed: bool) -> None:
    bucket = new_bucket(bed)
    user = make_user(bed.store, [bucket], ENOUGH if listed else set(ENOUGH) - {"s3:ListBucket"})

    def swallow(message: Message) -> Message | None:
        return Message("", "", {}, b"", 204) if message.method == "DELETE" and at in message.path else None

    with behind(bed, request=swallow) as address:
        result = bed.check(endpoint=address, buckets=[bucket], **bed.keys_of(user))
    assert [*([] if listed else ["S3-11"]), "S3-47"] == result.statuses("failed")
    left = [leftover["key"] for leftover in result["leftovers"]]
    assert left == contents(bed.store, bucket)
    assert len(left) == 1


@pytest.mark.parametrize("first", [0, 1])
def test_what_two_stores_took_in_turns_is_removed_from_both(bed: Bed, first: int) -> None:
    turn: list[str] = []

    def take(message: Message) -> Message | None:
        turn.append(message.path)
        return ask(twin, message) if len(turn) % 2 == first else None

    with twin_of(bed) as twin, behind(bed, request=take) as address:
        result = bed.check(endpoint=address)
        assert result.statuses("failed") == ["S3-47"]
        assert result["leftovers"] == []
        assert contents(twin, bed.bucket) == contents(bed.store, bed.bucket) == []


def test_what_another_store_took_by_signed_url_and_does_not_let_go_is_named(bed: Bed) -> None:
    with twin_of(bed, denied=["s3:DeleteObject"]) as twin:
        result = bed.check(public_endpoint=twin.endpoint)
        assert result.statuses("failed") == ["S3-35"]
        left = [leftover["key"] for leftover in result["leftovers"]]
        assert left == contents(twin, bed.bucket)
    assert len(left) == 1


def test_what_another_store_took_in_versions_is_removed(bed: Bed) -> None:
    with twin_of(bed) as twin:
        s3_client(twin).put_bucket_versioning(Bucket=bed.bucket, VersioningConfiguration={"Status": "Enabled"})
        result = bed.check(public_endpoint=twin.endpoint)
        assert result["leftovers"] == []
        assert contents(twin, bed.bucket) == []


def test_what_another_store_took_but_answered_too_late_is_removed(bed: Bed) -> None:
    def wait(request: Message, _answer: Message) -> None:
        if request.method == "PUT":
            time.sleep(2 * TIMEOUT)

    with twin_of(bed) as twin, proxy(twin, Hooks(answer=wait)) as address:
        result = bed.check(public_endpoint=address)
        assert result.statuses("failed") == ["S3-23"]
        assert result["leftovers"] == []
        assert contents(twin, bed.bucket) == []


def test_what_may_not_be_deleted_is_named(bed: Bed) -> None:
    bucket = new_bucket(bed)
    user = make_user(bed.store, [bucket], set(ENOUGH) - {"s3:DeleteObject"})
    result = bed.check(buckets=[bucket], **bed.keys_of(user))
    left = [leftover["key"] for leftover in result["leftovers"]]
    assert left == contents(bed.store, bucket)
    assert len(left) == 1
    assert left[0] in result["msg"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_an_interrupted_check_removes_what_it_wrote(bed: Bed, number: int) -> None:
    bucket = new_bucket(bed)
    with interrupted(bed, bucket, number):
        pass
    assert contents(bed.store, bucket) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_check_that_is_interrupted_while_it_cleans_up_removes_all(bed: Bed, number: int) -> None:
    bucket = new_bucket(bed)
    with interrupted(bed, bucket, number, method="DELETE", at="/replaced"):
        pass
    assert contents(bed.store, bucket) == []


def test_what_a_killed_check_left_is_reported_and_later_removed(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = new_bucket(bed)
    user = make_user(bed.store, [bucket])
    with interrupted(bed, bucket, signal.SIGKILL):
        pass
    left = contents(bed.store, bucket)
    assert len(left) == 1
    for check in (True, False):
        report = bed.check(check=check, buckets=[bucket], **bed.keys_of(user))
        assert report.statuses("warning") == ["S3-19"]
        folder = left[0].rpartition("/")[0]
        assert re.search(rf"{folder}/ \(\d+ seconds old\)", report.row("S3-19")["observed"])
        assert contents(bed.store, bucket) == left
    later = time.time() + 400
    monkeypatch.setattr("ansible_collections.flyte.onprem.plugins.module_utils._s3.time.time", lambda: later)
    with behind(bed, answer=shifted(400)) as address:
        report = bed.check(endpoint=address, public_endpoint=bed.store.endpoint, buckets=[bucket], **bed.keys_of(user))
    assert report.row("S3-19")["observed"] == "removed of an earlier check: 1 objects, 0 unfinished uploads"
    assert contents(bed.store, bucket) == []


@pytest.mark.parametrize("listed", [True, False])
def test_what_a_check_left_is_found_behind_more_than_a_list_holds(bed: Bed, listed: bool) -> None:
    bucket = new_bucket(bed)
    left = "flyte-onprem-check/20260101T000000Z-00000000/object"
    for key in (*(f"flyte-onprem-check/00/{number:04}" for number in range(1001)), left):
        s3_client(bed.store).put_object(Bucket=bucket, Key=key, Body=b"")

    def deny(message: Message) -> Message | None:  # MinIO itself lists them to whoever may list
        return s3_error(403, "AccessDenied") if "?versions" in message.path and not listed else None

    with behind(bed, request=deny) as address:
        result = bed.check(buckets=[bucket], endpoint=address, **bed.keys_of(make_user(bed.store, [bucket])))
    assert result.statuses("warning") == ["S3-19"]
    assert left.rpartition("/")[0] in result.row("S3-19")["observed"]


def test_what_a_check_left_that_was_killed_in_an_upload_is_removed(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = new_bucket(bed)
    with interrupted(bed, bucket, signal.SIGKILL, at="partNumber=1"):
        pass
    running = [key for key in contents(bed.store, bucket) if key.endswith("/running")]
    parts = running[0].replace("running", "parts")

    def unfinished() -> list[str]:
        return uploads_of(bed, bucket, parts)

    assert unfinished() == [parts]
    later = time.time() + 400
    monkeypatch.setattr("ansible_collections.flyte.onprem.plugins.module_utils._s3.time.time", lambda: later)
    user = make_user(bed.store, [bucket], {*ENOUGH, "s3:ListBucketMultipartUploads"})
    with behind(bed, answer=shifted(400)) as address:
        report = bed.check(endpoint=address, public_endpoint=bed.store.endpoint, buckets=[bucket], **bed.keys_of(user))
    assert "1 unfinished uploads" in report.row("S3-19")["observed"]
    assert unfinished() == []
    assert contents(bed.store, bucket) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_mark_of_an_upload_that_no_list_shows_is_kept(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    bucket = new_bucket(bed)
    # The answer by which the check would know the upload comes when it is gone.
    killed = interrupted(
        bed, bucket, number, method="POST", at="/abandoned?uploads", rights=ENOUGH, timeout=TIMEOUT, late=5 * TIMEOUT
    )
    with killed as path:
        abandoned = [path.partition("?")[0].removeprefix(f"/{bucket}/")]
    mark = abandoned[0].replace("abandoned", "running")
    later = time.time() + 400
    monkeypatch.setattr("ansible_collections.flyte.onprem.plugins.module_utils._s3.time.time", lambda: later)
    with behind(bed, answer=shifted(400)) as address:
        given = {"endpoint": address, "public_endpoint": bed.store.endpoint, "buckets": [bucket]}
        for _ in range(2):
            report = bed.check(**given, **bed.keys_of(make_user(bed.store, [bucket])))
            row = report.row("S3-19")
            assert row["status"] == "warning"
            assert mark.rpartition("/")[0] in row["observed"]
            assert "s3:ListBucketMultipartUploads" in row["fix"]
            assert set(contents(bed.store, bucket)) - set(abandoned) == {mark}
        assert uploads_of(bed, bucket, abandoned[0]) == abandoned
        # Whoever may list them removes both.
        user = make_user(bed.store, [bucket], {*ENOUGH, "s3:ListBucketMultipartUploads"})
        report = bed.check(**given, **bed.keys_of(user))
    assert report.row("S3-19")["observed"] == "removed of an earlier check: 1 objects, 1 unfinished uploads"
    assert uploads_of(bed, bucket, abandoned[0]) == contents(bed.store, bucket) == []


def uploads_of(bed: Bed, bucket: str, key: str) -> list[str]:
    answer = s3_client(bed.store).list_multipart_uploads(Bucket=bucket, Prefix=key)
    return [upload["Key"] for upload in answer.get("Uploads", [])]


@pytest.mark.parametrize("listed", [True, False])
def test_an_upload_whose_beginning_is_not_answered_is_aborted_or_named(bed: Bed, listed: bool) -> None:
    bucket = new_bucket(bed)
    begun: list[str] = []

    def wait(request: Message, _answer: Message) -> None:
        if request.method == "POST" and "/parts?uploads" in request.path:
            begun.append(request.path.partition("?")[0].removeprefix(f"/{bucket}/"))
            time.sleep(2 * TIMEOUT)

    rights = {*ENOUGH, "s3:ListBucketMultipartUploads"} if listed else ENOUGH
    with behind(bed, answer=wait) as address:
        result = bed.check(buckets=[bucket], endpoint=address, **bed.keys_of(make_user(bed.store, [bucket], rights)))
    assert result.statuses("failed") == ["S3-23"]
    kept = [] if listed else [begun[0], begun[0].replace("parts", "running")]
    assert [left["key"] for left in result["leftovers"]] == kept
    assert [key for key in contents(bed.store, bucket) if key != begun[0]] == kept[1:]
    assert uploads_of(bed, bucket, begun[0]) == kept[:1]


def test_an_upload_in_whose_beginning_a_check_is_interrupted_is_aborted(bed: Bed) -> None:
    bucket = new_bucket(bed)
    with interrupted(bed, bucket, signal.SIGTERM, method="POST", at="/parts?uploads") as path:
        assert uploads_of(bed, bucket, path.partition("?")[0].removeprefix(f"/{bucket}/")) == []
    assert contents(bed.store, bucket) == []


def test_versions_that_a_killed_check_left_are_removed_for_good(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = versioned_bucket(bed)
    with interrupted(bed, bucket, signal.SIGKILL, at="/replaced"):
        pass
    assert contents(bed.store, bucket)
    later = time.time() + 400
    monkeypatch.setattr("ansible_collections.flyte.onprem.plugins.module_utils._s3.time.time", lambda: later)
    user = make_user(bed.store, [bucket], {*ENOUGH, "s3:DeleteObjectVersion", "s3:ListBucketVersions"})
    with behind(bed, answer=shifted(400)) as address:
        report = bed.check(endpoint=address, public_endpoint=bed.store.endpoint, buckets=[bucket], **bed.keys_of(user))
    assert "removed of an earlier check" in report.row("S3-19")["observed"]
    assert contents(bed.store, bucket) == []


@contextlib.contextmanager
def interrupted(
    bed: Bed,
    bucket: str,
    number: int,
    *,
    method: str = "PUT",
    at: str = "/object",
    rights: Iterable[str] = (*ENOUGH, "s3:ListBucketMultipartUploads"),
    timeout: float = 10,
    late: float = 0.2,
) -> Iterator[str]:
    """Run the check in a process of its own; signal once it has sent a request with C(at) in its path; yield that.

    The answer to that request comes C(late) seconds after the signal.
    """
    process: list[subprocess.Popen[bytes]] = []
    sent: list[str] = []

    def interrupt(request: Message, answer: Message) -> None:
        if request.method == method and at in request.path and not sent:
            sent.append(request.path)
            process[0].send_signal(number)
            time.sleep(late)

    with behind(bed, answer=interrupt) as address:
        user = make_user(bed.store, [bucket], rights)
        arguments = bed.arguments(endpoint=address, buckets=[bucket], timeout=timeout, **bed.keys_of(user))
        code = (
            "import sys, json; from support.modules import run_module;"
            "from ansible_collections.flyte.onprem.plugins.modules import s3_bucket_check;"
            "run_module(s3_bucket_check.main, json.load(sys.stdin))"
        )
        process.append(
            subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
        )
        process[0].communicate(json.dumps(arguments).encode(), timeout=60)
        assert sent
        yield sent[0]


# Retries


def test_a_busy_store_is_asked_again(bed: Bed) -> None:
    refused: list[str] = []

    def busy(message: Message) -> Message | None:
        if message.method == "PUT" and not refused:
            refused.append(message.path)
            return s3_error(503, "SlowDown")
        return None

    with behind(bed, request=busy) as address:
        result = bed.check(endpoint=address)
    assert refused
    assert {row["status"] for row in result["checks"]} == {"passed"}, result["msg"]
