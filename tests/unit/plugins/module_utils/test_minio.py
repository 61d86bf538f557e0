# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.flyte.onprem.plugins.module_utils._minio import (
    Access,
    Denied,
    Server,
    WrongCredentials,
    explain,
    parse_refusal,
    same_document,
)

READ = {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::b/*"]}
LIST = {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": ["arn:aws:s3:::b"]}


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        # two lists of statements, whether they allow the same
        ([READ, LIST], [LIST, READ], True),
        ([READ, READ], [READ], True),
        ([{**READ, "Action": "s3:GetObject"}], [READ], True),
        ({**READ, "Resource": "arn:aws:s3:::b/*"}, [READ], True),
        ([{**READ, "Sid": "", "Condition": {}}], [READ], True),
        ([{**READ, "Sid": "named"}], [READ], False),
        ([{**READ, "Effect": "Deny"}], [READ], False),
        ([{**READ, "Resource": ["arn:aws:s3:::b"]}], [READ], False),
        ([READ], [READ, LIST], False),
    ],
)
def test_a_policy_is_compared_by_what_it_means(first: Any, second: Any, same: bool) -> None:
    version = {"Version": "2012-10-17"}
    assert same_document({**version, "Statement": first}, {**version, "Statement": second}) == same


def test_no_policy_is_not_an_empty_one() -> None:
    assert same_document(None, None)
    assert not same_document(None, {"Statement": []})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('admin request failed; Status: 404, Body: {"Code":"XMinioAdminNoSuchUser","Message":"no"}',
         ("XMinioAdminNoSuchUser", "no")),
        ("admin request failed; Status: 502, Body: <html>\nbad</html>", ("HTTP 502", "<html>\nbad</html>")),
        ("admin request failed; Status: 500, Body: {}", ("HTTP 500", "")),
        ("something else", ("", "something else")),
    ],
)  # fmt: skip
def test_a_refusal_is_read_from_the_text_of_the_library(text: str, expected: tuple[str, str]) -> None:
    assert parse_refusal(text) == expected


@pytest.mark.parametrize(("code", "kind"), [("SignatureDoesNotMatch", WrongCredentials), ("AccessDenied", Denied)])
def test_each_remedy_has_an_exception_of_its_own(code: str, kind: type[Exception]) -> None:
    server = Server(endpoint="https://s3.example.com", access_key="admin", secret_key="canary")
    assert type(explain("read policy p", server, code=code, words="no")) is kind


def test_secrets_are_in_no_representation() -> None:
    assert "canary" not in repr(Server(endpoint="https://s3.example.com", access_key="admin", secret_key="canary"))
    assert "canary" not in repr(Access(access_key="u", policy="p", document={}, secret_key="canary"))
