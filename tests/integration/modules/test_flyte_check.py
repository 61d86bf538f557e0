# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""flyte_check through a real Traefik and to a real MinIO; only Flyte itself is played."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from support.admin import make_user, s3_client
from support.flyte import HOST, VERSION, PlayedSite, flyte, ingress
from support.pki import Authority
from support.servers import Minio, black_hole, free_port, server_that_sends

BUCKET = "flyte-uploads"
SIGN = "POST /api/v1/dataproxy/artifact_urn"
SIGN_DOWNLOAD = "GET /api/v1/dataproxy/artifact_urn"


class Site(PlayedSite):
    """A Flyte 1, which signs for its object store."""

    def signer(
        self, *, bucket: str = BUCKET, client: Any = None, expires: int = 60, instead_of: str = "", by: str = ""
    ) -> Callable[[dict[str, Any]], dict[str, Any]]:
        """What Flyte answers when it is asked for a signed URL."""

        def sign(asked: dict[str, Any]) -> dict[str, Any]:
            key = f"{asked['project']}/{asked['domain']}/{asked['content_md5'][:8].encode().hex()}/{asked['filename']}"
            url = (client or s3_client(self.store)).generate_presigned_url(
                "put_object",
                Params={"Bucket": bucket, "Key": key, "ContentMD5": asked["content_md5"]},
                ExpiresIn=expires,
            )
            if expires < 2:
                time.sleep(2)
            # As Flyte 1.16 answers: the length is that of the digest, which clients must not send.
            headers = {"Content-Length": str(len(asked["content_md5"])), "Content-MD5": asked["content_md5"]}
            url = url.replace(instead_of, by) if instead_of else url
            return {"signedUrl": url, "nativeUrl": f"s3://{bucket}/{key}", "headers": headers}

        return sign

    def download_signer(
        self, *, client: Any = None, other: str = "", by: str = ""
    ) -> Callable[[dict[str, Any]], dict[str, Any]]:
        """What Flyte answers when it is asked where to download; C(other) is another object, C(by) another address."""

        def sign(asked: dict[str, Any]) -> dict[str, Any]:
            bucket, _, key = asked["native_url"].removeprefix("s3://").partition("/")
            parameters = {"Bucket": bucket, "Key": other or key}
            url = (client or s3_client(self.store)).generate_presigned_url("get_object", parameters)
            return {"signedUrl": url.replace(f"https://127.0.0.1:{self.store.port}", by) if by else url}

        return sign


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, authority: Authority, store: Minio) -> Iterator[Site]:
    s3_client(store).create_bucket(Bucket=BUCKET)
    with flyte() as fake, ingress(tmp_path_factory.mktemp("traefik"), fake, leaf=authority.issue(HOST)) as front:
        yield Site(fake, front, store, authority)


@pytest.fixture
def site(whole: Site) -> Iterator[Site]:
    whole.flyte.answers[SIGN], whole.flyte.answers[SIGN_DOWNLOAD] = whole.signer(), whole.download_signer()
    yield whole
    whole.flyte.reset()


def test_a_healthy_flyte_passes(site: Site) -> None:
    result = site.check()
    assert not result.failed, result["msg"]
    assert result.statuses("warning") == result.statuses("skipped") == []
    assert result["flyte_version"] == VERSION
    assert result["projects"] == ["flytesnacks"]
    assert VERSION in result.row("FLYTE-22")["observed"]


def test_repeated_uploads_leave_one_object(site: Site) -> None:
    for _ in range(2):
        assert not site.check().failed
    contents = s3_client(site.store).list_objects_v2(Bucket=BUCKET)["Contents"]
    assert [item["Size"] for item in contents] == [5 * 2**20 + 1]


def test_check_mode_uploads_nothing_and_says_so(site: Site) -> None:
    client = s3_client(site.store)
    for item in client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        client.delete_object(Bucket=BUCKET, Key=item["Key"])
    result = site.check(check_mode=True)
    assert not result.failed, result["msg"]
    assert result.statuses("skipped") == ["FLYTE-24", "FLYTE-28", "FLYTE-29"]
    assert "Contents" not in client.list_objects_v2(Bucket=BUCKET)


