# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from support.pki import Authority
from support.servers import LOOPBACK, black_hole, free_port, greeting_port

from ansible_collections.flyte.onprem.plugins.module_utils import _peers
from ansible_collections.flyte.onprem.plugins.module_utils._peers import (
    CONTROL_PORT,
    Answer,
    Peer,
    Way,
    ask,
    clock_ahead,
    judge,
    ways,
)

BROADCAST = "255.255.255.255"  # to which no connection leads
TIMEOUT = 0.3


@pytest.fixture
def listening() -> Iterator[int]:
    """A port where something listens."""
    with socket.create_server((LOOPBACK, 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def silent_udp() -> Iterator[int]:
    """A UDP port where something listens and says nothing, as the kernel does on the port of a tunnel."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((LOOPBACK, 0))
        yield server.getsockname()[1]


def test_a_port_that_answers_is_open(listening: int) -> None:
    assert ask(LOOPBACK, "tcp", listening, timeout=TIMEOUT) == Answer(f"{listening}/tcp", "open")


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_port_where_nothing_listens_says_so(protocol: str) -> None:
    assert ask(LOOPBACK, protocol, free_port(), timeout=TIMEOUT).state == "refused"


def test_a_connection_without_an_answer_is_lost() -> None:
    with black_hole() as port:
        answer = ask(LOOPBACK, "tcp", port, timeout=TIMEOUT)
    assert answer == Answer(f"{port}/tcp", "lost", "no answer within 0.3 s")


def test_silence_on_udp_says_nothing(silent_udp: int) -> None:
    assert ask(LOOPBACK, "udp", silent_udp, timeout=TIMEOUT).state == "unknown"


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_no_way_is_said_in_the_words_of_the_system(protocol: str) -> None:
    answer = ask(BROADCAST, protocol, 9, timeout=TIMEOUT)
    assert answer.state == "rejected"
    assert answer.words in ("Network is unreachable", "Permission denied")


def test_a_name_that_nobody_knows_is_no_way() -> None:
    answer = ask("peer.invalid", "tcp", 9, timeout=TIMEOUT)
    assert answer.state == "rejected"
    assert answer.words


CONTROL = f"{CONTROL_PORT}/udp"


def judged(peer: Peer, **states: str) -> Way:
    """Judge a peer by the states of its ports; *states* are ``tcp_22="open"``, ``control="refused"`` and the like."""
    names = {key: CONTROL if key == "control" else "/".join(reversed(key.split("_"))) for key in states}
    return judge(peer, [Answer(names[key], state, f"words of {names[key]}") for key, state in states.items()])


SERVER = Peer("b", "192.0.2.2", tcp=(6443, 2379), also=(22,))
# what it is, the answers, reached, closed
TCP: list[tuple[str, dict[str, str], bool | None, list[str]]] = [
    ("all come through", {"tcp_6443": "open", "tcp_2379": "refused", "tcp_22": "open"}, True, []),
    ("one is lost", {"tcp_6443": "refused", "tcp_2379": "lost", "tcp_22": "open"}, True, ["2379/tcp"]),
    ("one is rejected", {"tcp_6443": "rejected", "tcp_2379": "open", "tcp_22": "open"}, True, ["6443/tcp"]),
    ("only ssh", {"tcp_6443": "lost", "tcp_2379": "lost", "tcp_22": "refused"}, True, ["6443/tcp", "2379/tcp"]),
    ("all but ssh", {"tcp_6443": "refused", "tcp_2379": "refused", "tcp_22": "lost"}, True, []),
    ("nothing", {"tcp_6443": "lost", "tcp_2379": "lost", "tcp_22": "lost"}, False, []),
    ("no way", {"tcp_6443": "rejected", "tcp_2379": "rejected", "tcp_22": "rejected"}, False, []),
]


@pytest.mark.parametrize(("states", "reached", "closed"), [case[1:] for case in TCP], ids=[case[0] for case in TCP])
def test_a_peer_is_judged_by_all_of_its_ports(states: dict[str, str], reached: bool | None, closed: list[str]) -> None:
    way = judged(SERVER, **states)
    assert (way.reached, list(way.closed)) == (reached, closed)


def test_what_need_not_be_open_is_no_port_of_the_result() -> None:
    way = judged(SERVER, tcp_6443="open", tcp_2379="refused", tcp_22="open")
    assert way.ports == {"6443/tcp": "open", "2379/tcp": "refused"}


def test_a_closed_port_that_need_not_be_open_says_nothing() -> None:
    assert judged(Peer("b", "192.0.2.2", also=(22,)), tcp_22="lost").reached is None


def test_no_way_is_told_even_where_no_port_has_to_be_open() -> None:
    way = judged(Peer("b", "192.0.2.2", also=(22,)), tcp_22="rejected")
    assert (way.reached, way.words) == (False, "words of 22/tcp")


TUNNEL = Peer("b", "192.0.2.2", udp=(8472,), also=(22,))
# what it is, the answers, reached, closed, state of the port
UDP: list[tuple[str, dict[str, str], list[str], str]] = [
    ("comes through", {"udp_8472": "refused", "control": "refused"}, [], "refused"),
    ("is lost", {"udp_8472": "unknown", "control": "refused"}, ["8472/udp"], "lost"),
    ("is rejected", {"udp_8472": "rejected", "control": "unknown"}, ["8472/udp"], "rejected"),
    ("cannot be told", {"udp_8472": "unknown", "control": "unknown"}, [], "unknown"),
]


@pytest.mark.parametrize(("states", "closed", "state"), [case[1:] for case in UDP], ids=[case[0] for case in UDP])
def test_a_udp_port_is_closed_where_another_one_answers(states: dict[str, str], closed: list[str], state: str) -> None:
    way = judged(TUNNEL, tcp_22="open", **states)
    assert (list(way.closed), way.ports) == (closed, {"8472/udp": state})


def test_all_peers_are_asked_at_once(listening: int) -> None:
    with black_hole() as port:
        peers = [Peer("a", LOOPBACK, tcp=(listening, port)), Peer("b", LOOPBACK, tcp=(free_port(),))]
        found = ways(peers, timeout=TIMEOUT)
    assert [(way.name, way.reached, list(way.closed)) for way in found] == [
        ("a", True, [f"{port}/tcp"]),
        ("b", True, []),
    ]


def test_what_a_bad_link_lost_is_asked_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {22: ["open"], 6443: ["lost", "refused"], 2379: ["lost", "lost"], 8472: ["unknown", "refused"]}
    answers[CONTROL_PORT] = ["refused"]

    def answer(_address: str, protocol: str, port: int, **_: float) -> Answer:
        return Answer(f"{port}/{protocol}", answers[port].pop(0))

    monkeypatch.setattr(_peers, "ask", answer)
    (way,) = ways([Peer("b", "192.0.2.2", tcp=(6443, 2379), udp=(8472,), also=(22,))], timeout=TIMEOUT)
    assert way.closed == ["2379/tcp"]
    assert not any(answers.values())


def test_without_peers_there_is_nothing_to_ask() -> None:
    assert ways([], timeout=TIMEOUT) == []


@contextlib.contextmanager
def server_of_time(directory: Path, date: str) -> Iterator[int]:
    """A server of HTTPS that lets nobody in, and says what time it is."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_error(401)

        def date_time_string(self, _timestamp: float | None = None) -> str:
            return date

        def log_message(self, *_arguments: object) -> None:
            pass

    leaf = Authority(directory).issue("k3s.invalid")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(leaf.certificate, leaf.key)
    with HTTPServer((LOOPBACK, 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


@pytest.mark.parametrize("seconds", [-3600, 0, 90])
def test_the_clock_of_a_server_is_compared_by_what_its_answer_says(tmp_path: Path, seconds: int) -> None:
    with server_of_time(tmp_path, formatdate(time.time() + seconds, usegmt=True)) as port:
        (way,) = ways([Peer("b", LOOPBACK, tcp=(port,), clock=port)], timeout=5)
    assert way.reached is True
    assert way.ahead == pytest.approx(seconds, abs=1.5)


def test_who_tells_no_time_has_no_clock(tmp_path: Path) -> None:
    with server_of_time(tmp_path, "yesterday") as wrong, greeting_port(b"220 ftp\r\n") as other, black_hole() as lost:
        ports = (wrong, other, lost, free_port())
        assert [clock_ahead(LOOPBACK, port, timeout=TIMEOUT) for port in ports] == [None] * 4
    assert clock_ahead(LOOPBACK, None, timeout=TIMEOUT) is None
