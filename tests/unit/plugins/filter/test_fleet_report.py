# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A row for each site, in the order in which a person wants them; the page is in tests/integration/collection."""

from __future__ import annotations

from ansible_collections.flyte.onprem.plugins.filter.fleet_report import fleet_report


def outcome(state: str) -> dict:
    return {"state": state, "counts": {"passed": 1}, "problems": [], "report": f"/{state}/report.html"}


def test_the_worst_sites_come_first_and_the_rest_by_name() -> None:
    hostvars = {
        "a": {"site_name": "kiel", "__site_outcome": outcome("passed")},
        "b": {"site_name": "bremen", "__site_outcome": outcome("passed")},
        "c": {"site_name": "hamburg", "__site_outcome": outcome("warning")},
        "d": {"site_name": "ulm", "__site_outcome": outcome("failed")},
        "e": {"site_name": "bonn"},
    }
    found = fleet_report(list(hostvars), hostvars)
    assert [site["site"] for site in found["sites"]] == ["ulm", "bonn", "hamburg", "bremen", "kiel"]
    assert found["counts"] == {"failed": 1, "unknown": 1, "warning": 1, "passed": 2}
    assert found["state"] == "failed"


def test_a_site_of_several_hosts_is_one_row() -> None:
    hostvars = {
        "a": {"site_name": "kiel"},
        "b": {"site_name": "kiel", "__site_outcome": outcome("passed")},
        "c": {"site_name": "kiel"},
    }
    (site,) = fleet_report(["a", "b", "c"], hostvars)["sites"]
    assert (site["site"], site["state"]) == ("kiel", "passed")


def test_a_site_of_which_nothing_was_asked_was_not_checked() -> None:
    (site,) = fleet_report(["a"], {"a": {"__site_outcome": outcome("skipped")}})["sites"]
    assert (site["site"], site["state"]) == ("site", "unknown")
