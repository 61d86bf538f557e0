# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import time

import pytest
from support.modules import run_module
from support.servers import LOOPBACK, free_port

from ansible_collections.flyte.onprem.plugins.module_utils._peers import Way
from ansible_collections.flyte.onprem.plugins.modules import peers_info


@pytest.mark.parametrize("check", [False, True], ids=["run", "check mode"])
def test_it_tells_of_each_peer_and_changes_nothing(*, check: bool) -> None:
    port = free_port()
    result = run_module(peers_info.main, {"peers": [{"name": "b", "address": LOOPBACK, "tcp": [port]}]}, check=check)
    assert not result.failed
    assert result["changed"] is False
    assert result["peers"] == [
        {
            "name": "b",
            "address": LOOPBACK,
            "reached": True,
            "closed": [],
            "words": "",
            "clock_offset": None,
            "ports": {f"{port}/tcp": "refused"},
        }
    ]


def test_the_clock_is_compared_with_the_time_of_the_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1000.25)
    assert run_module(peers_info.main, {"asked_at": "4600.5"})["clock_offset"] == -3600.2


def test_a_peers_clock_is_compared_with_the_same_time_as_the_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers_info, "ways", lambda peers, **_: [Way("b", peers[0].address, True, ahead=40.0)])
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    peers = [{"name": "b", "address": LOOPBACK, "clock": 6443}]
    result = run_module(peers_info.main, {"peers": peers, "asked_at": "1010"})
    assert (result["clock_offset"], result["peers"][0]["clock_offset"]) == (-10.0, 30.0)
    assert run_module(peers_info.main, {"peers": peers})["peers"][0]["clock_offset"] is None


def test_without_the_time_of_the_question_it_says_nothing_of_the_clock() -> None:
    assert "clock_offset" not in run_module(peers_info.main, {}).values


def test_a_time_that_cannot_be_waited_for_is_refused() -> None:
    result = run_module(peers_info.main, {"timeout": 0})
    assert result.failed
    assert "timeout: 0" in result["msg"]
