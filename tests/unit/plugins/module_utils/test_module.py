# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in the answer of a module, and in the system's log, of a password in an address."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from support.modules import run_module

from ansible_collections.flyte.onprem.plugins.module_utils._module import Module
from ansible_collections.flyte.onprem.plugins.modules import (
    flyte_check,
    flyte_workflow_check,
    kubernetes_check,
    minio_access,
    postgresql_check,
    s3_bucket_check,
)

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "canary/secret"
URL = f"https://flyte:{SECRET}@example.com"


@pytest.mark.parametrize(
    ("main", "arguments"),
    [
        # what is wrong beside the address
        (s3_bucket_check.main, {"endpoint": URL, "buckets": ["b"], "access_key": "without the other"}),
        (s3_bucket_check.main, {"public_endpoint": URL}),
        (s3_bucket_check.main, {"endpoint": URL, "buckets": ["b"], "timeout": "abc"}),
        (s3_bucket_check.main, {"endpoint": URL, "buckets": ["b"], "unknown": 1}),
        (s3_bucket_check.main, {"endpoint": "https://s3.example.com", "buckets": ["b"], "endpiont": URL}),
        (s3_bucket_check.main, {"endpoint": "https://s3.example.com", "buckets": [URL]}),
        (s3_bucket_check.main, {"endpoint": "https://s3.example.com", "buckets": ["b"], "resolve": {"s3": URL}}),
        (flyte_check.main, {"url": URL, "generation": 3}),
        (flyte_check.main, {"url": f"flyte:{SECRET}@example.com", "generation": 3}),
        (flyte_check.main, {"url": URL.replace("@", "%40")}),
        (flyte_workflow_check.main, {"url": URL}),
        (kubernetes_check.main, {"pod_services": [URL], "generation": 5}),
        (kubernetes_check.main, {"pod_registries": f"registry.example.com,{URL}", "generation": 5}),
        (kubernetes_check.main, {"pod_image": f"{URL}/image", "generation": 5}),
        (minio_access.main, {"endpoint": URL}),
        (postgresql_check.main, {"host": URL}),
    ],
)
def test_refused_arguments_show_no_password_of_an_address(main: Callable[[], None], arguments: dict[str, Any]) -> None:
    result = run_module(main, arguments)
    assert result.failed
    assert "canary" not in result.output


@pytest.mark.parametrize(
    ("library", "main", "arguments"),
    [
        ("boto3", s3_bucket_check.main, {"endpoint": URL, "buckets": ["b"]}),
        ("kubernetes", kubernetes_check.main, {"pod_services": [URL]}),
        (
            "minio",
            minio_access.main,
            {
                "endpoint": URL,
                "admin_access_key": "admin",
                "admin_secret_key": "of-the-admin",
                "user": {"access_key": "flyte"},
            },
        ),
        ("psycopg2", postgresql_check.main, {"host": URL, "password": "of-flyte", "sslmode": "disable"}),
    ],
)
def test_a_missing_library_shows_no_password_of_an_address(
    monkeypatch: pytest.MonkeyPatch, library: str, main: Callable[[], None], arguments: dict[str, Any]
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    result = run_module(main, arguments)
    assert "Failed to import the required Python library" in result["msg"]
    assert "canary" not in result.output


def test_the_systems_log_shows_no_password_of_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[str] = []
    monkeypatch.setattr(AnsibleModule, "log", lambda _self, msg, log_args=None: logged.append(f"{msg} {log_args}"))
    run_module(flyte_check.main, {"url": URL})
    assert "Invoked with" in logged[0]
    assert not any("canary" in line for line in logged)


def test_what_is_no_address_is_shown() -> None:
    given = {"image": "registry.example.com/image@sha256:0123", "user": "flyte@db"}

    def main() -> None:
        module = Module(addresses=["url"], argument_spec={"image": {}, "user": {}, "url": {}})
        module.exit_json(**module.params)

    result = run_module(main, {**given, "url": "user@example.com"})
    assert {name: result[name] for name in given} == given
    assert "user@example.com" not in result.output