# A fault is a context: given the site, it breaks something, says with which options to look, and mends it.
Fault = Callable[[Site], AbstractContextManager[dict[str, Any]]]


def options(**changes: Any) -> Fault:
    return lambda _site: contextlib.nullcontext(changes)


def answers(**changes: Any) -> Fault:
    """Flyte answers otherwise; C(health) and C(version) are those of gRPC."""

    def fault(site: Site) -> AbstractContextManager[dict[str, Any]]:
        for name, answer in changes.items():
            if name in ("health", "version"):
                setattr(site.flyte, name, answer)
            else:
                site.flyte.answers[PATHS[name]] = answer
        return contextlib.nullcontext({})

    return fault


LOGIN = "https://login.example.com"
METADATA = {
    "issuer": LOGIN,
    "authorization_endpoint": f"{LOGIN}/authorize",
    "token_endpoint": f"{LOGIN}/token",
}
PATHS = {
    "login": "GET /.well-known/oauth-authorization-server",
    "client": "GET /config/v1/flyte_client",
    "healthcheck": "GET /healthcheck",
    "http_version": "GET /api/v1/version",
    "projects": "GET /api/v1/projects",
    "sign": SIGN,
    "sign_download": SIGN_DOWNLOAD,
}


def routes(*names: str, days: float = 90, stranger: bool = False, **changes: Any) -> Fault:
    """The ingress is configured otherwise; with C(names) or C(days) it shows another certificate."""

    @contextlib.contextmanager
    def fault(site: Site) -> Iterator[dict[str, Any]]:
        authority = Authority(site.authority.directory.parent / "flyte-stranger") if stranger else site.authority
        site.ingress.configure(leaf=authority.issue(*(names or (HOST,)), days=days), **changes)
        try:
            yield {}
        finally:
            site.ingress.configure()

    return fault


@contextlib.contextmanager
def lost(site: Site) -> Iterator[dict[str, Any]]:
    with black_hole() as port:
        yield {"url": f"https://{HOST}:{port}", "timeout": 1}


def hangs(_asked: dict[str, Any]) -> dict[str, Any]:
    time.sleep(3)
    return {}


def signs(**how: Any) -> Fault:
    """Flyte signs otherwise; C(rights) are those of a user made for it."""

    def fault(site: Site) -> AbstractContextManager[dict[str, Any]]:
        if "rights" in how:
            user = make_user(site.store, [BUCKET], how["rights"])
            site.flyte.answers[SIGN] = site.signer(client=s3_client(site.store, user))
        elif "secret" in how:
            user = dataclasses.replace(make_user(site.store, [BUCKET]), secret_key=how["secret"])
            site.flyte.answers[SIGN] = site.signer(client=s3_client(site.store, user))
        else:
            site.flyte.answers[SIGN] = site.signer(**how)
        return contextlib.nullcontext({"timeout": 5})

    return fault


def downloads(**how: Any) -> Fault:
    """Flyte signs downloads otherwise."""

    def fault(site: Site) -> AbstractContextManager[dict[str, Any]]:
        site.flyte.answers[SIGN_DOWNLOAD] = site.download_signer(**how)
        return contextlib.nullcontext({})

    return fault


@contextlib.contextmanager
def cut_short(site: Site) -> Iterator[dict[str, Any]]:
    with server_that_sends(b"HTTP/1.1 200 OK\r\ncontent-length: 5242881\r\n\r\n", b"half", 1) as url:
        site.flyte.answers[SIGN_DOWNLOAD] = site.download_signer(by=url)
        yield {}


@contextlib.contextmanager
def unreadable(site: Site) -> Iterator[dict[str, Any]]:
    user = make_user(site.store, [BUCKET], ["s3:ListBucket", "s3:PutObject"])
    site.flyte.answers[SIGN_DOWNLOAD] = site.download_signer(client=s3_client(site.store, user))
    yield {}


@contextlib.contextmanager
def another_object(site: Site) -> Iterator[dict[str, Any]]:
    client = s3_client(site.store)
    client.put_object(Bucket=BUCKET, Key="another", Body=b"another content")
    site.flyte.answers[SIGN_DOWNLOAD] = site.download_signer(other="another")
    try:
        yield {}
    finally:
        client.delete_object(Bucket=BUCKET, Key="another")


