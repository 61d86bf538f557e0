# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleUndefinedVariable
from unit.contract import ROLES_DIR, load

from ansible_collections.flyte.onprem.plugins.filter.sites_outcome import (
    DEFAULT_SITE,
    REASON_LENGTH,
    sites_outcome,
)

FAILURE = {"where": "MinIO", "task": "install | Place the binary", "msg": "no space left"}


def outcome(notes: dict[str, dict[str, Any]], *, alive: str | None = None, **options: Any) -> dict[str, Any]:
    """The outcome of hosts such as a1 and a2, of site a, in a play for all of them; *alive* are still in it."""
    hostvars = {host: {"site_name": host[0], "sites_doing": "", **found} for host, found in notes.items()}
    play = list(notes) if alive is None else alive.split()
    return sites_outcome(list(notes), hostvars, play, list(notes), **options)


def states(found: dict[str, Any]) -> dict[str, str]:
    return {row["name"]: row["state"] for row in found["sites"]}


def test_sites_without_a_failure_are_ok() -> None:
    found = outcome({"a1": {}, "b1": {}})
    assert states(found) == {"a": "ok", "b": "ok"}
    assert (found["stopped"], found["unfinished"], found["none_left"]) == ([], [], False)


def test_a_failure_stops_its_own_site_and_no_other() -> None:
    found = outcome({"a1": {}, "a2": {"sites_failure": FAILURE}, "b1": {}})
    assert states(found) == {"a": "failed", "b": "ok"}
    assert found["stopped"] == found["failed"] == found["unfinished"] == ["a1", "a2"]


def test_the_row_says_where_and_why() -> None:
    found = outcome({"a1": {"sites_failure": FAILURE}})
    assert found["sites"] == [
        {
            "name": "a",
            "state": "failed",
            "host": "a1",
            "where": "MinIO",
            "why": "install | Place the binary: no space left",
            "summary": {},
        }
    ]


def test_the_row_has_what_the_report_of_the_site_says() -> None:
    summary = {"domain": "a.example.com", "counts": {"passed": 3}}
    assert outcome({"a1": {}, "a2": {"__site_outcome": summary}})["sites"][0]["summary"] == summary


def test_a_finding_speaks_for_itself() -> None:
    finding = {**FAILURE, "msg": "[SITE-01] site_domain is 'Bad'.\n  What to do: ..."}
    assert outcome({"a1": {"sites_failure": finding}})["sites"][0]["why"] == "[SITE-01] site_domain is 'Bad'."


def test_a_head_comes_with_what_follows_it() -> None:
    checks = {**FAILURE, "task": "", "msg": "1 of 21 checks failed.\nTLS-11 It is trusted: failed\n  seen: ..."}
    assert outcome({"a1": {"sites_failure": checks}})["sites"][0]["why"] == (
        "1 of 21 checks failed. TLS-11 It is trusted: failed"
    )


def test_a_long_reason_is_cut_in_its_middle() -> None:
    message = f"Error while resolving {'x' * 999}: object of type 'dict' has no attribute 'pod_cidr'"
    (site,) = outcome({"a1": {"sites_failure": {**FAILURE, "msg": message}}})["sites"]
    assert len(site["why"]) == REASON_LENGTH
    assert "Error while resolving x" in site["why"]
    assert site["why"].endswith("x: object of type 'dict' has no attribute 'pod_cidr'")


def test_a_host_that_vanished_in_the_middle_has_failed_its_site() -> None:
    found = outcome({"a1": {"sites_doing": "MinIO"}, "a2": {}, "b1": {}}, alive="a2 b1")
    row = found["sites"][0]
    assert (row["state"], row["host"], row["where"]) == ("failed", "a1", "MinIO")
    assert found["stopped"] == ["a1", "a2"]


def test_a_host_that_is_at_work_has_not_failed() -> None:
    assert states(outcome({"a1": {"sites_doing": "Kubernetes"}, "a2": {}})) == {"a": "ok"}


@pytest.mark.parametrize(
    # how many sites of a hundred may fail, whether one of four is too many
    ("limit", "too_many"),
    [(100, False), (25, False), (24.9, True), ("10", True), ("24.9%", True), ("25%", False), (0, True)],
)
def test_too_many_failures_stop_all(limit: float | str, too_many: bool) -> None:
    notes: dict[str, dict[str, Any]] = {"a1": {"sites_failure": FAILURE}, "b1": {}, "c1": {}, "d1": {}}
    found = outcome(notes, max_fail_percentage=limit)
    assert found["too_many"] is too_many
    assert found["stopped"] == (list(notes) if too_many else ["a1"])


def test_what_was_told_to_stop_is_skipped_and_not_failed() -> None:
    found = outcome({"a1": {"sites_failure": FAILURE}, "b1": {"sites_skipped": "MinIO"}})
    assert states(found) == {"a": "failed", "b": "skipped"}
    assert (found["failed"], found["unfinished"]) == (["a1"], ["a1", "b1"])


def test_none_is_left_when_every_site_has_failed() -> None:
    assert outcome({"a1": {"sites_failure": FAILURE}, "b1": {"sites_failure": FAILURE}})["none_left"] is True


def test_a_run_without_hosts_is_not_over() -> None:
    assert sites_outcome([], {}, [], [])["none_left"] is False


def hostvars_of(*hosts: str) -> dict[str, dict[str, str]]:
    return {host: {"site_name": host[0]} for host in hosts}


def test_sites_outside_the_run_are_counted_only() -> None:
    found = sites_outcome(["a1", "b1", "c1"], hostvars_of("a1", "b1", "c1"), ["a1"], ["a1"])
    assert list(states(found)) == ["a"]
    assert found["table"][-1] == "2 more in the inventory were not in this run"


