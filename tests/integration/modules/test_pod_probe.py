# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that kubernetes_check's pod runs, run here as the pod does, against real servers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from support.pki import Authority
from support.servers import LOOPBACK, Minio, black_hole, free_port, silent_port

from ansible_collections.flyte.onprem.plugins.module_utils._pod import parse_service, probe_text
from ansible_collections.flyte.onprem.plugins.module_utils._pod_probe import AUTHORITY, MARK, SERVICES, TIMEOUT


def probe(*services: str, authority: Path | None = None, registry: bool = False) -> tuple[int, list[dict[str, Any]]]:
    """Exit code and verdict, with an empty environment but for what the pod is given."""
    environment = {
        SERVICES: json.dumps([parse_service(text, registry=registry).as_dict() for text in services]),
        AUTHORITY: authority.read_text() if authority else "",
        TIMEOUT: "1",
    }
    command = [sys.executable, "-I", "-c", probe_text()]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    (line,) = done.stdout.splitlines()
    return done.returncode, json.loads(line.removeprefix(MARK))


def test_a_service_that_is_there_and_trusted_is_done(store: Minio, authority: Authority) -> None:
    code, (found,) = probe(store.endpoint, authority=authority.certificate)
    assert (code, found["step"]) == (0, "done")
    assert "TLSv1" in found["seen"]


def test_one_that_is_not_decides_the_exit_code(store: Minio, authority: Authority) -> None:
    code, found = probe(store.endpoint, "https://nowhere.invalid", authority=authority.certificate)
    assert code == 1
    assert [item["step"] for item in found] == ["done", "name"]


def test_a_certificate_of_another_authority_is_told(store: Minio, tmp_path: Path) -> None:
    _code, (found,) = probe(store.endpoint, authority=Authority(tmp_path / "other").certificate)
    assert (found["step"], found["code"]) == ("tls", 20)


def test_a_certificate_for_another_name_is_told(store: Minio, authority: Authority) -> None:
    _code, (found,) = probe(store.endpoint.replace(LOOPBACK, "localhost"), authority=authority.certificate)
    assert (found["step"], found["code"]) == ("tls", 62)


def test_a_registrys_certificate_is_not_judged(store: Minio) -> None:
    code, (found,) = probe(store.endpoint, registry=True)
    assert (code, found["step"]) == (0, "done")


def test_each_way_of_not_being_there_is_told() -> None:
    with black_hole() as lost, silent_port() as silent:
        _code, found = probe(
            f"tcp://{LOOPBACK}:{free_port()}",
            f"tcp://{LOOPBACK}:{lost}",
            f"https://{LOOPBACK}:{silent}",
            f"postgresql://{LOOPBACK}:{silent}",
        )
    assert [item["step"] for item in found] == ["port", "way", "tls", "tls"]
