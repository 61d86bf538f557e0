# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Flyte has in its cluster, and answers that are hard to come by; the rest: tests/integration/modules."""

from __future__ import annotations

import base64
import datetime
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.kubernetes_api import FakeApi, items, kubernetes_api, named, pod
from support.pki import Authority
from support.servers import silent_port

from ansible_collections.flyte.onprem.plugins.module_utils import _reach
from ansible_collections.flyte.onprem.plugins.module_utils._catalogue import CATALOGUE
from ansible_collections.flyte.onprem.plugins.module_utils._checks import (
    FAILED,
    PASSED,
    SKIPPED,
    Failed,
    Report,
    Skipped,
)
from ansible_collections.flyte.onprem.plugins.module_utils._flyte import (
    UPLOAD_SIZE,
    Answer,
    Installation,
    control_plane_version,
    fields,
    grpc_call,
    grpc_refusal,
    leads_to,
    probe_cluster,
    project_names,
    refusal,
    signed_url,
    store_refusal,
    target_of,
    upload_content,
)
from ansible_collections.flyte.onprem.plugins.module_utils._kubernetes import open_api

KEYS = {"FLYTE_AWS_ACCESS_KEY_ID": "a2V5", "FLYTE_AWS_SECRET_ACCESS_KEY": "c2VjcmV0LW9mLWZseXRl"}
PODS = "/api/v1/namespaces/flyte/pods"
CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/flyteworkflows.flyte.lyft.com"
WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
WEBHOOK_SECRET = "/api/v1/namespaces/flyte/secrets/flyte-webhook-secret"
WEBHOOK_SERVICE = "/api/v1/namespaces/flyte/services/flyte-webhook"


def task_secret(project_domain: str) -> str:
    return f"/api/v1/namespaces/{project_domain}/secrets/flyte-task-s3"


def encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def webhook(namespace: str, service: str, ca: str, *, name: str = "flyte-pod-webhook.flyte.org") -> dict[str, Any]:
    client = {"service": {"namespace": namespace, "name": service}, "caBundle": ca}
    return named(service, webhooks=[{"name": name, "clientConfig": client}])


IMAGE = "cr.flyte.org/flyteorg/flyte-binary-release:v1.16.8"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "webhook")


@pytest.fixture
def api(authority: Authority) -> Iterator[FakeApi]:
    ca = encoded(authority.certificate)
    leaf = authority.issue("flyte-webhook.flyte.svc")
    objects = {
        PODS: items(flyte_pod({"running": {}}, ready=True)),
        CRD: named("flyteworkflows.flyte.lyft.com"),
        "/api/v1/namespaces": items(named("default"), named("edge-development"), named("edge-production")),
        task_secret("edge-development"): named("flyte-task-s3", data=KEYS),
        task_secret("edge-production"): named("flyte-task-s3", data=KEYS),
        WEBHOOKS: items(
            webhook("flyte", "flyte-webhook", ca), webhook("else", "other", "", name="webhook.cert-manager.io")
        ),
        WEBHOOK_SECRET: named("flyte-webhook-secret", data={"ca.crt": ca, "tls.crt": encoded(leaf.certificate)}),
        WEBHOOK_SERVICE: named("flyte-webhook"),
    }
    with kubernetes_api(objects) as server:
        yield server


def flyte_pod(state: dict[str, Any], *, ready: bool = False, image: str = IMAGE, **status: Any) -> dict[str, Any]:
    container = {"name": "flyte", "ready": ready, "state": state}
    return {
        **pod("flyte-6c9d", containerStatuses=[container], **status),
        "spec": {"containers": [{"name": "flyte", "image": image}]},
    }


def look(api: FakeApi, directory: Path, *, secret: str = "flyte-task-s3") -> Report:
    report = Report(CATALOGUE, timeout="3")
    start = report.add("K8S-13", PASSED, observed="", endpoint="", host="")
    flyte = Installation("flyte", "flyte", ["edge"], ["development", "production"], secret, list(KEYS))
    client = open_api(str(api.kubeconfig(directory)), None, timeout=3)
    try:
        probe_cluster(report, client, flyte, after=start)
    finally:
        client.close()
    assert "c2VjcmV0LW9mLWZseXRl" not in str(report.as_dict())
    assert "secret-of-flyte" not in str(report.as_dict())
    return report


