# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""minio_access against a real MinIO: what it says is compared with what the user then may do."""

from __future__ import annotations

import copy
import json
import os
from dataclasses import dataclass, replace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from support.admin import ENOUGH, User, admin_client, policy_document, s3_client
from support.modules import Result, run_module
from support.pki import Authority
from support.servers import Minio, free_port, silent_port

from ansible_collections.flyte.onprem.plugins.modules import minio_access


@dataclass(frozen=True)
class Case:
    """One user and policy that no other test knows, and the bucket that the policy is about."""

    store: Minio
    user: User
    policy: str
    bucket: str

    @property
    def arguments(self) -> dict[str, Any]:
        return {
            "endpoint": self.store.endpoint,
            "ca_file": str(self.store.ca_file),
            "admin_access_key": self.store.root_user,
            "admin_secret_key": self.store.root_password,
            "user": {"access_key": self.user.access_key, "secret_key": self.user.secret_key},
            "policy": {"name": self.policy, "document": policy_document([self.bucket], ENOUGH)},
        }

    def run(self, *, check: bool = False, **changes: Any) -> Result:
        return run_module(minio_access.main, {**self.arguments, **changes}, check=check, diff=True)

    def may_write(self, user: User | None = None) -> bool:
        """Asked of the server, with the user's own keys."""
        try:
            s3_client(self.store, user or self.user).put_object(Bucket=self.bucket, Key="x", Body=b"x")
        except ClientError:
            return False
        return True


@pytest.fixture
def case(store: Minio) -> Case:
    mark = os.urandom(4).hex()
    s3_client(store).create_bucket(Bucket=f"bucket-{mark}")
    user = User(access_key=f"u-{mark}", secret_key=os.urandom(12).hex())
    return Case(store=store, user=user, policy=f"p-{mark}", bucket=f"bucket-{mark}")


def assert_four_steps(case: Case, *, may_write: tuple[bool, bool], **changes: Any) -> None:
    """A change in check mode and for real, and the same again: said, done, and then nothing more to do."""
    before, after = may_write
    first = case.run(check=True, **changes)
    assert first["changed"]
    assert case.may_write() == before
    second = case.run(**changes)
    assert second["changed"]
    assert second["diff"] == first["diff"]
    assert case.may_write() == after
    for check in (True, False):
        again = case.run(check=check, **changes)
        assert not again["changed"]
        assert again["diff"]["before"] == again["diff"]["after"]
    assert case.may_write() == after


def test_create_modify_and_delete_each_in_four_steps(case: Case) -> None:
    assert_four_steps(case, may_write=(False, True))
    less = {"name": case.policy, "document": policy_document([case.bucket], ["s3:ListBucket"])}
    assert_four_steps(case, may_write=(True, False), policy=less)
    assert_four_steps(case, may_write=(False, False), state="absent")
    users = json.loads(admin_client(case.store).user_list())
    assert case.user.access_key not in users
    assert case.policy not in json.loads(admin_client(case.store).policy_list())


def test_a_changed_secret_is_found_and_set_and_not_shown(case: Case) -> None:
    case.run()
    changed = replace(case, user=replace(case.user, secret_key=os.urandom(12).hex()))
    assert_four_steps(changed, may_write=(False, True))
    assert not case.may_write()
    result = case.run()
    assert result["diff"]["before"]["user"]["secret_key"] == "another than given"
    for secret in (case.user.secret_key, changed.user.secret_key, case.store.root_password):
        assert secret not in str(result.values)


def test_a_disabled_user_is_enabled(case: Case) -> None:
    case.run()
    admin_client(case.store).user_disable(case.user.access_key)
    assert_four_steps(case, may_write=(False, True))


def test_other_policies_are_detached(case: Case) -> None:
    case.run()
    admin_client(case.store).attach_policy(["consoleAdmin"], user=case.user.access_key)
    result = case.run()
    assert result["changed"]
    assert result["diff"]["before"]["user"]["policies"] == sorted(["consoleAdmin", case.policy])
    assert not case.run()["changed"]
    with pytest.raises(ClientError):
        s3_client(case.store, case.user).create_bucket(Bucket="not-allowed")


def test_the_order_of_a_policy_means_nothing(case: Case) -> None:
    case.run()
    document = copy.deepcopy(case.arguments["policy"]["document"])
    document["Statement"].reverse()
    for statement in document["Statement"]:
        statement["Action"].reverse()
    assert not case.run(policy={"name": case.policy, "document": document})["changed"]


def test_a_policy_that_others_have_is_not_taken_from_them(case: Case) -> None:
    case.run()
    admin = admin_client(case.store)
    admin.user_add("other-user", "other-secret")
    admin.attach_policy([case.policy], user="other-user")
    result = case.run(state="absent")
    assert result.failed
    assert case.policy in result["msg"]
    admin.user_remove("other-user")
    assert case.run(state="absent")["changed"]


@pytest.mark.parametrize(
    ("changes", "reason", "words"),
    [
        # what is wrong, the reason given, and what the message tells to look at
        ({"admin_secret_key": "not-the-secret"}, "wrong_credentials", "MINIO_ROOT_PASSWORD"),
        ({"admin_access_key": "nobody-at-all"}, "wrong_credentials", "admin_access_key"),
        ({"endpoint": "no address"}, "refused", "https://host:port"),
        ({"ca_file": "/nowhere/ca.crt"}, "unreachable", "ca_file"),
        ({"endpoint": "https://s3.nowhere.invalid"}, "unreachable", "s3.nowhere.invalid"),
        ({"user": {"access_key": "x", "secret_key": "long-enough"}}, "refused", "access key"),
        ({"user": {"access_key": "fine", "secret_key": "short"}}, "refused", "secret key"),
        ({"policy": {"name": "p", "document": {"Version": "1", "Statement": []}}}, "refused", "policy"),
    ],
)
def test_what_is_wrong_is_said(case: Case, changes: dict[str, Any], reason: str, words: str) -> None:
    result = case.run(**changes)
    assert result.failed
    assert result["reason"] == reason, result["msg"]
    assert words.lower() in result["msg"].lower()
    assert case.store.root_password not in result["msg"]


def test_a_user_who_may_not_administer_is_told_so(case: Case) -> None:
    case.run()
    result = case.run(admin_access_key=case.user.access_key, admin_secret_key=case.user.secret_key)
    assert result["reason"] == "denied"


def test_a_closed_port_and_another_ca_are_unreachable(case: Case, authority: Authority) -> None:
    assert case.run(endpoint=f"https://127.0.0.1:{free_port()}")["reason"] == "unreachable"
    other = Authority(authority.directory.parent / "another")
    assert case.run(ca_file=str(other.certificate))["reason"] == "unreachable"


def test_a_silent_server_costs_the_timeout(case: Case) -> None:
    with silent_port() as port:
        result = case.run(endpoint=f"http://127.0.0.1:{port}", timeout=0.5)
    assert result["reason"] == "unreachable"


def test_present_wants_a_secret_and_a_document(case: Case) -> None:
    assert case.run(user={"access_key": "fine"}).failed
    assert case.run(policy={"name": "p"}).failed
