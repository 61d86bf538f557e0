# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is PRIVATE to the collection. It can change at any time.

"""One PostgreSQL login by hand, to learn at which step it ends.

libpq gives the text of a refused login but not its SQLSTATE, the text is in the
server's language, and an expired certificate reads like one from a stranger. So
the login is done here step by step, each step with its own check id. Questions
are then asked in a session of psycopg2, after this login has succeeded.

Source: PostgreSQL manual, "Frontend/Backend Protocol" (message flow, message
formats, error fields, SASL authentication).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import socket
import ssl
import stringprep
import struct
import time
import typing as t
import unicodedata
from dataclasses import dataclass, field

from ansible_collections.flyte.onprem.plugins.module_utils import _reach
from ansible_collections.flyte.onprem.plugins.module_utils._limits import within

# The steps of a login in the order in which they are proved, by their ids in the catalogue.
RESOLVES = "DB-10"
PORT_OPEN = "DB-12"
SPEAKS_POSTGRESQL = "DB-13"
OFFERS_TLS = "DB-14"
CERTIFICATE_TRUSTED = "TLS-11"
CERTIFICATE_NAME = "TLS-12"
CERTIFICATE_VALID = "TLS-13"
ADMITTED = "DB-15"
AUTHENTICATED = "DB-16"
MAY_CONNECT = "DB-17"
DATABASE_EXISTS = "DB-18"
CONNECTION_FREE = "DB-19"
ACCEPTS_SESSIONS = "DB-20"
STEPS = (
    RESOLVES,
    PORT_OPEN,
    SPEAKS_POSTGRESQL,
    OFFERS_TLS,
    CERTIFICATE_TRUSTED,
    CERTIFICATE_NAME,
    CERTIFICATE_VALID,
    ADMITTED,
    AUTHENTICATED,
    MAY_CONNECT,
    DATABASE_EXISTS,
    CONNECTION_FREE,
    ACCEPTS_SESSIONS,
)
# In place of PORT_OPEN where packets are lost rather than refused.
UNREACHABLE = "DB-11"

_PROTOCOL = 196608
_SSL_REQUEST = 80877103
_LONGEST_MESSAGE = 1 << 20
# PostgreSQL asks for 4096 if not told otherwise; this many take ten seconds or so, longer than any login should.
_MOST_ITERATIONS = 10_000_000
# Authentication requests without a password (PostgreSQL's protocol, message formats).
_WITHOUT_PASSWORD = {2: "Kerberos 5", 6: "SCM credentials", 7: "GSSAPI", 9: "SSPI", 10: "SASL other than SCRAM-SHA-256"}

# What a SQLSTATE that ends a login says, where it says only one thing.
_BY_SQLSTATE = {
    "28P01": AUTHENTICATED,
    "3D000": DATABASE_EXISTS,
    "42501": MAY_CONNECT,
    "53300": CONNECTION_FREE,
    "55000": ACCEPTS_SESSIONS,
    "57P01": ACCEPTS_SESSIONS,
    "57P03": ACCEPTS_SESSIONS,
}


# May be otherwise a moment later: the server starts, or somebody's session ends.
_PASSING = (PORT_OPEN, CONNECTION_FREE, ACCEPTS_SESSIONS)
_PAUSE = 0.5


@dataclass(frozen=True)
class Target:
    """Where to log in and as whom; C(address) is dialled in place of C(host) when it is set."""

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)
    sslmode: str
    ca_file: str | None
    address: str | None
    timeout: float

    @property
    def verifies(self) -> bool:
        return self.sslmode in ("verify-ca", "verify-full")


@dataclass(frozen=True)
class Login:
    """A login that succeeded: what was seen at each step that was taken, and what is worth knowing of it.

    C(method) is what the server asked for: scram-sha-256, md5, password or trust.
    """

    proved: t.Mapping[str, str]
    address: str
    seconds: float
    method: str
    tls_version: str | None
    certificate_not_after: float | None


def not_asked_for(sslmode: str) -> tuple[str, ...]:
    """The steps that a mode leaves out, whatever the server does."""
    return {
        "disable": (OFFERS_TLS, CERTIFICATE_TRUSTED, CERTIFICATE_NAME, CERTIFICATE_VALID),
        "prefer": (OFFERS_TLS, CERTIFICATE_TRUSTED, CERTIFICATE_NAME, CERTIFICATE_VALID),
        "require": (CERTIFICATE_TRUSTED, CERTIFICATE_NAME, CERTIFICATE_VALID),
        "verify-ca": (CERTIFICATE_NAME,),
    }.get(sslmode, ())


class LoginFailed(Exception):
    """The step C(id) ended the login; C(proved) holds what was seen at the steps before it.

    C(cause) and C(fix) replace the catalogue's where they are not empty.
    """

    def __init__(self, id: str, observed: str, *, proved: t.Mapping[str, str], cause: str = "", fix: str = "") -> None:
        super().__init__(observed)
        self.id = id
        self.observed = observed
        self.proved = proved
        self.cause = cause
        self.fix = fix


def log_in(target: Target, *, retries: int = 0) -> Login:
    """Log in, say goodbye and wait until the server has let go of the connection. Raises C(LoginFailed).

    What may pass by itself is tried C(retries) times more, all within the one timeout of the target.
    """
    deadline = time.monotonic() + target.timeout
    attempt = 1
    while True:
        try:
            return _Attempt(target, deadline=deadline).run()
        except LoginFailed as failed:
            over = time.monotonic() + _PAUSE >= deadline
            if failed.id not in _PASSING or attempt > retries or over:
                if attempt > 1:
                    failed.observed += f" ({attempt} attempts)"
                raise
        attempt += 1
        time.sleep(_PAUSE)


class _Attempt:
    """The state of one login: socket, deadline, what is proved so far."""

    def __init__(self, target: Target, *, deadline: float) -> None:
        self.target = target
        self.deadline = deadline
        self.proved: dict[str, str] = {}
        self.method = "trust"
        self.socket: socket.socket | None = None

    def run(self) -> Login:
        started = time.monotonic()
        try:
            address = self._connect()
            tls = self._start_tls()
            self._start_session()
            self._authenticate()
            seconds = time.monotonic() - started
            self._leave()
            return Login(
                proved=self.proved,
                address=address,
                seconds=seconds,
                method=self.method,
                tls_version=tls.version() if tls else None,
                certificate_not_after=_not_after(tls) if tls else None,
            )
        finally:
            if self.socket is not None:
                self.socket.close()

    def _fail(self, id: str, observed: str, **advice: str) -> t.NoReturn:
        raise LoginFailed(id, observed, proved=self.proved, **advice)

    # Network

    def _connect(self) -> str:
        where, port, timeout = self.target.address or self.target.host, self.target.port, self.target.timeout
        try:
            found = _reach.lookup(where, port, timeout=timeout)
        except OSError as exc:
            self._fail(RESOLVES, f"{where}: {_reach.lookup_problem(exc, timeout=timeout)}")
        self.proved[RESOLVES] = ", ".join(sorted({str(info[4][0]) for info in found}))
        started = time.monotonic()
        try:
            self.socket = _reach.connect(found, deadline=self.deadline, retries=0)
        except socket.timeout:
            self._fail(UNREACHABLE, f"no answer from {self.proved[RESOLVES]} port {port} within {timeout:g} seconds")
        except OSError as exc:
            lost = exc.errno in _reach.NO_ROUTE
            self._fail(
                UNREACHABLE if lost else PORT_OPEN, f"{self.proved[RESOLVES]} port {port}: {exc.strerror or exc}"
            )
        address = str(self.socket.getpeername()[0])
        self.proved[PORT_OPEN] = f"connected to {address} in {(time.monotonic() - started) * 1000:.0f} ms"
        return address

    def _remaining(self) -> float:
        # 0 would mean "do not block"; a deadline that has just passed must still time out.
        return max(0.001, self.deadline - time.monotonic())

    def _send(self, data: bytes) -> None:
        if self.socket is None:
            raise AssertionError
        try:
            self.socket.settimeout(self._remaining())
            self.socket.sendall(data)
        except OSError as exc:
            self._silent(exc)

    def _receive(self, length: int) -> bytes:
        if self.socket is None:
            raise AssertionError
        data = b""
        while len(data) < length:
            try:
                # What never pauses meets no timeout of the socket.
                if time.monotonic() > self.deadline:
                    raise socket.timeout
                self.socket.settimeout(self._remaining())
                part = self.socket.recv(length - len(data))
            except OSError as exc:
                self._silent(exc)
            if not part:
                self._fail(SPEAKS_POSTGRESQL, "the connection was closed before the login was answered")
            data += part
        return data

    def _silent(self, exc: OSError) -> t.NoReturn:
        if isinstance(exc, socket.timeout):
            seen = f"the port is open, but there was no answer within {self.target.timeout:g} seconds"
        else:
            seen = f"the connection broke during the login: {exc.strerror or exc}"
        self._fail(SPEAKS_POSTGRESQL, seen)

    # TLS

    def _start_tls(self) -> ssl.SSLSocket | None:
        if self.target.sslmode == "disable":
            return None
        self._send(struct.pack("!ii", 8, _SSL_REQUEST))
        answer = self._receive(1)
        if answer not in (b"S", b"N"):
            self._fail(SPEAKS_POSTGRESQL, f"asked for TLS, the answer began with {answer!r} and not with S or N")
        self.proved[SPEAKS_POSTGRESQL] = "a PostgreSQL server answered"
        if answer == b"N":
            if self.target.sslmode == "prefer":
                return None
            self._fail(OFFERS_TLS, "the server said that it has no TLS")
        self.socket = tls = self._handshake()
        self.proved[OFFERS_TLS] = f"{tls.version()} in use"
        if self.target.verifies:
            self.proved[CERTIFICATE_TRUSTED] = "issued by a trusted CA"
            self.proved[CERTIFICATE_VALID] = f"valid until {(tls.getpeercert() or {}).get('notAfter')}"
        if self.target.sslmode == "verify-full":
            self.proved[CERTIFICATE_NAME] = f"issued for {self.target.host}"
        return tls

    def _handshake(self) -> ssl.SSLSocket:
        if self.socket is None:
            raise AssertionError
        try:
            self.socket.settimeout(self._remaining())
            return _tls_context(self.target).wrap_socket(self.socket, server_hostname=self.target.host)
        except ssl.SSLCertVerificationError as exc:
            self.proved[OFFERS_TLS] = "a certificate was shown"
            culprits = {
                **dict.fromkeys(_reach.EXPIRED, CERTIFICATE_VALID),
                **dict.fromkeys(_reach.WRONG_NAME, CERTIFICATE_NAME),
            }
            self._fail(culprits.get(exc.verify_code, CERTIFICATE_TRUSTED), exc.verify_message)
        except ssl.SSLError as exc:
            self._fail(OFFERS_TLS, f"the TLS handshake failed: {exc.reason or exc}")
        except OSError as exc:
            self._fail(OFFERS_TLS, f"the connection broke during the TLS handshake: {exc.strerror or exc}")

    # Session

    def _start_session(self) -> None:
        settings = {"user": self.target.user, "database": self.target.database, "application_name": "flyte.onprem"}
        body = b"".join(text.encode() + b"\0" for pair in settings.items() for text in pair) + b"\0"
        self._send(struct.pack("!ii", len(body) + 8, _PROTOCOL) + body)

    def _message(self) -> tuple[bytes, bytes]:
        """The next message that matters, as its kind and body; an error message ends the login."""
        while True:
            kind, length = struct.unpack("!ci", self._receive(5))
            if not 4 <= length <= _LONGEST_MESSAGE:
                self._fail(SPEAKS_POSTGRESQL, "what answers does not speak PostgreSQL's protocol")
            body = self._receive(length - 4)
            self.proved.setdefault(SPEAKS_POSTGRESQL, "a PostgreSQL server answered")
            if kind == b"E":
                self._refused(error_fields(body))
            if kind in b"RZ":
                return kind, body

    def _refused(self, fields: t.Mapping[str, str]) -> t.NoReturn:
        sqlstate = fields.get("C", "")
        id = _BY_SQLSTATE.get(sqlstate, ACCEPTS_SESSIONS)
        if sqlstate == "28000":
            # One SQLSTATE for two things; the routine tells pg_hba.conf from a role that may not log in.
            id = ADMITTED if fields.get("R", "") == "ClientAuthentication" else MAY_CONNECT
        self._fail(id, f"the server said: {fields.get('M', '')} (SQLSTATE {sqlstate})")

    def _request(self) -> tuple[int, bytes]:
        """The server's next authentication request, as its code and what follows."""
        kind, body = self._message()
        if kind != b"R" or len(body) < 4:
            self._fail(SPEAKS_POSTGRESQL, "what answers does not keep to PostgreSQL's order of messages")
        return struct.unpack("!i", body[:4])[0], body[4:]

    def _expect(self, wanted: int) -> bytes:
        code, body = self._request()
        if code != wanted:
            self._fail(AUTHENTICATED, f"the server asked for authentication step {code}, {wanted} was due")
        return body

    def _authenticate(self) -> None:
        code, body = self._request()
        self.proved[ADMITTED] = f"user {self.target.user} may try"
        user, password = self.target.user.encode(), self.target.password.encode()
        if code == 3:
            self.method = "password"
            self._send_password(password)
        elif code == 5:
            self.method = "md5"
            inner = hashlib.md5(password + user, usedforsecurity=False).hexdigest().encode()
            outer = hashlib.md5(inner + body[:4], usedforsecurity=False).hexdigest().encode()
            self._send_password(b"md5" + outer)
        elif code == 10 and b"SCRAM-SHA-256" in body.split(b"\0"):
            self.method = "scram-sha-256"
            self._scram()
        elif code != 0:
            self._fail(
                AUTHENTICATED,
                f"the server asks for {_WITHOUT_PASSWORD.get(code, f'authentication {code}')}, and not for a password",
                cause="The line of pg_hba.conf for this user, database and client names a method that Flyte has not.",
                fix="Give that line the method scram-sha-256, and reload the server's configuration.",
            )
        if code != 0:
            self._expect(0)
        self.proved[AUTHENTICATED] = f"accepted ({self.method})"
        while self._message()[0] != b"Z":
            pass
        self.proved[MAY_CONNECT] = f"user {self.target.user} may"
        self.proved[DATABASE_EXISTS] = f"connected to {self.target.database}"
        self.proved[CONNECTION_FREE] = "there was one"
        self.proved[ACCEPTS_SESSIONS] = "ready for queries"

    def _send_password(self, data: bytes) -> None:
        self._send(b"p" + struct.pack("!i", len(data) + 5) + data + b"\0")

    def _scram(self) -> None:
        client = Scram(self.target.password)
        first = client.first()
        body = b"SCRAM-SHA-256\0" + struct.pack("!i", len(first)) + first
        self._send(b"p" + struct.pack("!i", len(body) + 4) + body)
        challenge = self._expect(11)
        try:
            final = within(self._remaining(), lambda: client.final(challenge))
        except (TooManyIterations, *_reach.TIMED_OUT) as exc:
            self._fail(
                AUTHENTICATED,
                f"the answer to the server's SCRAM challenge takes too long: {exc}",
                cause="The password was hashed with far more iterations than PostgreSQL's own 4096.",
                fix="Set scram_iterations lower, then set the user's password again: the number is kept with it.",
            )
        except ValueError as exc:
            self._fail(
                AUTHENTICATED,
                f"the server's SCRAM challenge is not valid: {exc}",
                cause="What answers is no PostgreSQL, or something on the way changes what it says.",
                fix="See what listens at this address, and ask the server itself, past every proxy.",
            )
        self._send(b"p" + struct.pack("!i", len(final) + 4) + final)
        if not client.proves_the_server(self._expect(12)):
            self._fail(
                AUTHENTICATED,
                "the server does not know the password either: its SCRAM signature is wrong",
                cause="Something that does not have the password took it for right: not the database that is meant.",
                fix="See what listens at this address and what is between it and this machine.",
            )

    def _leave(self) -> None:
        """Terminate and wait for the end, so that the connection is free again for the session that follows."""
        if self.socket is None:
            raise AssertionError
        try:
            self.socket.settimeout(self._remaining())
            self.socket.sendall(b"X" + struct.pack("!i", 4))
            while self.socket.recv(4096) and time.monotonic() < self.deadline:
                pass
        except OSError:
            pass  # the login is known to work; how the server hangs up changes nothing