def ids(report: Report, status: str) -> list[str]:
    return [row.id for row in report.rows if row.status == status]


def test_a_healthy_installation_passes(api: FakeApi, tmp_path: Path) -> None:
    report = look(api, tmp_path)
    assert report.passed, report.message()
    assert ids(report, SKIPPED) == []


def test_without_a_name_no_task_secret_is_looked_for(api: FakeApi, tmp_path: Path) -> None:
    assert ids(look(api, tmp_path, secret=""), SKIPPED) == ["S3-02"]


CRASH = {"waiting": {"reason": "CrashLoopBackOff"}}
OTHERS = webhook("flyte2", "flyte2-webhook", "")

# what it is, id that must fail, changed objects, words that must stand in what was seen
FAULTS: list[tuple[str, str, dict[str, Any], str]] = [
    ("no pod", "FLYTE-30", {PODS: items()}, "no pod of release flyte"),
    ("pod crashes", "FLYTE-30", {PODS: items(flyte_pod(CRASH))}, "CrashLoopBackOff"),
    ("no definition", "FLYTE-31", {CRD: 404}, "not there"),
    ("definition going away", "FLYTE-31", {CRD: named("x", metadata={"deletionTimestamp": "now"})}, "being deleted"),
    ("namespace missing", "FLYTE-32", {"/api/v1/namespaces": items(named("edge-production"))}, "edge-development"),
    ("task Secret missing", "S3-02", {task_secret("edge-production"): 404}, "no Secret in edge-production"),
    ("key missing", "S3-02",
     {task_secret("edge-production"): named("flyte-task-s3", data={"FLYTE_AWS_ACCESS_KEY_ID": "a2V5"})},
     "no FLYTE_AWS_SECRET_ACCESS_KEY in edge-production"),
    ("webhook not registered", "FLYTE-33", {WEBHOOKS: items()}, "no webhook"),
    ("webhook's Secret missing", "TLS-02", {WEBHOOK_SECRET: 404}, "flyte-webhook-secret is not there"),
    ("webhook's Secret empty", "TLS-02", {WEBHOOK_SECRET: named("x", data={})}, "no certificate"),
    ("webhook of an uninstalled release", "FLYTE-34", {WEBHOOKS: None}, "flyte2/flyte2-webhook is gone"),
    ("API breaks", "K8S-15", {CRD: 500}, "HTTP 500"),
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=[f"{row[0]}: {row[1]}" for row in FAULTS])
def test_each_fault_fails_its_own_check_and_nothing_else(
    api: FakeApi, tmp_path: Path, fault: tuple[str, str, dict[str, Any], str]
) -> None:
    _what, id, objects, words = fault
    mine = api.objects[WEBHOOKS]["items"]
    for path, value in objects.items():
        api.objects[path] = items(*mine, OTHERS) if value is None else value
    report = look(api, tmp_path)
    assert ids(report, FAILED) == [id], report.message()
    assert words in next(row.observed for row in report.rows if row.id == id)


@pytest.mark.parametrize(("seconds", "words"), [(42, "started 42 seconds ago"), (3600, "")])
def test_a_pod_that_has_only_just_started_says_so(api: FakeApi, tmp_path: Path, seconds: int, words: str) -> None:
    now = datetime.datetime.now(datetime.timezone.utc)
    started = f"{now - datetime.timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ}"
    api.objects[PODS] = items(flyte_pod({"running": {"startedAt": started}}, startTime="2020-01-01T00:00:00Z"))
    report = look(api, tmp_path)
    assert ids(report, FAILED) == ["FLYTE-30"]
    (row,) = [row for row in report.rows if row.id == "FLYTE-30"]
    assert re.sub(r"4[23] seconds", "42 seconds", row.observed).endswith(
        f"not ready ({words})" if words else "not ready"
    )
    assert row.fix.startswith("Within minutes after a start")


# image, whether its name says which version it is
PINNED = [
    ("cr.flyte.org/flyteorg/flyte-binary-release:v1.16.8", True),
    ("postgres@sha256:0123", True),
    ("registry.example.com:5000/flyte:v1", True),
    ("registry.example.com:5000/flyte", False),
    ("postgres", False),
    ("postgres:latest", False),
]


