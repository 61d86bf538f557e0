# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is PRIVATE to the collection. It can change at any time.

"""Whether a PostgreSQL database meets Flyte's needs, row by row."""

from __future__ import annotations

import contextlib
import datetime
import functools
import os
import re
import select
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.flyte.onprem.plugins.module_utils import _postgresql_login as login
from ansible_collections.flyte.onprem.plugins.module_utils._checks import (
    PASSED,
    Check,
    Failed,
    Report,
    Skipped,
    Warned,
)
from ansible_collections.flyte.onprem.plugins.module_utils._imports import PSYCOPG2, load
from ansible_collections.flyte.onprem.plugins.module_utils._reach import EXPIRY_WARNING_DAYS

# Last day of support of each major version; from 10 on the PostgreSQL project's "Versioning Policy".
END_OF_LIFE = {
    9: datetime.date(2021, 11, 11),
    10: datetime.date(2022, 11, 10),
    11: datetime.date(2023, 11, 9),
    12: datetime.date(2024, 11, 21),
    13: datetime.date(2025, 11, 13),
    14: datetime.date(2026, 11, 12),
    15: datetime.date(2027, 11, 11),
    16: datetime.date(2028, 11, 9),
    17: datetime.date(2029, 11, 8),
    18: datetime.date(2030, 11, 14),
}

# Tables that only one generation of Flyte makes. Both make "projects" and "tasks", with different columns.
GENERATION_TABLES = {
    1: ("launch_plans", "named_entity_metadata", "node_executions", "task_executions"),
    2: ("action_events", "actions", "task_specs", "trigger_revisions"),
}

# A notification on one machine takes milliseconds; this long it may take over a bad line.
_NOTIFICATION_SECONDS = 3.0

_FACTS = """
SELECT current_setting('server_version_num')::int,
       current_setting('server_encoding'),
       current_setting('max_connections')::int,
       current_setting('superuser_reserved_connections')::int
         + coalesce(nullif(current_setting('reserved_connections', true), ''), '0')::int,
       (SELECT rolconnlimit FROM pg_catalog.pg_roles WHERE rolname = current_user),
       (SELECT datconnlimit FROM pg_catalog.pg_database WHERE datname = current_database()),
       pg_is_in_recovery(),
       current_setting('transaction_read_only')::boolean,
       current_setting('search_path'),
       current_schema(),
       has_schema_privilege(current_schema(), 'CREATE'),
       (SELECT pg_get_userbyid(nspowner) FROM pg_catalog.pg_namespace WHERE nspname = current_schema()),
       ARRAY(SELECT relname::text FROM pg_catalog.pg_class
             WHERE relkind IN ('r', 'p') AND relnamespace = to_regnamespace(quote_ident(current_schema()))
               AND relname = ANY (%s) ORDER BY relname),
       ARRAY(SELECT relname::text FROM pg_catalog.pg_class
             WHERE relkind IN ('r', 'p') AND relnamespace = to_regnamespace(quote_ident(current_schema()))
               AND relname = ANY (%s) AND NOT pg_has_role(relowner, 'USAGE') ORDER BY relname),
       extract(epoch FROM clock_timestamp())::float8
"""


