# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is PRIVATE to the collection. It can change at any time.

"""What comes through from this host to others, also before anything listens there.

A port where nothing listens refuses a connection, which proves the way to it; a packet that a firewall drops is never
answered. One that a firewall refuses in the host's own words (a reset, C(icmp-port-unreachable)) cannot be told from
the former.
"""

from __future__ import annotations

import errno
import http.client
import os
import socket
import ssl
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from email.utils import parsedate_to_datetime

# What the answer to a question says of the way.
OPEN = "open"  # something answered
REFUSED = "refused"  # the packet came through, and nothing listens
LOST = "lost"  # no answer where there should have been one
REJECTED = "rejected"  # a router, a firewall or the host itself said that there is no way
UNKNOWN = "unknown"  # of UDP, no answer, which a host that listens does not give either

ARRIVED = (OPEN, REFUSED)
CLOSED = (LOST, REJECTED)

# A UDP port where hardly anything listens. If the other host says so, silence on another port is a loss.
CONTROL_PORT = 33434
WORKERS = 64


@dataclass(frozen=True)
class Peer:
    """Another host.

    C(also) are TCP ports that need not be open, but whose answer proves that there is a way; C(clock) is the port of a
    server of HTTPS that tells the time.
    """

    name: str
    address: str
    tcp: t.Sequence[int] = ()
    udp: t.Sequence[int] = ()
    also: t.Sequence[int] = ()
    clock: int | None = None


@dataclass(frozen=True)
class Answer:
    """How one port answered; C(words) are for people."""

    port: str
    state: str
    words: str = ""


@dataclass(frozen=True)
class Way:
    """What comes through to a peer, and how far its clock is ahead. C(None) is what could not be told."""

    name: str
    address: str
    reached: bool | None
    closed: t.Sequence[str] = ()
    words: str = ""
    ports: t.Mapping[str, str] = field(default_factory=dict)
    ahead: float | None = None

    def as_dict(self) -> dict[str, t.Any]:
        return asdict(self)


def ways(peers: t.Sequence[Peer], *, timeout: float) -> list[Way]:
    """Ask all peers at once, and once more for what nobody answered, which takes twice C(timeout) seconds.

    A bad link loses questions as well as a firewall does, and Linux refuses no more than a few in a moment when many
    hosts ask one (U(https://docs.kernel.org/networking/ip-sysctl.html), C(icmp_msgs_per_sec) and C(icmp_ratelimit)).
    """
    questions: list[tuple[Peer, str, int]] = []
    for peer in peers:
        questions += [(peer, "tcp", port) for port in [*peer.tcp, *peer.also]]
        questions += [(peer, "udp", port) for port in [*peer.udp, CONTROL_PORT] if peer.udp]

    def ask_one(question: tuple[Peer, str, int]) -> Answer:
        peer, protocol, port = question
        return ask(peer.address, protocol, port, timeout=timeout)

    with ThreadPoolExecutor(max(1, min(WORKERS, len(questions) + len(peers)))) as pool:
        clocks = pool.map(lambda peer: clock_ahead(peer.address, peer.clock, timeout=timeout), peers)
        answers = list(pool.map(ask_one, questions))
        silent = [place for place, answer in enumerate(answers) if answer.state in (LOST, UNKNOWN)]
        for place, answer in zip(silent, pool.map(ask_one, [questions[place] for place in silent])):
            answers[place] = answer
    asked = list(zip(questions, answers))
    found = [judge(peer, [answer for question, answer in asked if question[0] is peer]) for peer in peers]
    return [replace(way, ahead=ahead) for way, ahead in zip(found, clocks)]


def judge(peer: Peer, answers: t.Sequence[Answer]) -> Way:
    """Put the answers of one peer together."""
    state = {answer.port: answer.state for answer in answers}
    if state.pop(f"{CONTROL_PORT}/udp", "") == REFUSED:
        state = {port: LOST if seen == UNKNOWN else seen for port, seen in state.items()}
    needed = [f"{port}/tcp" for port in peer.tcp] + [f"{port}/udp" for port in peer.udp]
    silent = [answer for answer in answers if answer.state in CLOSED]
    reached: bool | None = None
    if any(seen in ARRIVED for seen in state.values()):
        reached = True
    # That a port which need not be open is closed says nothing; that the host knows no way does.
    elif any(state[port] in CLOSED for port in needed) or any(answer.state == REJECTED for answer in silent):
        reached = False
    return Way(
        name=peer.name,
        address=peer.address,
        reached=reached,
        closed=[port for port in needed if state[port] in CLOSED] if reached else [],
        words=", ".join(sorted({answer.words for answer in silent})) if reached is False else "",
        ports={port: seen for port, seen in state.items() if port in needed},
    )


def ask(address: str, protocol: str, port: int, *, timeout: float) -> Answer:
    """Ask one port."""
    name = f"{port}/{protocol}"
    question = _ask_tcp if protocol == "tcp" else _ask_udp
    try:
        question(address, port, timeout)
    except ConnectionRefusedError:
        return Answer(name, REFUSED)
    except (TimeoutError, socket.timeout):  # two kinds in Python 3.9
        return Answer(name, LOST if protocol == "tcp" else UNKNOWN, f"no answer within {timeout:g} s")
    except socket.gaierror as exc:
        return Answer(name, REJECTED, f"{exc.strerror}")
    except OSError as exc:
        if exc.errno == errno.ECONNRESET:
            return Answer(name, OPEN)
        return Answer(name, REJECTED, os.strerror(exc.errno) if exc.errno else str(exc))
    return Answer(name, OPEN)


def clock_ahead(address: str, port: int | None, *, timeout: float) -> float | None:
    """How many seconds the clock of a server of HTTPS is ahead of this host's, to the second.

    Nobody's identity matters for that, and nothing is told to the server.
    """
    if port is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    asking = http.client.HTTPSConnection(address, port, timeout=timeout, context=context)
    before = time.time()
    try:
        asking.request("HEAD", "/")
        told = parsedate_to_datetime(asking.getresponse().headers["Date"])
    except (OSError, http.client.HTTPException, TypeError, ValueError):  # the last two of a time that is none
        return None
    finally:
        asking.close()
    # What was told has no fractions of a second.
    return told.timestamp() + 0.5 - (before + time.time()) / 2


def _ask_tcp(address: str, port: int, timeout: float) -> None:
    socket.create_connection((address, port), timeout=timeout).close()


def _ask_udp(address: str, port: int, timeout: float) -> None:
    """Send twice, since one packet may be lost for other reasons; a refusal is reported to the one who sent."""
    family, kind, protocol, _name, where = socket.getaddrinfo(address, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as asking:
        asking.connect(where)
        deadline = time.monotonic() + timeout
        for attempt in (1, 2):
            asking.send(b"\0")
            asking.settimeout(max(0.01, (deadline - time.monotonic()) / (3 - attempt)))
            try:
                asking.recv(1)
                return
            except (TimeoutError, socket.timeout):
                if attempt == 2:
                    raise
