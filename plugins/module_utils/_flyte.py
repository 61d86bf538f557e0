# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is PRIVATE to the collection. It can change at any time.

"""Whether a Flyte works for those who use it, row by row: through its own address, with its own certificate.

Sources: flyteidl's service definitions at v1.16.8 (HTTP paths, message
fields), the gRPC health protocol, and C(flytepropeller/pkg/webhook).
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import re
import socket
import ssl
import time
import typing as t
from dataclasses import dataclass
from http.client import HTTPException
from urllib.parse import urlencode, urlsplit

from ansible_collections.flyte.onprem.plugins.module_utils import _kubernetes, _reach
from ansible_collections.flyte.onprem.plugins.module_utils._checks import (
    SKIPPED,
    Check,
    Failed,
    Report,
    Skipped,
    Warned,
)
from ansible_collections.flyte.onprem.plugins.module_utils._imports import GRPC, available, load
from ansible_collections.flyte.onprem.plugins.module_utils._limits import refuse_port, refuse_wait
from ansible_collections.flyte.onprem.plugins.module_utils._s3 import http_request
from ansible_collections.flyte.onprem.plugins.module_utils._s3_errors import S3Error, parse_error

# More than a proxy's usual limit of 1 MiB and than S3's smallest part of 5 MiB.
UPLOAD_SIZE = 5 * 2**20 + 1
UPLOAD_NAME = "flyte-onprem-check"
SIGN = "/api/v1/dataproxy/artifact_urn"

# By the generation of Flyte.
CRDS = {1: "flyteworkflows.flyte.lyft.com", 2: "taskactions.flyte.org"}
WEBHOOK = "flyte-pod-webhook.flyte.org"
# For so many seconds a pod may still be starting.
STARTING = 300

REACH = _reach.ReachIds(name="FLYTE-10", port="FLYTE-12", way="FLYTE-11")
REACH_STORE = _reach.ReachIds(name="S3-01", port="S3-21", way="S3-22")
_NO_ROUTE = "FLYTE-13"
_NO_BACKEND = "FLYTE-14"
_NO_ANSWER = "FLYTE-19"
_NO_GRPC_ROUTE = "FLYTE-21"
_WRONG_SCHEME = "TLS-14"
_ELSEWHERE = "FLYTE-25"
_UPLOAD = "FLYTE-24"
_DOWNLOAD = "FLYTE-29"

# What a server that speaks TLS answers to plain HTTP holds this word (Go's net/http, NGINX).
_SPEAKS_TLS = b"HTTPS"

REDIRECTS = (301, 302, 307, 308)
# From an ingress controller without a pod behind the route, or from Flyte's own gateway while Flyte starts or stops
# (499: the gateway has closed its connection to Flyte; grpc-gateway, runtime.HTTPStatusFromCode).
AWAY = (499, 502, 503, 504)
# By these rows it is not known whether a request was carried out.
UNANSWERED = (_NO_BACKEND, _NO_ANSWER)

# How clients learn how to log in (RFC 8414, and Flyte's own).
METADATA = ("/.well-known/oauth-authorization-server", "/config/v1/flyte_client")

Json = _kubernetes.Json
_Shape = t.TypeVar("_Shape")


@dataclass(frozen=True)
class Target:
    """Flyte as its users reach it."""

    address: _reach.Address
    ca_file: str | None
    timeout: float
    project: str
    domain: str


def target_of(given: t.Mapping[str, t.Any]) -> Target:
    """The Flyte that a module's options describe. Raises C(ValueError) with the option's name and a text for people."""
    address = _reach.parse_option("url", given["url"])
    refuse_wait("timeout", given["timeout"])
    if given.get("http_port") is not None:
        refuse_port("http_port", given["http_port"])
    if given["ca_file"]:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=given["ca_file"])
        except OSError as exc:
            raise ValueError(f"ca_file {given['ca_file']} holds no certificate that can be read: {exc}") from exc
    return Target(
        address=address,
        ca_file=given["ca_file"],
        timeout=given["timeout"],
        project=given["project"],
        domain=given["domain"],
    )


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; names of headers are in lower case."""

    status: int
    headers: t.Mapping[str, str]
    body: bytes

    def json(self) -> Json:
        """The body as a JSON object. Raises C(Failed) if it is none."""
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError) as exc:
            raise Failed("the answer is not JSON: something other than Flyte answered") from exc
        if not isinstance(found, dict):
            raise Failed("the answer is not a JSON object: something other than Flyte answered")
        return found


