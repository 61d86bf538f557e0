# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import io
import os
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from kubernetes import config as kubernetes_config
from kubernetes.client.exceptions import ApiException
from support.kubernetes_api import TOKEN, FakeApi, kubernetes_api
from support.servers import black_hole, resolving_to, server_that_sends
from support.services import web
from urllib3 import HTTPResponse

from ansible_collections.flyte.onprem.plugins.module_utils import _kubernetes
from ansible_collections.flyte.onprem.plugins.module_utils._catalogue import CATALOGUE
from ansible_collections.flyte.onprem.plugins.module_utils._checks import Failed, Report
from ansible_collections.flyte.onprem.plugins.module_utils._kubernetes import (
    Api,
    ApiError,
    Unanswered,
    cluster,
    not_ready,
    open_api,
    parse_quantity,
    parse_version,
    pod_problem,
)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("v1.36.4+k3s1", (1, 36)),
        ("1.29", (1, 29)),
        ("v1.32.0-rc.1", (1, 32)),
        ("v1.29.3-eks-adc7111", (1, 29)),
        ("2.0", (2, 0)),
    ],
)
def test_a_version_is_its_first_two_numbers(text: str, version: tuple[int, int]) -> None:
    assert parse_version(text) == version


@pytest.mark.parametrize("text", ["", "1", "latest", "v1.x", "1.25junk", "1.25.junk", "1.25 "])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no version"):
        parse_version(text)


# quantity, number
QUANTITIES = [
    ("0", 0), ("4", 4), ("0.5", 0.5), ("1930m", 1.93), ("2k", 2000), ("3M", 3e6), ("1Ki", 1024),
    ("4194304Ki", 2**32), ("8Gi", 2**33), ("1Ti", 2**40), ("5G", 5e9), ("129e6", 129e6), ("1.5E3", 1500), ("2e-1", 0.2),
    ("2E", 2e18), ("1930000u", 1.93), ("1930000000n", 1.93),
]  # fmt: skip


@pytest.mark.parametrize(("text", "number"), QUANTITIES)
def test_a_quantity_is_a_number(text: str, number: float) -> None:
    assert parse_quantity(text) == pytest.approx(number)


@pytest.mark.parametrize("text", ["", "-1", "8 Gi", "8gb", "Gi", "1e3x", "1e3Gi", "1e"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no quantity"):
        parse_quantity(text)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("[+]ping ok\n[-]etcd failed: reason withheld\n[-]hook/x failed: y", "not ready: etcd, hook/x"),
        ("nothing we know", "/readyz said: nothing we know"),
    ],
)
def test_the_parts_that_are_not_ready_are_named(text: str, seen: str) -> None:
    assert not_ready(text) == seen


def test_a_pod_whose_containers_are_just_being_made_says_its_phase() -> None:
    creating = {"name": "main", "ready": False, "state": {"waiting": {"reason": "ContainerCreating"}}}
    assert pod_problem({"status": {"phase": "Pending", "containerStatuses": [creating]}}) == "Pending"


def test_a_pod_that_has_done_its_work_is_no_problem() -> None:
    ended = {"name": "main", "ready": False, "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}
    assert pod_problem({"status": {"phase": "Succeeded", "containerStatuses": [ended]}}) == ""


@pytest.mark.parametrize("metadata", [{"ownerReferences": [{"kind": "ReplicaSet"}]}, {"deletionTimestamp": "now"}])
def test_a_failed_pod_that_was_replaced_or_goes_away_is_no_problem(metadata: dict[str, object]) -> None:
    assert pod_problem({"metadata": metadata, "status": {"phase": "Failed", "reason": "Evicted"}}) == ""
    assert pod_problem({"status": {"phase": "Failed", "reason": "Evicted"}}) == "Evicted"


def test_a_pod_without_a_status_is_a_problem() -> None:
    assert pod_problem({"metadata": {"name": "x"}}) == "Unknown"


def test_of_a_container_that_was_never_started_the_runtimes_words_are_told() -> None:
    def problem(reason: str) -> str:
        ended = {"terminated": {"exitCode": 128, "reason": reason, "message": 'exec: "python3": not found'}}
        return pod_problem({"status": {"phase": "Failed", "containerStatuses": [{"name": "main", "state": ended}]}})

    assert problem("StartError") == 'container main ended with 128 StartError (exec: "python3": not found)'
    assert problem("Error") == "container main ended with 128 (Error)"


def test_a_token_file_may_end_in_a_line_break(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    with kubernetes_api({"/version": {"gitVersion": "v1.36.4"}}) as server:
        api = open_api(str(server.kubeconfig(tmp_path, tokenFile=str(tmp_path / "token"))), None, timeout=3)
        assert api.get("/version")["gitVersion"] == "v1.36.4"
        api.close()


NOWHERE = FakeApi(server="https://127.0.0.1:1")


@pytest.mark.parametrize("more", ["{there}:", ":{there}", "{there}:/absent", "/absent:{there}"])
def test_of_several_kubeconfigs_those_that_are_there_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str
) -> None:
    monkeypatch.setenv("KUBECONFIG", more.format(there=NOWHERE.kubeconfig(tmp_path)))
    api = open_api(None, None, timeout=3)
    assert api.address.endpoint == NOWHERE.server
    api.close()


@pytest.mark.parametrize("none", [":", "/absent:/missing"])
def test_of_several_kubeconfigs_one_must_be_there(monkeypatch: pytest.MonkeyPatch, none: str) -> None:
    monkeypatch.setenv("KUBECONFIG", none)
    with pytest.raises(Failed, match=f"there is no file {none}"):
        open_api(None, None, timeout=3)


def test_a_token_file_that_is_none_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "token")
    for name in ("token", "absent"):
        with pytest.raises(Failed, match=f"tokenFile {tmp_path}/{name} is no file"):
            open_api(str(NOWHERE.kubeconfig(tmp_path, tokenFile=name)), None, timeout=3)


