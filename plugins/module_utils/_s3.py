# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is PRIVATE to the collection. It can change at any time.

"""Asks an S3 store, with the keys that Flyte will use, for all that Flyte needs of it.

Needs boto3. Every object is written below C(<prefix>flyte-onprem-check/) and
removed again; what a killed run left there, the next one removes.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import email.utils
import functools
import hashlib
import http.client
import io
import os
import re
import signal
import socket
import ssl
import time
import typing as t
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from ansible_collections.flyte.onprem.plugins.module_utils._catalogue import CATALOGUE
from ansible_collections.flyte.onprem.plugins.module_utils._checks import (
    FAILED,
    PASSED,
    WARNING,
    Check,
    Failed,
    Probe,
    Report,
    Skipped,
    Warned,
)
from ansible_collections.flyte.onprem.plugins.module_utils._limits import exchanged
from ansible_collections.flyte.onprem.plugins.module_utils._reach import (
    TIMED_OUT,
    Address,
    ReachIds,
    connect,
    lookup,
    lookup_problem,
    parse_option,
    parse_url,
    reach,
    speaks_tls,
    wrapped,
    wrong_scheme,
)
from ansible_collections.flyte.onprem.plugins.module_utils._resolve import pinned
from ansible_collections.flyte.onprem.plugins.module_utils._s3_errors import (
    NO_BUCKET,
    NO_OBJECT,
    TRANSIENT,
    S3Error,
    Unanswered,
    Unreadable,
    Unroutable,
    from_client_error,
    parse_error,
)

PROBE_FOLDER = "flyte-onprem-check/"
RUN_FOLDER = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}/.")  # of one run in it, and the beginning of a name

# A part of a host name, as boto3 demands of every region.
REGION = re.compile(r"(?!\d+$)(?!-)[A-Za-z0-9-]{1,63}(?<!-)", re.ASCII)

# Signals that end a module, each by an exception wherever it is.
INTERRUPTIONS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)

# Whatever is younger may belong to a check that runs at this moment, from another host or pod.
LEFTOVER_AGE = 300

# Below S3's own limit, but no clock that a time service keeps.
CLOCK_WARNING = 60

MIB = 1024 * 1024
SIGNED_SIZE = MIB + 512 * 1024  # above the 1 MiB at which NGINX stops unless told otherwise
PART_SIZE = 5 * MIB  # the least that S3 takes for a part that is not the last
SIGNED_URL_SECONDS = 300
LONGEST_WORDS = 200  # of a parser, which quotes all that it could not read
LONGEST_BODY = 16 * MIB  # of an answer to a plain request; what is asked for is far smaller

# While one of these stands, nothing else can be asked.
FATAL = frozenset(
    ("S3-08", "S3-23", "S3-24", "S3-25", "S3-26", "S3-27", "S3-28", "S3-30", "S3-38", "S3-42", "S3-46", "TLS-14")
)

# What was done is not what is there: nothing more that is asked would tell anything.
LOST = "S3-47"
LOOKS = 4  # at what stays, each followed by a deletion of what was seen

# Of a key; the key itself is never shown.
UNSENDABLE = "contains white space, a control character, or one outside Latin-1, and cannot be sent"

# How the next answer of a list is asked for, by the name under which the last one says where it begins.
PLACES = {
    "NextContinuationToken": "ContinuationToken",
    "NextKeyMarker": "KeyMarker",
    "NextVersionIdMarker": "VersionIdMarker",
    "NextUploadIdMarker": "UploadIdMarker",
}
MOST_PAGES = 100

CHECK_MODE = "check mode: nothing is written"

# What Flyte needs of a bucket, by the check of it.
RIGHTS = {
    "S3-11": "s3:ListBucket",
    "S3-12": "s3:PutObject",
    "S3-13": "s3:GetObject",
    "S3-14": "s3:DeleteObject",
    "S3-17": "s3:AbortMultipartUpload",
}
ALLOWED, DENIED, UNKNOWN = "allowed", "denied", "unknown"

# Server headers of stores that refuse a policy which is none, the first two as the tests see.
READS_POLICIES = ("MinIO", "SeaweedFS", "AmazonS3")

# What no store takes for a policy: whoever may set one is told so, and nothing is set.
NO_POLICY = "flyte.onprem asks whether a policy would be taken; this is none"

# The objects of a run whose uploads may be unfinished; some stores list those by their exact names only.
PARTS, ABANDONED = "parts", "abandoned"
MARK = "running"

Answer = t.TypeVar("Answer")


@dataclass(frozen=True)
class Bucket:
    """A bucket, and the prefix below which Flyte writes in it."""

    name: str
    prefix: str = ""

    @property
    def folder(self) -> str:
        prefix = self.prefix.strip("/")
        return (f"{prefix}/" if prefix else "") + PROBE_FOLDER


@dataclass(frozen=True)
class Store:
    """An S3 store as Flyte will use it. Without keys, boto3 looks where it always does."""

    endpoint: str
    public_endpoint: str = ""
    region: str = "us-east-1"
    access_key: str | None = None
    secret_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    addressing_style: str = "path"
    timeout: float = 10
    retries: int = 2
    max_clock_skew: int = 900


def examine(store: Store, buckets: t.Sequence[Bucket], *, write: bool) -> Report:
    """Ask all there is to ask; C(write) is false in check mode.

    Raises C(ValueError), with a text for people, for an endpoint that is no address.
    """
    return Examination(store, buckets, write=write).run()


class Examination:
    """One run over a store: the rows so far, and what has been written and must go again."""

    def __init__(self, store: Store, buckets: t.Sequence[Bucket], *, write: bool) -> None:
        self.store = store
        self.buckets = buckets
        self.write = write
        self.address = parse_endpoint("endpoint", store.endpoint)
        self.public = (
            parse_endpoint("public_endpoint", store.public_endpoint) if store.public_endpoint else self.address
        )
        self.report = Report(
            CATALOGUE,
            endpoint=self.address.endpoint,
            host=self.address.host,
            public_endpoint=self.public.endpoint,
            region=store.region,
            timeout=f"{store.timeout:g}",
            max_clock_skew=str(store.max_clock_skew),
            # For what is found before a bucket is asked.
            **context_of(buckets[0] if buckets else Bucket("")),
        )
        self.report.facts["rights"] = []
        self.report.facts["leftovers"] = []
        self.fatal: list[Check] = []

    @functools.cached_property
    def client(self) -> t.Any:
        return make_client(self.store, self.address)

    @functools.cached_property
    def public_client(self) -> t.Any:
        return self.client if self.public == self.address else make_client(self.store, self.public)

    def check(self, id: str, probe: Probe, *, after: t.Iterable[Check] = (), **context: str) -> Check:
        """As C(Report.check), skipped as well once something has failed that stops everything."""
        known = len(self.report.rows)
        row = self.report.check(id, probe, after=[*self.fatal, *after], **context)
        self.fatal += [new for new in self.report.rows[known:] if new.status == FAILED and new.id in FATAL]
        return row

    def run(self) -> Report:
        accepted_at: dict[str, str] = {}
        sendable = self.check("S3-46", self.keys_can_be_sent)
        reached = reach(
            self.report,
            self.address,
            ids=ReachIds(name="S3-20", port="S3-21", way="S3-22"),
            ca_file=self.store.ca_file,
            timeout=self.store.timeout,
            retries=self.store.retries,
            after=[sendable],
            accepted=accepted_at,
        )
        greeted = self.check("S3-24", self.greet, after=[reached])
        self.check("S3-08", self.compare_clocks, after=[greeted])
        # boto3 waits for each address of a name as long as for all, and for those that are dead each time anew.
        with pinned(accepted_at):
            accepted = self.check_credentials(after=greeted)
        public = reached
        if self.public != self.address:
            public = reach(
                self.report,
                self.public,
                ids=ReachIds(name="S3-01", port="S3-21", way="S3-22"),
                ca_file=self.store.ca_file,
                timeout=self.store.timeout,
                retries=self.store.retries,
                after=[*self.fatal, reached],
            )
        if self.public != self.address and self.public.host == self.address.host:
            accepted_at.clear()  # another port may be open at another address only
        with pinned(accepted_at):
            for bucket in self.buckets:
                BucketExamination(self, bucket, accepted=accepted, public=public).run()
        return self.report

    # The store as a whole

    def keys_can_be_sent(self) -> str:
        if not self.store.access_key:
            return "none are given; boto3 looks for them"
        for name in ("access_key", "secret_key", "session_token"):
            if unsendable(getattr(self.store, name) or ""):
                raise Failed(f"{name} {UNSENDABLE}")
        return "no character that a header refuses"

    def greet(self) -> str:
        """An unsigned request: is this S3 at all? Its answer also tells the time."""
        started = time.time()
        status, headers, body = http_request(
            self.address, "GET", "/", ca_file=self.store.ca_file, timeout=self.store.timeout
        )
        ended = time.time()
        self.report.facts["server"] = headers.get("server", "")
        self.report.facts["latency_ms"] = round((ended - started) * 1000, 1)
        date = seconds_of(headers.get("date", ""))
        if date is not None:
            self.report.facts["clock_skew"] = round(date - (started + ended) / 2, 1)
        error = parse_error(body)
        if error is None and status >= 500:
            raise Failed(f"HTTP {status} from {headers.get('server', 'a server')}", id="S3-30")
        if error is None and b"ListAllMyBucketsResult" not in body and "x-amz-request-id" not in headers:
            raise Failed(f"HTTP {status}, {headers.get('content-type', 'no content type')}, and no S3 error document")
        return f"HTTP {status} from {headers.get('server', 'an unnamed server')}"

    def compare_clocks(self) -> str:
        skew = self.report.facts.get("clock_skew")
        if skew is None:
            raise Skipped("the answer holds no Date that can be read")
        seen = f"the store is {abs(skew):.0f} seconds {'ahead of' if skew > 0 else 'behind'} this machine"
        if abs(skew) <= 1:  # Date holds whole seconds
            return "they agree"
        if abs(skew) >= self.store.max_clock_skew:
            raise Failed(seen)
        if abs(skew) > CLOCK_WARNING:
            raise Warned(seen)
        return seen

    def check_credentials(self, *, after: Check) -> Check:
        """S3-25, S3-26, S3-29 from one request: the list of all buckets, which may be denied."""
        names: list[str] = []
        refused: list[S3Error] = []
        key = self.store.access_key or "found by boto3"

        def ask() -> str:
            try:
                answer = self.call(self.client.list_buckets)
                names.extend(str(bucket["Name"]) for bucket in answer.get("Buckets") or [] if "Name" in bucket)
            except S3Error as exc:
                # Only whoever is known and signs rightly is told that he may not, or that the store can not.
                if not exc.denied and exc.fault not in ("S3-26", "S3-28", "S3-32"):
                    raise exc.outcome() from exc
                refused.append(exc)
                return f"access key {key} is not refused, only the list of buckets ({exc.code})"
            return f"access key {key} is known"

        def sign() -> str:
            for exc in refused:
                if exc.fault in ("S3-26", "S3-28"):
                    raise exc.outcome()
            return "the signature matches"

        def hidden() -> str:
            if refused:
                return f"the list of buckets is not given ({refused[0].code})"
            others = sorted(set(names) - {bucket.name for bucket in self.buckets})
            if others:
                raise Warned(f"{len(others)} other buckets are visible: {', '.join(others[:5])}")
            return "no other bucket is visible"

        known = self.check("S3-25", ask, after=[after])
        signed = self.check("S3-26", sign, after=[known])
        self.check("S3-29", hidden, after=[signed])
        return signed

    def require_signatures(self, bucket: str) -> None:
        """Where everything is denied: fail as S3-42 if a key that nobody has is told the same, word for word."""
        stranger = replace(
            self.store, access_key="nobody-" + os.urandom(6).hex(), secret_key=os.urandom(20).hex(), session_token=None
        )
        refusals = []
        for client in (self.client, make_client(stranger, self.address)):
            try:
                self.call(client.list_objects_v2, Bucket=bucket, MaxKeys=1)
                return
            except S3Error as exc:
                if not exc.denied:
                    return
                refusals.append(exc)
        own, other = refusals
        if (own.code, own.words) == (other.code, other.words):
            raise Failed(f"{own}; an access key that does not exist gets the same answer", id="S3-42")

    # Requests

    def call(self, operation: t.Callable[..., Answer], **arguments: t.Any) -> Answer:
        """One request by boto3, again where that may help. Raises C(S3Error) only."""
        attempt = 0
        while True:
            try:
                return call_once(
                    operation, virtual=self.store.addressing_style == "virtual", timeout=self.store.timeout, **arguments
                )
            except S3Error as exc:
                attempt += 1
                if exc.code not in TRANSIENT or attempt > self.store.retries:
                    raise
                time.sleep(min(0.25 * 2**attempt, self.store.timeout))


class BucketExamination:
    """The rows of one bucket."""

    def __init__(self, store: Examination, bucket: Bucket, *, accepted: Check, public: Check) -> None:
        self.all = store
        self.bucket = bucket
        self.accepted = accepted
        self.public = public
        stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        self.folder = f"{bucket.folder}{stamp}-{os.urandom(4).hex()}/"
        self.content = os.urandom(1024)
        self.written: list[Written] = []
        self.uploads: list[tuple[str, str]] = []  # key, upload id; empty until an answer tells it
        self.first_write: S3Error | str | None = "not tried"
        self.rows: dict[str, Check] = {}
        self.undeleted: list[str] = []  # though the deletion was answered
        self.lost: list[Check] = []  # the row that says so, once it has failed
        self.untold = False
        self.unanswered = False
        self.locked = ""  # until when, or why, what was written stays
        # By signed URL, with its content, while it has not been found in the store.
        self.astray: tuple[Written, bytes] | None = None

    def check(self, id: str, probe: Probe, *after: str) -> Check:
        """A row of this bucket, after the rows of it named by their ids."""
        needed = [self.accepted, *self.lost, *(self.rows[name] for name in after if name in self.rows)]
        known = len(self.all.report.rows)
        self.rows[id] = self.all.check(id, probe, after=needed, **self.context)
        self.lost += [row for row in self.all.report.rows[known:] if (row.id, row.status) == (LOST, FAILED)]
        return self.rows[id]

    @property
    def client(self) -> t.Any:
        return self.all.client

    @property
    def context(self) -> dict[str, str]:
        return context_of(self.bucket)

    def run(self) -> None:
        try:
            self.probe()
        finally:
            # Also when the play is interrupted in the middle.
            with undisturbed():
                self.clean_up()
        if self.undeleted and not self.lost:
            self.check(LOST, self.all_gone)
        if self.locked:
            self.check("S3-45", self.no_lock, "S3-14")
        elif any(written.version or written.hidden for written in self.written):
            self.check("S3-33", self.no_versions_left, "S3-14")
        self.tell_rights()

    def probe(self) -> None:
        self.check("S3-04", self.exists)
        if self.untold:
            # What could not be told about the bucket does not hide which right is denied.
            del self.rows["S3-04"]
        self.check("S3-11", self.list_folder, "S3-04")
        self.check("S3-12", self.put, "S3-04")
        self.check("S3-13", self.get, "S3-04")
        self.check("S3-14", self.delete, "S3-04")
        # Nothing more is written where it could not be deleted.
        self.check("S3-16", self.overwrite, "S3-12", "S3-13", "S3-14")
        self.check("S3-18", self.special_key, "S3-12", "S3-13", "S3-14")
        self.check("S3-15", self.multipart, "S3-12", "S3-14")
        self.check("S3-17", self.abort, "S3-12", "S3-14", "S3-15")
        self.check_signed_url("S3-12", "S3-13", "S3-14")
        self.check("S3-41", self.excess, "S3-12", "S3-14")
        self.check("S3-19", self.leftovers, "S3-11")

    # Rights

    def exists(self) -> str:
        try:
            self.call(self.client.head_bucket)
        except S3Error as exc:
            if exc.code in NO_BUCKET:
                raise Failed(f"there is no bucket {self.bucket.name}") from exc
            if not exc.denied:
                # An answer to HEAD has no body, so no code; the same question by GET has.
                raise self.reason_for(exc).outcome() from exc
        else:
            return "it exists"
        self.untold = True
        # Whether it exists is not told to someone who may not list it. A write tells, where it is allowed.
        if not self.all.write:
            self.all.require_signatures(self.bucket.name)
            raise Skipped("cannot be told: the store denies HeadBucket, and check mode does not write")
        refused = self.try_write()
        self.untold = refused is not None and refused.denied
        if refused is None:
            return "it exists, since it took an object; HeadBucket is denied"
        if refused.code in NO_BUCKET:
            raise Failed(f"there is no bucket {self.bucket.name}")
        if not refused.denied:
            raise refused.outcome()
        self.all.require_signatures(self.bucket.name)
        raise Skipped("cannot be told: the store denies HeadBucket and PutObject")

    def reason_for(self, refused: S3Error) -> S3Error:
        if refused.code.isdigit():
            try:
                self.call(self.client.list_objects_v2, Prefix=self.bucket.folder, MaxKeys=1)
            except S3Error as exc:
                return exc
        return refused

    def list_folder(self) -> str:
        started = time.monotonic()
        try:
            self.call(self.client.list_objects_v2, Prefix=self.bucket.folder)
        except S3Error as exc:
            raise exc.outcome(denied="S3-11") from exc
        return f"allowed, in {(time.monotonic() - started) * 1000:.0f} ms"

    def try_write(self) -> S3Error | None:
        """Write the first object, once; the refusal if there was one."""
        if isinstance(self.first_write, str):
            try:
                self.put_object("object", self.content)
                self.first_write = None
            except S3Error as exc:
                self.first_write = exc
        return self.first_write

    def put(self) -> str:
        self.needs_write()
        refused = self.try_write()
        if refused:
            raise refused.outcome(denied="S3-12")
        return "allowed"

    def get(self) -> str:
        if self.passed("S3-12"):
            try:
                content = self.get_object("object")
            except S3Error as exc:
                raise exc.outcome(denied="S3-13") from exc
            return same(content, self.content)
        # Nothing could be written. Whoever may read is told that there is no such object.
        try:
            self.get_object("missing")
        except S3Error as exc:
            if exc.code in NO_OBJECT:
                return "allowed; no content compared, since nothing was written"
            if exc.denied and not self.passed("S3-11"):
                raise Skipped("cannot be told: without s3:ListBucket a missing object is denied as well") from exc
            raise exc.outcome(denied="S3-13") from exc
        raise Failed("an object that was never written could be read", id="S3-40")

    def delete(self) -> str:
        self.needs_write()
        # Deleting what is not there succeeds for whoever may delete.
        first = next(iter(self.written), None)
        try:
            self.delete_object(first.key if first else self.folder + "missing")
        except S3Error as exc:
            stays = f"; {first.key} of this check stays" if first else ""
            raise Failed(f"{exc}{stays}", id=exc.outcome(denied="S3-14").id) from exc
        if first:
            self.see_gone(first.key)
        if first and first.version:
            self.locked = self.lock_of(first)
        return "allowed"

    def see_gone(self, key: str) -> None:
        """An answer to a deletion says little: of S3, or of a proxy that has passed nothing on."""
        try:
            there = self.is_there(key)
        except S3Error as exc:
            raise exc.outcome() from exc
        if there:
            raise Failed(f"DeleteObject was answered, and {key} is still there", id=LOST)

    def is_there(self, key: str) -> bool:
        # By a list where that is allowed: a cache may still have the object.
        if "S3-11" in self.rows and self.passed("S3-11"):
            return key in self.listed(key)
        try:
            self.call(self.client.head_object, Key=key)
        except S3Error as exc:
            if exc.code in NO_OBJECT or exc.denied:  # as S3 denies what is missing to whoever may not list
                return False
            raise
        return True

    def listed(self, prefix: str) -> list[str]:
        """The first objects below a prefix, without what a delete marker hides."""
        answer = self.call(self.client.list_objects_v2, Prefix=prefix)
        return [str(item["Key"]) for item in answer.get("Contents") or [] if "Key" in item]

    def lock_of(self, written: Written) -> str:
        """Why a version stays, where a lock is the reason. It is asked for early: nothing more is written then."""
        try:
            self.delete_version(written)
        except S3Error as exc:
            if exc.fault == "S3-45":
                return str(exc)
            if exc.denied:
                with contextlib.suppress(S3Error):
                    answer = self.call(self.client.head_object, Key=written.key, VersionId=written.version)
                    if "ObjectLockMode" in answer:
                        return f"{answer['ObjectLockMode']} until {answer.get('ObjectLockRetainUntilDate')}"
        return ""

    # Objects that are more than small ones

    def overwrite(self) -> str:
        self.needs_write()
        second = os.urandom(1024)
        try:
            self.put_object("replaced", self.content)
            self.put_object("replaced", second)
            return same(self.get_object("replaced"), second, id="S3-16")
        except S3Error as exc:
            raise exc.outcome(denied="S3-16") from exc

    def special_key(self) -> str:
        self.needs_write()
        name = "a b+c%20d=e&f/\u00fc\u4e2d.txt"
        try:
            self.put_object(name, self.content)
            return same(self.get_object(name), self.content, id="S3-18")
        except S3Error as exc:
            if exc.denied or exc.fault == "S3-26" or exc.code in NO_OBJECT:
                # The keys are right, as other objects have shown.
                raise Failed(str(exc)) from exc
            raise exc.outcome() from exc

    def multipart(self) -> str:
        self.needs_write()
        parts = (os.urandom(1024) * (PART_SIZE // 1024), self.content)
        try:
            self.mark()
            key, upload = self.begin_upload(PARTS)
            self.complete_upload(
                key, upload, [self.upload_part(key, upload, n, part) for n, part in enumerate(parts, 1)]
            )
            size = sum(len(part) for part in parts)
            if self.passed("S3-13"):
                seen = self.call(self.client.head_object, Key=key).get("ContentLength", "of an unknown number")
                if seen != size:
                    raise Failed(f"{size} bytes were written, {seen} are there")
        except S3Error as exc:
            raise exc.outcome(denied="S3-15") from exc
        return f"{size} bytes in {len(parts)} parts"

    def abort(self) -> str:
        try:
            key, upload = self.begin_upload(ABANDONED)
            part = self.upload_part(key, upload, 1, self.content)
        except S3Error as exc:
            raise exc.outcome(denied="S3-15") from exc
        try:
            self.abort_upload(key, upload)
        except S3Error as exc:
            if not exc.denied:
                raise exc.outcome() from exc
            # An object can be deleted, an upload that may not be aborted would stay.
            self.complete_upload(key, upload, [part])
            raise Warned(str(exc)) from exc
        if self.completes(key, upload, part):
            raise Failed("AbortMultipartUpload was answered, and the upload could be completed after that", id=LOST)
        return "allowed"

    def completes(self, key: str, upload: str, part: dict[str, t.Any]) -> bool:
        """Whether an upload is there. Whoever may write can complete and then delete it, but perhaps not list it."""
        self.uploads.append((key, upload))
        try:
            self.complete_upload(key, upload, [part])
            return True
        except S3Error as exc:
            if not isinstance(exc, Unanswered):
                self.uploads.remove((key, upload))
                self.written.pop()
                return False
            raise exc.outcome() from exc

    # The way of browsers and clients

    def check_signed_url(self, *after: str) -> None:
        context = {**self.context, "endpoint": self.all.public.endpoint, "host": self.all.public.host}
        needed = [*self.all.fatal, self.accepted, self.public, *self.lost, *(self.rows[name] for name in after)]
        # Straight to the report: a fault of the public endpoint stops nothing else.
        self.all.report.check("S3-07", self.signed_url, after=needed, **context)

    def signed_url(self) -> str:
        """Upload and download as C(pyflyte) does: MD5 and Host signed, no header of ours beside."""
        self.needs_write()
        content = os.urandom(1024) * (SIGNED_SIZE // 1024)
        md5 = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
        key = self.folder + "signed"
        started = time.monotonic()
        written = Written(key=key)
        self.written.append(written)
        if self.all.public != self.all.address:
            self.astray = (written, content)
        try:
            headers = self.signed_request("put_object", "PUT", key, content=content, headers={"Content-MD5": md5})[0]
        except (SignedRefusal, Unconnected):
            self.astray = None
            raise
        written.version = real_version({"VersionId": headers.get("x-amz-version-id")})
        self.find_signed(written)
        self.astray = None
        try:
            back = self.signed_request("get_object", "GET", key)[1]
        except SignedRefusal as exc:
            if exc.missing:
                seen = f"what was written by signed URL is not found by one: {exc.observed}"
                raise Failed(seen, id=self.lost_by_signed_url) from exc
            raise
        same(back, content)
        return f"{len(content)} bytes up and down in {(time.monotonic() - started) * 1000:.0f} ms"

    @property
    def lost_by_signed_url(self) -> str:
        """The check that fails where signed URLs do not lead to what is there without them."""
        return LOST if self.all.public == self.all.address else "S3-35"

    def find_signed(self, written: Written) -> None:
        """Look without a signed URL for what was written by one: another store may know the same user and bucket."""
        try:
            self.call(self.client.head_object, Key=written.key)
        except S3Error as exc:
            if exc.code not in NO_OBJECT:
                raise exc.outcome(denied="S3-13") from exc
            if self.astray:
                self.written.remove(written)  # clean_up asks the store at the endpoint
            raise Failed(
                f"what was written by signed URL at {self.all.public.endpoint} is not found at "
                f"{self.all.address.endpoint}: {exc}",
                id=self.lost_by_signed_url,
            ) from exc

    def remove_astray(self) -> None:
        """Remove what was written by signed URL and not found in the store: another one has it, if any."""
        if not self.astray:
            return
        written, content = self.astray

        def there() -> bool:
            try:
                return self.signed_request("get_object", "GET", written.key)[1] == content
            except SignedRefusal as exc:
                if exc.missing:
                    return False
                raise

        try:
            if not there():
                return
            answer = self.signed_request("delete_object", "DELETE", written.key, version=written.version)[0]
            hidden = not written.version and answer.get("x-amz-delete-marker") == "true"
            if not hidden and not there():
                return
        except Failed as exc:
            written.refusal = exc.observed
        self.tell_left(written)

    def signed_request(
        self,
        operation: str,
        method: str,
        key: str,
        *,
        content: bytes = b"",
        headers: dict[str, str] | None = None,
        version: str = "",
    ) -> tuple[dict[str, str], bytes]:
        """Headers and body of the answer. Raises C(SignedRefusal), or C(Failed) where none came."""
        store = self.all.store
        parameters = {"Bucket": self.bucket.name, "Key": key}
        if headers:
            parameters["ContentMD5"] = headers["Content-MD5"]
        if version:
            parameters["VersionId"] = version
        # Whoever has this address may use it: it goes into no message.
        url = urlsplit(
            self.all.public_client.generate_presigned_url(operation, Params=parameters, ExpiresIn=SIGNED_URL_SECONDS)
        )
        # With virtual-host addressing the bucket is part of the name.
        where = parse_url(f"{url.scheme}://{url.netloc}")
        try:
            status, answer, body = http_request(
                where,
                method,
                f"{url.path}?{url.query}",
                body=content,
                headers=headers or {},
                ca_file=store.ca_file,
                timeout=store.timeout,
            )
        except Unconnected as exc:
            if where.host == self.all.public.host:
                raise
            # The store's own name leads there, as the rows before have shown.
            raise Unconnected(f"signed {exc.observed}", id="S3-06") from exc
        except Failed as exc:
            if exc.id == "S3-23":
                raise
            raise Failed(f"signed {method}: {exc.observed}", id=exc.id) from exc
        if status in (200, 204):
            return answer, body
        error = parse_error(body)
        if error is None:
            seen = (
                f"signed {method} gave HTTP {status} from {answer.get('server', 'a server')}, and no S3 error document"
            )
            id = {413: "S3-34", 502: "S3-30", 503: "S3-30", 504: "S3-30"}.get(status, "S3-35")
            raise SignedRefusal(seen, id=id, missing=status == 404)
        refused = S3Error(operation=f"signed {method}", code=error[0], status=status, words=error[1])
        # The keys, the bucket and the rights are good, as the rows before have shown.
        another = {"S3-04": "S3-35", "S3-25": "S3-35", "S3-26": "S3-07", "S3-28": "S3-07"}
        id = another.get(refused.fault, "S3-07" if refused.denied else refused.fault)
        raise SignedRefusal(str(refused), id=id, missing=refused.code in NO_OBJECT)

    # Rights that Flyte does not need

    def excess(self) -> str:
        self.needs_write()
        verdicts = [
            ("s3:PutBucketPolicy", *self.may_set_policy()),
            ("s3:DeleteBucket", *self.may_delete_bucket()),
        ]
        for right, verdict, reason in verdicts:
            self.tell_right(right, verdict, reason)
        seen = "; ".join(f"{right} {verdict} ({reason})" for right, verdict, reason in verdicts)
        if any(verdict == ALLOWED for _right, verdict, _reason in verdicts):
            raise Warned(seen)
        return seen

    def may_set_policy(self) -> tuple[str, str]:
        """Asked with a text that is no policy: it is refused either way, but not for the same reason.

        Only of stores that are known to look at the text; another one might put it in the place of a policy.
        """
        if not any(name in self.all.report.facts["server"] for name in READS_POLICIES):
            return UNKNOWN, "only setting one would tell"
        try:
            self.call(self.client.put_bucket_policy, Policy=NO_POLICY)
        except S3Error as exc:
            if exc.denied:
                return DENIED, exc.code
            if exc.status == 400:
                return ALLOWED, f"a text that is no policy was refused only as that: {exc.code}"
            return UNKNOWN, str(exc)
        return ALLOWED, "the store took a text that is no policy"

    def may_delete_bucket(self) -> tuple[str, str]:
        """Asked of MinIO alone, which refuses the header that C(never_delete_a_bucket) sets, and a bucket with objects.

        Other stores may delete a bucket whatever is in it (SeaweedFS does unless told otherwise).
        """
        if "MinIO" not in self.all.report.facts["server"]:
            return UNKNOWN, "only deleting it would tell"
        try:
            self.call(self.client.head_object, Key=self.mark())
            self.call(self.client.delete_bucket)
        except S3Error as exc:
            if exc.operation == "DeleteBucket" and exc.denied:
                return DENIED, exc.code
            if exc.operation == "DeleteBucket" and exc.status in (400, 409):
                return ALLOWED, f"a request that cannot succeed was refused only as that: {exc.code}"
            return UNKNOWN, str(exc)
        return UNKNOWN, "a request that cannot succeed was accepted, which is no answer of MinIO"

    def mark(self) -> str:
        """Write the object by which a later check finds this run, should it be killed, and what it began."""
        key = self.folder + MARK
        if all(written.key != key for written in self.written):
            self.put_object(MARK, b"")
        return key

    def tell_rights(self) -> None:
        """The verdict of each right that Flyte needs, where its row has one, and why it cannot be told otherwise."""
        for id, right in RIGHTS.items():
            row = self.rows[id]
            if row.status == PASSED:
                self.tell_right(right, ALLOWED, row.observed)
            elif row.id == id and row.status in (FAILED, WARNING):
                self.tell_right(right, DENIED, row.observed)
            else:
                root = self.all.report.root(row)
                self.tell_right(right, UNKNOWN, f"{root.id}: {root.observed}")

    def tell_right(self, right: str, verdict: str, reason: str) -> None:
        told = {"bucket": self.bucket.name, "right": right, "verdict": verdict, "reason": reason}
        self.all.report.facts["rights"].append(told)

    # What must not stay

    def leftovers(self) -> str:
        """Remove what a killed run left, but not what a run beside this one has just written."""
        now = time.time() + self.all.report.facts.get("clock_skew", 0)
        found = self.left_by_others()
        old = [item for item in found if now - item.modified > LEFTOVER_AGE]
        young = [item for item in found if item not in old]
        may_remove = self.passed("S3-14")
        uploads, unlisted = 0, ""
        if may_remove:
            uploads, unlisted = self.abort_old_uploads({self.run_of(item.key) for item in old}, now=now)
        # Nothing else tells that an upload of that run may be unfinished.
        marks = [item for item in old if unlisted and item.shown and item.key == self.run_of(item.key) + MARK]
        kept = {item.key for item in marks}
        old = [item for item in old if item.key not in kept]
        stay = list(old)
        refusal = ""
        for item in old if may_remove else []:
            try:
                self.remove_left(item)
                stay.remove(item)
            except S3Error as exc:
                refusal = f"; {exc}"
        removed = len(old) - len(stay)
        if stay:
            raise Warned(f"{len(stay)} objects of earlier checks stay: {self.describe(stay, now)}{refusal}")
        if young:
            raise Warned(f"{len(young)} objects, perhaps of a check that runs: {self.describe(young, now)}")
        if marks:
            raise Warned(
                f"{len(marks)} earlier checks were ended while an upload may have been unfinished, and uploads cannot "
                f"be listed: {self.describe(marks, now)}; {unlisted}",
                cause="A check was killed during an upload in parts, and this user may not list unfinished uploads.",
                fix=(
                    f"Let an administrator abort the unfinished uploads below {self.bucket.folder} in bucket "
                    f"{self.bucket.name} (mc rm --incomplete --recursive --force), and then delete what is below it. "
                    "With the right s3:ListBucketMultipartUploads the next check does both."
                ),
            )
        if removed + uploads:
            return f"removed of an earlier check: {removed} objects, {uploads} unfinished uploads"
        return "nothing"

    def left_by_others(self) -> list[Left]:
        """What other runs wrote below the folder of all checks, with old versions where they may be listed."""
        try:
            return [
                item
                for answer in self.pages(self.client.list_object_versions, prefix=self.bucket.folder)
                for kind in ("Versions", "DeleteMarkers")
                for item in self.left_in(answer, kind)
            ]
        except S3Error:  # Flyte does not need the right to list versions
            pass
        try:
            pages = self.pages(self.client.list_objects_v2, prefix=self.bucket.folder)
            return [item for answer in pages for item in self.left_in(answer, "Contents")]
        except S3Error as exc:
            raise exc.outcome(denied="S3-11") from exc

    def left_in(self, answer: t.Mapping[str, t.Any], kind: str) -> t.Iterator[Left]:
        for item in answer.get(kind) or []:
            if {"Key", "LastModified"} <= item.keys() and self.is_of_another_run(str(item["Key"])):
                marker = kind == "DeleteMarkers"
                yield Left(
                    key=str(item["Key"]),
                    version=str(item.get("VersionId") or "") if marker else real_version(item),
                    modified=item["LastModified"].timestamp(),
                    shown=not marker and bool(item.get("IsLatest", True)),
                )

    def pages(self, operation: t.Callable[..., t.Any], *, prefix: str) -> t.Iterator[t.Mapping[str, t.Any]]:
        """Each answer of a list: one has 1000 names, and of what others put below the folder there may be more."""
        place: dict[str, t.Any] = {}
        for _ in range(MOST_PAGES):
            answer = self.call(operation, Prefix=prefix, **place)
            yield answer
            before = place
            place = {PLACES[name]: answer[name] for name in PLACES if answer.get(name)}
            if not answer.get("IsTruncated") or not place or place == before:
                return
        raise Warned(f"more than {MOST_PAGES} pages of names below {prefix}, of which the rest was not looked at")

    def is_of_another_run(self, key: str) -> bool:
        """Whether a check gave this name; what others put below the folder is none of ours."""
        rest = key[len(self.bucket.folder) :]
        return RUN_FOLDER.match(rest) is not None and not key.startswith(self.folder)

    def remove_left(self, item: Left) -> None:
        if item.version:
            self.delete_version(Written(key=item.key, version=item.version, marker=item.version == "null"))
        else:
            self.call(self.client.delete_object, Key=item.key)

    def run_of(self, key: str) -> str:
        """The folder of the run that wrote an object."""
        return self.bucket.folder + key[len(self.bucket.folder) :].partition("/")[0] + "/"

    def describe(self, items: t.Sequence[Left], now: float) -> str:
        ages: dict[str, float] = {}
        for item in items:
            run = self.run_of(item.key)
            ages[run] = max(ages.get(run, 0), now - item.modified)
        return ", ".join(f"{run} ({describe_age(age)} old)" for run, age in sorted(ages.items())[:5])

    def abort_old_uploads(self, runs: t.Collection[str], *, now: float) -> tuple[int, str]:
        """How many unfinished uploads were aborted, and why not all: Flyte does not need the right to list them."""
        count = 0
        # By their exact names as well: MinIO lists them in no other way.
        prefixes = [self.bucket.folder, *(run + name for run in runs for name in (PARTS, ABANDONED))]
        try:
            for prefix in prefixes:
                found = self.pages(self.client.list_multipart_uploads, prefix=prefix)
                for upload in [upload for answer in found for upload in answer.get("Uploads") or []]:
                    if not self.is_of_another_run(upload["Key"]):
                        continue
                    if now - upload["Initiated"].timestamp() > LEFTOVER_AGE:
                        self.call(self.client.abort_multipart_upload, Key=upload["Key"], UploadId=upload["UploadId"])
                        count += 1
        except S3Error as exc:
            return count, str(exc)
        return count, ""

    def clean_up(self) -> None:
        """Remove all that this run wrote; what stays is named among the facts."""
        removals: list[tuple[Written, t.Callable[[], t.Any]]] = []
        for key, upload in list(self.uploads):
            abort = (
                functools.partial(self.abort_upload, key, upload)
                if upload
                else functools.partial(self.abort_untold, key)
            )
            removals.append((Written(key=key), abort))
        self.remove(removals)
        removals.clear()
        if any(not upload for _key, upload in self.uploads):
            # An upload that stays is found by its mark.
            for mark in [written for written in self.written if written.key == self.folder + MARK]:
                self.tell_left(mark)
                self.written.remove(mark)
        for written in self.written:
            if not written.version and not written.gone and not written.hidden:
                removals.append((written, functools.partial(self.delete_object, written.key)))
        self.remove(removals)
        # By now with the delete markers that the store has set.
        self.remove(
            (written, functools.partial(self.delete_version, written))
            for written in self.written
            if written.version and not written.gone
        )
        if self.written and not self.unanswered:
            self.remove_hidden()
            self.remove_again()
        self.remove_astray()

    def remove_again(self) -> None:
        """Look for what is still there though its deletion was answered, remove that if it can be, else name it."""
        told = {left["key"] for left in self.all.report.facts["leftovers"]}
        keys = sorted({written.key for written in self.written} - told)
        versions = any(written.version or written.hidden for written in self.written)

        def staying() -> list[str]:
            if "S3-11" in self.rows and self.passed("S3-11"):
                return sorted(set(keys) & set(self.listed(self.folder)))
            return [key for key in keys if self.is_there(key)]

        stay: list[str] = []
        # Where stores take turns at one address, one look sees one of them.
        for _ in range(LOOKS):
            try:
                stay = staying()
                if not (stay or self.lost) or versions:
                    break
                for key in stay:
                    # Twice, or else each deletion might go to the store that the look has not seen.
                    self.delete_object(key)
                    self.delete_object(key)
            except S3Error:
                break
        for key in stay:
            self.tell_left(Written(key=key))
        self.undeleted = stay

    def remove_hidden(self) -> None:
        """Remove the versions that no answer has told, with the markers that hide them: without, they would be back."""
        hidden = [written for written in self.written if written.hidden and not written.gone]
        try:
            answer = self.call(self.client.list_object_versions, Prefix=self.folder)
        except S3Error as exc:  # Flyte does not need the right to list versions
            for written in hidden:
                written.refusal = str(exc)
                self.tell_left(written)
            return
        for written in hidden:
            written.gone = True  # what is behind it is listed
        known = {(left["key"], left["version"] or "null") for left in self.all.report.facts["leftovers"]}
        listed = [
            Written(key=str(item["Key"]), version=str(item["VersionId"]), marker=kind == "DeleteMarkers")
            for kind in ("Versions", "DeleteMarkers")
            for item in answer.get(kind) or []
            if {"Key", "VersionId"} <= item.keys() and str(item["Key"]).startswith(self.folder)
            if (item["Key"], item["VersionId"]) not in known
        ]
        self.written += listed
        self.remove((written, functools.partial(self.delete_version, written)) for written in listed)

    def remove(self, removals: t.Iterable[tuple[Written, t.Callable[[], t.Any]]]) -> None:
        for written, removal in removals:
            try:
                if not self.unanswered:
                    removal()
                    continue
            except S3Error as exc:
                written.refusal = str(exc)
                # A store that has gone away costs one timeout, not one for each object.
                self.unanswered = isinstance(exc, Unanswered)
            self.tell_left(written)

    def tell_left(self, written: Written) -> None:
        left = {"bucket": self.bucket.name, "key": written.key, "version": written.version}
        if left not in self.all.report.facts["leftovers"]:
            self.all.report.facts["leftovers"].append(left)

    def all_gone(self) -> str:
        raise Failed(f"DeleteObject was answered, and {self.undeleted[0]} is still there")

    def no_lock(self) -> str:
        raise Warned(f"what is below {self.folder} stays: {self.locked}")

    def no_versions_left(self) -> str:
        stay = [written for written in self.written if (written.version or written.hidden) and not written.gone]
        if stay:
            raise Warned(f"{len(stay)} versions below {self.folder} stay: {stay[0].refusal}")
        return "all versions removed"

    # Requests

    def call(self, operation: t.Callable[..., Answer], **arguments: t.Any) -> Answer:
        return self.all.call(operation, Bucket=self.bucket.name, **arguments)

    def put_object(self, name: str, content: bytes) -> None:
        # Noted before it is sent: a write whose answer is lost may have happened.
        written = Written(key=self.folder + name)
        self.written.append(written)
        try:
            answer = self.call(self.client.put_object, Key=written.key, Body=content)
        except S3Error as exc:
            if not isinstance(exc, Unanswered):
                self.written.remove(written)
            raise
        written.version = real_version(answer)

    def get_object(self, name: str) -> bytes:
        def get_object(**arguments: t.Any) -> bytes:
            # The body as well, which may stall or break off in the middle.
            return bytes(self.client.get_object(**arguments)["Body"].read())

        return self.call(get_object, Key=self.folder + name)

    def delete_object(self, key: str) -> None:
        answer = self.call(self.client.delete_object, Key=key)
        unknown = [written for written in self.written if written.key == key and not written.version]
        # A marker of version null has taken the place of what was there; every other only hides it.
        version = str(answer.get("VersionId") or "")
        hides = bool(answer.get("DeleteMarker")) and version != "null"
        for written in unknown:
            written.hidden = hides
            written.gone = not hides
        if answer.get("DeleteMarker") and version and not (hides and unknown):
            self.written.append(Written(key=key, version=version, marker=True))
        elif all(written.key != key for written in self.written):
            self.written.append(Written(key=key, gone=True))  # MinIO sets markers of version null without a word

    def delete_version(self, written: Written) -> None:
        if written.marker and written.version == "null":
            # SeaweedFS keeps such a marker whatever it answers, but not an object in its place.
            self.call(self.client.put_object, Key=written.key, Body=b"")
        self.call(self.client.delete_object, Key=written.key, VersionId=written.version)
        written.gone = True

    def begin_upload(self, name: str) -> tuple[str, str]:
        key = self.folder + name
        # Noted before it is sent, as a write is.
        self.uploads.append((key, ""))
        try:
            answer = self.call(self.client.create_multipart_upload, Key=key)
        except S3Error as exc:
            if not isinstance(exc, Unanswered):
                self.uploads.remove((key, ""))
            raise
        upload = told("UploadId", answer)
        self.uploads[-1] = (key, upload)
        return key, upload

    def upload_part(self, key: str, upload: str, number: int, content: bytes) -> dict[str, t.Any]:
        answer = self.call(self.client.upload_part, Key=key, UploadId=upload, PartNumber=number, Body=content)
        return {"PartNumber": number, "ETag": told("ETag", answer)}

    def complete_upload(self, key: str, upload: str, parts: list[dict[str, t.Any]]) -> None:
        written = Written(key=key)
        self.written.append(written)
        answer = self.call(
            self.client.complete_multipart_upload, Key=key, UploadId=upload, MultipartUpload={"Parts": parts}
        )
        self.uploads.remove((key, upload))
        written.version = real_version(answer)

    def abort_upload(self, key: str, upload: str) -> None:
        self.call(self.client.abort_multipart_upload, Key=key, UploadId=upload)
        self.uploads.remove((key, upload))

    def abort_untold(self, key: str) -> None:
        """Abort an upload whose id no answer has told, by its key: MinIO lists it in no other way."""
        for upload in self.call(self.client.list_multipart_uploads, Prefix=key).get("Uploads") or []:
            if upload.get("Key") == key:
                self.call(self.client.abort_multipart_upload, Key=key, UploadId=upload["UploadId"])
        self.uploads.remove((key, ""))

    def passed(self, id: str) -> bool:
        return self.rows[id].status == PASSED

    def needs_write(self) -> None:
        if not self.all.write:
            raise Skipped(CHECK_MODE)
        if self.locked:
            raise Skipped("nothing more is written to a bucket with a lock, where it stays")


class SignedRefusal(Failed):
    """A request by signed URL was answered, and refused; C(missing) where the answer was that nothing is there."""

    def __init__(self, observed: str, *, id: str, missing: bool) -> None:
        super().__init__(observed, id=id)
        self.missing = missing


@dataclass
class Written:
    """An object, version or delete marker that this run made."""

    key: str
    version: str = ""
    marker: bool = False
    gone: bool = False
    hidden: bool = False  # by a delete marker, while its own version is unknown
    refusal: str = ""


@dataclass(frozen=True)
class Left:
    """An object, version or delete marker that another run has left; C(modified) is in seconds since 1970.

    Version C(null) is a marker's; an object without a version has none. C(shown) is what a plain list has.
    """

    key: str
    version: str
    modified: float
    shown: bool


@contextlib.contextmanager
def undisturbed() -> t.Iterator[None]:
    """Let a signal to end wait until this is done: what a clean-up does not reach stays."""
    came: list[int] = []
    before = {number: signal.signal(number, lambda number, _frame: came.append(number)) for number in INTERRUPTIONS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for first in came[:1]:
            signal.raise_signal(first)


def context_of(bucket: Bucket) -> dict[str, str]:
    """What the catalogue's texts say of a bucket."""
    return {"bucket": bucket.name, "probe_prefix": bucket.folder}


