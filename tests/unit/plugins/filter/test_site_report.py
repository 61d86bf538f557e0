# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import itertools

import pytest

from ansible_collections.flyte.onprem.plugins.filter.site_report import site_report

NUMBERS = itertools.count()


def check(status: str, title: str = "Bucket") -> dict[str, str]:
    return {"id": "S3-04", "title": title, "status": status, "observed": "", "expected": "", "fix": "Make it."}


def result(*statuses: str, **facts: object) -> dict[str, object]:
    """A result whose rows are like no others."""
    rows = [check(status, f"Bucket {next(NUMBERS)}") for status in statuses]
    return {"checks": rows, "changed": False, **facts}


def report_of(**variables: object) -> dict:
    """The report of one host that has every part."""
    return site_report({"k3s": ["edge-1"], "minio": ["edge-1"], "flyte": ["edge-1"]}, {"edge-1": variables})


@pytest.mark.parametrize(
    # statuses of the checks, state of the whole, whether it passed
    ("statuses", "state", "passed"),
    [
        (["passed", "passed"], "passed", True),
        (["passed", "warning"], "warning", True),
        (["passed", "warning", "failed"], "failed", False),
        (["failed", "skipped"], "failed", False),
        (["passed", "skipped"], "passed", True),
        (["skipped"], "skipped", True),
    ],
)
def test_the_worst_check_decides(statuses: list[str], state: str, passed: bool) -> None:
    report = report_of(__minio_report=result(*statuses))
    assert (report["state"], report["passed"]) == (state, passed)
    assert report["areas"][0]["state"] == state


def test_what_failed_comes_first() -> None:
    report = report_of(__k3s_report=result("passed", "warning"), __minio_report=result("passed", "skipped", "failed"))
    assert [area["part"] for area in report["areas"]] == ["minio", "k3s"]
    assert [row["status"] for row in report["areas"][0]["checks"]] == ["failed", "skipped", "passed"]
    assert report["counts"] == {"failed": 1, "warning": 1, "skipped": 1, "passed": 2}


def test_parts_that_work_keep_the_order_of_installation() -> None:
    report = report_of(__flyte_report=result("passed"), __minio_report=result("warning"), __k3s_report=result("passed"))
    assert [area["part"] for area in report["areas"]] == ["k3s", "minio", "flyte"]


def test_a_part_may_have_several_reports() -> None:
    report = report_of(__flyte_report=result("passed"), __flyte_database_report=result("failed"))
    assert [(area["part"], area["aspect"]) for area in report["areas"]] == [("flyte", "database"), ("flyte", "")]


def test_another_part_with_a_longer_name_is_not_taken_for_this_one() -> None:
    assert report_of(__minio2_report=result("failed"))["areas"] == []


def test_facts_are_what_the_check_gathered_and_nothing_of_ansible() -> None:
    found = result("passed", server_version="17.4", attempts=3, invocation={}, latency_ms=1.2, buckets=[])
    report = report_of(__k3s_report=found)
    assert report["areas"][0]["facts"] == {"server_version": "17.4", "latency_ms": 1.2}


def test_a_check_that_could_not_run_is_a_failure() -> None:
    report = report_of(verify_failures={"minio": {"msg": "boto3 is missing", "unreachable": False}})
    assert report["passed"] is False
    assert [(row["id"], row["observed"]) for row in report["areas"][0]["checks"]] == [("SITE-32", "boto3 is missing")]


def test_a_check_that_failed_with_its_report_is_shown_once() -> None:
    failed = {**result("failed"), "failed": True, "msg": "1 of 1 checks failed"}
    report = report_of(__minio_report=failed, verify_failures={"minio": {"msg": "1 of 1", "unreachable": False}})
    assert [row["id"] for row in report["areas"][0]["checks"]] == ["S3-04"]
    assert len(report["areas"]) == 1


def test_a_part_without_a_check_module_is_shown_by_its_own_test() -> None:
    report = report_of(verify_passed=["k3s", "minio"], __minio_report=result("passed", "passed"))
    assert [(area["part"], area["counts"]["passed"]) for area in report["areas"]] == [("k3s", 1), ("minio", 2)]


def test_an_unreachable_host_is_named_as_such() -> None:
    report = report_of(__minio_report={"unreachable": True, "msg": "timed out"})
    assert [(row["id"], row["observed"]) for row in report["areas"][0]["checks"]] == [("SITE-31", "timed out")]


def test_a_part_on_an_unreachable_host_says_so() -> None:
    report = report_of(verify_failures={"minio": {"msg": "no facts", "unreachable": True}})
    assert [row["id"] for row in report["areas"][0]["checks"]] == ["SITE-31"]


def test_what_fails_for_want_of_facts_on_an_unreachable_host_is_not_repeated() -> None:
    report = report_of(
        __minio_report={"failed": True, "msg": "object of type 'dict' has no attribute 'architecture'"},
        verify_failures={"minio": {"msg": "edge-1 did not answer. timed out", "unreachable": True}},
    )
    rows = report["areas"][0]["checks"]
    assert [(row["id"], row["observed"]) for row in rows] == [("SITE-31", "edge-1 did not answer. timed out")]