@pytest.mark.parametrize(("image", "pinned"), PINNED)
def test_an_image_says_which_version_it_is(api: FakeApi, tmp_path: Path, image: str, pinned: bool) -> None:
    api.objects[PODS] = items(flyte_pod({"running": {}}, ready=True, image=image))
    assert ids(look(api, tmp_path), FAILED) == ([] if pinned else ["FLYTE-35"])


# what the API server says of a pod by way of trial, id that must fail
TRIALS = [
    ('failed calling webhook "x": Post "https://flyte-webhook.flyte.svc:443": x509: unknown authority', ["TLS-02"]),
    ('failed calling webhook "x": Post "https://flyte-webhook.flyte.svc:443": connection refused', ["FLYTE-36"]),
    ('failed calling webhook "x": Post "https://other.flyte2.svc:443": connection refused', []),
    ("quota exceeded", []),
]


@pytest.mark.parametrize(("words", "failed"), TRIALS)
def test_what_a_trial_says_of_the_webhook_is_told_apart(
    api: FakeApi, tmp_path: Path, words: str, failed: list[str]
) -> None:
    api.objects[f"POST {PODS}"] = (500, {"kind": "Status", "message": words})
    report = look(api, tmp_path)
    assert ids(report, FAILED) == failed


def test_a_secret_that_flyte_left_behind_at_a_restart_is_no_fault(
    api: FakeApi, authority: Authority, tmp_path: Path
) -> None:
    other = encoded(Authority(tmp_path / "other").certificate)
    api.objects[WEBHOOKS] = items(webhook("flyte", "flyte-webhook", other))
    report = look(api, tmp_path)
    assert ids(report, FAILED) == []
    assert f"POST {PODS}" in api.asked


@pytest.mark.parametrize(("days", "status"), [(-1, "failed"), (3, "warning")])
def test_the_webhooks_certificate_is_looked_at(
    api: FakeApi, authority: Authority, tmp_path: Path, days: int, status: str
) -> None:
    api.objects[WEBHOOK_SECRET]["data"]["tls.crt"] = encoded(authority.issue("x", days=days).certificate)
    report = look(api, tmp_path)
    assert ids(report, status) == ["TLS-02"]


# code and details of gRPC, id that must fail ("" is the row that asked)
CALLS = [
    ("UNAVAILABLE", "Received http2 header with status: 502", "ING-01"),
    ("UNKNOWN", "Received http2 header with status: 500", "ING-01"),
    ("INTERNAL", "Received http2 header with status: 400", "ING-02"),
    ("UNAVAILABLE", "Trying to connect an http1.x server (HTTP status 400)", "ING-02"),
    ("UNAVAILABLE", "Cannot check peer: missing selected ALPN property.", "ING-02"),
    ("UNIMPLEMENTED", "Received http2 header with status: 404", "FLYTE-21"),
    ("UNAVAILABLE", "Received http2 header with status: 503", "FLYTE-14"),
    ("UNIMPLEMENTED", "unknown service", ""),
    ("DEADLINE_EXCEEDED", "Deadline Exceeded", ""),
]


@pytest.mark.parametrize(("code", "details", "id"), CALLS)
def test_what_a_failed_call_says_about_the_way_is_told_apart(code: str, details: str, id: str) -> None:
    outcome = grpc_refusal(code, details)
    assert isinstance(outcome, Failed)
    assert outcome.id == id
    assert details in outcome.observed


@pytest.mark.parametrize("code", ["UNAUTHENTICATED", "PERMISSION_DENIED"])
def test_a_call_that_wants_a_login_is_skipped(code: str) -> None:
    assert isinstance(grpc_refusal(code, ""), Skipped)


@pytest.mark.parametrize(("status", "id"), [(404, "FLYTE-13"), (502, "FLYTE-14"), (503, "FLYTE-14"), (500, "")])
def test_what_a_status_says_about_the_way_is_told_apart(status: int, id: str) -> None:
    assert refusal(Answer(status, {}, b'{"message": "no such thing"}'), "/api").id == id


def test_a_redirect_to_the_same_path_elsewhere_says_which_address_is_the_right_one() -> None:
    found = refusal(Answer(308, {"location": "https://flyte.example.com/api"}, b""), "/api")
    assert found.id == "FLYTE-25"
    assert "https://flyte.example.com/api" in found.observed


def test_a_redirect_to_a_login_is_no_failure() -> None:
    assert isinstance(refusal(Answer(302, {"location": "https://login.example.com/?to=/api"}, b""), "/api"), Skipped)


