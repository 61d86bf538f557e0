# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The object store's keys change as docs/keys.md says, while workflows run. The tests go by their order."""

from __future__ import annotations

import json
import threading

import pytest
from support.modules import Result

from .conftest import Box, changes, from_file
from .whole import NAMESPACE, SECRET, Site

NEXT = {"site_object_store_access_key": "flyte2", "site_object_store_secret_key": "CanaryNext1q2w3e4r5t6z7u8i9o0p"}
# Flyte restarts once, and does not take executions meanwhile.
AWAY = {"FLYTE-12", "FLYTE-13", "FLYTE-14", "FLYTE-15", "FLYTE-19"}


@pytest.fixture(scope="module")
def site(box: Box) -> Site:
    """The host of the tests before this one, on which a whole site runs."""
    return Site(box)


def test_no_execution_is_lost_while_keys_change(site: Site) -> None:
    results: list[Result] = []
    ended: list[tuple[int, str]] = []
    site.box.describe(**NEXT)
    worker = threading.Thread(target=lambda: ended.append(site.box.run("site")))
    worker.start()
    while worker.is_alive():  # in this thread: a module sets a handler for signals
        results.append(site.check(report_only=True))
    worker.join()
    ((code, output),) = ended
    assert code == 0, output[-4000:]
    lost = [result["msg"] for result in results if "execution" in result.values and not result["passed"]]
    assert lost == []
    refused = [result["msg"] for result in results if not set(result.statuses("failed")) <= AWAY]
    assert refused == []
    assert sum(result["passed"] for result in results) >= 3


def test_every_task_gets_the_new_keys(site: Site) -> None:
    secret = site.get("secret", SECRET, namespace=NAMESPACE)["data"]
    assert secret["FLYTE_AWS_ACCESS_KEY_ID"] == "Zmx5dGUy"


def test_the_old_keys_are_valid_until_they_are_retired(site: Site) -> None:
    assert json.loads(site.minio.user_info("flyte"))["status"] == "enabled"
    code, output = site.box.run("backends", variables={"minio_retired_access_keys": ["flyte"]})
    assert code == 0, output[-4000:]
    assert "flyte" not in json.loads(site.minio.user_list())
    assert site.check()["passed"]


def test_a_key_in_use_is_not_retired(site: Site) -> None:
    code, output = site.box.run("preflight", variables={"minio_retired_access_keys": ["flyte2"]})
    assert code != 0
    assert "MINIO-10" in output


def test_a_key_that_is_lost_is_not_made_anew(site: Site) -> None:
    lost = "object_store_secret_key"
    code, output = site.box.run("backends", variables={f"site_{lost}": from_file(lost)})
    assert code != 0
    assert f"[SITE-18] {lost} of site" in output
    assert changes(output) == 0
    assert not (site.box.site_directory / "secrets" / lost).exists()


def test_no_secret_was_shown(site: Site) -> None:
    assert NEXT["site_object_store_secret_key"] not in site.box.output