def unsendable(key: str) -> bool:
    return any(
        letter.isspace() or ord(letter) < 0x20 or 0x7F <= ord(letter) < 0xA0 or ord(letter) > 0xFF for letter in key
    )


def seconds_of(date: str) -> float | None:
    """A Date header in seconds since 1970; C(None) for what is none."""
    try:
        return email.utils.parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError, OverflowError):  # TypeError: Python 3.9
        return None


def describe_age(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0, seconds):.0f} seconds"


def real_version(answer: t.Mapping[str, t.Any]) -> str:
    """The version id of an answer; C(null) is that of a bucket without versions."""
    version = str(answer.get("VersionId") or "")
    return "" if version == "null" else version


def told(name: str, answer: t.Mapping[str, t.Any]) -> str:
    """What an answer to a request of an upload in parts must tell, or none of its parts can be put together."""
    if not answer.get(name):
        raise Failed(
            f"an answer holds no {name}",
            id="S3-15",
            cause="The store does not speak S3 here, or a proxy before it drops headers or changes bodies.",
            fix="Let the proxy pass the header ETag and the bodies of answers unchanged; else look at the store's log.",
        )
    return str(answer[name])


def same(content: bytes, expected: bytes, *, id: str = "S3-40") -> str:
    if content != expected:
        raise Failed(f"{len(expected)} bytes were written, {len(content)} bytes with other content came back", id=id)
    return "allowed, and the content is the same"


