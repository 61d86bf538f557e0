# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is PRIVATE to the collection. It can change at any time.

"""Name, port and certificate of an HTTP service, each a row of a report.

All that is done here shares one deadline: a service that is not there costs
the timeout once, however many addresses its name has.
"""

from __future__ import annotations

import errno
import socket
import ssl
import time
import typing as t
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from ansible_collections.flyte.onprem.plugins.module_utils._checks import Check, Failed, Report, Warned
from ansible_collections.flyte.onprem.plugins.module_utils._limits import within

# A certificate that ends this soon is a warning: site certificates are renewed well before.
EXPIRY_WARNING_DAYS = 14

# X509_V_ERR_* of OpenSSL's x509_vfy.h.
EXPIRED = (9, 10)  # not yet valid, expired
WRONG_NAME = (62, 64)  # host name, IP address
NOT_STANDARD = range(80, 95)  # what VERIFY_X509_STRICT adds, which Python sets from 3.13 on

# Python 3.9 tells a socket's own timeout from the TimeoutError of the kernel.
TIMED_OUT = (TimeoutError, socket.timeout)

NO_ROUTE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN)


@dataclass(frozen=True)
class Address:
    """Where an address of the form C(https://host:port/path) leads."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def tls(self) -> bool:
        return self.scheme == "https"

    @property
    def endpoint(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = {"http": 80, "https": 443}[self.scheme]
        return f"{self.scheme}://{host}" + ("" if self.port == usual else f":{self.port}")


def refuse_password(url: str) -> None:
    """Raise C(ValueError) where an address holds a user, and with it a secret, which goes into no message.

    It need not stand where a parser finds it: a password with a slash ends the host's part too early.
    """
    if "@" in url:
        raise ValueError("an address must not hold a user name or password")


def parse_option(name: str, url: str) -> Address:
    """The address in an option. Raises C(ValueError), with the option's name and a text for people."""
    try:
        return parse_url(url)
    except ValueError as exc:
        raise ValueError(f"{name}: {exc}") from exc


def parse_url(url: str) -> Address:
    """Split an address. Raises C(ValueError), with a text for people, for what is none."""
    refuse_password(url)
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is no address of the form https://host:port")
    try:
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    except ValueError as exc:
        raise ValueError(f"{url!r} has no valid port") from exc
    return Address(scheme=parts.scheme, host=parts.hostname, port=port, path=parts.path)


@dataclass(frozen=True)
class ReachIds:
    """The catalogue ids under which an area reports: name, closed port, lost packets."""

    name: str
    port: str
    way: str


def reach(
    report: Report,
    address: Address,
    *,
    ids: ReachIds,
    ca_file: str | None,
    timeout: float,
    retries: int = 0,
    server_name: str = "",
    after: t.Iterable[Check] = (),
    accepted: dict[str, str] | None = None,
) -> Check:
    """Add rows for name, port and, with https, certificate; the last one is what all else depends on.

    C(server_name) is what the certificate must be for, where that is not the host's own name. C(accepted) takes the
    host with the address that accepted, of perhaps several.
    """
    context = {"endpoint": address.endpoint, "host": address.host}
    deadline = time.monotonic() + timeout
    found: list[tuple[t.Any, ...]] = []
    held: list[socket.socket] = []
    passed_over: dict[str, str] = {}

    def resolve() -> str:
        # Once, whatever retries says: a name that is unknown now is unknown half a second later.
        try:
            found.extend(lookup(address.host, address.port, timeout=timeout))
        except OSError as exc:
            raise Failed(lookup_problem(exc, timeout=timeout)) from exc
        return ", ".join(sorted({str(info[4][0]) for info in found}))

    def connect_port() -> str:
        started = time.monotonic()
        try:
            held.append(connect(found, deadline=deadline, retries=retries, passed_over=passed_over))
        except TIMED_OUT as exc:
            raise Failed(f"no answer within {timeout:g} seconds", id=ids.way) from exc
        except OSError as exc:
            lost = exc.errno in NO_ROUTE
            raise Failed(f"{exc.strerror or exc}", id=ids.way if lost else ids.port) from exc
        peer = str(held[0].getpeername()[0])
        if accepted is not None:
            accepted[address.host] = peer
        others = "".join(f"; {other}: {seen}" for other, seen in passed_over.items() if other != peer)
        return f"connected to {peer} in {(time.monotonic() - started) * 1000:.0f} ms{others}"

    try:
        row = report.check(ids.name, resolve, after=after, **context)
        row = report.check(ids.port, connect_port, after=[row], **context)
        if address.tls:
            row = certificate_rows(
                report,
                held,
                address=address,
                server_name=server_name,
                ca_file=ca_file,
                deadline=deadline,
                after=row,
                context={**context, "host": server_name or address.host},
            )
    finally:
        for connection in held:
            connection.close()
    return row


