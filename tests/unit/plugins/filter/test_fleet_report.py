# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A row for each site, in the order in which a person wants them; the page is in tests/integration/collection."""

from __future__ import annotations

from typing import Any

from ansible_collections.flyte.onprem.plugins.filter.fleet_report import fleet_report

PLACE = {"host": "edge-1", "where": "MinIO", "why": "no space left"}


def site(name: str, state: str = "ok", checks: str = "", **place: str) -> dict[str, Any]:
    """A row of sites_outcome; *checks* is the state of its report, if it has one."""
    report = {"state": checks, "counts": {"passed": 1}, "problems": [], "report": f"/{name}/report.html"}
    nowhere = {"host": "", "where": "", "why": ""}
    return {"name": name, "state": state, "summary": report if checks else {}, **nowhere, **place}


def states(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [(row["site"], row["state"]) for row in found["sites"]]


def test_the_worst_sites_come_first_and_the_rest_by_name() -> None:
    found = fleet_report(
        [site("kiel", checks="passed"), site("bremen", checks="passed"), site("hamburg", checks="warning"),
         site("ulm", "failed", "failed"), site("bonn")]
    )  # fmt: skip
    assert [name for name, _state in states(found)] == ["ulm", "bonn", "hamburg", "bremen", "kiel"]
    assert found["counts"] == {"failed": 1, "unknown": 1, "warning": 1, "passed": 2}
    assert found["state"] == "failed"


def test_a_site_of_which_nothing_was_asked_was_not_checked() -> None:
    assert states(fleet_report([site("kiel", checks="skipped")])) == [("kiel", "unknown")]


def test_a_site_that_failed_before_its_report_says_where_and_why() -> None:
    (row,) = fleet_report([site("kiel", "failed", **PLACE)])["sites"]
    assert (row["state"], row["problems"]) == ("failed", ["MinIO, on edge-1: no space left"])


def test_a_report_says_more_than_that_it_failed() -> None:
    failed = site("kiel", "failed", "failed", host="edge-1", where="Report", why="2 of 19 checks failed.")
    failed["summary"]["problems"] = ["[S3-14] …", "[S3-15] …"]
    (row,) = fleet_report([failed])["sites"]
    assert row["problems"] == ["[S3-14] …", "[S3-15] …"]


def test_a_skipped_site_was_not_checked_and_says_why() -> None:
    (row,) = fleet_report([site("kiel", "skipped", host="edge-1", where="MinIO", why="too many")])["sites"]
    assert (row["state"], row["problems"]) == ("unknown", ["MinIO, on edge-1: too many"])


def test_what_an_earlier_run_found_out_stays_until_there_is_news() -> None:
    before = fleet_report(
        [site("kiel", checks="passed"), site("ulm", checks="warning"), site("bonn", checks="passed")], "monday"
    )["sites"]
    found = fleet_report([site("kiel"), site("ulm", "failed", **PLACE)], "tuesday", before)
    assert [(row["site"], row["state"], row["time"]) for row in found["sites"]] == [
        ("ulm", "failed", "tuesday"), ("bonn", "passed", "monday"), ("kiel", "passed", "monday"),
    ]  # fmt: skip
    assert found["counts"]["passed"] == 2
