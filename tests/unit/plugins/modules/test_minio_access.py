# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from typing import Any

import minio
import pytest
from minio.error import MinioAdminException
from support.modules import Result, run_module
from support.servers import server_that_sends

from ansible_collections.flyte.onprem.plugins.modules import minio_access

SECRET = "canary-secret"
ROOT_SECRET = "canary-root"
DOCUMENT = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::b/*"]}],
}
LESS = {"Version": "2012-10-17", "Statement": []}


@dataclass
class FakeServer:
    """Stands for a MinIO: its users and policies, and every change that was asked of it."""

    policies: dict[str, Any] = field(default_factory=dict)
    users: dict[str, dict[str, Any]] = field(default_factory=dict)
    changes: list[str] = field(default_factory=list)

    # What MinioAdmin has

    def policy_info(self, name: str) -> str:
        if name not in self.policies:
            raise refusal(404, "XMinioAdminNoSuchPolicy")
        return json.dumps(self.policies[name])

    def user_info(self, access_key: str) -> str:
        if access_key not in self.users:
            raise refusal(404, "XMinioAdminNoSuchUser")
        user = self.users[access_key]
        return json.dumps({"status": user["status"], "policyName": ",".join(user["policies"])})

    def policy_add(self, name: str, policy: dict[str, Any]) -> None:
        self.changes.append("policy_add")
        self.policies[name] = policy

    def user_add(self, access_key: str, secret_key: str) -> None:
        self.changes.append("user_add")
        policies = self.users.get(access_key, {}).get("policies", [])
        self.users[access_key] = {"status": "enabled", "secret": secret_key, "policies": policies}

    def attach_policy(self, policies: list[str], user: str) -> None:
        self.changes.append("attach_policy")
        self.users[user]["policies"] = [*self.users[user]["policies"], *policies]

    def detach_policy(self, policies: list[str], user: str) -> None:
        self.changes.append("detach_policy")
        self.users[user]["policies"] = [name for name in self.users[user]["policies"] if name not in policies]

    def user_remove(self, access_key: str) -> None:
        self.changes.append("user_remove")
        del self.users[access_key]

    def policy_remove(self, name: str) -> None:
        self.changes.append("policy_remove")
        del self.policies[name]

    # What Minio has

    def try_keys(self, access_key: str, secret_key: str) -> None:
        if self.users[access_key]["secret"] != secret_key:
            raise minio.S3Error(None, "SignatureDoesNotMatch", "no", None, None, None)
        if not self.users[access_key]["policies"]:
            raise minio.S3Error(None, "AccessDenied", "no", None, None, None)


def refusal(status: int, code: str, message: str = "words") -> MinioAdminException:
    return MinioAdminException(str(status), json.dumps({"Code": code, "Message": message}))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    server = FakeServer()

    class Client:
        def __init__(self, *, access_key: str, secret_key: str, **_: Any) -> None:
            self.list_buckets = lambda: server.try_keys(access_key, secret_key)

    monkeypatch.setattr(minio, "MinioAdmin", lambda **_: server)
    monkeypatch.setattr(minio, "Minio", Client)
    return server


def run(*, check: bool = False, diff: bool = True, **changes: Any) -> Result:
    arguments = {
        "endpoint": "https://s3.example.com:9000",
        "admin_access_key": "root",
        "admin_secret_key": ROOT_SECRET,
        "user": {"access_key": "flyte", "secret_key": SECRET},
        "policy": {"name": "flyte", "document": DOCUMENT},
        **changes,
    }
    result = run_module(minio_access.main, arguments, check=check, diff=diff)
    assert SECRET not in str(result.values)
    assert ROOT_SECRET not in str(result.values)
    return result


ABSENT = {"state": "absent", "user": {"access_key": "flyte"}, "policy": {"name": "flyte"}}


@pytest.mark.parametrize(
    ("start", "arguments", "calls"),
    [
        # what is there before, what is asked for, what is done about it
        ("nothing", {}, ["policy_add", "user_add", "attach_policy"]),
        ("less", {}, ["policy_add"]),
        ("all", ABSENT, ["user_remove", "policy_remove"]),
        ("all", {**ABSENT, "policy": None}, ["user_remove"]),
    ],
    ids=["create", "modify", "delete", "delete the user alone"],
)
def test_the_twelve_steps(server: FakeServer, start: str, arguments: dict[str, Any], calls: list[str]) -> None:
    if start != "nothing":
        server.policies["flyte"] = DOCUMENT if start == "all" else LESS
        server.users["flyte"] = {"status": "enabled", "secret": SECRET, "policies": ["flyte"]}
    for check, changed, done in ((True, True, []), (False, True, calls), (True, False, calls), (False, False, calls)):
        result = run(check=check, **arguments)
        assert not result.failed
        assert result["changed"] == changed
        assert server.changes == done
        assert (result["diff"]["before"] != result["diff"]["after"]) == changed


@pytest.mark.parametrize(
    ("change", "calls"),
    [
        # what is otherwise than wanted, what is done about it
        ({"secret": "another"}, ["user_add"]),
        ({"status": "disabled"}, ["user_add"]),
        ({"policies": []}, ["attach_policy"]),
        ({"policies": ["consoleAdmin", "flyte"]}, ["detach_policy"]),
        ({"policies": ["consoleAdmin"]}, ["detach_policy", "attach_policy"]),
    ],
)
def test_only_what_differs_is_done(server: FakeServer, change: dict[str, Any], calls: list[str]) -> None:
    server.policies["flyte"] = DOCUMENT
    server.users["flyte"] = {"status": "enabled", "secret": SECRET, "policies": ["flyte"], **change}
    assert run()["changed"]
    assert server.changes == calls
    assert not run()["changed"]
    assert server.changes == calls


def test_the_diff_says_that_the_secret_differs_and_not_what_it_is(server: FakeServer) -> None:
    server.policies["flyte"] = DOCUMENT
    server.users["flyte"] = {"status": "enabled", "secret": "canary-another", "policies": ["flyte"]}
    result = run(check=True)
    assert result["diff"]["before"]["user"]["secret_key"] == "another than given"
    assert result["diff"]["after"]["user"]["secret_key"] == "as given"
    assert "canary" not in json.dumps(result.values)


def test_without_diff_mode_there_is_no_diff(server: FakeServer) -> None:
    assert "diff" not in run(diff=False).values


@pytest.mark.parametrize(
    ("error", "reason", "words"),
    [
        # what the server says, the reason given, and what the message tells to look at
        (refusal(403, "SignatureDoesNotMatch"), "wrong_credentials", "MINIO_ROOT_PASSWORD"),
        (refusal(403, "InvalidAccessKeyId"), "wrong_credentials", "admin_access_key"),
        (refusal(403, "AccessDenied"), "denied", "consoleAdmin"),
        (refusal(400, "XMinioAdminInvalidSecretKey", "too short"), "refused", "too short"),
        (MinioAdminException("502", "<html>Bad Gateway</html>"), "refused", "HTTP 502"),
    ],
)
def test_a_refusal_says_what_to_do(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str, words: str
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(server, "user_info", refuse, raising=False)
    result = run()
    assert result.failed
    assert result["reason"] == reason
    assert words in result["msg"]
    assert server.changes == []


def test_an_answer_that_trickles_ends_at_the_time_limit() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n"
    with server_that_sends(head, b" ", 30) as address:
        result = run(endpoint=address, timeout=0.5)
    assert result["reason"] == "unreachable"
    assert result["msg"].startswith(f"Cannot read user flyte at {address}: no whole answer within 1 seconds. Check")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        # an option that cannot be meant, what the message says of it
        (
            {"endpoint": "https://user:with/canary-word@s3.example.com"},
            "endpoint: an address must not hold a user name",
        ),
        ({"endpoint": "s3.example.com"}, "endpoint: 's3.example.com' is no address"),
        ({"timeout": 0}, "timeout: 0 is no number of seconds"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name_before_anything_is_asked(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], words: str
) -> None:
    monkeypatch.delattr(FakeServer, "user_info")
    result = run(**changes)
    assert result["reason"] == "refused"
    assert result["msg"].startswith(words)
    assert "canary-word" not in result.output


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "minio", None)
    result = run()
    assert result.failed
    assert "minio >= 7.2" in result["msg"]


@pytest.mark.parametrize("changes", [{"user": {"access_key": "flyte"}}, {"policy": {"name": "flyte"}}])
def test_present_wants_a_secret_and_a_document(server: FakeServer, changes: dict[str, Any]) -> None:
    result = run(**changes)
    assert result.failed
    assert "secret_key" in result["msg"]
    assert server.changes == []
