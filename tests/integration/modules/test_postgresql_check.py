# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""postgresql_check against real servers: each fault is produced for real, and fails its own check and nothing else."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from support.modules import Result, run_module
from support.pki import Authority, Leaf
from support.servers import black_hole, free_port, silent_port
from testbed.postgresql import VERSIONS, Cluster, pgbouncer

from ansible_collections.flyte.onprem.plugins.module_utils._postgresql import END_OF_LIFE
from ansible_collections.flyte.onprem.plugins.modules import postgresql_check

PASSWORD = "C4naryPassword"
NAME = "postgresql.example.com"
HBA = """
host    barred  all   127.0.0.1/32 reject
hostssl all     weak  127.0.0.1/32 md5
hostssl all     open  127.0.0.1/32 trust
hostssl all     all   127.0.0.1/32 scram-sha-256
"""


@dataclass
class Server:
    """A cluster with a database that is right in every way."""

    cluster: Cluster
    authority: Authority

    def check(self, *, check_mode: bool = False, **changes: Any) -> Result:
        arguments = {
            "host": NAME,
            "address": "127.0.0.1",
            "port": self.cluster.port,
            "password": PASSWORD,
            "ca_file": str(self.authority.certificate),
            "pool_size": 20,
            "timeout": 3,
            "retries": 0,
            **changes,
        }
        given = {key: value for key, value in arguments.items() if value is not None}
        result = run_module(postgresql_check.main, given, check=check_mode)
        assert PASSWORD not in result.output
        return result

    def present(self, leaf: Leaf) -> None:
        """Let the server show this certificate from its next connection on."""
        self.cluster.present(leaf.certificate, leaf.key)


@contextlib.contextmanager
def running(major: int, authority: Authority) -> Iterator[Server]:
    with Cluster(major) as cluster:
        server = Server(cluster, authority)
        server.present(authority.issue(NAME, "127.0.0.1"))
        cluster.settings.update(ssl="on", ssl_cert_file="server.crt", ssl_key_file="server.key")
        cluster.settings.update(password_encryption="scram-sha-256")
        cluster.restart()
        cluster.admit(HBA)
        cluster.sql(f"CREATE ROLE flyte LOGIN PASSWORD '{PASSWORD}'", "CREATE DATABASE flyte OWNER flyte")
        yield server


@pytest.fixture(scope="module")
def server(authority: Authority) -> Iterator[Server]:
    with running(17, authority) as healthy:
        yield healthy


# A fault is a context: given the server, it breaks something, says with which options to look, and mends it.
Fault = Callable[[Server], AbstractContextManager[dict[str, Any]]]


def options(**changes: Any) -> Fault:
    """Nothing is broken but what is asked."""

    @contextlib.contextmanager
    def fault(_server: Server) -> Iterator[dict[str, Any]]:
        yield changes

    return fault


def sql(*breaking: str, mending: tuple[str, ...], database: str = "postgres", **changes: Any) -> Fault:
    """Broken and mended by statements of the superuser."""

    @contextlib.contextmanager
    def fault(server: Server) -> Iterator[dict[str, Any]]:
        server.cluster.sql(*breaking, database=database)
        try:
            yield changes
        finally:
            server.cluster.sql(*mending, database=database)

    return fault


def setting(name: str, value: str, **changes: Any) -> Fault:
    """Another setting of the server, by a reload."""

    @contextlib.contextmanager
    def fault(server: Server) -> Iterator[dict[str, Any]]:
        server.cluster.sql(f"ALTER SYSTEM SET {name} = '{value}'")
        server.cluster.reload()
        time.sleep(0.2)  # the postmaster re-reads its files after it has been told
        try:
            yield changes
        finally:
            server.cluster.sql(f"ALTER SYSTEM RESET {name}")
            server.cluster.reload()
            time.sleep(0.2)

    return fault


def certificate(*names: str, days: float = 90, stranger: bool = False) -> Fault:
    """The server shows another certificate."""

    @contextlib.contextmanager
    def fault(server: Server) -> Iterator[dict[str, Any]]:
        authority = Authority(server.authority.directory.parent / "stranger") if stranger else server.authority
        server.present(authority.issue(*names, days=days))
        time.sleep(0.2)
        try:
            yield {}
        finally:
            server.present(server.authority.issue(NAME, "127.0.0.1"))
            time.sleep(0.2)

    return fault


