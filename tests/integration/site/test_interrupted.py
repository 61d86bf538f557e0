# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A site whose installation dies at five points and is simply run again; all of it watched for secrets.

The tests of this file build on each other in their order: one host lives through all of it.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
from pathlib import Path

import pytest
from support.leaks import forms, shown

from .conftest import CANARIES, Box

HELM_PENDING = "get secret -n flyte -l owner=helm,status=pending-install -o name"
HELM_DEPLOYED = "get secret -n flyte -l owner=helm,status=deployed -o name"


def authority_is_made(box: Box) -> bool:
    return (box.site_directory / "ca.crt").exists()


def packages_are_being_unpacked(box: Box) -> bool:
    return bool(box.shell("pgrep -x dpkg; pgrep -x dpkg-deb", check=False))


def k3s_is_starting(box: Box) -> bool:
    return box.shell("systemctl is-active k3s", check=False).strip() == "activating"


def helm_at_work(box: Box) -> list[int]:
    """The processes of Helm that install this site's release."""
    helm = str(box.site_directory / "bin" / "helm").encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            arguments = entry.read_bytes().split(b"\0")
            if arguments[0] == helm and {b"install", b"upgrade"} & set(arguments):
                found.append(int(entry.parent.name))
    return found


def release_is_pending(box: Box) -> bool:
    # Helm is done in two seconds: it is held still for each look, so that the moment is not missed.
    for helm in helm_at_work(box):
        with contextlib.suppress(ProcessLookupError):
            os.kill(helm, signal.SIGSTOP)
            if box.kubectl(HELM_PENDING):
                return True
            os.kill(helm, signal.SIGCONT)
    return False


def release_is_deployed(box: Box) -> bool:
    return bool(box.kubectl(HELM_DEPLOYED))


FURTHER = pytest.mark.further


# In the order in which a run reaches them.
@pytest.mark.parametrize(
    "reached",
    [
        pytest.param(k3s_is_starting, id="before k3s is ready", marks=FURTHER),
        pytest.param(authority_is_made, id="after the authority", marks=FURTHER),
        pytest.param(packages_are_being_unpacked, id="in the middle of apt"),
        pytest.param(release_is_pending, id="in the middle of Helm"),
        pytest.param(release_is_deployed, id="before the client file", marks=FURTHER),
    ],
)
def test_the_run_dies(box: Box, reached) -> None:
    box.run_until(lambda: reached(box), "site")
    # What the run started on the host dies with it, as at a loss of power.
    box.shell("pkill -9 -x 'apt-get|dpkg|dpkg-deb'; pkill -9 -f AnsiballZ", check=False)
    assert not (box.site_directory / "client" / "config.yaml").exists()


def test_the_next_run_ends_well(box: Box) -> None:
    code, output = box.run("site")
    assert code == 0, output[-4000:]
    assert (box.site_directory / "client" / "config.yaml").exists()


def test_the_run_after_that_changes_nothing(box: Box) -> None:
    code, output = box.run("site")
    assert code == 0, output[-4000:]
    recap = re.findall(r"changed=(\d+)", output)
    assert set(recap) == {"0"}, re.findall(r"^changed: .*", output, re.M)


def test_the_output_shows_no_secret(box: Box) -> None:
    assert "TASK [" in box.output
    assert shown(box.output, CANARIES) == {}


def test_no_process_ever_showed_a_secret(box: Box) -> None:
    assert box.leaks == set()


@pytest.mark.parametrize("form", [0, 1], ids=["plain", "base64"])
def test_the_watcher_would_have_seen_it(box: Box, form: int) -> None:
    canary = forms(next(iter(CANARIES.values())))[form]
    # One command alone would take the shell's place, without the canary.
    box.shell(f"sh -c 'sleep 1; true' sh {canary}")
    # Not podman here, whose arguments are the same: the process in the container.
    assert [leak for leak in box.leaks if leak.startswith("sh -c sleep") and canary in leak] != []
    box.leaks.clear()
