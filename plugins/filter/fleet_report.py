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
  - Gathers how each site of a run ended, those with something to do first.
  - A site's outcome is the variable C(__site_outcome) of one of its hosts. A site without one was not checked.
positional: _input
options:
  _input:
    description: Names of the hosts of the run.
    type: list
    elements: str
    required: true
  hostvars:
    description: Variables of the hosts. C(site_name) says to which site a host belongs.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Say how many sites failed
  ansible.builtin.debug:
    msg: "{{ (ansible_play_hosts_all | flyte.onprem.fleet_report(hostvars))['counts']['failed'] }} sites failed"
"""

RETURN = r"""
_value:
  description:
    - C(state), that of the worst site, C(counts) of sites by their state, and C(sites).
    - A site has C(site), C(state), C(counts) of its checks, C(problems), and, unless it was not checked, what else its
      outcome holds. The states are C(passed), C(warning), C(failed) and C(unknown).
  type: dict
"""

# The worst first.
ORDER = ("failed", "unknown", "warning", "passed")


def fleet_report(hosts, hostvars):
    """Return one row for each site that *hosts* belong to."""
    outcomes = {}
    for host in hosts:
        variables = hostvars[host]
        name = variables.get("site_name", "site")
        outcomes[name] = variables.get("__site_outcome") or outcomes.get(name) or {}
    sites = [row(name, outcome) for name, outcome in outcomes.items()]
    sites.sort(key=lambda site: (ORDER.index(site["state"]), site["site"]))
    counts = {state: sum(site["state"] == state for site in sites) for state in ORDER}
    return {"state": sites[0]["state"] if sites else "unknown", "counts": counts, "sites": sites}


def row(name, outcome):
    state = outcome.get("state", "unknown")
    # A site of which nothing was asked is as good as one that was not checked.
    return {"problems": [], "counts": {}, **outcome, "site": name, "state": state if state in ORDER else "unknown"}


class FilterModule:
    """The filter plugin."""

    def filters(self):
        """Return the filters by name."""
        return {"fleet_report": fleet_report}