def parse_endpoint(option: str, url: str) -> Address:
    """An address of a store. Raises C(ValueError), with the option's name and a text for people."""
    address = parse_option(option, url)
    if address.path.strip("/"):
        raise ValueError(f"{option}: {url!r} has a path; an S3 store needs a host name (or a port) of its own")
    return address


def parse_bucket(given: t.Any) -> Bucket:
    """A bucket from its name, or from a dictionary with name and prefix. Raises C(ValueError)."""
    fields = {"name": given} if isinstance(given, str) else given
    if not isinstance(fields, dict) or not fields.get("name") or set(fields) - {"name", "prefix"}:
        raise ValueError(f"buckets: {given!r} is neither a name nor a dictionary with name and, if wanted, prefix")
    if "://" in str(fields["name"]):
        raise ValueError("buckets: there is an address among them; give names of buckets, and the address as endpoint")
    return Bucket(name=str(fields["name"]), prefix=str(fields.get("prefix") or ""))


def refuse_region(region: str) -> None:
    """Raise C(ValueError) for what boto3 takes for no region."""
    if not region:
        raise ValueError("region: it must not be empty; leave it out for us-east-1, which most stores take")
    if not REGION.fullmatch(region):
        raise ValueError(
            f"region: {region!r} is no name of a region; give the store's own, of letters, digits and hyphens"
        )


