# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of playbooks on a cluster: to their end, watched for secrets, or ended in the middle."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.leaks import forms, shown
from support.processes import kill_tree

ROOT = Path(__file__).resolve().parents[3]
CLUSTER = str(ROOT / "molecule/resources/converge_cluster.yml")


@dataclass
class Run:
    """How a run went."""

    code: int
    output: str

    @property
    def changed(self) -> dict[str, int]:
        """How much it changed, by host."""
        return {host: int(count) for host, count in re.findall(r"^(\S+)\s+: .*\bchanged=(\d+)", self.output, re.M)}

    @property
    def lost(self) -> set[str]:
        """The hosts that failed or did not answer."""
        return set(re.findall(r"^(\S+)\s+: .*\b(?:unreachable|failed)=[1-9]", self.output, re.M))


@dataclass
class Playbooks:
    """Runs playbooks with one inventory, and looks for C(secrets) in their output and in all processes' arguments."""

    inventory: str
    secrets: dict[str, str] = field(default_factory=dict)
    variables: dict[str, Any] = field(default_factory=dict)
    within: Sequence[str] = ()  # what runs them
    folder: tempfile.TemporaryDirectory[str] = field(default_factory=tempfile.TemporaryDirectory, repr=False)

    def start(self, playbook: str, *options: str, **variables: Any) -> subprocess.Popen[str]:
        # In a file, since there may be secrets in them.
        path = Path(self.folder.name) / "variables.json"
        path.write_text(json.dumps({**self.variables, **variables}))
        return subprocess.Popen(
            [
                *self.within,
                "ansible-playbook",
                f"--inventory={self.inventory}",
                playbook,
                f"--extra-vars=@{path}",
                *options,
            ],
            cwd=ROOT,
            # Molecule forces colours, which stand between the words of the recap.
            env=dict(os.environ, ANSIBLE_NOCOLOR="1", ANSIBLE_FORCE_COLOR="0"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, playbook: str = CLUSTER, *options: str, **variables: Any) -> Run:
        """Run to the end, whichever it is."""
        seen: dict[str, str] = {}
        stop = threading.Event()
        watch = threading.Thread(target=watch_arguments, args=(self.secrets, seen, stop), daemon=True)
        watch.start()
        process = self.start(playbook, *options, **variables)
        output, _ = process.communicate()
        stop.set()
        watch.join()
        assert seen == {}
        assert shown(output, self.secrets) == {}
        return Run(process.returncode, output)

    def do(self, playbook: str = CLUSTER, *options: str, **variables: Any) -> dict[str, int]:
        """Run to a good end: how much it changed, by host."""
        run = self.run(playbook, *options, **variables)
        assert run.code == 0, run.output[-6000:]
        return run.changed

    def interrupt(self, playbook: str, when: Callable[[], bool], **variables: Any) -> None:
        """Run until something is so, and end it there as a lost power supply would."""
        process = self.start(playbook, **variables)
        drain = threading.Thread(target=process.communicate, daemon=True)
        drain.start()
        while not when():
            assert process.poll() is None, "it ended before that"
            time.sleep(0.5)
        kill_tree(process.pid)
        drain.join()


def watch_arguments(secrets: Mapping[str, str], seen: dict[str, str], stop: threading.Event) -> None:
    """Note every process of this machine and of its containers that shows a secret in its arguments."""
    needles = {name: [form.encode() for form in forms(secret)] for name, secret in secrets.items()}
    while needles and not stop.wait(0.05):
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                arguments = entry.read_bytes()
            except OSError:
                continue
            for name, hidden in needles.items():
                if any(needle in arguments for needle in hidden):
                    seen[name] = arguments.replace(b"\0", b" ").decode(errors="replace")[:300]