def test_that_a_host_cannot_be_reached_is_said_before_what_follows_from_it() -> None:
    report = report_of(
        __k3s_report=result("failed"), verify_failures={"minio": {"msg": "no facts", "unreachable": True}}
    )
    assert [area["part"] for area in report["areas"]] == ["minio", "k3s"]
    assert report["problems"][0].startswith("[SITE-31]")


def test_a_check_that_was_left_out_is_no_area() -> None:
    assert report_of(__minio_report={"skipped": True, "skip_reason": "Conditional result was False"})["areas"] == []


def test_every_failed_check_is_a_sentence_with_its_remedy() -> None:
    report = report_of(__minio_report={"checks": [check("passed"), check("failed"), check("warning")]})
    assert report["problems"] == ["[S3-04] Bucket. Seen: . What to do: Make it."]


def test_what_two_parts_have_asked_is_said_once() -> None:
    same = {"checks": [check("passed"), check("passed", "another")]}
    more = {"checks": [check("passed"), check("passed", "a third")]}
    report = report_of(__k3s_report=same, __minio_report=same, __flyte_report=more)
    assert [(area["part"], len(area["checks"]), area["repeated"]) for area in report["areas"]] == [
        ("k3s", 2, 0),
        ("flyte", 1, 1),
    ]
    assert report["counts"]["passed"] == 3


@pytest.mark.parametrize(
    # why a check did not come to an answer, id of its row, words that differ
    ("failure", "id", "titles"),
    [
        ({"msg": "timed out", "unreachable": True}, "SITE-31", {"Host n1 can be reached", "Host n2 can be reached"}),
        (
            {"msg": "a library is missing", "unreachable": False},
            "SITE-32",
            {f"The check of {part} on {host} can run" for part in ("k3s", "minio") for host in ("n1", "n2")},
        ),
    ],
)
def test_each_host_and_part_that_gave_no_answer_is_told(failure: dict[str, object], id: str, titles: set[str]) -> None:
    parts = {"k3s": ["n1", "n2"], "minio": ["n1", "n2"]}
    report = site_report(parts, {host: {"verify_failures": dict.fromkeys(parts, failure)} for host in ("n1", "n2")})
    rows = [row for area in report["areas"] for row in area["checks"]]
    assert {row["id"] for row in rows} == {id}
    assert {row["title"] for row in rows} == titles
    assert report["counts"]["failed"] == len(titles)


def test_each_result_of_a_part_that_is_missing_is_told() -> None:
    failed = {"failed": True, "msg": "a library is missing"}
    assert report_of(__flyte_report=failed, __flyte_database_report=failed)["counts"]["failed"] == 2


def test_each_part_whose_own_test_passed_is_told() -> None:
    hosts = {host: {"verify_passed": ["k3s", "flyte"]} for host in ("n1", "n2")}
    assert site_report({"k3s": ["n1", "n2"], "flyte": ["n1"]}, hosts)["counts"]["passed"] == 3


def test_the_same_question_with_another_answer_is_not_left_out() -> None:
    report = report_of(__k3s_report={"checks": [check("passed")]}, __flyte_report={"checks": [check("failed")]})
    assert report["counts"] == {"failed": 1, "warning": 0, "skipped": 0, "passed": 1}


@pytest.mark.parametrize(
    # what failed of the service itself, what failed of the way from pods, whether that is the same fault
    ("of_service", "of_pods", "same"),
    [
        (("S3-21", "https://s3:9000 accepts connections"), ("K8S-42", "Pods can connect to https://s3:9000"), True),
        (("S3-21", "https://s3 accepts connections"), ("K8S-42", "Pods can connect to https://s3:443"), True),
        (("DB-12", "PostgreSQL at db:5432 accepts"), ("K8S-42", "Pods can connect to postgresql://db:5432"), True),
        (("S3-22", "There is a way to https://s3"), ("K8S-43", "There is a way from pods to https://s3:443"), True),
        (("S3-21", "https://s3:9000 accepts connections"), ("K8S-42", "Pods can connect to https://s3:9001"), False),
        (("S3-21", "https://s3:9000 accepts connections"), ("K8S-43", "A way from pods to https://s3:9000"), False),
    ],
)  # fmt: skip
def test_a_service_that_is_down_fails_once(of_service: tuple[str, str], of_pods: tuple[str, str], same: bool) -> None:
    rows = [{**check("failed", title), "id": id, "cause": "down"} for id, title in (of_service, of_pods)]
    report = report_of(__minio_report={"checks": rows[:1]}, __flyte_cluster_report={"checks": rows[1:]})
    assert report["counts"]["failed"] == (1 if same else 2)
    (seen,) = report["areas"][1]["checks"]
    assert seen["status"] == ("skipped" if same else "failed")
    assert seen["observed"] == (f"skipped because {of_service[0]} failed" if same else "")
    assert report["areas"][1]["state"] == seen["status"]


def test_what_only_pods_do_not_reach_stays_a_failure() -> None:
    rows = [
        {**check("passed", "https://s3 accepts connections"), "id": "S3-21"},
        {**check("failed", "Pods can connect to https://s3:443"), "id": "K8S-42"},
    ]
    assert report_of(__minio_report={"checks": rows[:1]}, __flyte_report={"checks": rows[1:]})["counts"]["failed"] == 1
