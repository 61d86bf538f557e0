# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host of the bed and the playbooks run against it, to be killed, fed nonsense and watched."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.leaks import forms
from support.processes import kill_tree
from testbed.builder import hosts, inventory

ROOT = Path(__file__).resolve().parents[3]
BED = [sys.executable, str(ROOT / "tests/testbed/bed.py")]
# Values that occur nowhere else, so that one hit anywhere is a leak.
CANARIES = {
    "site_database_password": "CanaryDatabase0a1b2c3d4e5f6g7h8i",
    "site_object_store_secret_key": "CanaryStore9z8y7x6w5v4u3t2s1r0q",
    "site_minio_root_password": "CanaryRoot0m1n2o3p4q5r6s7t8u9v0w",
    "site_kubernetes_token": "CanaryToken5k4j3h2g1f0d9s8a7p6o5i",
}


def from_file(secret: str) -> str:
    """What the variable of a secret is by default: the content of its file in the site's folder."""
    return f"{{{{ lookup('flyte.onprem.site_secret', '{secret}', directory=site_directory) }}}}"


@dataclass
class Box:
    """One host of the bed, its inventory, and the output of every run against it."""

    name: str
    folder: Path
    variables: dict[str, Any] = field(default_factory=dict)
    parts: Sequence[str] = inventory.PARTS
    output: str = ""
    leaks: set[str] = field(default_factory=set)

    @property
    def address(self) -> str:
        """The host's own address, as it is reached from this machine."""
        return hosts.address(self.name)

    @property
    def site_directory(self) -> Path:
        """Where the site's files lie on this machine, by default."""
        return self.inventory / ".flyte/site"

    @property
    def inventory(self) -> Path:
        """The folder that is given to Ansible, as a user does."""
        return self.folder / "inventory"

    def describe(self, **variables: Any) -> None:
        """Write the inventory, with further variables from now on."""
        self.variables |= variables
        self.inventory.mkdir(exist_ok=True)
        inventory.write_one_host(self.inventory / "hosts.yml", "box", self.name, self.variables, parts=self.parts)

    def shell(self, script: str, *, check: bool = True) -> str:
        """Run a shell script on the host."""
        done = subprocess.run(
            ["podman", "exec", "-i", self.name, "sh", "-c", script], capture_output=True, text=True, check=False
        )
        if check and done.returncode:
            raise AssertionError(f"{script}: {done.stdout}{done.stderr}")
        return done.stdout

    def kubectl(self, *arguments: str) -> str:
        """Run kubectl on the host; '' where there is no cluster yet."""
        return self.shell("k3s kubectl --cache-dir=/run/kubectl " + " ".join(arguments) + " 2>/dev/null", check=False)

    def start(self, playbook: str, *arguments: str, variables: dict[str, Any] | None = None) -> subprocess.Popen[str]:
        """Start a playbook at full verbosity with --diff."""
        command = [
            str(Path(sys.executable).with_name("ansible-playbook")),
            f"flyte.onprem.{playbook}",
            "-vvv",
            "--diff",
        ]
        command += [f"--inventory={self.inventory}", *arguments]
        if variables:
            command += ["--extra-vars", json.dumps(variables)]
        environment = dict(os.environ, ANSIBLE_CONFIG=str(ROOT / "ansible.cfg"), ANSIBLE_FORCE_COLOR="0")
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, errors="replace",
        )  # fmt: skip

    def run(self, playbook: str, *arguments: str, variables: dict[str, Any] | None = None) -> tuple[int, str]:
        """Run a playbook to its end: exit code and output."""
        process = self.start(playbook, *arguments, variables=variables)
        output, _ = process.communicate()
        self.output += output
        return process.returncode, output

    def run_until(self, reached: Callable[[], bool], playbook: str) -> None:
        """Start a playbook and kill it, with all that it started, at the moment *reached* says so."""
        process = self.start(playbook)
        collected: list[str] = []
        assert process.stdout is not None
        reader = threading.Thread(target=lambda: collected.extend(process.stdout or []), daemon=True)
        reader.start()
        try:
            while not reached():
                assert process.poll() is None, (
                    "the run ended before the point at which to kill it:\n" + "".join(collected)[-3000:]
                )
                time.sleep(0.1)
        finally:
            kill_tree(process.pid)
            process.wait()
            reader.join(timeout=10)
            self.output += "".join(collected)


