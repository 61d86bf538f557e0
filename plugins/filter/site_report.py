# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: site_report
author:
  - flyte.onprem contributors
short_description: One report from what all parts of a site answered
version_added: 0.1.0
description:
  - Gathers what the check modules returned on the hosts of a site and gives one report, with what is wrong first.
  - The results are the hosts' variables C(__<part>_report) and C(__<part>_<name>_report).
  - A check that could not run is a failure of its own in the report.
positional: _input
options:
  _input:
    description: Hosts of each part, as in the variable C(site_parts) of role P(flyte.onprem.site#role).
    type: dict
    required: true
  hostvars:
    description:
      - Variables of the hosts. C(verify_failures) holds by part why a check could not run, as C(msg) and
        C(unreachable); C(verify_passed) holds the parts whose own test passed, for those that leave no result.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Say how many checks failed
  ansible.builtin.debug:
    msg: "{{ (site_parts | flyte.onprem.site_report(hostvars))['counts']['failed'] }} checks failed"
"""

RETURN = r"""
_value:
  description:
    - C(passed), C(state), C(counts) of checks by their status, C(problems), a sentence for each failed check, and
      C(areas), one a result, those with failures first.
    - An area has C(part), C(aspect) where a part has several results, C(host), C(state), C(counts), C(facts) and
      C(checks), failed first, then warnings, skipped and passed ones. What an area before has said is left out and
      counted as C(repeated).
  type: dict
"""

import re

# The worst first; the state of an area is that of its worst check.
ORDER = ("failed", "warning", "skipped", "passed")
# Keys of a result that are not facts which the check gathered.
NOT_FACTS = {
    "attempts", "changed", "checks", "deprecations", "diff", "exception", "failed", "failed_when_result", "invocation",
    "msg", "passed", "rc", "skip_reason", "skipped", "stderr", "stdout", "unreachable", "warnings",
}  # fmt: skip

UNREACHABLE = "SITE-31"

# What pods see as well of a fault that the machine which asks has seen: the port is closed, packets are lost.
SAME_SEEN_BY_PODS = {"K8S-42": ("S3-21", "DB-12"), "K8S-43": ("S3-22", "DB-11")}
USUAL_PORTS = {"http": 80, "https": 443, "postgresql": 5432}

OWN_TEST = {
    "id": "SITE-33",
    "status": "passed",
    "observed": "it does",
    "expected": "no failure",
    "cause": "",
    "fix": "",
    "reference": "docs/problems.md#site-33",
}


def site_report(parts, hostvars):
    """Return one report of what every part answered; *parts* is the hosts of each part."""
    areas = fail_once(
        [
            area(part, host, **found)
            for part, hosts in parts.items()
            for host in hosts
            for found in answers(part, host, hostvars[host])
        ]
    )
    # A host that cannot be reached is why the rest of it does not answer.
    areas.sort(key=lambda found: (found["state"] != "failed", found["checks"][0]["id"] != UNREACHABLE))
    areas = say_once(areas)
    checks = [check for found in areas for check in found["checks"]]
    counts = count(checks)
    return {
        "passed": counts["failed"] == 0,
        "state": worst(counts),
        "counts": counts,
        "problems": [sentence(check) for check in checks if check["status"] == "failed"],
        "areas": areas,
    }


def fail_once(areas):
    """Skip what pods see of a service that is down, where the check of the service itself has failed for it."""
    failed = {
        (row["id"], address_in(row["title"])) for found in areas for row in found["checks"] if row["status"] == "failed"
    }

    def settled(row):
        where = address_in(row["title"])
        cause = next((id for id in SAME_SEEN_BY_PODS.get(row["id"], ()) if where and (id, where) in failed), "")
        if row["status"] != "failed" or not cause:
            return row
        return {**row, "status": "skipped", "observed": f"skipped because {cause} failed", "cause": "", "fix": ""}

    return [judged({**found, "checks": [settled(row) for row in found["checks"]]}) for found in areas]


def address_in(title):
    """Return host and port of the service that a check's title names, as one text; '' where it names none."""
    found = re.search(r"(?:(https?|postgresql)://|PostgreSQL at )(\S+)", title)
    if not found:
        return ""
    scheme, address = found.groups()
    return address if re.search(r":\d+$", address) else f"{address}:{USUAL_PORTS[scheme or 'postgresql']}"


def say_once(areas):
    """Leave out rows that an area before has shown with the same outcome, and areas of which nothing is left.

    Several parts ask the same service: the cluster's API, say, before the ingress and before Flyte are judged.
    """
    shown = set()
    left = []
    for found in areas:
        new = [row for row in found["checks"] if (row["id"], row["title"], row["status"]) not in shown]
        shown |= {(row["id"], row["title"], row["status"]) for row in new}
        if new:
            left.append({**found, "checks": new, "counts": count(new), "repeated": len(found["checks"]) - len(new)})
    return left


def answers(part, host, variables):
    """Yield what a part answered on a host, as keyword arguments of ``area``; why it did not where it did not."""
    failure = (variables.get("verify_failures") or {}).get(part)
    away = bool(failure and failure["unreachable"])
    answered = False
    for name in sorted(name for name in variables if re.fullmatch(rf"__{part}_(\w+_)?report", name)):
        result = variables[name]
        aspect = name.removeprefix(f"__{part}_").removesuffix("report").rstrip("_")
        if "checks" in result:
            answered = True
            if result["checks"]:
                yield {"result": result, "aspect": aspect}
        elif not away and (result.get("unreachable") or result.get("failed")):
            answered = True
            yield {"result": result, "aspect": aspect, "reason": result.get("msg", "")}
    if failure and not answered:
        yield {"result": {"unreachable": away}, "reason": failure["msg"]}
    elif part in (variables.get("verify_passed") or []) and not answered:
        yield {"result": {"checks": [{**OWN_TEST, "title": f"The test of {part} on {host} passes"}]}}


def area(part, host, *, result, aspect="", reason=""):
    """Return the checks and facts of one part on one host."""
    if "checks" in result:
        rows = result["checks"]
    else:
        of_what = f"{part} ({aspect})" if aspect else part
        rows = [not_run(reason, host=host, of_what=of_what, unreachable=bool(result.get("unreachable")))]
    facts = {key: value for key, value in result.items() if is_fact(key, value)}
    return judged({"part": part, "aspect": aspect, "host": host, "facts": facts, "checks": rows})


def judged(found):
    """Return an area with its rows in order, counted, and with the state that follows."""
    counts = count(found["checks"])
    rows = sorted(found["checks"], key=lambda check: ORDER.index(check["status"]))
    return {**found, "checks": rows, "counts": counts, "state": worst(counts)}


def not_run(reason, *, host, of_what, unreachable):
    """Return the row for a check that did not come to an answer.

    Its title tells it from the rows of other hosts and parts, which would else count as said already.
    """
    if unreachable:
        row = {
            "id": UNREACHABLE,
            "title": f"Host {host} can be reached",
            "expected": "an answer from the host, so that its check can run there",
            "cause": "The host is down, its address or SSH key has changed, or a firewall is in between.",
            "fix": "Try ansible -m ansible.builtin.ping on the host and correct ansible_host or the SSH access.",
        }
    else:
        row = {
            "id": "SITE-32",
            "title": f"The check of {of_what} on {host} can run",
            "expected": "the check to come to an answer",
            "cause": "Something that it needs is missing: a Python library, a file of the site, or the part itself.",
            "fix": "Run flyte.onprem.site, which puts everything in place; the text above names what is missing.",
        }
    reference = f"docs/problems.md#{row['id'].lower()}"
    return {**row, "status": "failed", "observed": str(reason), "reference": reference}


def sentence(check):
    """Return a failed check as a person reads it in a terminal."""
    return f"[{check['id']}] {check['title']}. Seen: {check['observed']}. What to do: {check['fix']}"


def is_fact(key, value):
    """Whether a key of a result is something the check found out, in a form that fits on a line."""
    if key in NOT_FACTS or key.startswith(("_", "ansible_")) or key.endswith("_num"):
        return False
    return isinstance(value, (str, int, float)) and not isinstance(value, bool) and value != ""


def count(checks):
    counts = dict.fromkeys(ORDER, 0)
    for check in checks:
        counts[check["status"]] += 1
    return counts


def worst(counts):
    """Return the state of checks so counted; what is skipped does not make a part doubtful."""
    for status in ("failed", "warning", "passed"):
        if counts[status]:
            return status
    return "skipped"


class FilterModule:
    """The filter plugin."""

    def filters(self):
        """Return the filters by name."""
        return {"site_report": site_report}