def plain(port: Callable[[Site], int]) -> Fault:
    """The address is given with http://."""
    return lambda site: contextlib.nullcontext({"url": f"http://{HOST}:{port(site)}", "http_port": None})


def elsewhere(address: str) -> Fault:
    """Flyte signs for another address than that of the store."""

    def fault(site: Site) -> AbstractContextManager[dict[str, Any]]:
        site.flyte.answers[SIGN] = site.signer(instead_of=f"127.0.0.1:{site.store.port}", by=address)
        return contextlib.nullcontext({"resolve": {HOST: "127.0.0.1", "s3.example.org": "127.0.0.1"}})

    return fault


# what it is, id that must fail, the fault, words that must stand in what was seen
FAULTS: list[tuple[str, str, Fault, str]] = [
    ("name unknown", "FLYTE-10", options(url="https://nowhere.invalid"), "not known"),
    ("lost packets", "FLYTE-11", lost, "no answer"),
    ("closed port", "FLYTE-12", options(url=f"https://{HOST}:{free_port()}", resolve={HOST: "127.0.0.1"}), "refused"),
    ("unknown CA", "TLS-11", routes(stranger=True), "issuer"),
    ("certificate for another name", "TLS-12", routes("flyte.example.org"), HOST),
    ("certificate expired", "TLS-13", routes(days=-1), "expired"),
    ("no route", "FLYTE-13", routes(host="flyte.example.org"), "404"),
    ("no pod", "FLYTE-14", routes(http_port=free_port()), "502"),
    ("unhealthy", "FLYTE-15", answers(healthcheck=500), "500"),
    ("answers too late", "FLYTE-19", answers(healthcheck=hangs), "/"),
    ("no version", "FLYTE-16", answers(http_version=501), "501"),
    ("something else answers", "FLYTE-16", answers(http_version="<html>"), "not JSON"),
    ("plain HTTP for the address", "FLYTE-25", plain(lambda site: site.ingress.http_port), "leads to https://"),
    ("plain HTTP before the TLS port", "FLYTE-25", plain(lambda site: site.ingress.https_port), "plain HTTP"),
    ("no route to the login's metadata", "FLYTE-26", routes(http_paths=("/healthcheck", "/api")), "404"),
    ("login before the login's metadata", "FLYTE-26", answers(login=401), "401"),
    ("half a login", "FLYTE-26", answers(login={**METADATA, "token_endpoint": ""}, client={}), "token_endpoint"),
    ("login without TLS", "FLYTE-26", answers(login={**METADATA, "issuer": "http://x"}, client={}), "http://x"),
    ("login that Flyte does not know of", "FLYTE-26", answers(http_version=401, projects=401), "knows of none"),
    ("no database", "FLYTE-17", answers(projects=500), "500"),
    ("project missing", "FLYTE-17", options(project="edge"), "flytesnacks"),
    ("no redirect", "FLYTE-18", options(http_port=free_port()), "refused"),
    ("gRPC port taken for HTTP/1.1", "ING-01", routes(grpc_scheme="http"), "status: 50"),
    ("no HTTP/2", "ING-02", routes(protocols=("http/1.1",)), "APPLICATION_PROTOCOL"),
    ("no route for gRPC", "FLYTE-21", routes(grpc_paths=()), "404"),
    ("gRPC not serving", "FLYTE-20", answers(health=b"\x08\x02"), "NOT_SERVING"),
    ("no health service", "FLYTE-20", answers(health=None), "UNIMPLEMENTED"),
    ("no admin service", "FLYTE-22", answers(version=None), "UNIMPLEMENTED"),
    ("Flyte does not sign", "FLYTE-23", answers(sign=500), "500"),
    ("no URL in the answer", "FLYTE-23", answers(sign={"signed_url": ""}), "no URL"),
    ("store's name unknown", "S3-01", elsewhere("nowhere.invalid"), "not known"),
    ("store's port closed", "S3-21", elsewhere(f"127.0.0.1:{free_port()}"), "refused"),
    ("bucket missing", "S3-04", signs(bucket="absent"), "NoSuchBucket"),
    ("no right to write", "S3-12", signs(rights=["s3:ListBucket", "s3:GetObject"]), "AccessDenied"),
    ("wrong secret key", "S3-26", signs(secret="x" * 24), "SignatureDoesNotMatch"),
    ("URL expired", "S3-08", signs(expires=1), "expired"),
    ("Flyte does not sign downloads", "FLYTE-28", answers(sign_download=500), "500"),
    ("no right to read", "S3-13", unreadable, "AccessDenied"),
    ("another object comes back", "FLYTE-29", another_object, "15 bytes came back"),
    ("what was uploaded is not there", "FLYTE-29", downloads(other="absent"), "is not there"),
    ("a download that breaks off", "FLYTE-29", cut_short, "IncompleteRead"),
    ("download's name unknown", "S3-01", downloads(by="https://nowhere.invalid"), "not known"),
    ("download's name is none", "S3-01", downloads(by="https://a..b"), "label"),
    ("download's port closed", "S3-21", downloads(by=f"https://127.0.0.1:{free_port()}"), "refused"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=[f"{row[0]}: {row[1]}" for row in FAULTS])
def test_each_fault_fails_its_own_check_and_nothing_else(site: Site, fault: tuple[str, str, Fault, str]) -> None:
    _what, id, breaking, words = fault
    with breaking(site) as changes:
        result = site.check(**{"timeout": 2, **changes})
    result.assert_fails_only(id, words)


def test_a_store_with_another_name_in_its_certificate_is_told(site: Site) -> None:
    with elsewhere(f"s3.example.org:{site.store.port}")(site) as changes:
        result = site.check(**changes)
    assert result.statuses("failed") == ["TLS-12"]
    assert "s3.example.org" in result.row("FLYTE-24")["observed"] or "TLS-12" in result.row("FLYTE-24")["observed"]


def test_a_flyte_that_wants_a_login_is_no_failure(site: Site) -> None:
    site.flyte.answers["GET /api/v1/version"] = site.flyte.answers["GET /api/v1/projects"] = 401
    site.flyte.answers[PATHS["login"]], site.flyte.answers[PATHS["client"]] = METADATA, {"client_id": "flytectl"}
    result = site.check()
    assert not result.failed, result["msg"]
    assert "login" in result.row("FLYTE-17")["observed"]
    assert result.row("FLYTE-26")["observed"] == f"a login at {LOGIN}"
    assert result.row("FLYTE-23")["status"] == "skipped"


def test_without_grpcio_the_rows_are_skipped_and_say_so(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grpc", None)
    result = site.check()
    assert not result.failed, result["msg"]
    assert "grpcio" in result.row("FLYTE-20")["observed"]
    assert result.statuses("skipped") == ["FLYTE-20", "FLYTE-22"]


def test_what_is_not_asked_for_is_skipped(site: Site) -> None:
    result = site.check(grpc=False, upload=False, http_port=None)
    assert not result.failed, result["msg"]
    assert result.statuses("skipped") == [
        "FLYTE-18",
        "FLYTE-20",
        "FLYTE-22",
        "FLYTE-23",
        "FLYTE-24",
        "FLYTE-28",
        "FLYTE-29",
    ]


def test_the_object_uploaded_is_the_one_that_was_announced(site: Site) -> None:
    announced: list[str] = []
    sign = site.signer()

    def remember(asked: dict[str, Any]) -> dict[str, Any]:
        announced.append(asked["content_md5"])
        return sign(asked)

    site.flyte.answers[SIGN] = remember
    site.check()
    (item,) = s3_client(site.store).list_objects_v2(Bucket=BUCKET)["Contents"]
    assert item["ETag"].strip('"') == base64.b64decode(announced[0]).hex()


def test_bad_parameters_are_refused_before_anything_is_asked(site: Site, tmp_path: Path) -> None:
    for changes, words in (
        ({"url": "flyte.example.com"}, "https://host:port"),
        ({"url": "https://user:hidden-word@flyte.example.com"}, "url: an address must not hold a user name"),
        ({"ca_file": str(tmp_path / "absent.crt")}, "absent.crt"),
    ):
        result = site.check(**changes)
        assert result.failed
        assert words in result["msg"]
        assert "hidden-word" not in result.output
