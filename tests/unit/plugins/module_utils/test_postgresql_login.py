# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers that a real server is hard to bring to; the others: tests/integration/modules/test_postgresql_check.py."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

import pytest
from support.servers import free_port, server_that_sends

from ansible_collections.flyte.onprem.plugins.module_utils import _postgresql_login
from ansible_collections.flyte.onprem.plugins.module_utils._postgresql_login import (
    LoginFailed,
    Scram,
    Target,
    TooManyIterations,
    error_fields,
    log_in,
    prepared,
)

SCRAM = b"R" + struct.pack("!ii", 23, 10) + b"SCRAM-SHA-256\0\0"


def refusal(sqlstate: str, text: str, routine: str = "") -> bytes:
    body = b"SFATAL\0C" + sqlstate.encode() + b"\0M" + text.encode() + b"\0R" + routine.encode() + b"\0\0"
    return b"E" + struct.pack("!i", len(body) + 4) + body


def target(port: int, *, timeout: float = 5) -> Target:
    return Target(
        host="127.0.0.1",
        port=port,
        database="flyte",
        user="flyte",
        password="secret-of-flyte",
        sslmode="disable",
        ca_file=None,
        address=None,
        timeout=timeout,
    )


def failure_of(*replies: bytes) -> LoginFailed:
    """Log in at a server that answers each message with the next of C(replies), then hangs up."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            for reply in replies:
                connection.recv(4096)
                connection.sendall(reply)
            with contextlib.suppress(ConnectionResetError):
                connection.recv(4096)  # a message left unread would turn the end into a reset

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        server = threading.Thread(target=serve, daemon=True)
        server.start()
        with pytest.raises(LoginFailed) as caught:
            log_in(target(listener.getsockname()[1]))
        server.join(timeout=5)
    return caught.value


@pytest.mark.parametrize(
    ("sqlstate", "attempts"),
    [
        # what the server says to each login, how often it is asked
        ("53300", 3),  # too many clients
        ("57P03", 3),  # starting up
        ("28P01", 1),  # wrong password
        ("3D000", 1),  # no such database
    ],
)
def test_only_what_may_pass_by_itself_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, sqlstate: str, attempts: int
) -> None:
    monkeypatch.setattr(_postgresql_login, "_PAUSE", 0)
    came: list[str] = []

    def serve() -> None:
        with contextlib.suppress(OSError):  # the listener is closed at the end
            while True:
                connection, _ = listener.accept()
                with connection:
                    came.append(sqlstate)
                    connection.recv(4096)
                    connection.sendall(refusal(sqlstate, "not now"))

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        threading.Thread(target=serve, daemon=True).start()
        with pytest.raises(LoginFailed) as caught:
            log_in(target(listener.getsockname()[1]), retries=2)
    assert len(came) == attempts
    assert ("(3 attempts)" in caught.value.observed) == (attempts > 1)


def test_no_attempt_begins_when_the_time_is_nearly_over() -> None:
    with pytest.raises(LoginFailed) as caught:
        log_in(target(free_port(), timeout=0.4), retries=5)
    assert caught.value.id == "DB-12"
    assert "attempts" not in caught.value.observed


# what the server answers, id of the step that ends the login, words of what was seen
ANSWERS = [
    ((refusal("28000", "kein pg_hba.conf-Eintrag", "ClientAuthentication"),), "DB-15", "kein pg_hba.conf-Eintrag"),
    ((refusal("28000", "role is gone", "InitializeSessionUserId"),), "DB-17", "role is gone"),
    ((refusal("53300", "sorry, zu viele Verbindungen"),), "DB-19", "zu viele"),
    ((refusal("57P03", "the database system is shutting down"),), "DB-20", "shutting down"),
    ((refusal("XX000", "nobody knows"),), "DB-20", "nobody knows (SQLSTATE XX000)"),
    ((b"R" + struct.pack("!ii", 8, 7),), "DB-16", "GSSAPI"),  # GSSAPI
    ((b"R" + struct.pack("!ii", 8, 10) + b"",), "DB-16", "SASL other than"),  # SASL without a method we know
    ((b"Z" + struct.pack("!i", 5) + b"I",), "DB-13", "order of messages"),
    ((b"\xff" * 64,), "DB-13", "protocol"),
    ((SCRAM, b"R" + struct.pack("!ii", 8, 0)), "DB-16", "step 0, 11 was due"),
    ((SCRAM, b"R" + struct.pack("!ii", 24, 11) + b"r=x,s=AAAA,i=1  "), "DB-16", "challenge"),
    ((), "DB-13", "closed"),
]


@pytest.mark.parametrize(("replies", "id", "words"), ANSWERS)
def test_each_answer_ends_the_login_at_its_own_step(replies: tuple[bytes, ...], id: str, words: str) -> None:
    failed = failure_of(*replies)
    assert failed.id == id
    assert words in failed.observed
    assert "secret-of-flyte" not in failed.observed
    assert "DB-12" in failed.proved


@pytest.mark.parametrize(
    ("password", "becomes"),
    [
        ("pencil", "pencil"),
        ("bell\a", "bell\a"),  # ASCII is taken as it is
        ("I\u00adX", "IX"),  # soft hyphen
        ("a\u200db", "ab"),  # zero width joiner
        ("a\u00a0b\u3000c", "a b c"),
        ("a\u200bb", "a b"),  # in both tables of the RFC; to a space, as libpq has it
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("\u00e9\a", "\u00e9\a"),  # prohibited
        ("\u2168\U0001f680", "\u2168\U0001f680"),  # not assigned in Unicode 3.2, which RFC 3454 stands on
        ("\u2168\u0221", "\u2168\u0221"),
        ("\u0627\ufe8f\u0031", "\u0627\ufe8f\u0031"),  # right to left, and ends otherwise
        ("\u0627\u00aa\u0627", "\u0627\u00aa\u0627"),  # in both directions
        ("\u0627\ufe8f", "\u0627\u0628"),  # right to left from end to end
        ("\u00ad", "\u00ad"),  # nothing would be left
    ],
)
def test_a_password_is_prepared_as_libpq_does(password: str, becomes: str) -> None:
    assert prepared(password) == becomes


def test_a_server_that_does_not_know_the_password_is_not_believed() -> None:
    client = Scram("pencil", nonce="abc")
    client.final(b"r=abcdef,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")
    assert not client.proves_the_server(b"v=AAAA")


def test_a_challenge_that_does_not_continue_our_nonce_is_refused() -> None:
    with pytest.raises(ValueError, match="nonce"):
        Scram("pencil", nonce="abc").final(b"r=xyz,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")


def requests(*parts: bytes) -> list[bytes]:
    """Authentication requests, as the server sends them."""
    return [b"R" + (len(part) + 4).to_bytes(4, "big") + part for part in parts]


# what the server asks for, words of what was seen, words of the remedy
REFUSED = [
    ([SCRAM[5:], b"\x00\x00\x00\x0br=xyz,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"], "not valid", "listens at this address"),
    ([SCRAM[5:], b"\x00\x00\x00\x0b\xff"], "not valid: unexpected nonce or form", "listens at this address"),
    ([b"\x00\x00\x00\x09"], "SSPI", "scram-sha-256"),
    ([b"\x00\x00\x00\x0aSCRAM-SHA-256-PLUS\x00\x00"], "other than SCRAM-SHA-256", "scram-sha-256"),
]


@pytest.mark.parametrize(("asked", "seen", "fix"), REFUSED)
def test_what_cannot_be_answered_is_not_told_as_a_wrong_password(asked: list[bytes], seen: str, fix: str) -> None:
    failed = failure_of(*requests(*asked))
    assert failed.id == "DB-16"
    assert seen in failed.observed
    assert fix in failed.fix
    assert failed.cause


def test_more_iterations_than_usual_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []
    monkeypatch.setattr("hashlib.pbkdf2_hmac", lambda *given: done.append(given[3]) or b"")
    Scram("pencil", nonce="abc").final(b"r=abcdef,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1200000")
    assert done == [1_200_000]


@pytest.mark.parametrize("iterations", ["10000001", "40000000", "2147483647000", "9" * 5000])
def test_a_challenge_that_takes_too_long_is_refused(monkeypatch: pytest.MonkeyPatch, iterations: str) -> None:
    monkeypatch.setattr("hashlib.pbkdf2_hmac", lambda *_: pytest.fail("it was begun"))
    with pytest.raises(TooManyIterations):
        Scram("pencil", nonce="abc").final(f"r=abcdef,s=W22ZaJ0SNY7soEsUEjb6gQ==,i={iterations}".encode())


@pytest.mark.parametrize("message", [b"R\x00\x00\x00\x08\x00\x00\x00\x00", b"S\x00\x00\x00\x08a\x00b\x00"])
def test_a_server_that_never_pauses_ends_at_the_time_limit(message: bytes) -> None:
    with server_that_sends(message, message * 1000, 1_000_000, pause=0) as url:
        port = int(url.rpartition(":")[2])
        with pytest.raises(LoginFailed, match=r"no answer within 0\.4 seconds"):
            log_in(target(port, timeout=0.4))


def test_the_fields_of_an_error_are_found_by_their_letters() -> None:
    assert error_fields(b"SFATAL\0C28P01\0Mno\0\0") == {"S": "FATAL", "C": "28P01", "M": "no"}


def test_a_target_does_not_show_its_password() -> None:
    assert "secret-of-flyte" not in repr(target(1))