class TooManyIterations(ValueError):
    """A challenge that takes longer to answer than any login should."""


class Scram:
    """The client's side of SCRAM-SHA-256 without channel binding (RFC 5802, RFC 7677)."""

    def __init__(self, password: str, *, nonce: str = "") -> None:
        self._password = prepared(password).encode()
        self._nonce = nonce or base64.b64encode(os.urandom(18)).decode()
        # PostgreSQL takes the user from the startup message and leaves n= unread.
        self._bare = f"n=,r={self._nonce}"
        self._signature = b""

    def first(self) -> bytes:
        return f"n,,{self._bare}".encode()

    def final(self, challenge: bytes) -> bytes:
        """The answer to the server's challenge. Raises C(ValueError) for one that is no answer to ours.

        C(TooManyIterations), which is one, for more work than is sensible.
        """
        text = challenge.decode("ascii", "replace")
        match = re.fullmatch(r"r=([!-+\--~]+),s=([A-Za-z0-9+/]+=*),i=([1-9][0-9]*)", text)
        if match is None or not match.group(1).startswith(self._nonce):
            raise ValueError("unexpected nonce or form")
        nonce, salt, iterations = match.groups()
        if len(iterations) > len(str(_MOST_ITERATIONS)) or int(iterations) > _MOST_ITERATIONS:
            raise TooManyIterations(f"more than {_MOST_ITERATIONS} iterations (scram_iterations)")
        salted = hashlib.pbkdf2_hmac("sha256", self._password, base64.b64decode(salt), int(iterations))
        without_proof = f"c=biws,r={nonce}"
        signed = f"{self._bare},{text},{without_proof}".encode()
        client_key = _hmac(salted, b"Client Key")
        client_signature = _hmac(hashlib.sha256(client_key).digest(), signed)
        self._signature = _hmac(_hmac(salted, b"Server Key"), signed)
        proof = bytes(a ^ b for a, b in zip(client_key, client_signature))
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()

    def proves_the_server(self, message: bytes) -> bool:
        return hmac.compare_digest(message, b"v=" + base64.b64encode(self._signature))