def test_a_redirect_to_no_address_is_no_traceback() -> None:
    assert isinstance(refusal(Answer(302, {"location": "https://[flyte/api"}, b""), "/api"), Skipped)


def test_a_server_that_wants_tls_is_told_from_one_that_refuses() -> None:
    words = b"Client sent an HTTP request to an HTTPS server."
    assert refusal(Answer(400, {}, words), "/api").id == "FLYTE-25"
    assert refusal(Answer(400, {}, b"bad"), "/api").id == ""


def test_flytes_own_words_are_shown() -> None:
    assert "no such thing" in refusal(Answer(500, {}, b'{"message": "no such thing"}'), "/api").observed


# status and body of the store's answer, id that must fail
UPLOADS = [
    (403, b"<Error><Code>SignatureDoesNotMatch</Code><Message>no</Message></Error>", "S3-26"),
    (403, b"<Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>", "S3-12"),
    (403, b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>", "S3-08"),
    (404, b"<Error><Code>NoSuchBucket</Code></Error>", "S3-04"),
    (413, b"<html>too large</html>", "S3-34"),
    (502, b"", "S3-30"),
    (418, b"<Error><Code>Teapot</Code></Error>", "S3-39"),
]


@pytest.mark.parametrize(("status", "body", "id"), UPLOADS)
def test_a_refused_upload_names_its_cause(status: int, body: bytes, id: str) -> None:
    assert store_refusal(Answer(status, {}, body), "PUT", denied="S3-12").id == id


# message, fields
MESSAGES = [
    (b"", {}),
    (b"\x08\x01", {1: 1}),
    (b"\x08\xac\x02", {1: 300}),
    (b"\x0a\x03abc\x10\x02", {1: b"abc", 2: 2}),
    (b"\x08\x01\x08\x02", {1: 2}),
]


@pytest.mark.parametrize(("message", "found"), MESSAGES)
def test_a_message_is_read_field_by_field(message: bytes, found: dict[int, Any]) -> None:
    assert fields(message) == found


@pytest.mark.parametrize("message", [b"\x08", b"\x0a\x05abc", b"\xff", b"<html>", b"\x0d\x00\x00\x00\x00"])
def test_what_is_no_message_is_told(message: bytes) -> None:
    with pytest.raises(Failed, match="something other than Flyte"):
        fields(message)


@pytest.mark.parametrize("names", [("signed_url", "native_url"), ("signedUrl", "nativeUrl")])
def test_a_signed_url_is_taken_apart_and_not_shown(names: tuple[str, str]) -> None:
    url = "https://s3.example.com:9000/flyte-data/a/b?X-Amz-Signature=secret"
    headers = {"Content-Length": "24", "x-a": "b"}
    found = signed_url({names[0]: url, names[1]: "s3://flyte-data/a/b", "headers": headers})
    assert found.address.endpoint == "https://s3.example.com:9000"
    assert found.path == "/flyte-data/a/b?X-Amz-Signature=secret"
    assert (found.native, found.bucket) == ("s3://flyte-data/a/b", "flyte-data")
    assert found.headers == {"x-a": "b"}
    assert "secret" not in repr(found)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "s3://bucket/key",
        "https:///secret",
        "https://[::1/secret",
        "https://s3.example.com/\u2026?secret",
        "https://s3.example.com/a b?secret",
        "https://s3.example.com/a\r\nX: y?secret",
    ],
)
def test_an_answer_without_a_url_does_not_show_what_it_holds(url: str) -> None:
    with pytest.raises(Failed, match="no URL") as caught:
        signed_url({"signed_url": url})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("native", ["s3://[bad/k", "s3://bucket/\ud800"])
def test_a_native_url_that_is_none_is_told(native: str) -> None:
    with pytest.raises(Failed, match="no URL"):
        signed_url({"signed_url": "https://s3.example.com/x?y=z", "native_url": native})


@pytest.mark.parametrize(("name", "value"), [("x-a", "b\r\nx-c: secret"), ("x a", "secret"), ("x-a", "secret\u2026")])
def test_a_header_that_cannot_be_sent_is_refused_and_not_shown(name: str, value: str) -> None:
    with pytest.raises(Failed, match="cannot be sent") as caught:
        signed_url({"signed_url": "https://s3.example.com/x?y=z", "headers": {name: value}})
    assert "secret" not in str(caught.value)