def probe_service(
    report: Report, target: Target, *, http_port: int | None, grpc: bool, upload: bool, write: bool
) -> Check:
    """Add all rows about the address; the last one is that of C(/healthcheck)."""
    reached = _reach.reach(report, target.address, ids=REACH, ca_file=target.ca_file, timeout=target.timeout)
    endpoint = {"endpoint": target.address.endpoint, "host": target.address.host}
    healthy = report.check("FLYTE-15", lambda: _health(target), after=[reached], **endpoint)

    def version() -> str:
        found = control_plane_version(call(target, "GET", "/api/v1/version").json())
        report.facts["flyte_version"] = found
        return f"Flyte {found}"

    def projects() -> str:
        names = project_names(call(target, "GET", "/api/v1/projects").json())
        report.facts["projects"] = names
        if target.project not in names:
            raise Failed(f"no project {target.project}; there are: {', '.join(names) or 'none'}")
        return f"{', '.join(names)}"

    def row(id: str, probe: t.Callable[[], str], needed: Check, **context: str) -> Check:
        return report.check(id, probe, after=[*silence(report), needed], **context)

    told = row("FLYTE-16", version, healthy)
    row("FLYTE-26", lambda: _login(target, demanded=told.status == SKIPPED), healthy, **endpoint)
    listed = row("FLYTE-17", projects, healthy, project=target.project)
    probe_redirect(report, target, http_port, after=reached)
    served = row("FLYTE-20", lambda: _grpc_health(target, wanted=grpc), healthy, **endpoint)
    report.check("FLYTE-22", lambda: _grpc_version(target), after=[served], **endpoint)
    probe_upload(report, target, wanted=upload, write=write, after=listed)
    return healthy


# HTTP


def silence(report: Report) -> list[Check]:
    """The rows of requests without an answer, on which all others depend: one fault is one row, and one wait."""
    return report.failed(_NO_ANSWER)


def request(
    target: Target,
    address: _reach.Address,
    method: str,
    path: str,
    *,
    body: bytes = b"",
    headers: t.Mapping[str, str] | None = None,
) -> Answer:
    """Send one request, without following redirects. Raises C(Failed) when there is no answer.

    No message holds C(path): that of a signed URL is a secret.
    """
    return Answer(
        *http_request(address, method, path, ca_file=target.ca_file, timeout=target.timeout, body=body, headers=headers)
    )


def ask(target: Target, address: _reach.Address, method: str, path: str, **more: t.Any) -> Answer:
    """C(request) at the ingress, where no answer is a fault of its own and not of the object store."""
    try:
        return request(target, address, method, path, **more)
    except Failed as exc:
        if exc.id == _WRONG_SCHEME:
            raise
        raise Failed(exc.observed, id=_NO_ANSWER) from exc


def call(
    target: Target, method: str, path: str, *, body: Json | None = None, query: t.Mapping[str, str] | None = None
) -> Answer:
    """Ask Flyte's HTTP interface. Raises an outcome for what is not status 200."""
    found = ask(
        target,
        target.address,
        method,
        f"{path}?{urlencode(query)}" if query else path,
        body=json.dumps(body).encode() if body is not None else b"",
        headers={"Accept": "application/json", "Content-Type": "application/json"},
    )
    if found.status != 200:
        raise refusal(found, path)
    return found


def refusal(answer: Answer, path: str) -> Failed | Skipped:
    """What a status other than 200 says about the way to Flyte, or about Flyte."""
    words = words_of(answer)
    seen = f"{path} gave HTTP {answer.status}"
    told = f"{seen}: {words}" if words else seen
    where = answer.headers.get("location", "")
    if answer.status == 400 and _SPEAKS_TLS in answer.body:
        return Failed(f"{seen}: this port speaks TLS", id=_ELSEWHERE)
    if answer.status in REDIRECTS and _path_of(where) == path:
        return Failed(f"{seen} and leads to {where}", id=_ELSEWHERE)
    if answer.status in (401, 403, *REDIRECTS):
        return Skipped(f"{seen}: Flyte asks for a login, and this check has none")
    if answer.status == 404:
        return Failed(seen, id=_NO_ROUTE)
    if answer.status in AWAY:
        return Failed(told, id=_NO_BACKEND)
    return Failed(told)


