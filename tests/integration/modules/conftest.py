# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real servers, started once for all tests of modules."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from support.pki import Authority
from support.servers import Minio, minio

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CA that the site's users trust."""
    return Authority(tmp_path_factory.mktemp("pki") / "site")


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Minio]:
    """A MinIO with TLS and a region of its own."""
    leaf = authority.issue("s3.example.com", "127.0.0.1")
    directory = tmp_path_factory.mktemp("minio")
    with minio(directory, region="onprem-1", tls=leaf, ca_file=authority.certificate) as server:
        yield server


# A test of one fault is named test_each_fault..., its case "what is wrong: ID of the check that must fail".
FAULT = re.compile(r".*test_(?P<module>\w+)\.py::test_each_fault\w*\[(?P<what>.+): (?P<id>[A-Z0-9]+-\d+).*\]")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A table of the faults that were produced, and whether each failed its own check and nothing else."""
    found = [
        (match["module"], match["id"], match["what"], outcome)
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        if report.when == "call" and (match := FAULT.fullmatch(report.nodeid))
    ]
    if not found:
        return
    terminalreporter.section(f"{len(found)} faults, and the check that each must fail alone")
    for module, id, what, outcome in sorted(found):
        verdict = "as it must" if outcome == "passed" else "NOT AS IT MUST"
        terminalreporter.line(f"{module:20} {id:9} {verdict:15} {what}")