def certificate_rows(
    report: Report,
    held: list[socket.socket],
    *,
    address: Address,
    server_name: str = "",
    ca_file: str | None,
    deadline: float,
    after: Check,
    context: t.Mapping[str, str],
) -> Check:
    """Add TLS-10 to TLS-13 for the service at the other end of the one connection in C(held)."""
    host = server_name or address.host
    certificate: dict[str, t.Any] = {}
    refused: list[ssl.SSLCertVerificationError] = []

    def handshake() -> str:
        connection = held[0]  # there is one, since `after` passed
        trust = ssl.create_default_context(cafile=ca_file or None)
        connection.settimeout(max(0.1, deadline - time.monotonic()))
        try:
            with wrapped(connection, trust, host) as tls:
                certificate.update(tls.getpeercert() or {})
                return str(tls.version())
        except ssl.SSLCertVerificationError as exc:
            refused.append(exc)
            return "a certificate was shown"
        except TIMED_OUT as exc:
            raise Failed("no answer to the handshake in time") from exc
        except OSError as exc:  # ssl.SSLError is one
            # Many servers answer plain HTTP on a port of TLS, to say so.
            if not _is_alert(exc) and speaks_http(address, deadline=deadline):
                raise wrong_scheme(address, "the port speaks plain HTTP and not TLS") from exc
            if isinstance(exc, ssl.SSLError):
                raise Failed(f"{exc.reason or exc}") from exc
            raise Failed(f"the connection broke: {exc.strerror or exc}") from exc

    def verdict(codes: tuple[int, ...] | None, good: str) -> str:
        """C(codes) are the OpenSSL errors of this row; C(None) is all that no other row has."""
        for exc in refused:
            mine = exc.verify_code in codes if codes else exc.verify_code not in (*EXPIRED, *WRONG_NAME)
            if mine:
                raise Failed(exc.verify_message, id="TLS-15" if exc.verify_code in NOT_STANDARD else "")
        return good

    def validity() -> str:
        verdict(EXPIRED, "")
        ends = str(certificate["notAfter"])
        days = (ssl.cert_time_to_seconds(ends) - time.time()) / 86400
        seen = f"valid until {ends}, {days:.0f} more days"
        if days < EXPIRY_WARNING_DAYS:
            raise Warned(seen)
        return seen

    first = report.check("TLS-10", handshake, after=[after], **context)
    # OpenSSL stops at the first fault; what it found goes first, and the rows it could not reach are skipped.
    rows: dict[str, t.Callable[[], str]] = {
        "TLS-11": lambda: verdict(None, "issued by a trusted CA"),
        "TLS-12": lambda: verdict(WRONG_NAME, f"issued for {host}"),
        "TLS-13": validity,
    }
    order = list(rows)
    if refused:
        culprit = {**dict.fromkeys(EXPIRED, "TLS-13"), **dict.fromkeys(WRONG_NAME, "TLS-12")}.get(
            refused[0].verify_code, "TLS-11"
        )
        order.sort(key=lambda id: id != culprit)
    row = first
    for id in order:
        row = report.check(id, rows[id], after=[row], **context)
    return row


def wrapped(connection: socket.socket, trust: ssl.SSLContext, host: str) -> ssl.SSLSocket:
    """Shake hands. Raises C(OSError), also for a name that no certificate can have."""
    try:
        return trust.wrap_socket(connection, server_hostname=host)
    except UnicodeError as exc:
        raise OSError(errno.EINVAL, f"not a host name ({exc})") from exc


