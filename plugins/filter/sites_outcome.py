# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: sites_outcome
author:
  - flyte.onprem contributors
short_description: How the sites of a run are doing
version_added: 0.1.0
description:
  - Tells from what the playbooks of this collection note about each host which sites of a run are in order, which have
    failed, where and why, and which hosts therefore have to stop.
positional: _input
options:
  _input:
    description: The hosts of the inventory that have a part of a site.
    type: list
    elements: str
    required: true
  hostvars:
    description:
      - Variables of all hosts. C(site_name) says to which site a host belongs. C(sites_doing) is the name of the play
        that a host is in, and empty between plays; C(sites_failure) says as C(task) and C(msg) why it failed in
        C(where), and C(sites_skipped) where it was told to stop. C(__site_outcome) is what the site's report says.
        C(site_k3s_servers) says in which order the servers of the site start.
    type: dict
    required: true
  play_hosts:
    description: Hosts of the present play that are still in it.
    type: list
    elements: str
    required: true
  targets:
    description: Hosts that the present play was meant for, those that have failed before included.
    type: list
    elements: str
    required: true
  max_fail_percentage:
    description: How many sites of a hundred may fail before the others stop too; C(%) may stand at its end.
    type: str
    default: 100
  unfinished_before:
    description: Hosts that earlier runs of the same playbook have left unfinished.
    type: list
    elements: str
    default: []
  whole:
    description: Whether this run does all that the playbook does, so that what it has done is finished.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Leave a site whose other hosts have failed
  ansible.builtin.meta: end_host
  when: inventory_hostname in outcome['stopped']
  vars:
    outcome: >-
      {{ query('flyte.onprem.sites_hosts')
      | flyte.onprem.sites_outcome(hostvars, ansible_play_hosts, ansible_play_hosts_all) }}
"""

RETURN = r"""
_value:
  description:
    - C(sites), a row for each site with C(name), C(state) (V(ok), V(failed), V(skipped)), C(host), C(where),
      C(why) and C(summary), in the order of the inventory; C(table), the same as lines of text; C(failed), the hosts of
      the sites that have failed; C(stopped), the hosts that have to stop; C(too_many), whether more sites have failed
      than may; C(none_left), whether all have; C(unfinished), the hosts of sites that are not in order;
      C(again), these and the hosts from before that this run has not finished, which another run has to take up;
      C(done), the hosts for which a whole run has done all.
    - C(others), names of the sites of the inventory that are not in this run; C(speaker), the host for which what
      concerns all sites is worked out, one of a site that is in order if there is one.
    - C(members), the hosts of each site of the inventory, by its name, in the order of the inventory.
    - C(waves), the hosts of the present play in lists to be taken one after the other, each with one host of a site,
      in the order of the play, or of C(site_k3s_servers) where the inventory has that.
  type: dict