def _path_of(url: str) -> str:
    try:
        return urlsplit(url).path
    except ValueError:
        return ""


def words_of(answer: Answer) -> str:
    """What Flyte says about a refusal: its gateway sends a JSON object with the message."""
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        return ""
    return str(found.get("message") or found.get("error") or "") if isinstance(found, dict) else ""


def _health(target: Target) -> str:
    found = ask(target, target.address, "GET", "/healthcheck")
    if found.status == 404 and not target.address.tls:
        # Traefik answers plain HTTP on its TLS port so.
        raise Failed("/healthcheck gave HTTP 404 over plain HTTP", id=_ELSEWHERE)
    if found.status != 200:
        outcome = refusal(found, "/healthcheck")
        raise Failed(outcome.observed, id=outcome.id)
    return "/healthcheck gave HTTP 200"


def shaped(value: t.Any, kind: type[_Shape]) -> _Shape:
    """A part of an answer as what it must be. Raises C(Failed) if it is of another shape."""
    if not isinstance(value, kind):
        raise Failed("the answer has another shape than Flyte's: something other than Flyte answered")
    return value


def control_plane_version(answer: Json) -> str:
    found = shaped(answer.get("control_plane_version") or answer.get("controlPlaneVersion") or {}, dict)
    return str(found.get("Version") or found.get("version") or "of unknown version")


def project_names(answer: Json) -> list[str]:
    """The ids in the answer of ListProjects."""
    return [str(shaped(project, dict).get("id", "")) for project in shaped(answer.get("projects") or [], list)]


def probe_redirect(report: Report, target: Target, http_port: int | None, *, after: Check) -> None:
    report.check(
        "FLYTE-18",
        lambda: _redirect(target, http_port),
        after=[*silence(report), after],
        http_port=str(http_port),
        host=urlsplit(target.address.endpoint).netloc,
    )


def _redirect(target: Target, http_port: int | None) -> str:
    if http_port is None:
        raise Skipped("no http_port was given")
    plain = _reach.Address("http", target.address.host, http_port, "")
    try:
        found = request(target, plain, "GET", "/healthcheck")
    except Failed as exc:
        raise Failed(exc.observed) from exc
    where = found.headers.get("location", "")
    if found.status not in REDIRECTS:
        raise Failed(f"port {http_port} gave HTTP {found.status}")
    if not leads_to(where, target.address):
        raise Failed(f"port {http_port} leads to {where or 'nowhere'}")
    return f"port {http_port} leads to {where}"


def leads_to(where: str, address: _reach.Address) -> bool:
    """Whether a redirect leads to an address by TLS; where that is one of plain HTTP, its port is not compared."""
    try:
        parts = urlsplit(where)
        port = parts.port or 443
    except ValueError:
        return False
    return (parts.scheme, parts.hostname) == ("https", address.host) and (not address.tls or port == address.port)


def _login(target: Target, *, demanded: bool) -> str:
    """What clients are told about logging in; C(demanded) says whether Flyte has asked for a login."""
    answers = {path: ask(target, target.address, "GET", path) for path in METADATA}
    for path, found in answers.items():
        if found.status == 404:
            raise Failed(f"{path} gave HTTP 404")
        if found.status not in (200, 501):
            raise Failed(f"{path} gave HTTP {found.status}; it must be open to those who are not logged in")
    if 501 in {found.status for found in answers.values()}:
        if demanded:
            raise Failed("Flyte's interface asks for a login, and Flyte itself knows of none")
        return "no login is needed"
    server = answers[METADATA[0]].json()
    for key in ("issuer", "authorization_endpoint", "token_endpoint"):
        if not str(server.get(key, "")).startswith("https://"):
            raise Failed(f"{key} is {server.get(key) or 'missing'} in {METADATA[0]}")
    return f"a login at {server['issuer']}"


# gRPC