@dataclass(frozen=True)
class Version:
    """A server's version. C(minor) is 0 for betas and release candidates too."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


@dataclass(frozen=True)
class Needs:
    """What is asked of the server."""

    minimum_version: int
    maximum_version: int | None
    pool_size: int
    max_clock_skew: float
    generation: int


@dataclass(frozen=True)
class Facts:
    """What one query in the database tells, in the order of its columns; C(skew) is in seconds, ahead is positive."""

    version_num: int
    encoding: str
    max_connections: int
    reserved_connections: int
    role_limit: int
    database_limit: int
    standby: bool
    read_only: bool
    search_path: str
    schema: str | None
    may_create: bool | None
    schema_owner: str | None
    tables: list[str]
    tables_of_others: list[str]
    skew: float

    @property
    def room(self) -> int:
        """How many connections the user can have at most; a limit of -1 is none."""
        limits = (self.max_connections - self.reserved_connections, self.role_limit, self.database_limit)
        return min(limit for limit in limits if limit >= 0)


def parse_version_num(number: int) -> Version:
    """Turn C(SHOW server_version_num) into a version.

    C(number) is major * 10000 + minor since PostgreSQL 10 (170004 is 17.4), and
    a beta reports minor 0. Before, two numbers made the major version (90603 is
    9.6.3); those are all below any minimum, so 9 and the second one are enough.
    Source: PostgreSQL manual, "Preset Options" and "PQserverVersion".
    """
    if number >= 100000:
        return Version(*divmod(number, 10000))
    return Version(number // 10000, number // 100 % 100)


def dsn_password_problem(password: str) -> str:
    """Why Flyte could not use this password; an empty text if it can.

    Flyte writes the password without quotes into a connection string
    (C(flyteadmin/pkg/repositories/database.go)), which its driver then splits
    at white space, with the backslash as escape; with an empty one Flyte drops
    all other options and turns TLS off.
    """
    if not password:
        return "It is empty; Flyte then connects without TLS, whatever its options say."
    if re.search(r"\s", password):
        return "It contains white space, which ends the password in Flyte's connection string."
    if "\\" in password:
        return "It contains a backslash, which is an escape character in Flyte's connection string."
    if password.startswith("'"):
        return "It begins with an apostrophe, which opens a quoted value in Flyte's connection string."
    if "\0" in password:
        return "It contains a NUL character, which PostgreSQL does not take."
    if "{{" in password:
        return "It contains two opening braces, which templates of Flyte and Helm would replace."
    return ""


def probe_database(report: Report, target: login.Target, needs: Needs, *, retries: int, today: datetime.date) -> None:
    """Add all rows. Reads only; the one message sent over LISTEN and NOTIFY is kept nowhere."""
    given = report.check("DB-02", lambda: _given(target.password))
    report.check("DB-01", lambda: _password(target.password), after=[given])
    ready, found = login_rows(report, target, retries=retries, after=given)
    with contextlib.ExitStack() as stack:
        limit = stack.enter_context(time_limit(target.timeout))

        def session() -> str:
            if found is None:  # `ready` passed
                raise AssertionError
            connections.append(stack.enter_context(_session(target, found, limit)))
            facts.append(read_facts(connections[0], limit))
            return f"psycopg2 with libpq {_libpq_version()}"

        connections: list[t.Any] = []
        facts: list[Facts] = []
        opened = report.check("DB-21", session, after=[ready])
        report.check("DB-24", lambda: _method(found), after=[ready])
        rows_of_facts(report, facts[0] if facts else None, needs, today=today, after=opened)
        if facts:
            report.facts["server_version"] = str(parse_version_num(facts[0].version_num))
            report.facts["server_version_num"] = facts[0].version_num
        primary = next((row for row in report.rows if row.id == "DB-25"), opened)

        def notification() -> str:
            if found is None:
                raise AssertionError
            try:
                other = stack.enter_context(_session(target, found, limit))
            except Failed as exc:
                raise Skipped(f"it takes a second connection: {exc.observed}") from exc
            arrived = notify(connections[0], other, limit)
            if arrived is None:
                raise (Failed if needs.generation == 2 else Warned)("the notification did not arrive")
            return f"a notification arrived after {arrived * 1000:.0f} ms"

        report.check("DB-06", notification, after=[opened, primary])


def login_rows(report: Report, target: login.Target, *, retries: int, after: Check) -> tuple[Check, login.Login | None]:
    """Add a row for each step of a login; the last one is what all else depends on."""
    if after.status != PASSED:
        for id in login.STEPS:
            report.blocked(id, after=[after])
        return after, None
    try:
        found = login.log_in(target, retries=retries)
    except login.LoginFailed as failed:
        for id, seen in failed.proved.items():
            report.add(id, PASSED, observed=seen)
        culprit = report.conclude(failed.id, Failed(failed.observed, cause=failed.cause, fix=failed.fix))
        for id in login.STEPS:
            if id in failed.proved or id == failed.id:
                continue
            if id in login.not_asked_for(target.sslmode):
                report.conclude(id, _not_asked_for(target))
            else:
                report.blocked(id, after=[culprit])
        return culprit, None
    report.facts["login_seconds"] = round(found.seconds, 3)
    report.facts["tls_version"] = found.tls_version
    report.facts["authentication_method"] = found.method
    last = after
    for id in login.STEPS:
        last = report.check(id, functools.partial(_step, id, target, found))
    return last, found


def _step(id: str, target: login.Target, found: login.Login) -> str:
    if id not in found.proved:
        raise _not_asked_for(target)
    seen = found.proved[id]
    if id == login.CERTIFICATE_VALID and found.certificate_not_after is not None:
        days = (found.certificate_not_after - time.time()) / 86400
        seen += f", {days:.0f} more days"
        if days < EXPIRY_WARNING_DAYS:
            raise Warned(seen)
    return seen


def _not_asked_for(target: login.Target) -> Skipped:
    return Skipped(f"not asked for: sslmode is {target.sslmode}")


def _given(password: str) -> str:
    if not password:
        raise Failed(dsn_password_problem(password))
    return "there is one"


def _password(password: str) -> str:
    problem = dsn_password_problem(password)
    if problem:
        raise Failed(problem)
    return "nothing in it needs quoting"


def _method(found: login.Login | None) -> str:
    if found is None:  # the login passed
        raise AssertionError
    if found.method == "trust":
        raise Warned("the server did not ask for the password: anyone who reaches it may log in as this user")
    if found.method != "scram-sha-256":
        raise Warned(f"the server asked for the password by method {found.method}")
    return found.method


def rows_of_facts(report: Report, facts: Facts | None, needs: Needs, *, today: datetime.date, after: Check) -> None:
    """Add the rows that the one query answers; all are skipped when there are no C(facts)."""

    def row(id: str, judge: t.Callable[[Facts], str], *needed: Check) -> Check:
        def probe() -> str:
            if facts is None:  # `after` passed
                raise AssertionError
            return judge(facts)

        schema = (facts.schema if facts else None) or "public"
        return report.check(id, probe, after=[after, *needed], schema=schema)

    minimum = row("DB-08", lambda f: _not_below(f, needs.minimum_version))
    row("DB-22", lambda f: _not_above(f, needs.maximum_version))
    row("DB-23", lambda f: _supported(f, today), minimum)
    primary = row("DB-25", _primary)
    row("DB-26", _writable, primary)
    row("DB-05", _may_create)
    row("DB-27", _encoding)
    row("DB-07", lambda f: _room(f, needs.pool_size))
    row("DB-28", lambda f: _generation(f, needs.generation))
    row("DB-30", _owner)
    row("DB-29", lambda f: _clock(f, needs.max_clock_skew))


def _not_below(facts: Facts, minimum: int) -> str:
    version = parse_version_num(facts.version_num)
    if version.major < minimum:
        raise Failed(f"PostgreSQL {version}")
    return f"PostgreSQL {version}"


def _not_above(facts: Facts, maximum: int | None) -> str:
    version = parse_version_num(facts.version_num)
    if maximum is None:
        raise Skipped("no newest version was asked for")
    if version.major > maximum:
        raise Failed(f"PostgreSQL {version}")
    return f"PostgreSQL {version}"


def _supported(facts: Facts, today: datetime.date) -> str:
    major = parse_version_num(facts.version_num).major
    ends = END_OF_LIFE.get(major)
    if ends is None:
        return f"PostgreSQL {major} is newer than this collection's table of releases"
    if ends < today:
        raise Warned(f"PostgreSQL {major} has had no fixes since {ends.isoformat()}")
    return f"PostgreSQL {major} gets fixes until {ends.isoformat()}"


def _primary(facts: Facts) -> str:
    if facts.standby:
        raise Failed("the server is in recovery: it is a standby, or is being restored")
    return "not in recovery"


def _writable(facts: Facts) -> str:
    if facts.read_only:
        raise Failed("transactions of this user in this database are read-only (default_transaction_read_only)")
    return "transactions may write"


def _may_create(facts: Facts) -> str:
    if facts.schema is None:
        raise Failed(f"no schema of the search path {facts.search_path} exists for this user")
    if not facts.may_create:
        raise Failed(f"CREATE on schema {facts.schema}, which belongs to {facts.schema_owner}, is not granted")
    return f"may create tables in schema {facts.schema}"


def _encoding(facts: Facts) -> str:
    if facts.encoding != "UTF8":
        raise Failed(facts.encoding)
    return facts.encoding


def _room(facts: Facts, pool_size: int) -> str:
    seen = (
        f"room for {facts.room} (max_connections {facts.max_connections}, {facts.reserved_connections} reserved, "
        f"limit of the user {_limit(facts.role_limit)}, of the database {_limit(facts.database_limit)})"
    )
    if facts.room < pool_size:
        raise Failed(seen)
    return seen


def _limit(number: int) -> str:
    return str(number) if number >= 0 else "none"


def _generation(facts: Facts, generation: int) -> str:
    other = 3 - generation
    tables = [table for table in facts.tables if table in GENERATION_TABLES[other]]
    if tables:
        raise Failed(f"tables of Flyte {other}: {', '.join(tables)}")
    own = [table for table in facts.tables if table in GENERATION_TABLES[generation]]
    return f"only tables of Flyte {generation}" if own else "no tables of Flyte yet"


def _owner(facts: Facts) -> str:
    if facts.tables_of_others:
        raise Failed(f"tables of another user: {', '.join(facts.tables_of_others)}")
    return "no table of Flyte belongs to another user"


def _clock(facts: Facts, limit: float) -> str:
    seen = f"the server's clock is {abs(facts.skew):.1f} s {'ahead of' if facts.skew > 0 else 'behind'} this machine's"
    if abs(facts.skew) > limit:
        raise Warned(seen)
    return seen


class TimeLimit:
    """The seconds that all sessions share. libpq itself waits for ever for an answer that does not come."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.over = False
        self._deadline = time.monotonic() + seconds

    @property
    def left(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    def wait(self, connection: t.Any) -> None:
        """What psycopg2 calls in place of a wait without end."""
        psycopg2 = load(PSYCOPG2)
        state = connection.poll()
        while state != psycopg2.extensions.POLL_OK:
            number = [connection.fileno()]
            read, write = (number, []) if state == psycopg2.extensions.POLL_READ else ([], number)
            if not any(select.select(read, write, [], self.left)[:2]):
                self.over = True
                raise psycopg2.OperationalError("no answer in time")
            state = connection.poll()

    def failure(self, exc: Exception) -> Failed:
        """The outcome for an error of psycopg2, which after a wait cut short may say only "connection closed"."""
        return Failed(f"no answer within {self.seconds:g} seconds" if self.over else _words(exc))


@contextlib.contextmanager
def time_limit(seconds: float) -> t.Iterator[TimeLimit]:
    """Let no wait of psycopg2 in the block last longer than is left of C(seconds)."""
    extensions = load(PSYCOPG2).extensions
    before = extensions.get_wait_callback()
    limit = TimeLimit(seconds)
    extensions.set_wait_callback(limit.wait)
    try:
        yield limit
    finally:
        extensions.set_wait_callback(before)


def read_facts(connection: t.Any, limit: TimeLimit) -> Facts:
    """Ask all that one query can tell. Raises C(Failed) with the server's words."""
    psycopg2 = load(PSYCOPG2)
    known = [table for tables in GENERATION_TABLES.values() for table in tables]
    try:
        with connection, connection.cursor() as cursor:
            # The server gives up as well, and holds nothing for a client that has gone. Of this transaction only:
            # behind a pooler a plain SET would stay with somebody else's session.
            cursor.execute("SET LOCAL statement_timeout = %s", (max(1, int(limit.left * 1000)),))
            before = time.time()
            cursor.execute(_FACTS, (known, known))
            row = cursor.fetchone()
            between = (before + time.time()) / 2
    except psycopg2.Error as exc:
        raise limit.failure(exc) from exc
    columns = (*row[:-1], row[-1] - between)
    return Facts(*columns)


def notify(listener: t.Any, sender: t.Any, limit: TimeLimit) -> float | None:
    """Seconds until a message of C(sender) reached C(listener), C(None) if it did not. Raises C(Failed).

    Two sessions, since behind a pooler in transaction mode one session gets its own messages by chance.
    """
    psycopg2 = load(PSYCOPG2)
    channel = f"flyte_onprem_check_{os.urandom(8).hex()}"
    name = psycopg2.extensions.quote_ident(channel, listener)
    try:
        with listener, listener.cursor() as cursor:
            cursor.execute("LISTEN " + name)
        started = time.monotonic()
        seconds = min(_NOTIFICATION_SECONDS, limit.left / 2)  # the rest is for UNLISTEN
        with sender, sender.cursor() as cursor:
            cursor.execute("SELECT pg_notify(%s, %s)", (channel, ""))
        try:
            while not listener.notifies:
                left = started + seconds - time.monotonic()
                if left <= 0:
                    return None
                select.select([listener], [], [], left)
                listener.poll()
            return time.monotonic() - started
        finally:
            with listener, listener.cursor() as cursor:
                cursor.execute("UNLISTEN " + name)
    except psycopg2.Error as exc:
        raise limit.failure(exc) from exc


@contextlib.contextmanager
def _session(target: login.Target, found: login.Login, limit: TimeLimit) -> t.Iterator[t.Any]:
    psycopg2 = load(PSYCOPG2)
    settings: dict[str, t.Any] = {
        "host": target.host,
        "hostaddr": found.address,
        "port": target.port,
        "dbname": target.database,
        "user": target.user,
        "password": target.password,
        "sslmode": target.sslmode,
        "application_name": "flyte.onprem",
    }
    if target.verifies:
        settings["sslrootcert"] = target.ca_file
    if psycopg2.extensions.libpq_version() >= 120000:
        # Flyte's driver knows no GSS encryption; asking for it costs a round trip where a ticket lies about.
        settings["gssencmode"] = "disable"
    try:
        connection = psycopg2.connect(**settings)
    except psycopg2.Error as exc:
        raise limit.failure(exc) from exc
    try:
        yield connection
    finally:
        connection.close()


def _libpq_version() -> Version:
    return parse_version_num(load(PSYCOPG2).extensions.libpq_version())


def _words(exc: Exception) -> str:
    """The server's or libpq's own words on one line."""
    return " ".join(str(exc).split()) or type(exc).__name__