def wrong_scheme(address: Address, seen: str) -> Failed:
    """The outcome for an address that says http where TLS is served, or the reverse."""
    other = replace(address, scheme="http" if address.tls else "https")
    # Not other.endpoint: it leaves out a port that is usual for that scheme, and here it is the one that was given.
    host = f"[{other.host}]" if ":" in other.host else other.host
    return Failed(
        seen,
        id="TLS-14",
        fix=f"Write {other.scheme}://{host}:{other.port}, or give the port at which the service speaks "
        f"{address.scheme.upper()}.",
    )


def speaks_http(address: Address, *, deadline: float) -> bool:
    """Whether the port answers HTTP without TLS; asked only where a handshake was refused."""
    question = f"HEAD / HTTP/1.1\r\nHost: {address.host}\r\nConnection: close\r\n\r\n"
    try:
        with _connected(address, deadline=deadline) as connection:
            connection.sendall(question.encode("ascii", "replace"))
            return connection.recv(5) == b"HTTP/"
    except OSError:
        return False


def speaks_tls(address: Address, *, deadline: float) -> bool:
    """Whether the port shakes hands, whatever its certificate; asked only where plain HTTP was refused."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            _connected(address, deadline=deadline) as connection,
            wrapped(connection, context, address.host),
        ):
            return True
    except ssl.SSLError as exc:
        return _is_alert(exc)
    except OSError:
        return False


def _is_alert(error: OSError) -> bool:
    """Whether the other side speaks TLS and refuses us by it: no common version, no client certificate."""
    return isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or "")


def _connected(address: Address, *, deadline: float) -> socket.socket:
    left = max(0.1, deadline - time.monotonic())
    found = lookup(address.host, address.port, timeout=left)
    connection = connect(found, deadline=deadline, retries=0)
    connection.settimeout(max(0.1, deadline - time.monotonic()))
    return connection


def lookup(host: str, port: int, *, timeout: float) -> list[tuple[t.Any, ...]]:
    """C(getaddrinfo) that gives up: the system's own resolver may take minutes.

    Raises C(OSError) (C(gaierror) included), or C(TimeoutError).
    """

    def ask() -> list[tuple[t.Any, ...]]:
        try:
            return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except ValueError as exc:
            # A label that is empty or longer than 63 characters, a NUL.
            raise OSError(errno.EINVAL, f"not a host name ({exc})") from exc

    return within(timeout, ask)


def lookup_problem(exc: OSError, *, timeout: float) -> str:
    """What an error of C(lookup) says: a name that nobody knows is not a DNS server that nobody reaches."""
    if isinstance(exc, TIMED_OUT):
        return f"no answer from DNS within {timeout:g} seconds; the servers asked are in /etc/resolv.conf"
    if isinstance(exc, socket.gaierror) and exc.errno == socket.EAI_AGAIN:
        return f"{exc.strerror}: no DNS server in /etc/resolv.conf gave an answer"
    return f"{exc.strerror or exc}"


# Where a connection was accepted; a name may have other addresses that each cost a wait.
_ACCEPTED: set[tuple[t.Any, ...]] = set()


def connect(
    addresses: t.Sequence[tuple[t.Any, ...]],
    *,
    deadline: float,
    retries: int,
    passed_over: dict[str, str] | None = None,
) -> socket.socket:
    """Connect to the first address that accepts, each with its share of the time left.

    One that has accepted before comes first. A refusal is tried C(retries) times more, half a second apart, for a
    service that just starts. C(passed_over) takes the addresses that did not accept, each with what was seen.
    Raises the last C(OSError); C(TimeoutError) when the time is up.
    """
    last: OSError = TimeoutError("timed out")
    addresses = sorted(addresses, key=lambda info: info[4] not in _ACCEPTED)
    for attempt in range(retries + 1):
        if attempt:
            time.sleep(min(0.5, max(0.0, deadline - time.monotonic())))
        for index, (family, kind, protocol, _name, where) in enumerate(addresses):
            left = deadline - time.monotonic()
            if left <= 0:
                raise last
            connection = socket.socket(family, kind, protocol)
            connection.settimeout(left / (len(addresses) - index))
            try:
                connection.connect(where)
                _ACCEPTED.add(where)
                return connection
            except OSError as exc:
                connection.close()
                _ACCEPTED.discard(where)
                last = exc
                if passed_over is not None:
                    late = isinstance(exc, TIMED_OUT)
                    passed_over[str(where[0])] = "no answer" if late else str(exc.strerror or exc)
        if not isinstance(last, ConnectionRefusedError):
            break
    raise last