def changes(output: str) -> int:
    """How many changes to the box a run reports in its recap. There, localhost has a line of its own."""
    recap = re.findall(r"^box\s+: .*\bchanged=(\d+)", output, re.M)
    assert len(recap) == 1, f"the run has no recap of the box:\n{output[-3000:]}"
    return int(recap[0])


def watch_arguments(box: Box, stop: threading.Event) -> None:
    """Note every process of this machine and of its containers that shows a canary in its arguments."""
    needles = [form.encode() for value in CANARIES.values() for form in forms(value)]
    while not stop.wait(0.05):
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                arguments = entry.read_bytes()
            except OSError:
                continue
            if any(needle in arguments for needle in needles):
                box.leaks.add(arguments.replace(b"\0", b" ").decode(errors="replace")[:300])


@contextlib.contextmanager
def fresh_box(name: str, folder: Path, parts: Sequence[str] = inventory.PARTS) -> Iterator[Box]:
    """A fresh host with an inventory whose secrets are canaries, watched as long as it lives.

    While it runs, this machine has the address ``hosts.gateway()``, at which servers for it may listen.
    """
    box = Box(name=name, folder=folder, parts=parts)
    subprocess.run([*BED, "host-down", box.name], check=True, capture_output=True)
    subprocess.run([*BED, "host-up", box.name], check=True)
    box.describe(
        site_domain="flyte.test",
        site_bundle=os.environ["FLYTE_ONPREM_BUNDLE"],
        **CANARIES,
    )
    stop = threading.Event()
    watcher = threading.Thread(target=watch_arguments, args=(box, stop), daemon=True)
    watcher.start()
    try:
        yield box
    finally:
        stop.set()
        watcher.join()
        subprocess.run([*BED, "host-down", box.name], check=True, capture_output=True)


@contextlib.contextmanager
def downloads() -> Iterator[dict[str, Any]]:
    """Variables of a site without a bundle: all is downloaded, from a mirror that serves the published paths."""
    command = [*BED, "mirror", "--address", hosts.gateway()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as mirror:
        assert mirror.stdout is not None
        address = mirror.stdout.readline().strip()
        assert address, "the mirror did not start"
        release = "RELEASE.2025-09-07T16-13-09Z"
        chart = "https://flyteorg.github.io/flyte/flyte-binary-v1.16.8.tgz.sha256sum"
        minio = f"https://github.com/minio/minio/releases/download/{release}/minio.linux-amd64.{release}.sha256sum"
        helm = "https://get.helm.sh/helm-v4.2.3-linux-amd64.tar.gz.sha256sum"
        try:
            yield {
                "site_bundle": "",
                "site_mirror": address,
                # What stands in here has other checksums than the published files, so they are asked of the mirror too.
                "flyte_chart_checksum": f"sha256:{chart}",
                "flyte_helm_checksum": f"sha256:{helm}",
                "minio_checksum": f"sha256:{minio}",
                "k3s_airgap_images": True,
                "k3s_registries": {
                    "mirrors": {"cr.flyte.org": {"endpoint": [address]}, "docker.io": {"endpoint": [address]}}
                },
            }
        finally:
            mirror.terminate()


@pytest.fixture(scope="session")
def box(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """The host that lives through all tests of a run, without a bundle. Runs side by side have hosts of their own."""
    first = request.session.items[0].path.stem.removeprefix("test_").replace("_", "-")
    with fresh_box(f"flyte-onprem-{first}", tmp_path_factory.mktemp(first)) as made, downloads() as variables:
        made.describe(**variables)
        yield made