def test_the_sites_outside_the_run_are_named() -> None:
    found = sites_outcome(["a1", "b1", "b2"], hostvars_of("a1", "b1", "b2"), ["a1"], ["a1"])
    assert found["others"] == ["b"]


@pytest.mark.parametrize(
    # what is known of two hosts, the hosts that are still there, who speaks
    ("notes", "alive", "speaker"),
    [
        ({"a1": {}, "b1": {}}, "a1 b1", "a1"),
        ({"a1": {"sites_failure": FAILURE}, "b1": {}}, "a1 b1", "b1"),
        ({"a1": {"sites_failure": FAILURE}, "b1": {"sites_failure": FAILURE}}, "a1 b1", "a1"),
        ({"a1": {}, "b1": {}}, "b1", "b1"),
    ],
)
def test_a_host_of_a_site_in_order_speaks_for_all(notes: dict, alive: str, speaker: str) -> None:
    assert outcome(notes, alive=alive)["speaker"] == speaker


def test_what_another_run_left_unfinished_stays_in_the_list() -> None:
    hosts = ["a1", "b1", "c1"]
    found = sites_outcome(hosts, hostvars_of(*hosts), ["a1"], ["a1"], unfinished_before=["a1", "c1", "gone"])
    assert (found["unfinished"], found["again"]) == ([], ["c1"])


def test_a_run_of_parts_finishes_nothing_that_was_left_before() -> None:
    found = outcome({"a1": {}, "b1": {"sites_failure": FAILURE}}, unfinished_before=["a1"], whole=False)
    assert (found["unfinished"], found["again"]) == (["b1"], ["a1", "b1"])


@pytest.mark.parametrize(("whole", "done"), [(True, ["a1", "a2"]), (False, [])])
def test_done_are_the_hosts_of_sites_in_order_that_a_whole_run_had(whole: bool, done: list[str]) -> None:
    hosts = ["a1", "a2", "b1", "b2", "c1"]
    hostvars = hostvars_of(*hosts)
    hostvars["b2"]["sites_failure"] = FAILURE
    assert sites_outcome(hosts, hostvars, hosts[:4], hosts[:4], whole=whole)["done"] == done


def test_the_table_has_a_line_for_each_site() -> None:
    found = outcome({"a1": {"sites_failure": FAILURE}, "b1": {}})
    assert found["table"] == [
        "site  result   where and why",
        "a     failed   MinIO, on a1: install | Place the binary: no space left",
        "b     ok",
        "1 ok, 1 failed, 0 skipped",
    ]


def test_the_hosts_of_a_site_take_turns_and_the_sites_go_side_by_side() -> None:
    assert outcome({"a1": {}, "b1": {}, "a2": {}, "a3": {}, "c1": {}})["waves"] == [["a1", "b1", "c1"], ["a2"], ["a3"]]


def test_the_turns_are_taken_in_the_order_of_the_play() -> None:
    assert outcome({"a1": {}, "a2": {}, "a3": {}}, alive="a3 a1 a2")["waves"] == [["a3"], ["a1"], ["a2"]]


@pytest.mark.parametrize(
    # what the inventory has as the servers of site a, the turns
    ("servers", "turns"),
    [
        (["a3", "a1"], [["b1", "a3"], ["a1"], ["a2"]]),
        (["a4", "a2"], [["b1", "a2"], ["a1"], ["a3"]]),
        ("a3", [["a1", "b1"], ["a2"], ["a3"]]),
    ],
)
def test_the_servers_of_a_site_come_in_the_order_that_the_inventory_gives_them(
    servers: Any, turns: list[list[str]]
) -> None:
    notes = {host: {"site_k3s_servers": servers} for host in ("a1", "a2", "a3")}
    assert outcome({"a1": notes["a1"], "b1": {}, "a2": notes["a2"], "a3": notes["a3"]})["waves"] == turns


def test_hosts_that_are_out_of_the_play_take_no_turn() -> None:
    assert outcome({"a1": {}, "b1": {}, "a2": {}}, alive="b1 a2")["waves"] == [["b1", "a2"]]


def test_hosts_without_a_name_of_a_site_are_one_site() -> None:
    found = sites_outcome(["x", "y"], {"x": {}, "y": {"sites_failure": FAILURE}}, ["x", "y"], ["x", "y"])
    assert states(found) == {DEFAULT_SITE: "failed"}


class Unknown(dict):
    """The variables of a host of which one cannot be worked out."""

    def get(self, name: str, default: Any = None) -> Any:
        if name == "site_name":
            raise AnsibleUndefinedVariable("'nope' is undefined")
        return super().get(name, default)


def test_a_host_whose_site_cannot_be_worked_out_is_a_site_of_its_own() -> None:
    hostvars = {"x": Unknown(site_name="{{ nope }}", sites_failure=FAILURE), "y": {"site_name": "y"}}
    assert states(sites_outcome(["x", "y"], hostvars, ["x", "y"], ["x", "y"])) == {"x": "failed", "y": "ok"}


def test_every_site_of_the_inventory_has_its_hosts() -> None:
    hostvars = {host: {"site_name": host[0]} for host in ("a1", "b1", "a2")}
    assert sites_outcome(["a1", "b1", "a2"], hostvars, ["b1"], ["b1"])["members"] == {"a": ["a1", "a2"], "b": ["b1"]}


def test_the_default_is_that_of_the_role() -> None:
    assert load(ROLES_DIR / "site/defaults/main.yml")["site_name"] == DEFAULT_SITE