def test_brackets_without_an_end_are_no_answer_of_flytes() -> None:
    answer = Answer(200, {}, b"[" * 100_000)
    with pytest.raises(Failed, match="not JSON"):
        answer.json()
    assert refusal(Answer(500, {}, answer.body), "/api").observed == "/api gave HTTP 500"


def test_what_is_uploaded_is_larger_than_proxies_and_single_parts_like_and_the_same_each_time() -> None:
    assert len(upload_content()) == UPLOAD_SIZE > 5 * 2**20
    assert upload_content() == upload_content()


# address, where plain HTTP leads, whether that is right
REDIRECTIONS = [
    ("https://127.0.0.1", "https://127.0.0.1/healthcheck", True),
    ("https://127.0.0.1", "https://127.0.0.1.evil.example/healthcheck", False),
    ("https://flyte.example.com", "https://Flyte.example.com:443/", True),
    ("https://flyte.example.com", "https://flyte.example.com:8443/", False),
    ("https://flyte.example.com:8443", "https://flyte.example.com:8443/", True),
    ("https://flyte.example.com:8443", "https://flyte.example.com/", False),
    ("https://flyte.example.com", "http://flyte.example.com/", False),
    ("https://[::1]:8443", "https://[::1]:8443/", True),
    ("https://[::1]", "https://[::2]/", False),
    ("http://flyte.example.com:8080", "https://flyte.example.com/", True),
    ("https://flyte.example.com", "https://flyte.example.com:99999/", False),
    ("https://flyte.example.com", "https://[flyte", False),
    ("https://flyte.example.com", "", False),
]


@pytest.mark.parametrize(("address", "where", "right"), REDIRECTIONS)
def test_a_redirect_is_compared_as_an_address_and_not_as_text(address: str, where: str, right: bool) -> None:
    assert leads_to(where, _reach.parse_url(address)) == right


def target(**option: Any) -> Any:
    return target_of({"url": "https://x", "ca_file": None, "timeout": 3, "project": "p", "domain": "d", **option})


@pytest.mark.parametrize("port", [-1, 0, 65536])
def test_a_port_that_is_none_is_refused(port: int) -> None:
    with pytest.raises(ValueError, match=f"http_port: {port} is no TCP port"):
        target(http_port=port)


@pytest.mark.parametrize("port", [None, 1, 65535])
def test_any_port_will_do(port: int | None) -> None:
    assert target(http_port=port).project == "p"


def test_grpc_goes_to_the_address_that_accepts(monkeypatch: pytest.MonkeyPatch) -> None:
    dialled: list[str] = []

    def secure_channel(where: str, _credentials: object, *, options: object) -> SimpleNamespace:
        del options
        dialled.append(where)
        return SimpleNamespace(unary_unary=lambda *_a, **_k: lambda *_a, **_k: b"answer", close=lambda: None)

    monkeypatch.setitem(
        sys.modules,
        "grpc",
        SimpleNamespace(
            secure_channel=secure_channel, ssl_channel_credentials=lambda **_k: None, RpcError=ConnectionError
        ),
    )
    with silent_port() as port:
        # Nobody listens on the first one.
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in ("127.0.0.2", "127.0.0.1")]
        monkeypatch.setattr(_reach, "lookup", lambda *_arguments, **_named: found)
        assert grpc_call(target(url=f"https://flyte.example.com:{port}"), "/x/Y") == b"answer"
    assert dialled == [f"ipv4:127.0.0.1:{port}"]


@pytest.mark.parametrize("answer", [{"projects": ["a"]}, {"projects": {"id": "a"}}, {"projects": "a"}])
def test_projects_of_another_shape_are_told(answer: dict[str, Any]) -> None:
    with pytest.raises(Failed, match="another shape"):
        project_names(answer)


@pytest.mark.parametrize("version", ["v1", ["v1"]])
def test_a_version_of_another_shape_is_told(version: Any) -> None:
    with pytest.raises(Failed, match="another shape"):
        control_plane_version({"control_plane_version": version})


def test_headers_of_another_shape_are_told() -> None:
    with pytest.raises(Failed, match="another shape"):
        signed_url({"signed_url": "https://s3.example.com/x?y=z", "headers": ["a"]})