"""

import typing as t
from collections.abc import Mapping, Sequence

from ansible.errors import AnsibleError
from jinja2.exceptions import UndefinedError

# As the default of site_name says.
DEFAULT_SITE = "site"
REASON_LENGTH = 240
TAIL_LENGTH = 80
HEAD_LENGTH = 50

Variables = Mapping[str, t.Any]


def sites_outcome(
    hosts: Sequence[str],
    hostvars: Mapping[str, Variables],
    play_hosts: Sequence[str],
    targets: Sequence[str],
    *,
    max_fail_percentage: float | str = 100,
    unfinished_before: Sequence[str] = (),
    whole: bool = True,
) -> dict[str, t.Any]:
    """Return how the sites are doing to which the *hosts* belong that are or were in this run."""
    facts = {host: notes(host, hostvars[host]) for host in hosts}
    there = [host for host in hosts if host in set(targets) or facts[host]["doing"] is not None]
    sites = members({host: facts[host] for host in there})
    rows = [row(name, members, facts, set(play_hosts)) for name, members in sites.items()]
    state = {found["name"]: found["state"] for found in rows}
    broken = [name for name in sites if state[name] == "failed"]
    too_many = bool(sites) and 100 * len(broken) / len(sites) > float(str(max_fail_percentage).rstrip("%"))
    others = [name for name in dict.fromkeys(facts[host]["site"] for host in hosts) if name not in sites]
    alive = [host for host in there if host in set(play_hosts)]
    unfinished = {host for name in sites if state[name] != "ok" for host in sites[name]}
    finished = set(there if whole else ())  # unless their site is not in order
    before = set(unfinished_before) - finished
    return {
        "sites": rows,
        "table": table(rows, len(others)),
        "others": others,
        "speaker": next((host for host in alive if state[facts[host]["site"]] != "failed"), next(iter(alive), "")),
        "failed": [host for name in broken for host in sites[name]],
        "stopped": [host for host in there if too_many or facts[host]["site"] in broken],
        "too_many": too_many,
        "none_left": bool(sites) and len(broken) == len(sites),
        "unfinished": [host for host in hosts if host in unfinished],
        "again": [host for host in hosts if host in unfinished | before],
        "done": [host for host in hosts if host in finished - unfinished],
        "members": members(facts),
        "waves": waves(play_hosts, facts, {host: servers_of(hostvars[host]) for host in play_hosts}),
    }


def members(facts: Mapping[str, Variables]) -> dict[str, list[str]]:
    """Return the hosts of each site."""
    found: dict[str, list[str]] = {}
    for host, noted in facts.items():
        found.setdefault(noted["site"], []).append(host)
    return found


def known(variables: Variables, name: str, key: str | None = None) -> str | None:
    """Return a variable of a host, or what it has under a key, as text.

    None where that cannot be worked out, which is the matter of the host's own site alone.
    """
    try:
        value = variables.get(name)
        if key is not None:
            value = value.get(key) if isinstance(value, Mapping) else None
        text = None if value is None else str(value)
    except (AnsibleError, UndefinedError):
        return None
    # ansible-core 2.18 leaves such a value as it is.
    return None if text and "{{" in text else text


def site_of(host: str, variables: Variables) -> str:
    """Return the site of a host; one whose site cannot be worked out is a site of its own."""
    site = known(variables, "site_name")
    return str(site or (host if "site_name" in variables else DEFAULT_SITE))


def notes(host: str, variables: Variables) -> dict[str, t.Any]:
    """Return what is known of a host, with its site."""
    return {
        "site": site_of(host, variables),
        "doing": variables.get("sites_doing"),
        "failure": variables.get("sites_failure"),
        "skipped": variables.get("sites_skipped"),
        "summary": variables.get("__site_outcome"),
    }


def row(name: str, members: Sequence[str], facts: Mapping[str, Variables], alive: set[str]) -> dict[str, t.Any]:
    """Return how one site is doing, by its first host that has a reason to give."""
    summary = next((facts[host]["summary"] for host in members if facts[host]["summary"]), {})
    plain = {"name": name, "host": "", "where": "", "why": "", "summary": summary}
    for host in members:
        failure = facts[host]["failure"]
        if failure:
            return {**plain, "state": "failed", "host": host, "where": failure["where"], "why": reason(failure)}
    for host in members:
        if facts[host]["doing"] and host not in alive:
            why = "it did not answer any more, or a handler failed; its last lines above say which"
            return {**plain, "state": "failed", "host": host, "where": facts[host]["doing"], "why": why}
    for host in members:
        if facts[host]["skipped"]:
            why = "too many other sites had failed"
            return {**plain, "state": "skipped", "host": host, "where": facts[host]["skipped"], "why": why}
    return {**plain, "state": "ok"}


def reason(failure: Mapping[str, str]) -> str:
    """Return a failure as one line that fits into a table; the whole message stands where it happened."""
    lines = [line.strip() for line in failure["msg"].splitlines() if line.strip()]
    line = lines[0] if lines else ""
    # A finding speaks for itself; what a module says often does not.
    if not line.startswith("["):
        # What is short is the head of what follows: "2 of 19 checks failed."
        line = " ".join(lines[:2]) if len(line) < HEAD_LENGTH else line
        line = f"{failure['task']}: {line}" if failure["task"] else line
    # What an error is about is often said at its end.
    return line if len(line) <= REASON_LENGTH else f"{line[: REASON_LENGTH - TAIL_LENGTH - 1]}…{line[-TAIL_LENGTH:]}"


def table(rows: Sequence[Mapping[str, str]], others: int) -> list[str]:
    """Return a line for each site below a head, and what was not in the run."""
    cells = [("site", "result", "where and why")]
    for found in rows:
        why = f"{found['where']}, on {found['host']}: {found['why']}" if found["host"] else ""
        cells.append((found["name"], found["state"], why))
    width = max(len(name) for name, _state, _why in cells)
    lines = [f"{name:<{width}}  {state:<7}  {why}".rstrip() for name, state, why in cells]
    counts = {state: sum(found["state"] == state for found in rows) for state in ("ok", "failed", "skipped")}
    lines.append(", ".join(f"{number} {state}" for state, number in counts.items()))
    if others:
        lines.append(f"{others} more in the inventory {'was' if others == 1 else 'were'} not in this run")
    return lines


def waves(
    hosts: Sequence[str], facts: Mapping[str, Variables], servers: Mapping[str, Sequence[str]]
) -> list[list[str]]:
    """Return the hosts in lists to be taken one after the other: all first hosts of the sites, all second ones, ...

    *servers* has for each host the servers of its site in the order in which they start, where that is said.
    """
    taken: dict[str, int] = {}
    found: list[list[str]] = []
    for host in sorted(hosts, key=lambda host: place(host, servers[host])):
        number = taken.get(facts[host]["site"], 0)
        taken[facts[host]["site"]] = number + 1
        if number == len(found):
            found.append([])
        found[number].append(host)
    return found


def place(host: str, servers: Sequence[str]) -> int:
    """Return where a host stands in a list, or its end."""
    return servers.index(host) if host in servers else len(servers)


def servers_of(variables: Variables) -> Sequence[str]:
    """Return the servers of a host's site as the inventory gives them; nothing where it does not."""
    try:
        value = variables.get("site_k3s_servers")
    except (AnsibleError, UndefinedError):
        return []
    return value if isinstance(value, list) else []


class FilterModule:
    """The filter plugin."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filters by name."""
        return {"sites_outcome": sites_outcome}
