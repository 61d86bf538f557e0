# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: fleet_report
author:
  - flyte.onprem contributors
short_description: One row for each site of a fleet
version_added: 0.1.0
description:
  - Gathers how each site of a run ended and what earlier runs found out about others, those with something to do first.
  - A site whose run came to no report and did not fail was not checked; what an earlier run found out about it stays.
positional: _input
options:
  _input:
    description: The key C(sites) of what the filter P(flyte.onprem.sites_outcome#filter) gives.
    type: list
    elements: dict
    required: true
  time:
    description: When this run was, in words.
    type: str
    default: ""
  before:
    description: The key C(sites) that an earlier run got from this filter.
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
- name: Say how many sites failed
  ansible.builtin.debug:
    msg: "{{ (outcome['sites'] | flyte.onprem.fleet_report)['counts']['failed'] }} sites failed"
  vars:
    outcome: >-
      {{ query('flyte.onprem.sites_hosts')
      | flyte.onprem.sites_outcome(hostvars, ansible_play_hosts, ansible_play_hosts_all) }}
"""

RETURN = r"""
_value:
  description:
    - C(state), that of the worst site, C(counts) of sites by their state, and C(sites).
    - A site has C(site), C(state), C(time), C(earlier), whether that was another run, C(counts) of its checks,
      C(problems), and, where it was checked, what else its report says. The states are C(passed), C(warning),
      C(failed) and C(unknown).
  type: dict
"""

# The worst first.
ORDER = ("failed", "unknown", "warning", "passed")


def fleet_report(sites, time="", before=()):
    """Return one row for each of the *sites* of a run, and those of *before* that it says nothing new about."""
    earlier = {found["site"]: {**found, "earlier": True} for found in before}
    rows = [news(row(found, time), earlier.pop(found["name"], None)) for found in sites]
    rows.extend(earlier.values())
    rows.sort(key=lambda site: (ORDER.index(site["state"]), site["site"]))
    counts = {state: sum(site["state"] == state for site in rows) for state in ORDER}
    return {"state": rows[0]["state"] if rows else "unknown", "counts": counts, "sites": rows}


def row(site, time):
    """Return the row of one site: what its report says, or where and why there is none."""
    report = site["summary"]
    state = "failed" if site["state"] == "failed" else report.get("state")
    problems = [f"{site['where']}, on {site['host']}: {site['why']}"] if site["host"] else []
    return {
        "counts": {},
        **report,
        # A site of which nothing was asked is as good as one that was not checked.
        "state": state if state in ORDER else "unknown",
        "problems": report.get("problems") or problems,
        "site": site["name"],
        "time": time,
        "earlier": False,
    }


def news(now, before):
    """Return what is known of a site: how it is now, unless only an earlier run has checked it."""
    return before if before and now["state"] == "unknown" != before["state"] else now


class FilterModule:
    """The filter plugin."""

    def filters(self):
        """Return the filters by name."""
        return {"fleet_report": fleet_report}
