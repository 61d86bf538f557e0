# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""flyte_check of Flyte 2 through a real Traefik and to a real MinIO; a strict stand-in answers as Flyte 2 did."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
from support.admin import make_user, s3_client
from support.flyte import HOST, PlayedSite, ingress
from support.flyte2 import PATHS, PREFIX, flyte2
from support.pki import Authority
from support.servers import Minio, free_port

BUCKET = "flyte2-data"
Json = dict[str, Any]


class Site(PlayedSite):
    """A Flyte 2, which signs for its object store."""

    generation = 2

    def sign(self, asked: Json, client: Any = None) -> str:
        key = f"{asked['project']}/{asked['domain']}/{asked['filename']}"
        wanted = {"Bucket": BUCKET, "Key": key, "ContentMD5": asked["contentMd5"]}
        return (client or s3_client(self.store)).generate_presigned_url("put_object", Params=wanted, ExpiresIn=60)

    def route(self, **changes: Any) -> None:
        self.ingress.configure(**{"http_paths": PATHS, "grpc_paths": PATHS, **changes})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, authority: Authority, store: Minio) -> Iterator[Site]:
    s3_client(store).create_bucket(Bucket=BUCKET)
    with (
        flyte2() as fake,
        ingress(tmp_path_factory.mktemp("traefik"), fake, leaf=authority.issue(HOST), by_content=True) as front,
    ):
        site = Site(fake, front, store, authority)
        site.route()
        yield site


@pytest.fixture
def site(whole: Site) -> Iterator[Site]:
    whole.flyte.sign = whole.sign
    yield whole
    whole.flyte.reset()


def test_a_healthy_flyte_2_passes(site: Site) -> None:
    result = site.check()
    assert not result.failed, result["msg"]
    assert result.statuses("warning") == result.statuses("skipped") == []
    assert result["projects"] == ["flytesnacks"]
    (item,) = s3_client(site.store).list_objects_v2(Bucket=BUCKET)["Contents"]
    assert item["Size"] > 5 * 2**20


def test_check_mode_uploads_nothing(site: Site) -> None:
    result = site.check(check_mode=True)
    assert not result.failed, result["msg"]
    assert result.statuses("skipped") == ["FLYTE-24"]


def test_a_flyte_2_taken_for_a_flyte_1_fails_with_a_route(site: Site) -> None:
    assert site.check(generation=1).statuses("failed") == ["FLYTE-13"]


Fault = Callable[[Site], AbstractContextManager[Json]]


def routes(**changes: Any) -> Fault:
    @contextlib.contextmanager
    def fault(site: Site) -> Iterator[Json]:
        site.route(**changes)
        try:
            yield {}
        finally:
            site.route()

    return fault


def answers(path: str, answer: Any) -> Fault:
    def fault(site: Site) -> AbstractContextManager[Json]:
        site.flyte.answers[PREFIX + path] = answer
        return contextlib.nullcontext({})

    return fault


def options(**changes: Any) -> Fault:
    return lambda _site: contextlib.nullcontext(changes)


def no_grpc(site: Site) -> AbstractContextManager[Json]:
    site.flyte.serves_grpc = False
    return contextlib.nullcontext({})


def may_not_write(site: Site) -> AbstractContextManager[Json]:
    user = s3_client(site.store, make_user(site.store, [BUCKET], ["s3:ListBucket"]))
    site.flyte.sign = lambda asked: site.sign(asked, user)
    return contextlib.nullcontext({})


def service(*names: str) -> tuple[str, ...]:
    return tuple(PREFIX + name for name in names)


PROJECTS = "project.ProjectService/ListProjects"
# what it is, id that must fail, the fault, words that must stand in what was seen
FAULTS: list[tuple[str, str, Fault, str]] = [
    ("no route", "FLYTE-13", routes(http_paths=service("cluster.")), "404"),
    ("no pod", "FLYTE-14", routes(http_port=free_port()), "502"),
    ("no database", "FLYTE-17", answers(PROJECTS, (500, {"code": "internal", "message": "no rows"})), "no rows"),
    ("project missing", "FLYTE-17", options(project="edge"), "flytesnacks"),
    ("one service without a route", "ING-04",
     routes(http_paths=service("project.", "workflow.", "dataproxy.", "auth.")), "ClusterService"),
    ("two services without a route", "ING-04",
     routes(http_paths=service("project.", "cluster.", "dataproxy.")), "RunService"),
    ("proxy drops the scheme", "FLYTE-27", routes(request_headers={"X-Forwarded-Proto": ""}), "http://"),
    ("proxy rewrites the host", "FLYTE-27", routes(request_headers={"Host": "inner.example.com"}), "inner.example.com"),
    ("no gRPC", "FLYTE-20", no_grpc, "UNIMPLEMENTED"),
    ("no HTTP/2", "ING-02", routes(protocols=("http/1.1",)), "APPLICATION_PROTOCOL"),
    ("Flyte does not sign", "FLYTE-23",
     answers("dataproxy.DataProxyService/CreateUploadLocation", (500, {"code": "internal", "message": "no store"})),
     "no store"),
    ("no right to write", "S3-12", may_not_write, "AccessDenied"),
    ("no redirect", "FLYTE-18", options(http_port=free_port()), "refused"),
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=[f"{row[0]}: {row[1]}" for row in FAULTS])
def test_each_fault_fails_its_own_check_and_nothing_else(site: Site, fault: tuple[str, str, Fault, str]) -> None:
    _what, id, breaking, words = fault
    with breaking(site) as changes:
        result = site.check(**changes)
    result.assert_fails_only(id, words)


def test_a_proxy_that_asks_for_a_login_is_no_failure(site: Site) -> None:
    site.flyte.answers[PREFIX + PROJECTS] = 401
    result = site.check()
    assert not result.failed, result["msg"]
    assert "login" in result.row("FLYTE-17")["observed"]