def make_client(store: Store, address: Address) -> t.Any:
    """A boto3 client that asks once, waits no longer than told, and goes through no proxy: pods do not either."""
    import boto3  # noqa: PLC0415  see _imports.py
    from botocore.config import Config  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415

    options: dict[str, t.Any] = {
        "signature_version": "s3v4",
        "connect_timeout": store.timeout,
        "read_timeout": store.timeout,
        "retries": {"total_max_attempts": 1, "mode": "standard"},
        "proxies": {},
        "s3": {"addressing_style": store.addressing_style},
    }
    try:
        # Checksums that newer clients add by themselves, and that Flyte does not send, are refused by older stores.
        config = Config(
            request_checksum_calculation="when_required", response_checksum_validation="when_required", **options
        )
    except TypeError:  # botocore before 1.36 has neither the checksums nor the options
        config = Config(**options)
    try:
        session = boto3.session.Session(
            # Empty ones, as templates give them, are none: boto3 would sign an empty token.
            aws_access_key_id=store.access_key or None,
            aws_secret_access_key=store.secret_key or None,
            aws_session_token=store.session_token or None,
            region_name=store.region,
        )
        client = session.client("s3", endpoint_url=address.endpoint, verify=store.ca_file or None, config=config)
    except BotoCoreError as exc:  # a profile that is not there, half of a pair of keys
        raise Failed(str(exc), id="S3-38") from exc
    client.meta.events.register_first("needs-retry.s3", refuse_another_region)
    client.meta.events.register_first("before-call.s3.DeleteBucket", never_delete_a_bucket)
    return client