def answering(reply: bytes) -> Fault:
    """Something else listens; it answers the first bytes with C(reply) and hangs up."""

    @contextlib.contextmanager
    def fault(_server: Server) -> Iterator[dict[str, Any]]:
        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(64)
                connection.sendall(reply)

        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            threading.Thread(target=serve, daemon=True).start()
            yield {"port": listener.getsockname()[1]}

    return fault


def port(make: Callable[[], AbstractContextManager[int]], **changes: Any) -> Fault:
    @contextlib.contextmanager
    def fault(_server: Server) -> Iterator[dict[str, Any]]:
        with make() as number:
            yield {"port": number, **changes}

    return fault


@contextlib.contextmanager
def stopped(server: Server) -> Iterator[dict[str, Any]]:
    server.cluster.stop()
    try:
        yield {}
    finally:
        server.cluster.start()


@contextlib.contextmanager
def frozen(server: Server) -> Iterator[dict[str, Any]]:
    server.cluster.freeze()
    try:
        yield {"timeout": 1}
    finally:
        server.cluster.resume()


@contextlib.contextmanager
def full(server: Server) -> Iterator[dict[str, Any]]:
    """Every connection that is not kept for superusers is held by somebody."""
    ((most, kept),) = server.cluster.sql(
        "SELECT current_setting('max_connections')::int, current_setting('superuser_reserved_connections')::int"
    )
    server.cluster.sql(f"CREATE ROLE busy LOGIN PASSWORD '{PASSWORD}'")
    with contextlib.ExitStack() as stack:
        for _ in range(most - kept):
            held = server.cluster.connect(user="busy", password=PASSWORD)
            stack.callback(held.close)
        yield {}
    time.sleep(0.3)  # until the server has noticed
    server.cluster.sql("DROP ROLE busy")


def standby(hot: bool) -> Fault:
    @contextlib.contextmanager
    def fault(server: Server) -> Iterator[dict[str, Any]]:
        server.cluster.settings["hot_standby"] = "on" if hot else "off"
        server.cluster.restart(standby=True)
        try:
            yield {}
        finally:
            server.cluster.restart()

    return fault


@contextlib.contextmanager
def shifted(server: Server) -> Iterator[dict[str, Any]]:
    """The server's clock is two hours ahead."""
    server.cluster.shift_clock("+2h")
    server.cluster.restart()
    try:
        yield {}
    finally:
        server.cluster.environment = {}
        server.cluster.restart()


def tables(*names: str, owner: str = "flyte", **changes: Any) -> Fault:
    return sql(
        *(f"CREATE TABLE {name} (id int); ALTER TABLE {name} OWNER TO {owner}" for name in names),
        mending=tuple(f"DROP TABLE {name}" for name in names),
        database="flyte",
        **changes,
    )


def role(clauses: str, *grants: str, name: str = "other", password: str = PASSWORD) -> Fault:
    """Another user looks."""
    return sql(
        f"CREATE ROLE {name} {clauses} PASSWORD '{password}'",
        *grants,
        mending=(f"DROP OWNED BY {name}", f"DROP ROLE {name}"),
        database="flyte",
        user=name,
        password=password,
    )


def database(name: str, clauses: str) -> Fault:
    """Another database is looked at."""
    return sql(f"CREATE DATABASE {name} OWNER flyte {clauses}", mending=(f"DROP DATABASE {name}",), database_asked=name)


