# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.flyte.onprem.plugins.module_utils._kubernetes import (
    not_ready,
    parse_quantity,
    parse_version,
    pod_problem,
)


@pytest.mark.parametrize(
    ("text", "version"), [("v1.36.4+k3s1", (1, 36)), ("1.29", (1, 29)), ("v1.32.0-rc.1", (1, 32)), ("2.0", (2, 0))]
)
def test_a_version_is_its_first_two_numbers(text: str, version: tuple[int, int]) -> None:
    assert parse_version(text) == version


@pytest.mark.parametrize("text", ["", "1", "latest", "v1.x"])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no version"):
        parse_version(text)


# quantity, number
QUANTITIES = [
    ("0", 0), ("4", 4), ("0.5", 0.5), ("1930m", 1.93), ("2k", 2000), ("3M", 3e6), ("1Ki", 1024),
    ("4194304Ki", 2**32), ("8Gi", 2**33), ("1Ti", 2**40), ("5G", 5e9),
]  # fmt: skip


@pytest.mark.parametrize(("text", "number"), QUANTITIES)
def test_a_quantity_is_a_number(text: str, number: float) -> None:
    assert parse_quantity(text) == pytest.approx(number)


@pytest.mark.parametrize("text", ["", "-1", "8 Gi", "8gb", "Gi", "1e3x"])
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
