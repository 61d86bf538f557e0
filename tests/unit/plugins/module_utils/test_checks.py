# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import signal

import pytest

from ansible_collections.flyte.onprem.plugins.module_utils._checks import (
    Entry,
    Failed,
    Report,
    Skipped,
    Warned,
    clean_up_when_ended,
)

CATALOGUE = {
    id: Entry(id=id, title=f"{id} of {{host}}", expected="{host} works", cause="why", fix="do {thing}", reference="")
    for id in ("A-1", "A-2", "A-3", "A-4")
}


def fail(observed: str, **more: str) -> None:
    raise Failed(observed, **more)


@pytest.fixture
def report() -> Report:
    return Report(CATALOGUE, host="h1", thing="it")


def statuses(report: Report) -> list[tuple[str, str]]:
    return [(row.id, row.status) for row in report.rows]


def test_a_passed_row_says_what_was_seen_and_gives_nothing_to_do(report: Report) -> None:
    report.check("A-1", lambda: "seen")
    assert report.rows[0].as_dict() == {
        "id": "A-1",
        "title": "A-1 of h1",
        "status": "passed",
        "observed": "seen",
        "expected": "h1 works",
        "cause": "",
        "fix": "",
        "reference": "docs/problems.md#a-1",
    }
    assert report.passed


def test_a_failed_row_has_cause_and_fix_with_its_own_context(report: Report) -> None:
    row = report.check("A-1", lambda: fail("seen"), thing="that")
    assert (row.status, row.cause, row.fix) == ("failed", "why", "do that")
    assert not report.passed


def test_what_depends_on_a_failure_is_skipped_and_names_it_over_several_steps(report: Report) -> None:
    first = report.check("A-1", lambda: fail("seen"))
    second = report.check("A-2", lambda: "never asked", after=[first])
    report.check("A-3", lambda: "never asked", after=[second])
    assert statuses(report) == [("A-1", "failed"), ("A-2", "skipped"), ("A-3", "skipped")]
    assert report.rows[2].observed == "skipped because A-1 failed"


def test_what_depends_on_a_skipped_row_says_why_that_was_skipped(report: Report) -> None:
    def skip() -> str:
        raise Skipped("check mode")

    first = report.check("A-1", skip)
    report.check("A-2", lambda: "never asked", after=[first])
    assert report.rows[1].observed == "skipped because A-1 was skipped: check mode"
    assert report.passed


def test_a_warning_stops_nothing_and_is_shown(report: Report) -> None:
    def warn() -> str:
        raise Warned("soon")

    first = report.check("A-1", warn)
    report.check("A-2", lambda: "fine", after=[first])
    assert statuses(report) == [("A-1", "warning"), ("A-2", "passed")]
    assert report.passed
    assert report.message().startswith("All 2 checks passed (1 with a warning).\nA-1 A-1 of h1: warning\n")


def test_the_fault_of_another_check_fails_that_one_and_skips_this_one(report: Report) -> None:
    row = report.check("A-1", lambda: fail("wrong region", id="A-4"))
    assert statuses(report) == [("A-4", "failed"), ("A-1", "skipped")]
    assert row.id == "A-1"


def test_the_same_fault_met_twice_is_one_row(report: Report) -> None:
    report.check("A-1", lambda: fail("full", id="A-4"))
    report.check("A-2", lambda: fail("full", id="A-4"))
    assert statuses(report) == [("A-4", "failed"), ("A-1", "skipped"), ("A-2", "skipped")]


def test_a_probe_may_know_better_than_the_catalogue(report: Report) -> None:
    row = report.check("A-1", lambda: fail("seen", cause="because", fix="so"))
    assert (row.cause, row.fix) == ("because", "so")


def test_the_message_counts_and_shows_each_failure_whole(report: Report) -> None:
    first = report.check("A-1", lambda: fail("seen"))
    report.check("A-2", lambda: "", after=[first])
    report.check("A-3", lambda: "fine")
    assert report.message() == "\n".join(
        [
            "1 of 3 checks failed (1 skipped).",
            "A-1 A-1 of h1: failed",
            "  seen:     seen",
            "  expected: h1 works",
            "  cause:    why",
            "  fix:      do it",
            "  read:     docs/problems.md#a-1",
        ]
    )


def test_facts_stand_beside_the_rows(report: Report) -> None:
    report.facts["server"] = "MinIO"
    assert report.as_dict() == {"checks": [], "passed": True, "server": "MinIO"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_end_starts_the_cleaning_and_a_second_one_does_not_end_it(number: signal.Signals) -> None:
    both = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(each) for each in both]
    try:
        clean_up_when_ended()
        stop = signal.getsignal(number)
        assert callable(stop)
        with pytest.raises(KeyboardInterrupt):
            stop(number, None)
        assert [signal.getsignal(each) for each in both] == [signal.SIG_IGN, signal.SIG_IGN]
    finally:
        for each, handler in zip(both, before):
            signal.signal(each, handler)