@pytest.mark.parametrize(
    ("provider", "name"),
    [
        ({"name": "oidc", "config": {"client-secret": "canary"}}, "oidc"),
        ({"name": "gcp", "config": {"cmd-path": "/bin/sleep", "cmd-args": "60"}}, "gcp"),
        (None, "without a name"),
    ],
)
def test_an_auth_provider_is_refused_by_name(tmp_path: Path, provider: dict[str, Any] | None, name: str) -> None:
    path = NOWHERE.kubeconfig(tmp_path)
    document = yaml.safe_load(path.read_text())
    document["users"][0]["user"] = {"auth-provider": provider}
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(Failed, match=f"the auth-provider {name}$") as caught:
        open_api(str(path), None, timeout=3)
    assert caught.value.id == "K8S-04"
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(("environment", "ignored"), [("", True), ("http://192.0.2.9:3128", False)])
def test_a_proxy_url_is_told_as_one_that_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: str, ignored: bool
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    if environment:
        monkeypatch.setenv("HTTPS_PROXY", environment)
    path = NOWHERE.kubeconfig(tmp_path)
    document = yaml.safe_load(path.read_text())
    document["clusters"][0]["cluster"]["proxy-url"] = "http://user:canary@192.0.2.8:3128"
    path.write_text(yaml.safe_dump(document))
    report = Report(CATALOGUE, kubeconfig=str(path), context="", timeout="1")
    with cluster(report, kubeconfig=str(path), context=None, timeout=1):
        found = report.as_dict()
    row = found["checks"][0]
    assert (row["id"], row["status"]) == ("K8S-01", "warning" if ignored else "passed")
    assert ("proxy-url" in row["observed"]) is ignored
    assert "canary" not in str(found)


def test_a_dead_address_among_several_is_waited_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Any] = []

    class Socket(socket.socket):
        def connect(self, address: Any) -> None:
            tried.append(address)
            super().connect(address)

    with kubernetes_api({"/version": {"gitVersion": "v1.36.4"}, "/readyz": "ok"}) as server:
        dead = ("127.0.0.9", int(server.server.rpartition(":")[2]))
        path = FakeApi(server=server.server.replace("127.0.0.1", "api.example.com")).kubeconfig(tmp_path)
        report = Report(CATALOGUE, kubeconfig=str(path), context="", timeout="1")
        with black_hole(*dead), resolving_to("api.example.com", dead[0], "127.0.0.1"):
            monkeypatch.setattr(socket, "socket", Socket)
            with cluster(report, kubeconfig=str(path), context=None, timeout=1) as (_api, row):
                assert row.status == "passed"
    assert tried.count(dead) == 1
    (seen,) = [found.observed for found in report.rows if found.id == "K8S-12"]
    assert seen.endswith(" ms; 127.0.0.9: no answer")


# what a user of a kubeconfig has that no header can hold
TOKENS = ["secret-token\n", "secret token", "secret-token\x00", "secret-tok\u2026n"]


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize("in_file", [False, True])
def test_a_token_that_cannot_be_sent_is_refused_and_not_shown(tmp_path: Path, token: str, in_file: bool) -> None:
    (tmp_path / "token").write_text(f"{token}|" if in_file else "", encoding="utf-8")
    user = {"tokenFile": str(tmp_path / "token")} if in_file else {"token": token}
    with pytest.raises(Failed, match="the user's token holds") as caught:
        open_api(str(FakeApi(server="https://127.0.0.1:1").kubeconfig(tmp_path, **user)), None, timeout=3)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("error", [ValueError("Invalid header value b'secret'"), "\u2026secret"])
def test_what_cannot_be_sent_is_told_without_its_words(error: ValueError | str) -> None:
    def call_api(*_arguments: object, **_named: object) -> None:
        if isinstance(error, str):
            error.encode("latin-1")
        raise error

    with pytest.raises(Unanswered) as caught:
        Api(SimpleNamespace(call_api=call_api), timeout=3).get("/version")
    assert str(caught.value).startswith("GET /version: the request cannot be sent, or its")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("body", ["not ready", b"not ready", '{"message": "not ready"}', b'{"message": "not ready"}'])