def never_delete_a_bucket(params: dict[str, t.Any], **_: t.Any) -> None:
    """Make every DeleteBucket one that MinIO cannot understand: it is refused once the right has been looked at."""
    params["headers"]["x-minio-force-delete"] = "neither"


def refuse_another_region(response: tuple[t.Any, t.Mapping[str, t.Any]] | None, operation: t.Any, **_: t.Any) -> None:
    """Keep boto3 from asking again with the region that the store names; Flyte's own client does not."""
    from botocore.exceptions import ClientError  # noqa: PLC0415  see _imports.py

    if response is not None and response[0].status_code >= 300:
        raise ClientError(dict(response[1]), operation.name)


def call_once(operation: t.Callable[..., Answer], *, virtual: bool, timeout: float, **arguments: t.Any) -> Answer:
    """Run one boto3 operation, to the end of its answer, and turn whatever it raises into C(S3Error)."""
    from botocore import exceptions  # noqa: PLC0415  see _imports.py
    from botocore.parsers import ResponseParserError  # noqa: PLC0415

    name = "".join(word.capitalize() for word in operation.__name__.split("_"))
    try:
        return exchanged(timeout, lambda: operation(**arguments))
    except exceptions.ClientError as exc:
        raise from_client_error(name, exc.response) from exc
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as exc:
        raise Failed(str(exc), id="S3-38") from exc
    except exceptions.ParamValidationError as exc:
        raise S3Error(operation=name, code="InvalidBucketName", words=str(exc)) from exc
    except (exceptions.ConnectTimeoutError, exceptions.ReadTimeoutError, TimeoutError) as exc:
        raise Unanswered(operation=name, code="no answer in time") from exc
    except (
        exceptions.ConnectionClosedError,
        exceptions.IncompleteReadError,
        exceptions.ResponseStreamingError,
    ) as exc:
        raise Unanswered(operation=name, code="ConnectionClosed") from exc
    except (exceptions.EndpointConnectionError, exceptions.SSLError) as exc:
        kind = Unroutable if virtual else Unanswered
        raise kind(operation=name, code=type(exc).__name__, words=str(exc)) from exc
    except exceptions.HTTPClientError as exc:
        if "header value" in str(exc) or isinstance(exc.kwargs.get("error"), ValueError):
            # Keys that boto3 found by itself; the words hold the header, and with it what must not be shown.
            raise Failed(f"a key that boto3 found {UNSENDABLE}", id="S3-46") from None
        raise S3Error(operation=name, code=type(exc).__name__, words=str(exc)) from exc
    except exceptions.BotoCoreError as exc:
        raise S3Error(operation=name, code=type(exc).__name__, words=str(exc)) from exc
    except (ResponseParserError, ValueError) as exc:  # a body that is no XML, a date that is none
        words = " ".join(str(exc).split())[:LONGEST_WORDS]
        raise Unreadable(operation=name, code="an answer that cannot be read", words=words) from exc