def _grpc_health(target: Target, *, wanted: bool) -> str:
    if not wanted:
        raise Skipped("not asked for")
    if not available(GRPC):
        raise Skipped("the Python library grpcio is not installed")
    if not target.address.tls:
        raise Skipped("the address is not https; clients speak gRPC over TLS")
    # HealthCheckResponse.status, field 1: 1 is SERVING.
    status = fields(grpc_call(target, "/grpc.health.v1.Health/Check")).get(1, 0)
    if status != 1:
        names = {0: "UNKNOWN", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
        raise Failed(f"the health service says {names.get(status, status) if isinstance(status, int) else status!r}")
    return "the health service says SERVING"


def _grpc_version(target: Target) -> str:
    # GetVersionResponse.control_plane_version, field 1, holds Version.Version, field 2.
    found = fields(grpc_call(target, "/flyteidl.service.AdminService/GetVersion")).get(1, b"")
    version = fields(found).get(2, b"") if isinstance(found, bytes) else b""
    return f"Flyte {version.decode('utf-8', 'replace')}" if isinstance(version, bytes) and version else "answered"


def grpc_call(target: Target, method: str) -> bytes:
    """Call a method with an empty message over TLS; the answer's bytes. Raises an outcome."""
    grpc = load(GRPC)
    address = target.address
    try:
        family, where = _first_that_accepts(address, timeout=target.timeout)
    except OSError as exc:
        raise Failed(f"connecting to {address.host}: {exc.strerror or exc}") from exc
    # grpc resolves names in C, where nothing can be pinned; so it is given the address, and the name apart.
    channel = grpc.secure_channel(
        f"ipv6:[{where}]:{address.port}" if family == socket.AF_INET6 else f"ipv4:{where}:{address.port}",
        grpc.ssl_channel_credentials(root_certificates=_roots(target.ca_file)),
        options=(
            ("grpc.ssl_target_name_override", address.host),
            ("grpc.default_authority", urlsplit(address.endpoint).netloc),
            ("grpc.enable_http_proxy", 0),
        ),
    )
    try:
        ask = channel.unary_unary(method, request_serializer=bytes, response_deserializer=bytes)
        return bytes(ask(b"", timeout=target.timeout))
    except grpc.RpcError as exc:
        raise grpc_refusal(exc.code().name, str(exc.details() or "")) from exc
    finally:
        channel.close()


def _first_that_accepts(address: _reach.Address, *, timeout: float) -> tuple[int, str]:
    """Family and number of the address that other clients would connect to too. Raises C(OSError)."""
    deadline = time.monotonic() + timeout
    found = _reach.lookup(address.host, address.port, timeout=timeout)
    with _reach.connect(found, deadline=deadline, retries=0) as connection:
        return connection.family, str(connection.getpeername()[0])


def _roots(ca_file: str | None) -> bytes | None:
    path = ca_file or ssl.get_default_verify_paths().cafile
    if not path:
        return None
    with open(path, "rb") as stream:
        return stream.read()


def grpc_refusal(code: str, details: str) -> Failed | Skipped:
    """What a failed call says about the way; a proxy's HTTP status stands in gRPC's details."""
    seen = f"gRPC gave {code}: {details}" if details else f"gRPC gave {code}"
    status = re.search(r"status: (\d{3})", details)
    if code in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        return Skipped(f"{seen}: Flyte asks for a login, and this check has none")
    if status and status.group(1) in ("500", "502"):
        return Failed(seen, id="ING-01")
    if (status and status.group(1) == "400") or re.search("http1|ALPN|NO_APPLICATION_PROTOCOL", details):
        return Failed(seen, id="ING-02")
    if status and status.group(1) == "404":
        return Failed(seen, id=_NO_GRPC_ROUTE)
    if status and status.group(1) in ("503", "504"):
        return Failed(seen, id=_NO_BACKEND)
    return Failed(seen)


def fields(message: bytes) -> dict[int, int | bytes]:
    """The fields of a protobuf message by number, numbers and bytes only; the last one counts.

    Enough for messages whose fields are known; raises C(Failed) for what is no such message.
    """
    found: dict[int, int | bytes] = {}
    rest = message
    try:
        while rest:
            key, rest = _varint(rest)
            if key & 7 == 0:
                found[key >> 3], rest = _varint(rest)
            elif key & 7 == 2:
                length, rest = _varint(rest)
                if length > len(rest):
                    raise IndexError
                found[key >> 3], rest = rest[:length], rest[length:]
            else:
                raise IndexError
    except IndexError as exc:
        raise Failed("the answer is not the message that was due: something other than Flyte answered") from exc
    return found


def _varint(data: bytes) -> tuple[int, bytes]:
    value = shift = index = 0
    while data[index] & 0x80:
        value |= (data[index] & 0x7F) << shift
        shift += 7
        index += 1
    return value | data[index] << shift, data[index + 1 :]


# Signed URL


def upload_location(target: Target, digest: str) -> Json:
    """Ask Flyte 1 where to upload to."""
    asked = {"project": target.project, "domain": target.domain, "filename": UPLOAD_NAME, "content_md5": digest}
    return call(target, "POST", SIGN, body=asked).json()


def download_location(target: Target, native_url: str) -> Json:
    """Ask Flyte 1 where to download an object from."""
    return call(target, "GET", SIGN, query={"native_url": native_url}).json()


def probe_upload(
    report: Report,
    target: Target,
    *,
    wanted: bool,
    write: bool,
    after: Check,
    locate: t.Callable[[Target, str], Json] = upload_location,
    find: t.Callable[[Target, str], Json] | None = download_location,
) -> None:
    """Add the rows from asking for a signed URL to an upload with it and, with C(find), to a download with another."""
    content = upload_content()
    digest = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
    given: list[SignedUrl] = []

    def sign() -> str:
        if not wanted:
            raise Skipped("not asked for")
        given.append(signed_url(locate(target, digest)))
        return f"a URL at {given[0].address.endpoint}"

    signed = report.check("FLYTE-23", sign, after=[*silence(report), after])
    if not given:
        for id in (_UPLOAD, "FLYTE-28", _DOWNLOAD) if find else (_UPLOAD,):
            report.blocked(id, after=[signed], endpoint="the object store", bucket="")
        return
    url = given[0]
    store = {
        "endpoint": url.address.endpoint,
        "public_endpoint": url.address.endpoint,
        "host": url.address.host,
        "bucket": url.bucket,
        "region": "of the site",
        "max_clock_skew": "900",
    }
    report.facts["upload_endpoint"] = url.address.endpoint
    reached = _reach.reach(
        report, url.address, ids=REACH_STORE, ca_file=target.ca_file, timeout=target.timeout, after=[signed]
    )

    def put() -> str:
        if not write:
            raise Skipped("nothing is uploaded in check mode")
        found = request(
            target, url.address, "PUT", url.path, body=content, headers={"Content-MD5": digest, **url.headers}
        )
        if found.status != 200:
            raise store_refusal(found, "PUT", denied="S3-12")
        return f"{len(content)} bytes were accepted"

    stored = report.check(_UPLOAD, put, after=[reached], **store)
    if find is not None:
        _probe_download(report, target, url, content, find=find, store=store, after=stored)


def _probe_download(
    report: Report,
    target: Target,
    url: SignedUrl,
    content: bytes,
    *,
    find: t.Callable[[Target, str], Json],
    store: t.Mapping[str, str],
    after: Check,
) -> None:
    """Add the rows from asking where to fetch what was uploaded to its comparison."""
    given: list[SignedUrl] = []

    def sign() -> str:
        given.append(signed_url(find(target, url.native)))
        return f"a URL at {given[0].address.endpoint}"

    signed = report.check("FLYTE-28", sign, after=[*silence(report), after])
    if not given:
        report.blocked(_DOWNLOAD, after=[signed], **store)
        return
    address = given[0].address
    reached = signed
    if address.endpoint != url.address.endpoint:
        reached = _reach.reach(
            report, address, ids=REACH_STORE, ca_file=target.ca_file, timeout=target.timeout, after=[signed]
        )

    def get() -> str:
        try:
            found = request(target, address, "GET", given[0].path)
        except Failed as exc:
            if isinstance(exc.__cause__, HTTPException):  # an answer, which breaks off or never ends
                raise Failed(exc.observed) from exc
            raise
        if found.status == 404 and (parse_error(found.body) or ("NoSuchKey",))[0] == "NoSuchKey":
            raise Failed(
                "GET gave HTTP 404: what was just uploaded is not there",
                cause="Behind this address there are several stores that do not know of each other's objects, or Flyte "
                "signs for another object than it was asked for.",
            )
        if found.status != 200:
            raise store_refusal(found, "GET", denied="S3-13")
        if found.body != content:
            raise Failed(f"{len(found.body)} bytes came back, and they are not the {len(content)} that were uploaded")
        return f"{len(content)} bytes came back unchanged"

    there = {**store, "endpoint": address.endpoint, "public_endpoint": address.endpoint, "host": address.host}
    report.check(_DOWNLOAD, get, after=[reached], **there)


@dataclass(frozen=True)
class SignedUrl:
    """Where to upload to or to download from. C(path) holds the signature; C(native) is the store's own name."""

    address: _reach.Address
    path: str
    native: str
    bucket: str
    headers: t.Mapping[str, str]

    def __repr__(self) -> str:
        return f"SignedUrl({self.address.endpoint})"


def signed_url(answer: Json) -> SignedUrl:
    """The URL in the answer of CreateUploadLocation or CreateDownloadLocation. Raises C(Failed) if there is none."""
    url = str(answer.get("signed_url") or answer.get("signedUrl") or "")
    native = str(answer.get("native_url") or answer.get("nativeUrl") or "")
    try:
        address = _reach.parse_url(url)
        bucket = urlsplit(native).netloc
        native.encode()  # JSON can hold what no address can
    except ValueError as exc:
        # Not its words: they hold the URL.
        raise Failed("Flyte's answer holds no URL") from exc
    if not re.fullmatch(r"[\x21-\x7e]+", url):
        raise Failed("Flyte's answer holds no URL that can be sent: it has white space, or characters outside ASCII")
    parts = urlsplit(url)
    path = f"{parts.path or '/'}?{parts.query}"
    # Its Content-Length is that of the digest, not of the file (stow v0.3.12, s3/container.go); clients send their own.
    headers = {
        str(key): str(value)
        for key, value in shaped(answer.get("headers") or {}, dict).items()
        if str(key).lower() not in ("content-length", "content-md5")
    }
    if not all(re.fullmatch(r"[^\s:]+:[\t\x20-\x7e\xa0-\xff]*", f"{key}:{value}") for key, value in headers.items()):
        raise Failed("Flyte's answer holds a header for the upload that cannot be sent")
    return SignedUrl(address=address, path=path, native=native, bucket=bucket or "of the site", headers=headers)


def upload_content() -> bytes:
    """The same bytes each time, so that every check writes the same object."""
    line = b"Written by flyte.onprem.flyte_check to see whether uploads work.\n"
    return (line * (UPLOAD_SIZE // len(line) + 1))[:UPLOAD_SIZE]


def store_refusal(answer: Answer, method: str, *, denied: str) -> Failed:
    """A request by signed URL that the store, or a proxy before it, refused; C(denied) is the check of the right."""
    code, words = parse_error(answer.body) or (str(answer.status), "")
    if "expired" in words.lower():
        # A URL that has expired within a second was signed by a clock that is wrong; the code is AccessDenied.
        code = "RequestExpired"
    return S3Error(method, code, answer.status, words).outcome(denied=denied)


# Cluster


@dataclass(frozen=True)
class Installation:
    """Flyte as it lies in the cluster."""

    namespace: str
    release: str
    projects: t.Sequence[str]
    domains: t.Sequence[str]
    task_secret: str
    task_secret_keys: t.Sequence[str]
    images: t.Sequence[str] = ()
    generation: int = 1


def probe_cluster(report: Report, api: _kubernetes.Api | None, flyte: Installation, *, after: Check) -> None:
    """Add all rows about what Flyte has in the cluster. Reads only."""
    context = {"namespace": flyte.namespace, "release": flyte.release}

    def row(id: str, probe: t.Callable[[_kubernetes.Api], str], *needed: Check, **more: str) -> Check:
        def asking() -> str:
            if api is None:  # `after` passed
                raise AssertionError
            return str(_kubernetes.asked(lambda: probe(api)))

        return report.check(id, asking, after=[*_kubernetes.silence(report, api), after, *needed], **context, **more)

    running = row("FLYTE-30", lambda api: _pods(api, flyte))
    row(
        "FLYTE-35",
        lambda api: _images(api, flyte),
        images=", ".join(flyte.images) or "images with a tag other than latest",
    )
    row("FLYTE-31", lambda api: _definition(api, CRDS[flyte.generation]), crd=CRDS[flyte.generation])
    made = row("FLYTE-32", lambda api: _namespaces(api, flyte))
    row("S3-02", lambda api: _task_secrets(api, flyte), made, task_secret=flyte.task_secret or "(none asked for)")
    hooks: list[Json] = []

    def webhook(api: _kubernetes.Api) -> str:
        hooks.extend(flyte_webhooks(api))
        mine = [hook for hook in hooks if hook["service"]["namespace"] == flyte.namespace]
        if not mine:
            raise Failed(f"no webhook configuration leads to namespace {flyte.namespace}")
        return ", ".join(str(hook["configuration"]) for hook in mine)

    there = row("FLYTE-33", webhook)
    refused: list[str] = []

    def certificate(api: _kubernetes.Api) -> str:
        refused.append(_webhook_refusal(api, hooks, flyte))
        seen = _webhook_certificate(api, hooks, flyte)
        # Flyte 1 makes itself a new certificate at each start and leaves the Secret of the first one alone, so that
        # only a trial tells whether the API server trusts it.
        if re.search("x509|certificate", refused[0]):
            raise Failed(f"the API server does not trust it: {refused[0]}")
        return seen

    def answers(_api: _kubernetes.Api) -> str:
        if refused[0]:
            raise Failed(refused[0])
        return "a pod that asks for a secret is admitted"

    # A pod that is just starting has no webhook yet; that is no fault of its certificate.
    row("FLYTE-36", answers, row("TLS-02", certificate, there, running))
    row("FLYTE-34", _leftovers)


def _release_pods(api: _kubernetes.Api, flyte: Installation) -> list[Json]:
    pods = api.items(
        f"/api/v1/namespaces/{flyte.namespace}/pods", labelSelector=f"app.kubernetes.io/instance={flyte.release}"
    )
    if not pods:
        raise Failed(f"namespace {flyte.namespace} has no pod of release {flyte.release}", id="FLYTE-30")
    return pods


def _pods(api: _kubernetes.Api, flyte: Installation) -> str:
    pods = _release_pods(api, flyte)
    try:
        return _kubernetes.pods_verdict(pods)
    except Failed as exc:
        age = youngest(pods, now=datetime.datetime.now(datetime.timezone.utc))
        if age is None or age > STARTING:
            raise
        raise Failed(f"{exc.observed} (started {age:.0f} seconds ago)") from exc


def youngest(pods: t.Sequence[Json], *, now: datetime.datetime) -> float | None:
    """Seconds since the latest start of a pod or of a container in one; None where none has started."""
    starts = []
    for pod in pods:
        status = pod.get("status") or {}
        states = [container.get("state") or {} for container in status.get("containerStatuses") or []]
        starts += [status.get("startTime"), *((state.get("running") or {}).get("startedAt") for state in states)]
    moments = [datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ") for text in starts if text]
    return (now - max(moments).replace(tzinfo=datetime.timezone.utc)).total_seconds() if moments else None


def _images(api: _kubernetes.Api, flyte: Installation) -> str:
    """That the pods run the images that were chosen, or at least some that do not change by themselves."""
    seen = dict.fromkeys(
        str(container["image"])
        for pod in _release_pods(api, flyte)
        if not pod["metadata"].get("deletionTimestamp")
        for container in [*(pod["spec"].get("initContainers") or []), *pod["spec"]["containers"]]
    )
    wrong = [image for image in seen if (image not in flyte.images if flyte.images else not _is_pinned(image))]
    if wrong:
        raise Failed(", ".join(wrong))
    return ", ".join(seen)


def _is_pinned(image: str) -> bool:
    """Whether an image's name says which version of it; no tag means latest."""
    _name, digest, _value = image.partition("@")
    tag = image.rpartition("/")[2].partition(":")[2]
    return bool(digest) or tag not in ("", "latest")


def _definition(api: _kubernetes.Api, name: str) -> str:
    found = find(api, f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}")
    if found is None:
        raise Failed("it is not there")
    if found["metadata"].get("deletionTimestamp"):
        raise Failed("it is being deleted, and waits for objects of it that nobody clears away")
    return "it is there"


def find(api: _kubernetes.Api, path: str) -> Json | None:
    """The object at C(path), or None where there is none."""
    try:
        return api.get(path)
    except _kubernetes.ApiError as exc:
        if exc.status == 404:
            return None
        raise


def _namespaces(api: _kubernetes.Api, flyte: Installation) -> str:
    if flyte.generation == 2:
        raise Skipped("this check does not know when Flyte 2 makes namespaces")
    there = {str(item["metadata"]["name"]) for item in api.items("/api/v1/namespaces")}
    missing = [name for name in _expected(flyte) if name not in there]
    if missing:
        raise Failed(f"missing: {', '.join(missing)}")
    return ", ".join(_expected(flyte))


def _expected(flyte: Installation) -> list[str]:
    return [f"{project}-{domain}" for project in flyte.projects for domain in flyte.domains]


def _task_secrets(api: _kubernetes.Api, flyte: Installation) -> str:
    if not flyte.task_secret:
        raise Skipped("no task_secret was given")
    problems = []
    for namespace in _expected(flyte):
        found = find(api, f"/api/v1/namespaces/{namespace}/secrets/{flyte.task_secret}")
        if found is None:
            problems.append(f"no Secret in {namespace}")
            continue
        # Which keys there are; the values go no further than this.
        missing = [key for key in flyte.task_secret_keys if not (found.get("data") or {}).get(key)]
        if missing:
            problems.append(f"no {', '.join(missing)} in {namespace}")
    if problems:
        raise Failed("; ".join(problems))
    return f"in all {len(_expected(flyte))} namespaces"


def flyte_webhooks(api: _kubernetes.Api) -> list[Json]:
    """Flyte's webhooks of all releases: the name of the configuration, the service, the CA bundle."""
    found = []
    for item in api.items("/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"):
        for hook in item.get("webhooks") or []:
            client = hook.get("clientConfig") or {}
            if hook.get("name") == WEBHOOK and client.get("service"):
                found.append(
                    {
                        "configuration": item["metadata"]["name"],
                        "service": client["service"],
                        "ca": client.get("caBundle", ""),
                    }
                )
    return found


def _webhook_certificate(api: _kubernetes.Api, hooks: t.Sequence[Json], flyte: Installation) -> str:
    seen = []
    for hook in hooks:
        if hook["service"]["namespace"] != flyte.namespace:
            continue
        # The chart names the Secret after the Service.
        name = f"{hook['service']['name']}-secret"
        secret = find(api, f"/api/v1/namespaces/{flyte.namespace}/secrets/{name}")
        if secret is None:
            raise Failed(f"Secret {name} is not there")
        data = secret.get("data") or {}
        try:
            seen.append(
                _kubernetes.certificate_verdict(
                    base64.b64decode(data.get("tls.crt", "")).decode("ascii"),
                    now=datetime.datetime.now(datetime.timezone.utc),
                )
            )
        except Warned as exc:
            raise Warned(f"{name}: {exc.observed}") from exc
        except (Failed, ValueError) as exc:
            raise Failed(f"{name}: {exc}") from exc
    return "; ".join(seen)


def _webhook_refusal(api: _kubernetes.Api, hooks: t.Sequence[Json], flyte: Installation) -> str:
    """Why the API server gets no answer from Flyte's webhook; empty if it does. A pod is made by way of trial only."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "flyte-check-", "labels": {"inject-flyte-secrets": "true"}},
        "spec": {"containers": [{"name": "none", "image": "none"}]},
    }
    try:
        api.post(f"/api/v1/namespaces/{flyte.namespace}/pods", pod, dryRun="All")
    except _kubernetes.ApiError as exc:
        words = str(exc)
        mine = [hook["service"]["name"] for hook in hooks if hook["service"]["namespace"] == flyte.namespace]
        # Any other refusal, and that of another Flyte's webhook, comes after this one or says nothing about it.
        if "failed calling webhook" in words and any(f"{name}.{flyte.namespace}.svc" in words for name in mine):
            return words
    return ""


def _leftovers(api: _kubernetes.Api) -> str:
    left = leftover_webhooks(api)
    if left:
        raise Failed(", ".join(left))
    return "none"


def leftover_webhooks(api: _kubernetes.Api) -> list[str]:
    """Configurations of Flyte's webhooks whose Service is gone."""
    left = []
    for hook in flyte_webhooks(api):
        service = hook["service"]
        if find(api, f"/api/v1/namespaces/{service['namespace']}/services/{service['name']}") is None:
            left.append(f"{hook['configuration']} (service {service['namespace']}/{service['name']} is gone)")
    return left
