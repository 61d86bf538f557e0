# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is PRIVATE to the collection. It can change at any time.

"""The one result form of all checks: rows, a report of rows, and the text a person reads.

A probe is a function without arguments. It returns what it saw, or raises one
of the outcomes below; the report turns that into a row, fills in what the
catalogue knows, and skips what depends on a row that did not pass::

    report = Report(CATALOGUE, endpoint="https://s3.example.com")
    reach = report.check("S3-20", connect)
    report.check("S3-04", head_bucket, after=[reach], bucket="flyte-data")
"""

from __future__ import annotations

import signal
import typing as t
from dataclasses import asdict, dataclass

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

PASSED = "passed"
FAILED = "failed"
WARNING = "warning"
SKIPPED = "skipped"
STATUSES = (PASSED, FAILED, WARNING, SKIPPED)


@dataclass(frozen=True)
class Entry:
    """What the catalogue knows of one check.

    Every text may hold C({name}) fields, filled from the report's context.
    C(reference) is an address to read more at; left empty, it is the check's
    place in docs/problems.md.
    """

    id: str
    title: str
    expected: str
    cause: str
    fix: str
    reference: str = ""


@dataclass(frozen=True)
class Check:
    """One row of a report."""

    id: str
    title: str
    status: str
    observed: str
    expected: str
    cause: str = ""
    fix: str = ""
    reference: str = ""

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


class Outcome(Exception):
    """How a probe says anything but "passed".

    C(id) names another check than the one being probed, where the probe met
    that one's fault (a HEAD for "the bucket exists" that meets a wrong
    region): that row is added as failed, and the probed one is skipped.
    C(cause) and C(fix) replace the catalogue's where the probe knows better.
    """

    status = FAILED

    def __init__(self, observed: str, *, id: str = "", cause: str = "", fix: str = "") -> None:
        super().__init__(observed)
        self.observed = observed
        self.id = id
        self.cause = cause
        self.fix = fix


class Failed(Outcome):
    """The need is not met."""


class Warned(Outcome):
    """It works, but somebody should know."""

    status = WARNING


class Skipped(Outcome):
    """It could not be told; C(observed) says why."""

    status = SKIPPED


Probe = t.Callable[[], str]


class Report:
    """Rows in the order in which they were found, and the facts gathered on the way."""

    def __init__(self, catalogue: t.Mapping[str, Entry], **context: str) -> None:
        self._catalogue = catalogue
        self._context = context
        # The failed row that a skipped one goes back to; a row may be skipped over several steps.
        self._roots: dict[Check, Check] = {}
        self.rows: list[Check] = []
        self.facts: dict[str, t.Any] = {}

    @property
    def passed(self) -> bool:
        return not any(row.status == FAILED for row in self.rows)

    def check(self, id: str, probe: Probe, *, after: t.Iterable[Check] = (), **context: str) -> Check:
        """Run a probe and add its row, unless a row that it needs did not pass."""
        blocked = self.blocked(id, after=after, **context)
        if blocked:
            return blocked
        try:
            return self.add(id, PASSED, observed=probe(), **context)
        except Outcome as outcome:
            return self.conclude(id, outcome, **context)

    def blocked(self, id: str, *, after: t.Iterable[Check], **context: str) -> Check | None:
        """Add a skipped row if one of C(after) did not pass; otherwise None."""
        for row in after:
            if row.status in (PASSED, WARNING):
                continue
            root = self.root(row)
            because = (
                f"skipped because {root.id} failed"
                if root.status == FAILED
                else f"skipped because {root.id} was skipped: {root.observed}"
            )
            skipped = self.add(id, SKIPPED, observed=because, **context)
            self._roots[skipped] = root
            return skipped
        return None

    def failed(self, id: str) -> list[Check]:
        """The failed rows of this id."""
        return [row for row in self.rows if (row.id, row.status) == (id, FAILED)]

    def root(self, row: Check) -> Check:
        """The row that a skipped one goes back to; any other is its own."""
        return self._roots.get(row, row)

    def conclude(self, id: str, outcome: Outcome, **context: str) -> Check:
        """Add the row that a probe's outcome asks for."""
        if outcome.id and outcome.id != id:
            found = self.add(
                outcome.id,
                outcome.status,
                observed=outcome.observed,
                cause=outcome.cause,
                fix=outcome.fix,
                **context,
            )
            return self.blocked(id, after=[found], **context) or found
        return self.add(id, outcome.status, observed=outcome.observed, cause=outcome.cause, fix=outcome.fix, **context)

    def add(self, id: str, status: str, *, observed: str, cause: str = "", fix: str = "", **context: str) -> Check:
        """Add a row. Cause and fix stand only where there is something to do."""
        entry = self._catalogue[id]
        fields = {**self._context, **context}
        needs_action = status in (FAILED, WARNING)
        row = Check(
            id=id,
            title=entry.title.format(**fields),
            status=status,
            observed=observed,
            expected=entry.expected.format(**fields),
            cause=(cause or entry.cause.format(**fields)) if needs_action else "",
            fix=(fix or entry.fix.format(**fields)) if needs_action else "",
            reference=entry.reference or f"docs/problems.md#{id.lower()}",
        )
        # The same fault met by two probes is one thing to do; say it once.
        if needs_action and row in self.rows:
            return row
        self.rows.append(row)
        return row

    def message(self) -> str:
        """The report as a person reads it in a terminal: what failed, why, and what to do."""
        count = {status: sum(row.status == status for row in self.rows) for status in STATUSES}
        if self.passed:
            text = f"All {count[PASSED] + count[WARNING]} checks passed"
        else:
            text = f"{count[FAILED]} of {len(self.rows)} checks failed"
        notes = [f"{count[SKIPPED]} skipped"] if count[SKIPPED] else []
        if count[WARNING]:
            notes.append(f"{count[WARNING]} with a warning")
        text += f" ({', '.join(notes)})." if notes else "."
        shown = [row for row in self.rows if row.status == FAILED]
        shown += [row for row in self.rows if row.status == WARNING]
        return "\n".join([text, *(render(row) for row in shown)])

    def as_dict(self) -> dict[str, t.Any]:
        return {"checks": [row.as_dict() for row in self.rows], "passed": self.passed, **self.facts}


def render(row: Check) -> str:
    """A failed row or a warning as a block of lines."""
    lines = [f"{row.id} {row.title}: {row.status}"]
    for label, text in (
        ("seen", row.observed),
        ("expected", row.expected),
        ("cause", row.cause),
        ("fix", row.fix),
        ("read", row.reference),
    ):
        lines.append(f"  {label + ':':<10}{text}")
    return "\n".join(lines)


def clean_up_when_ended() -> None:
    """From now on a signal to end ends the module as at the keyboard, so that what it made is cleaned up."""
    ending = (signal.SIGTERM, signal.SIGHUP)

    def stop(_signal: int, _frame: object) -> None:
        # A second one must not end the cleaning.
        for number in ending:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in ending:
        signal.signal(number, stop)


def finish(module: AnsibleModule, report: Report, *, report_only: bool) -> None:
    """End a check module: the whole report either way, as a failure unless told to report only."""
    result: dict[str, t.Any] = {"changed": False, "msg": report.message(), **report.as_dict()}
    if report.passed or report_only:
        module.exit_json(**result)
    module.fail_json(**result)