class TooLong(http.client.HTTPException):
    strerror = f"an answer of more than {LONGEST_BODY // MIB} MiB"


class InTime(io.RawIOBase):
    """What comes from a connection, each read with no more than the time left: a trickle does not go on for ever."""

    def __init__(self, stream: t.Any, connection: socket.socket, deadline: float) -> None:
        self.stream = stream
        self.connection = connection
        self.deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: t.Any) -> t.Any:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.connection.settimeout(left)
        return self.stream.readinto(buffer)

    def close(self) -> None:
        self.stream.close()
        super().close()


def http_request(
    address: Address,
    method: str,
    target: str,
    *,
    ca_file: str | None,
    timeout: float,
    body: bytes = b"",
    headers: t.Mapping[str, str] | None = None,
) -> tuple[int, dict[str, str], bytes]:
    """One plain request: status, headers in lower case, body. Raises C(Failed) as S3-23 where none is answered.

    C(target) may be a signed address and stands in no message. TLS-14 where the port speaks TLS and the address
    says http.
    """
    deadline = time.monotonic() + timeout

    class AnswerInTime(http.client.HTTPResponse):
        def __init__(self, connection: socket.socket, **arguments: t.Any) -> None:
            super().__init__(connection, **arguments)
            self.fp = io.BufferedReader(InTime(self.fp.detach(), connection, deadline))

    connection: http.client.HTTPConnection
    if address.tls:
        trust = ssl.create_default_context(cafile=ca_file or None)
        connection = http.client.HTTPSConnection(address.host, address.port, context=trust)
    else:
        connection = http.client.HTTPConnection(address.host, address.port)
    connection.response_class = AnswerInTime
    asked = f"{method} at {address.endpoint}"
    try:
        addresses = lookup(address.host, address.port, timeout=timeout)
    except OSError as exc:
        raise Unconnected(f"{asked}: {lookup_problem(exc, timeout=timeout)}") from exc
    try:
        # By itself http.client waits for each address of the name as long as for all.
        connection.sock = connect(addresses, deadline=deadline, retries=0)
        connection.sock.settimeout(max(0.1, deadline - time.monotonic()))
        if address.tls:
            connection.sock = wrapped(connection.sock, trust, address.host)
    except OSError as exc:
        connection.close()
        late = f"no connection within {timeout:g} seconds" if isinstance(exc, TIMED_OUT) else ""
        raise Unconnected(f"{asked}: {late or exc.strerror or type(exc).__name__}") from exc
    try:
        # A proxy that refuses a body answers before it has read all of it, and the answer says why.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, target, body=body or None, headers=dict(headers or {}))
        answer = connection.getresponse()
        found = answer.status, {name.lower(): value for name, value in answer.getheaders()}, whole_body(answer)
        if found[0] == 400 and not address.tls and parse_error(found[2]) is None:
            # Servers that notice answer so; others hang up.
            refuse_wrong_scheme(address, deadline=deadline)
        return found
    except (OSError, http.client.HTTPException, UnicodeError) as exc:
        if not address.tls and not isinstance(exc, TIMED_OUT):
            refuse_wrong_scheme(address, deadline=deadline)
        late = f"no whole answer within {timeout:g} seconds" if isinstance(exc, TIMED_OUT) else ""
        text = late or getattr(exc, "strerror", None) or type(exc).__name__
        raise Failed(f"{asked}: {text}", id="S3-23") from exc
    finally:
        connection.close()


class Unconnected(Failed):
    """Nothing was sent: no address, no connection, no handshake."""

    def __init__(self, observed: str, *, id: str = "S3-23") -> None:
        super().__init__(observed, id=id)


def whole_body(answer: http.client.HTTPResponse) -> bytes:
    """Raises C(HTTPException) where it breaks off or is longer than anything that was asked for."""
    body = answer.read(LONGEST_BODY + 1)
    if len(body) > LONGEST_BODY:
        raise TooLong
    if answer.length:  # read() with a limit does not look at what was announced
        raise http.client.IncompleteRead(b"", answer.length)
    return body


def refuse_wrong_scheme(address: Address, *, deadline: float) -> None:
    if speaks_tls(address, deadline=deadline):
        raise wrong_scheme(address, "the port speaks TLS and not plain HTTP")