def test_a_refusal_is_shown_in_words_by_all_releases(body: str | bytes) -> None:
    def call_api(*_arguments: object, **_named: object) -> None:
        error = ApiException(status=500)
        error.body = body
        raise error

    with pytest.raises(ApiError) as caught:
        Api(SimpleNamespace(call_api=call_api), timeout=3).get("/readyz")
    assert str(caught.value) == "not ready"


def test_the_time_to_wait_is_given_in_the_form_that_all_releases_take() -> None:
    given: dict[str, object] = {}

    def call_api(*_arguments: object, **named: object) -> HTTPResponse:
        given.update(named)
        return HTTPResponse(body=io.BytesIO(b"{}"), preload_content=False)

    Api(SimpleNamespace(call_api=call_api), timeout=2.5).get("/version")
    assert given["_request_timeout"] == (2.5, 2.5)


def test_an_answer_without_an_end_is_not_read_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_kubernetes, "_LONGEST_ANSWER", 1 << 20)
    with server_that_sends(b"HTTP/1.1 200 OK\r\n\r\n", b" " * (1 << 20), 2) as address:
        api = open_api(str(FakeApi(server=address).kubeconfig(tmp_path)), None, timeout=3)
        with pytest.raises(Unanswered, match="GET /version: an answer of more than 1 MiB"):
            api.get("/version")


@pytest.mark.parametrize("cluster", [["proxy-url"], "proxy-url", {"server": "https://127.0.0.1:1", "proxy-url": ["x"]}])
def test_a_cluster_of_another_shape_ends_in_no_traceback(tmp_path: Path, cluster: object) -> None:
    path = NOWHERE.kubeconfig(tmp_path)
    document = yaml.safe_load(path.read_text())
    document["clusters"][0]["cluster"] = cluster
    path.write_text(yaml.safe_dump(document))
    with contextlib.suppress(Failed):
        open_api(str(path), None, timeout=1).close()


@pytest.mark.parametrize("proxy", ["socks5://user:canary@127.0.0.1:1080", "127.0.0.1:3128"])
def test_a_proxy_that_is_none_is_told_as_the_environments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    monkeypatch.setenv("NO_PROXY", "")
    with pytest.raises(Failed, match="the environment names a proxy") as caught:
        open_api(str(NOWHERE.kubeconfig(tmp_path)), None, timeout=1)
    assert "HTTPS_PROXY" in caught.value.fix
    assert "canary" not in str(caught.value)


def test_a_cluster_behind_a_proxy_is_asked_through_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def proxy(_method: str, path: str, _headers: Any, _data: bytes) -> tuple[int, Any]:
        asked.append(path)
        return 200, {"gitVersion": "v1.36.4"} if path.endswith("/version") else "ok"

    path = FakeApi(server="http://api.invalid:6443").kubeconfig(tmp_path)
    report = Report(CATALOGUE, kubeconfig=str(path), context="", timeout="1")
    with web(proxy) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("NO_PROXY", "")
        with cluster(report, kubeconfig=str(path), context=None, timeout=1) as (_api, row):
            assert row.status == "passed"
    assert asked == ["http://api.invalid:6443/version", "http://api.invalid:6443/readyz"]
    assert [found.id for found in report.rows if found.status == "skipped"] == ["K8S-02", "K8S-10", "K8S-12"]


def test_an_answer_that_trickles_ends_at_the_time_limit(tmp_path: Path) -> None:
    with server_that_sends(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n", b" ", 50) as address:
        api = open_api(str(FakeApi(server=address).kubeconfig(tmp_path)), None, timeout=0.3)
        with pytest.raises(Unanswered, match=r"GET /version: no whole answer within 0\.6 seconds"):
            api.get("/version")


def test_a_fault_of_this_program_is_not_blamed_on_the_kubeconfig(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes_config, "load_kube_config", lambda: None)
    with pytest.raises(TypeError):
        open_api(str(FakeApi(server="https://127.0.0.1:1").kubeconfig(tmp_path)), None, timeout=3)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:6443", "", "https://127.0.0.1:99999", "https://admin:secret@127.0.0.1:6443", "admin:secret@127.0.0.1"],
)
def test_a_server_that_is_no_address_is_refused_and_its_password_not_shown(tmp_path: Path, address: str) -> None:
    with pytest.raises(Failed, match="no address of the form") as caught:
        open_api(str(FakeApi(server=address).kubeconfig(tmp_path)), None, timeout=3)
    assert "secret" not in str(caught.value)


def test_a_cluster_without_a_server_is_refused(tmp_path: Path) -> None:
    path = FakeApi(server="https://127.0.0.1:1").kubeconfig(tmp_path)
    document = yaml.safe_load(path.read_text())
    document["clusters"][0]["cluster"] = {}
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(Failed, match="no address of the form"):
        open_api(str(path), None, timeout=3)


def test_an_authority_that_is_no_certificate_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("no certificate")
    path = FakeApi(server="https://127.0.0.1:1").kubeconfig(tmp_path, ca_file=tmp_path / "ca.crt")
    with pytest.raises(Failed, match="certificate-authority holds no certificate"):
        open_api(str(path), None, timeout=3)