# fault, id that must fail, the fault itself, words that must stand in what was seen
FAULTS = [
    ("password empty", "DB-02", options(password=""), "empty"),
    (
        "password with a space",
        "DB-01",
        role("LOGIN", "GRANT ALL ON SCHEMA public TO other", password="has a space"),
        "white space",
    ),
    (
        "password with a backslash",
        "DB-01",
        role("LOGIN", "GRANT ALL ON SCHEMA public TO other", password="back\\slash"),
        "backslash",
    ),
    ("name unknown", "DB-10", options(host="nowhere.invalid", address=None), "nowhere.invalid"),
    ("name malformed", "DB-10", options(host="a" * 70, address=None), "aaa"),
    ("black hole", "DB-11", port(black_hole, timeout=1), "no answer"),
    ("no route", "DB-11", options(address="224.0.0.1", timeout=1), "224.0.0.1"),
    ("port closed", "DB-12", options(port=free_port()), "refused"),
    ("server stopped", "DB-12", stopped, "refused"),
    ("silent port", "DB-13", port(silent_port, timeout=1), "no answer within 1 seconds"),
    ("server frozen", "DB-13", frozen, "no answer within 1 seconds"),
    ("web server on the port", "DB-13", answering(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "b'H'"),
    ("proxy without a backend", "DB-13", answering(b""), "closed"),
    ("TLS off", "DB-14", setting("ssl", "off"), "no TLS"),
    ("TLS off, any certificate will do", "DB-14", setting("ssl", "off", sslmode="require"), "no TLS"),
    ("unknown CA", "TLS-11", certificate(NAME, stranger=True), "issuer"),
    ("certificate for another name", "TLS-12", certificate("db.example.org"), NAME),
    ("name is an address that the certificate lacks", "TLS-12", options(host="127.0.0.2"), "127.0.0.2"),
    ("certificate expired", "TLS-13", certificate(NAME, days=-1), "expired"),
    ("pg_hba.conf rejects", "DB-15", options(database="barred"), "28000"),
    ("pg_hba.conf has no line without TLS", "DB-15", options(sslmode="disable"), "no encryption"),
    ("wrong password", "DB-16", options(password="another-password"), "28P01"),
    ("no such user", "DB-16", options(user="nobody"), "28P01"),
    ("password expired", "DB-16", role("LOGIN VALID UNTIL '2020-01-01'"), "28P01"),
    ("user may not log in", "DB-17", role("NOLOGIN"), "not permitted to log in"),
    (
        "CONNECT revoked",
        "DB-17",
        sql(
            "REVOKE CONNECT ON DATABASE flyte FROM public, flyte",
            mending=("GRANT CONNECT ON DATABASE flyte TO public, flyte",),
        ),
        "42501",
    ),
    ("database missing", "DB-18", options(database="absent"), "3D000"),
    ("all connections taken", "DB-19", full, "53300"),
    ("user's limit reached", "DB-19", role("LOGIN CONNECTION LIMIT 0"), "53300"),
    (
        "database's limit reached",
        "DB-19",
        sql("ALTER DATABASE flyte CONNECTION LIMIT 0", mending=("ALTER DATABASE flyte CONNECTION LIMIT -1",)),
        "53300",
    ),
    ("server recovers", "DB-20", standby(hot=False), "57P03"),
    (
        "database closed",
        "DB-20",
        sql("ALTER DATABASE flyte ALLOW_CONNECTIONS false", mending=("ALTER DATABASE flyte ALLOW_CONNECTIONS true",)),
        "55000",
    ),
    ("server newer than asked", "DB-22", options(maximum_version=16), "PostgreSQL 17"),
    ("standby", "DB-25", standby(hot=True), "standby"),
    (
        "database read-only",
        "DB-26",
        sql(
            "ALTER DATABASE flyte SET default_transaction_read_only = on",
            mending=("ALTER DATABASE flyte RESET default_transaction_read_only",),
        ),
        "read-only",
    ),
    (
        "user read-only",
        "DB-26",
        sql(
            "ALTER ROLE flyte SET default_transaction_read_only = on",
            mending=("ALTER ROLE flyte RESET default_transaction_read_only",),
        ),
        "read-only",
    ),
    ("user may not create", "DB-05", role("LOGIN"), "pg_database_owner"),
    (
        "no schema",
        "DB-05",
        sql("DROP SCHEMA public", mending=("CREATE SCHEMA public AUTHORIZATION pg_database_owner",), database="flyte"),
        "search path",
    ),
    ("encoding not UTF-8", "DB-27", database("latin", "ENCODING 'LATIN1' TEMPLATE template0"), "LATIN1"),
    ("encoding none", "DB-27", database("ascii", "ENCODING 'SQL_ASCII' TEMPLATE template0"), "SQL_ASCII"),
    ("pool larger than the server", "DB-07", options(pool_size=100), "max_connections 60"),
    (
        "pool larger than the user's limit",
        "DB-07",
        sql("ALTER ROLE flyte CONNECTION LIMIT 10", mending=("ALTER ROLE flyte CONNECTION LIMIT -1",)),
        "limit of the user 10",
    ),
    ("tables of Flyte 2", "DB-28", tables("actions", "task_specs"), "actions, task_specs"),
    ("tables of Flyte 1", "DB-28", tables("launch_plans", generation=2), "launch_plans"),
    ("tables of another user", "DB-30", tables("launch_plans", owner="postgres"), "launch_plans"),
]


@pytest.mark.parametrize(
    ("id", "fault", "words"), [row[1:] for row in FAULTS], ids=[f"{row[0]}: {row[1]}" for row in FAULTS]
)
def test_each_fault_fails_its_own_check_and_nothing_else(server: Server, id: str, fault: Fault, words: str) -> None:
    with fault(server) as changes:
        if "database_asked" in changes:
            changes["database"] = changes.pop("database_asked")
        result = server.check(**changes)
    result.assert_fails_only(id, words)
    assert result.statuses("warning") == []
    assert result.failed
    row = result.row(id)
    for told in (id, row["observed"], row["cause"], row["fix"]):
        assert told in result["msg"]


def test_a_healthy_server_passes(server: Server) -> None:
    result = server.check()
    assert not result.failed, result["msg"]
    assert result["passed"]
    assert result.statuses("warning") == []
    assert result.statuses("skipped") == ["DB-22"]
    assert result["server_version_num"] // 10000 == 17
    assert result["authentication_method"] == "scram-sha-256"
    assert result["tls_version"] == "TLSv1.3"


def test_the_healthy_server_still_passes_after_all_faults(server: Server) -> None:
    """Nothing that a test broke, and nothing that the module did, is left."""
    assert not server.check().failed
    ((sessions,),) = server.cluster.sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'flyte'")
    assert sessions == 0


@pytest.mark.parametrize(
    "password",
    [
        "soft\u00adhyphen",
        "zero\u200dwidth",
        "ninth\u2168",
        "not_assigned_in_2002_\U0001f680\u2168",
        "bell\a\u2168",
        "\u0627\u2168",  # right to left, and ends otherwise
    ],
    ids=ascii,
)
def test_a_password_is_right_whatever_its_characters(server: Server, password: str) -> None:
    with role("LOGIN", "GRANT ALL ON SCHEMA public TO other", password=password)(server) as changes:
        result = server.check(**changes)
    assert not result.failed, result["msg"]
    assert result["authentication_method"] == "scram-sha-256"


def test_check_mode_does_the_same(server: Server) -> None:
    plain, check = server.check(), server.check(check_mode=True)
    assert [(row["id"], row["status"]) for row in check["checks"]] == [
        (row["id"], row["status"]) for row in plain["checks"]
    ]


def test_report_only_succeeds_with_the_failed_rows(server: Server) -> None:
    result = server.check(password="another-password", report_only=True)
    assert not result.failed
    assert not result["passed"]
    assert result.statuses("failed") == ["DB-16"]


def test_what_depends_on_a_failed_check_is_skipped_and_names_it(server: Server) -> None:
    result = server.check(database="absent")
    assert "DB-18 failed" in result.row("DB-05")["observed"]
    assert result.row("DB-05")["status"] == "skipped"


@pytest.mark.parametrize("sslmode", ["require", "verify-ca", "prefer"])
def test_weaker_modes_ask_less_of_the_certificate(server: Server, sslmode: str) -> None:
    with certificate("db.example.org")(server):
        result = server.check(sslmode=sslmode)
    assert not result.failed, result["msg"]
    assert "TLS-12" in result.statuses("skipped")
    assert result["tls_version"] == "TLSv1.3"


# what it is, id that must warn, how to come by it, words in what was seen
WARNINGS = [
    (
        "no password asked for",
        "DB-24",
        sql(
            "CREATE ROLE open LOGIN",
            "GRANT ALL ON SCHEMA public TO open",
            mending=("DROP OWNED BY open", "DROP ROLE open"),
            database="flyte",
            user="open",
        ),
        "did not ask",
    ),
    (
        "md5",
        "DB-24",
        sql(
            "SET password_encryption = 'md5'",
            f"CREATE ROLE weak LOGIN PASSWORD '{PASSWORD}'",
            "GRANT ALL ON SCHEMA public TO weak",
            mending=("DROP OWNED BY weak", "DROP ROLE weak"),
            database="flyte",
            user="weak",
        ),
        "md5",
    ),
    ("certificate about to expire", "TLS-13", certificate(NAME, days=5), "more days"),
    ("clock two hours ahead", "DB-29", shifted, "s ahead of"),
]


@pytest.mark.parametrize(
    ("id", "fault", "words"), [row[1:] for row in WARNINGS], ids=[f"{row[0]}: {row[1]}" for row in WARNINGS]
)
def test_each_fault_that_does_not_stop_flyte_is_a_warning(server: Server, id: str, fault: Fault, words: str) -> None:
    with fault(server) as changes:
        result = server.check(**changes)
    assert not result.failed, result["msg"]
    assert result.statuses("warning") == [id]
    assert words in result.row(id)["observed"]


def test_bad_parameters_fail_before_anything_is_asked(server: Server, tmp_path: Path) -> None:
    assert "ca_file" in server.check(ca_file=None)["msg"]
    missing = server.check(ca_file=str(tmp_path / "absent.crt"))
    assert missing.failed
    assert "absent.crt" in missing["msg"]
    assert "checks" not in missing.values


@contextlib.contextmanager
def pooler(server: Server, tmp_path: Path, *, mode: str) -> Iterator[int]:
    """A pgbouncer before the server; yields its port."""
    tmp_path.chmod(0o755)
    number = free_port()
    (tmp_path / "users.txt").write_text(f'"flyte" "{PASSWORD}"\n')
    shutil.copy(server.cluster.data / "server.crt", tmp_path / "server.crt")
    shutil.copy(server.cluster.data / "server.key", tmp_path / "server.key")
    (tmp_path / "pgbouncer.ini").write_text(
        f"""
[databases]
flyte = host=127.0.0.1 port={server.cluster.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {number}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {tmp_path}/users.txt
pool_mode = {mode}
client_tls_sslmode = require
client_tls_cert_file = {tmp_path}/server.crt
client_tls_key_file = {tmp_path}/server.key
server_tls_sslmode = require
"""
    )
    server.cluster.own(tmp_path)
    for parent in tmp_path.parents[:3]:
        parent.chmod(0o755)
    # It does not run as root, and may not change its user unless it is.
    as_nobody = ["-u", "nobody"] if os.geteuid() == 0 else []
    process = subprocess.Popen([*pgbouncer(), "-q", *as_nobody, str(tmp_path / "pgbouncer.ini")])
    try:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", number), timeout=1):
                break
            time.sleep(0.05)
        yield number
    finally:
        process.terminate()
        process.wait(timeout=10)


@pytest.mark.parametrize(
    ("generation", "status"),
    [
        pytest.param(1, "warning", id="pooler in transaction mode before Flyte 1: DB-06 warning"),
        pytest.param(2, "failed", id="pooler in transaction mode before Flyte 2: DB-06 failed"),
    ],
)
def test_each_fault_of_a_pooler(server: Server, tmp_path: Path, generation: int, status: str) -> None:
    with pooler(server, tmp_path, mode="transaction") as number:
        result = server.check(port=number, generation=generation)
    expected = {"failed": [], "warning": [], status: ["DB-06"]}
    assert {kind: result.statuses(kind) for kind in expected} == expected, result["msg"]


def test_a_pooler_in_session_mode_is_no_fault(server: Server, tmp_path: Path) -> None:
    with pooler(server, tmp_path, mode="session") as number:
        result = server.check(port=number)
    assert result["passed"], result["msg"]
    assert result.statuses("warning") == []


# As of the table of releases: what is still supported raises no alarm, what is not is said to be old, and no more.
SUPPORTED = [major for major in VERSIONS if END_OF_LIFE[major] >= datetime.now(timezone.utc).date()]
OLD = [major for major in VERSIONS if major >= 12 and major not in SUPPORTED]


@pytest.mark.parametrize("major", [major for major in SUPPORTED if major != 17])
def test_no_false_alarm_on_any_version_that_is_supported(authority: Authority, major: int) -> None:
    with running(major, authority) as server:
        result = server.check()
    assert result["passed"], result["msg"]
    assert result.statuses("warning") == []
    assert result["server_version_num"] // 10000 == major


@pytest.mark.parametrize("major", [pytest.param(major, id=f"PostgreSQL {major}: DB-23 warning") for major in OLD])
def test_each_fault_of_age_is_a_warning_and_nothing_else(authority: Authority, major: int) -> None:
    with running(major, authority) as server:
        result = server.check()
    assert result["passed"], result["msg"]
    assert result.statuses("warning") == ["DB-23"]
    assert END_OF_LIFE[major].isoformat() in result.row("DB-23")["observed"]


@pytest.mark.parametrize("major", [pytest.param(11, id="PostgreSQL 11: DB-08 failed")])
def test_each_fault_of_a_version_that_flyte_cannot_use(authority: Authority, major: int) -> None:
    with running(major, authority) as server:
        result = server.check()
    assert result.statuses("failed") == ["DB-08"]
    assert result.statuses("warning") == []
    assert f"PostgreSQL {major}." in result.row("DB-08")["observed"]
    assert "PostgreSQL 12" in result.row("DB-08")["expected"]
