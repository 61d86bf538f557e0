# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""s3_bucket_check over a small server that answers as S3 does and checks no signature.

What a real store does with real rights is in tests/integration/modules.
"""

from __future__ import annotations

import email.utils
import signal
import socket
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.modules import Result, run_module
from support.servers import Hooks, Message, black_hole, free_port, proxy

from ansible_collections.flyte.onprem.plugins.modules import s3_bucket_check

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "canary-secret"
STRANGER = "nobody-"


@dataclass
class FakeStore:
    """Objects by path, the requests that came, and by operation the error to give."""

    objects: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    errors: dict[str, tuple[int, str]] = field(default_factory=lambda: {"PutBucketPolicy": (403, "AccessDenied")})
    answer_to_strangers: str = "InvalidAccessKeyId"
    name: str = "SeaweedFS"
    address: str = ""

    def answer(self, message: Message) -> Message:
        answered = self.decide(message)
        answered.headers["server"] = self.name
        return answered

    def decide(self, message: Message) -> Message:
        path, _, query = message.path.partition("?")
        operation = name_of(message.method, path, query)
        if "authorization" not in message.headers and "X-Amz-Signature" not in query:
            return error(403, "AccessDenied")
        self.requests.append(operation)
        if f"Credential={STRANGER}" in message.headers.get("authorization", ""):
            return error(403, self.answer_to_strangers)
        if operation in self.errors:
            return error(*self.errors[operation])
        if operation == "PutObject":
            self.objects[path] = message.body
        elif operation == "DeleteObject":
            self.objects.pop(path, None)
            return reply(status=204)
        elif operation in ("GetObject", "HeadObject"):
            return reply(self.objects[path]) if path in self.objects else error(404, "NoSuchKey")
        elif operation == "CompleteMultipartUpload" and path not in self.objects:
            return error(404, "NoSuchUpload")
        elif operation == "CreateMultipartUpload":
            return reply(b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>")
        elif operation == "UploadPart":
            self.objects[path] = self.objects.get(path, b"") + message.body
        elif operation == "AbortMultipartUpload":
            self.objects.pop(path, None)
            return reply(status=204)
        return reply(ANSWERS.get(operation, b""))


ANSWERS = {
    "ListBuckets": b"<ListAllMyBucketsResult><Buckets/></ListAllMyBucketsResult>",
    "ListObjectsV2": b"<ListBucketResult></ListBucketResult>",
    "ListObjectVersions": b"<ListVersionsResult></ListVersionsResult>",
    "ListMultipartUploads": b"<ListMultipartUploadsResult></ListMultipartUploadsResult>",
    "CompleteMultipartUpload": b"<CompleteMultipartUploadResult><Key>k</Key></CompleteMultipartUploadResult>",
}


def name_of(method: str, path: str, query: str) -> str:
    if path == "/":
        return "ListBuckets"
    if path.count("/") == 1:
        if method == "HEAD":
            return "HeadBucket"
        if method == "PUT":
            return "PutBucketPolicy"
        if "versions" in query:
            return "ListObjectVersions"
        return "ListMultipartUploads" if "uploads" in query else "ListObjectsV2"
    if "uploadId=" in query:
        names = {"PUT": "UploadPart", "POST": "CompleteMultipartUpload", "DELETE": "AbortMultipartUpload"}
        return names[method]
    if "uploads" in query:
        return "CreateMultipartUpload"
    return {"PUT": "PutObject", "GET": "GetObject", "HEAD": "HeadObject", "DELETE": "DeleteObject"}[method]


def reply(body: bytes = b"", status: int = 200) -> Message:
    headers = {"etag": '"e"', "x-amz-request-id": "R4", "date": email.utils.formatdate(usegmt=True)}
    return Message("", "", {**headers, "content-length": str(len(body))}, body, status)


def error(status: int, code: str) -> Message:
    body = f"<Error><Code>{code}</Code><Message>as the store says</Message></Error>"
    return reply(body.encode(), status)


@pytest.fixture
def store() -> Iterator[FakeStore]:
    store = FakeStore()
    with proxy(None, Hooks(request=store.answer)) as address:
        store.address = address
        yield store


def run(store: FakeStore, *, check: bool = False, **changes: Any) -> Result:
    arguments = {
        "endpoint": store.address,
        "access_key": "flyte",
        "secret_key": SECRET,
        "buckets": ["data"],
        "timeout": 5,
        "retries": 0,
        **changes,
    }
    arguments = {name: value for name, value in arguments.items() if value is not None}
    result = run_module(s3_bucket_check.main, arguments, check=check)
    assert SECRET not in str(result.values)
    return result


def test_a_good_store_passes_and_is_left_empty(store: FakeStore) -> None:
    result = run(store)
    assert {row["status"] for row in result["checks"]} == {"passed"}, result["msg"]
    assert not result.failed
    assert not result["changed"]
    assert store.objects == {}
    assert result["leftovers"] == []


@pytest.mark.parametrize(
    ("operation", "answer", "id"),
    [
        # the operation that is refused, status and code, the check that fails
        ("ListBuckets", (403, "InvalidAccessKeyId"), "S3-25"),
        ("ListBuckets", (403, "SignatureDoesNotMatch"), "S3-26"),
        ("ListBuckets", (400, "ExpiredToken"), "S3-27"),
        ("ListBuckets", (400, "AuthorizationHeaderMalformed"), "S3-28"),
        ("ListBuckets", (403, "RequestTimeTooSkewed"), "S3-08"),
        ("HeadBucket", (404, "NoSuchBucket"), "S3-04"),
        ("HeadBucket", (301, "PermanentRedirect"), "S3-28"),
        ("ListObjectsV2", (403, "AccessDenied"), "S3-11"),
        ("PutObject", (403, "AccessDenied"), "S3-12"),
        ("PutObject", (507, "XMinioStorageFull"), "S3-31"),
        ("PutObject", (400, "KMS.NotFoundException"), "S3-36"),
        ("GetObject", (403, "AccessDenied"), "S3-13"),
        ("DeleteObject", (403, "AccessDenied"), "S3-14"),
        ("CreateMultipartUpload", (403, "AccessDenied"), "S3-15"),
        ("CreateMultipartUpload", (501, "NotImplemented"), "S3-32"),
        ("UploadPart", (500, "InternalError"), "S3-30"),
        ("CompleteMultipartUpload", (400, "NobodyKnows"), "S3-39"),
        ("CompleteMultipartUpload", (400, "InvalidPart"), "S3-43"),
        ("ListBuckets", (400, "KeyTooLongError"), "S3-44"),
        ("PutObject", (409, "ExistingObjectIsFile"), "S3-44"),
    ],
)
def test_each_refusal_fails_one_check_with_the_words_of_the_store(
    store: FakeStore, operation: str, answer: tuple[int, str], id: str
) -> None:
    store.errors[operation] = answer
    result = run(store)
    assert result.statuses("failed") == [id], result["msg"]
    assert result.failed
    if operation != "HeadBucket":  # an answer to HEAD has no words
        assert "as the store says" in next(row for row in result["checks"] if row["status"] == "failed")["observed"]


@pytest.mark.parametrize("code", ["AccessDenied", "NotImplemented"])
def test_a_list_of_buckets_that_is_not_given_is_no_fault(store: FakeStore, code: str) -> None:
    store.errors["ListBuckets"] = (403, code)
    assert run(store)["passed"]


def test_report_only_succeeds_with_the_same_report(store: FakeStore) -> None:
    store.errors["PutObject"] = (403, "AccessDenied")
    result = run(store, report_only=True)
    assert not result.failed
    assert not result["passed"]
    assert result.statuses("failed") == ["S3-12"]


def test_what_depends_on_a_failure_is_skipped_and_names_it(store: FakeStore) -> None:
    store.errors["PutObject"] = (403, "AccessDenied")
    result = run(store)
    assert result.row("S3-15")["observed"] == "skipped because S3-12 failed"
    assert result.row("S3-14")["status"] == "passed"


def test_check_mode_only_asks(store: FakeStore) -> None:
    result = run(store, check=True)
    assert set(store.requests) == {"ListBuckets", "HeadBucket", "ListObjectsV2", "GetObject", "ListObjectVersions"}
    assert not result.failed
    assert result.row("S3-12")["observed"] == "check mode: nothing is written"


def test_what_cannot_be_told_is_skipped_and_says_so(store: FakeStore) -> None:
    store.errors.update(dict.fromkeys(("HeadBucket", "ListObjectsV2", "PutObject", "GetObject"), (403, "AccessDenied")))
    result = run(store)
    assert result.statuses("failed") == ["S3-11", "S3-12"]
    assert "cannot be told" in result.row("S3-04")["observed"]
    assert "cannot be told" in result.row("S3-13")["observed"]


def test_a_signature_that_does_not_arrive_is_told_from_rights_that_are_missing(store: FakeStore) -> None:
    for operation in ("ListBuckets", "HeadBucket", "ListObjectsV2", "PutObject", "GetObject", "DeleteObject"):
        store.errors[operation] = (403, "AccessDenied")
    store.answer_to_strangers = "AccessDenied"
    assert run(store).statuses("failed") == ["S3-42"]
    assert run(store, check=True).statuses("failed") == ["S3-42"]


@pytest.mark.parametrize(
    ("answer", "verdict", "status"),
    [
        # what the store says to a policy that is none, the verdict, the status of the row
        ((403, "AccessDenied"), "denied", "passed"),
        ((400, "MalformedPolicy"), "allowed", "warning"),
        ((501, "NotImplemented"), "unknown", "passed"),
        ((500, "InternalError"), "unknown", "passed"),
    ],
)
def test_a_right_beyond_need_is_a_warning(store: FakeStore, answer: tuple[int, str], verdict: str, status: str) -> None:
    store.errors["PutBucketPolicy"] = answer
    result = run(store)
    assert result.row("S3-41")["status"] == status
    assert {told["right"]: told["verdict"] for told in result["rights"]}["s3:PutBucketPolicy"] == verdict
    assert not result.failed


def test_no_policy_is_sent_to_a_store_that_might_take_it(store: FakeStore) -> None:
    store.name = "a store that nobody knows"
    result = run(store)
    assert "PutBucketPolicy" not in store.requests
    assert {told["right"]: told["verdict"] for told in result["rights"]}["s3:PutBucketPolicy"] == "unknown"


def test_a_bucket_is_never_asked_to_be_deleted_of_a_store_that_might_do_it(store: FakeStore) -> None:
    result = run(store)
    told = next(told for told in result["rights"] if told["right"] == "s3:DeleteBucket")
    assert told["verdict"] == "unknown"
    assert "only deleting it would tell" in told["reason"]
    assert "DeleteBucket" not in store.requests


def test_each_right_has_its_own_verdict_and_what_cannot_be_told_has_a_reason(store: FakeStore) -> None:
    store.errors["PutObject"] = (403, "AccessDenied")
    rights = {told["right"]: told for told in run(store)["rights"]}
    assert {right: told["verdict"] for right, told in rights.items()} == {
        "s3:ListBucket": "allowed",
        "s3:PutObject": "denied",
        "s3:GetObject": "allowed",
        "s3:DeleteObject": "allowed",
        "s3:AbortMultipartUpload": "unknown",
    }
    assert "AccessDenied" in rights["s3:PutObject"]["reason"]
    assert rights["s3:AbortMultipartUpload"]["reason"].startswith("S3-12: PutObject gave AccessDenied")


@pytest.mark.parametrize(
    ("operation", "answer", "reason"),
    [
        # what is refused, status and code, why no right can be told
        ("HeadBucket", (404, "NoSuchBucket"), "S3-04: there is no bucket data"),
        ("HeadBucket", (301, "PermanentRedirect"), "S3-28: HeadBucket gave 301"),
        ("ListBuckets", (400, "AuthorizationHeaderMalformed"), "S3-28: ListBuckets gave AuthorizationHeaderMalformed"),
        ("ListBuckets", (403, "RequestTimeTooSkewed"), "S3-08: ListBuckets gave RequestTimeTooSkewed"),
        ("ListBuckets", (403, "InvalidAccessKeyId"), "S3-25: ListBuckets gave InvalidAccessKeyId"),
    ],
)
def test_where_no_right_can_be_told_each_says_why(
    store: FakeStore, operation: str, answer: tuple[int, str], reason: str
) -> None:
    store.errors[operation] = answer
    rights = run(store)["rights"]
    assert len(rights) == 5
    assert {told["verdict"] for told in rights} == {"unknown"}
    assert all(told["reason"].startswith(reason) for told in rights), rights


def test_a_store_that_is_not_reached_leaves_every_right_untold(store: FakeStore) -> None:
    for endpoint, reason in (
        ("https://nowhere.invalid", "S3-20: "),
        (f"http://127.0.0.1:{free_port()}", "S3-21: "),
        (store.address.replace("http:", "https:"), "TLS-14: "),
    ):
        rights = run(store, endpoint=endpoint)["rights"]
        assert len(rights) == 5
        assert all(told["verdict"] == "unknown" and told["reason"].startswith(reason) for told in rights), rights


def test_what_a_store_does_not_support_is_no_right_that_is_denied(store: FakeStore) -> None:
    store.errors["CreateMultipartUpload"] = (501, "NotImplemented")
    rights = {told["right"]: told for told in run(store)["rights"]}
    assert rights["s3:AbortMultipartUpload"]["verdict"] == "unknown"
    assert rights["s3:AbortMultipartUpload"]["reason"].startswith("S3-32: CreateMultipartUpload gave NotImplemented")


def test_an_unknown_refusal_is_shown_whole(store: FakeStore) -> None:
    store.errors["PutObject"] = (418, "NobodyKnows")
    seen = next(row for row in run(store)["checks"] if row["id"] == "S3-39")["observed"]
    assert seen == "PutObject gave NobodyKnows (HTTP 418): as the store says (request R4)"


@pytest.mark.parametrize("public", [False, True])
def test_a_dead_address_is_tried_once_and_nothing_after_it(
    store: FakeStore, monkeypatch: pytest.MonkeyPatch, public: bool
) -> None:
    tried: list[object] = []

    class Socket(socket.socket):
        def connect(self, address: object) -> None:
            tried.append(address)
            super().connect(address)

    with black_hole() as port:
        monkeypatch.setattr(socket, "socket", Socket)
        dead = f"https://127.0.0.1:{port}"
        given = {"public_endpoint" if public else "endpoint": dead}
        result = run(store, timeout=0.3, retries=5, buckets=["data", "more"], **given)
    assert tried.count(("127.0.0.1", port)) == 1
    assert result.statuses("failed") == ["S3-22"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        # a parameter that is wrong, what the message says of it
        ({"endpoint": "s3.example.com"}, "no address"),
        ({"endpoint": "https://s3.example.com/minio"}, "has a path"),
        ({"public_endpoint": "https://user:pass@s3.example.com"}, "must not hold"),
        ({"ca_file": "/nowhere/ca.crt"}, "ca_file /nowhere/ca.crt cannot be used"),
        ({"buckets": [{"bucket": "data"}]}, "neither a name nor a dictionary"),
        ({"secret_key": None}, "required together"),
        ({"max_clock_skew": -1}, "max_clock_skew: -1 cannot be meant"),
        ({"resolve": {"s3.example.com": 5}}, "resolve: s3.example.com: its value is no IP address"),
        ({"buckets": []}, "buckets: the list is empty"),
        ({"region": ""}, "region: it must not be empty"),
        ({"region": "\u00e9"}, "region: '\u00e9' is no name of a region"),
        ({"region": "a/b"}, "region: 'a/b' is no name of a region"),
        ({"region": "1"}, "region: '1' is no name of a region"),
        ({"timeout": 0}, "timeout: 0 is no number of seconds"),
        ({"timeout": 1e12}, "timeout: 1e+12 is no number of seconds"),
        ({"retries": -1}, "retries: -1 is no number of further tries"),
    ],
)
def test_a_bad_parameter_is_a_bare_failure(store: FakeStore, changes: dict[str, Any], words: str) -> None:
    result = run(store, **changes)
    assert result.failed
    assert "checks" not in result.values
    assert words in result["msg"]
    assert store.requests == []


def test_a_ca_file_that_holds_none_is_named(store: FakeStore, tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("nothing")
    assert "cannot be used" in run(store, ca_file=str(tmp_path / "ca.crt"))["msg"]


def test_without_any_keys_that_is_what_fails(store: FakeStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert run(store, access_key=None, secret_key=None).statuses("failed") == ["S3-38"]


def test_a_missing_library_is_named(store: FakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    result = run(store)
    assert result.failed
    assert "boto3 >= 1.26" in result["msg"]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("access_key", "canary word\n"),
        ("secret_key", "canary\u00a0word"),
        ("session_token", "canary-word\n"),
        ("session_token", "canary\x7fword"),
        ("session_token", "canary\u2013word"),
    ],
)
def test_a_key_that_no_header_can_carry_is_refused_without_its_words(store: FakeStore, option: str, value: str) -> None:
    result = run(store, **{option: value})
    assert result.statuses("failed") == ["S3-46"]
    assert result.row("S3-46")["observed"].startswith(f"{option} contains white space")
    assert "canary" not in str(result.values)
    assert store.requests == []


def test_a_key_that_boto3_found_and_no_header_can_carry_is_told_without_its_words(
    store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "flyte")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "canary word\n")
    result = run(store, access_key=None, secret_key=None)
    assert result.statuses("failed") == ["S3-46"]
    assert "canary" not in str(result.values)


@pytest.mark.parametrize("way", ["stalls", "trickles", "breaks off"])
def test_a_body_that_ends_in_the_middle_is_no_answer(store: FakeStore, way: str) -> None:
    def cut(message: Message) -> Message:
        answer = store.answer(message)
        if store.requests[-1:] == ["GetObject"]:
            answer.missing, answer.stalls, answer.trickles = 30, way == "stalls", way == "trickles"
        return answer

    with proxy(None, Hooks(request=cut)) as address:
        result = run(store, endpoint=address, timeout=0.5)
    assert result.statuses("failed") == ["S3-23"], result["msg"]
    seen = "GetObject gave ConnectionClosed" if way == "breaks off" else "GetObject gave no answer in time"
    assert seen in [row["observed"] for row in result["checks"]]


NO_UPLOAD = b"<InitiateMultipartUploadResult/>"
NO_DATE = b"<ListBucketResult><Contents><Key>k</Key><LastModified>garbage</LastModified></Contents></ListBucketResult>"


@pytest.mark.parametrize(
    ("operation", "changes", "row", "seen_and_cause"),
    [
        # whose answer is spoiled, and how; the row that fails; what is seen, and why
        ("UploadPart", {"headers": {}}, "S3-15", ["an answer holds no ETag", "drops headers"]),
        ("CreateMultipartUpload", {"body": NO_UPLOAD}, "S3-15", ["an answer holds no UploadId", "changes bodies"]),
        ("ListObjectsV2", {"body": NO_DATE}, "S3-39",
         ['ListObjectsV2 gave an answer that cannot be read: Invalid timestamp "garbage"', "not what S3 answers"]),
        ("GetObject", {"headers": {"last-modified": "?"}}, "S3-39",
         ["GetObject gave an answer that cannot be read", "not what S3 answers"]),
    ],
)  # fmt: skip
def test_an_answer_that_is_not_whole_fails_a_check_and_says_why(
    store: FakeStore, operation: str, changes: dict[str, Any], row: str, seen_and_cause: list[str]
) -> None:
    def spoil(message: Message) -> Message:
        answer = store.answer(message)
        return replace(answer, **changes) if store.requests[-1:] == [operation] else answer

    with proxy(None, Hooks(request=spoil)) as address:
        result = run(store, endpoint=address)
    assert result.statuses("failed") == [row], result["msg"]
    seen, cause = seen_and_cause
    assert result.row(row)["observed"].startswith(seen)
    assert cause in result.row(row)["cause"]
    assert store.objects == {}


def test_a_date_that_is_none_counts_as_no_date(store: FakeStore) -> None:
    def spoil(message: Message) -> Message:
        answer = store.answer(message)
        answer.headers["date"] = "garbage"
        return answer

    with proxy(None, Hooks(request=spoil)) as address:
        result = run(store, endpoint=address)
    assert result.row("S3-08")["status"] == "skipped"
    assert result["passed"], result["msg"]
    assert "clock_skew" not in result.values


def test_the_clean_up_after_one_signal_is_not_ended_by_the_next() -> None:
    before = {number: signal.getsignal(number) for number in s3_bucket_check.ENDING}
    try:
        with pytest.raises(SystemExit) as caught:
            s3_bucket_check.leave(signal.SIGTERM, None)
        assert caught.value.code == 128 + signal.SIGTERM
        assert {signal.getsignal(number) for number in s3_bucket_check.ENDING} == {signal.SIG_IGN}
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.parametrize("option", ["endpoint", "public_endpoint"])
def test_a_password_in_an_address_is_nowhere_in_the_result(store: FakeStore, option: str) -> None:
    result = run(store, **{option: "https://user:with/canary@s3.example.com"})
    assert result["msg"] == f"{option}: an address must not hold a user name or password"
    assert "canary" not in result.output


def test_only_what_a_check_named_is_removed_from_its_folder(store: FakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("20200101T000000Z-0123abcd/object", "precious", "precious/20200101T000000Z-0123abcd/object", "20200101/a")
    keys = [f"flyte-onprem-check/{name}" for name in names]
    store.objects.update({f"/data/{key}": b"" for key in keys})
    found = "".join(
        f"<Version><Key>{key}</Key><LastModified>2020-01-01T00:00:00Z</LastModified></Version>" for key in keys
    )
    answer = f"<ListVersionsResult>{found}</ListVersionsResult>".encode()
    monkeypatch.setitem(ANSWERS, "ListObjectVersions", answer)
    result = run(store)
    assert result.row("S3-19")["observed"] == "removed of an earlier check: 1 objects, 0 unfinished uploads"
    assert list(store.objects) == [f"/data/{key}" for key in keys[1:]]