def prepared(password: str) -> str:
    """A password as libpq and the server make it equal before they hash it: by SASLprep (RFC 4013).

    What SASLprep refuses they take as it is. They look for that before the normalization and not, as the RFC has it,
    after it.
    """
    if password.isascii():
        return password
    spaces = (" " if stringprep.in_table_c12(each) else each for each in password)
    mapped = "".join(each for each in spaces if not stringprep.in_table_b1(each))
    if not mapped or any(stringprep.in_table_a1(each) or _prohibited(each) for each in mapped):
        return password
    to_the_left = [stringprep.in_table_d1(each) for each in mapped]
    if any(to_the_left) and not (to_the_left[0] and to_the_left[-1] and not any(map(stringprep.in_table_d2, mapped))):
        return password
    return unicodedata.normalize("NFKC", mapped)


def _prohibited(character: str) -> bool:
    return any(
        table(character)
        for table in (
            stringprep.in_table_c21_c22,
            stringprep.in_table_c3,
            stringprep.in_table_c4,
            stringprep.in_table_c5,
            stringprep.in_table_c6,
            stringprep.in_table_c7,
            stringprep.in_table_c8,
            stringprep.in_table_c9,
        )
    )


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, hashlib.sha256).digest()


def error_fields(body: bytes) -> dict[str, str]:
    """The fields of an ErrorResponse by their one-letter codes: C SQLSTATE, M message, R routine."""
    return {part[:1].decode(): part[1:].decode("utf-8", "replace") for part in body.split(b"\0") if part}


def _tls_context(target: Target) -> ssl.SSLContext:
    # Not create_default_context(): since Python 3.13 it refuses certificates that libpq and Flyte accept.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = target.sslmode == "verify-full"
    if target.verifies:
        context.load_verify_locations(cafile=target.ca_file)
    else:
        context.verify_mode = ssl.CERT_NONE
    return context


def _not_after(tls: ssl.SSLSocket) -> float | None:
    certificate = tls.getpeercert()
    return ssl.cert_time_to_seconds(str(certificate["notAfter"])) if certificate else None
