#!/usr/bin/env python3
# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole Flyte site in a container of this machine: ``make demo``, and ``make demo-down`` to remove it.

Takes the official artefacts where they can be reached and the bed's bundle where not; TESTBED=upstream or TESTBED=bed
forces one. What it does is what a user does: an inventory, and ``ansible-playbook flyte.onprem.site``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from builder import inventory
from builder.console import BedError
from builder.recipes import load_pins

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "demo"
HOST = "flyte-onprem-demo"
DOMAIN = "flyte.localhost"
HTTPS_PORT, HTTP_PORT, S3_PORT = 8443, 8080, 9000
# One place of each kind that an installation without a bundle downloads from.
OFFICIAL = ("github.com", "get.helm.sh", "flyteorg.github.io", "cr.flyte.org", "registry-1.docker.io")
PROBE_SECONDS = 3.0
# A word of each play's name in the playbooks, and its usual duration on two cores.
USUAL = {
    "refuse": "15 s",
    "kubernetes": "60 s",
    "certificates": "15 s",
    "postgresql": "60 s",
    "minio": "30 s",
    "ingress": "30 s",
    "flyte": "2 min",
}


def reachable(name: str) -> bool:
    """Whether *name* answers on port 443 within PROBE_SECONDS."""
    try:
        with socket.create_connection((name, 443), timeout=PROBE_SECONDS):
            return True
    except OSError:
        return False


def choose_source() -> str:
    """``upstream`` where every official place answers, else ``bed``. Raises BedError for an unknown TESTBED."""
    wanted = os.environ.get("TESTBED", "")
    if wanted in ("upstream", "bed"):
        return wanted
    if wanted:
        raise BedError(f"TESTBED is {wanted!r}. Set it to upstream or bed, or leave it out.")
    with ThreadPoolExecutor(len(OFFICIAL)) as pool:
        return "upstream" if all(pool.map(reachable, OFFICIAL)) else "bed"


def write_inventory(bundle: str) -> None:
    """Write what a user would write: one host, a domain, the ports that are free on this machine."""
    DEMO.mkdir(mode=0o700, exist_ok=True)
    variables = {
        "site_domain": DOMAIN,
        "site_directory": str(DEMO),
        "site_https_port": HTTPS_PORT,
        "site_http_port": HTTP_PORT,
        "site_s3_port": S3_PORT,
        "site_bundle": bundle,
    }
    inventory.write_one_host(DEMO / "inventory.yml", "demo", HOST, variables)
    shutil.copyfile(ROOT / "docs/hello.py", DEMO / "hello.py")


def play(playbook: str, *arguments: str) -> dict[str, int]:
    """Run a playbook of the collection, show its plays as they pass, and return the recap's counts.

    The whole output goes to demo/ansible.log. Raises BedError with the failed task's message.
    """
    command = [
        str(Path(sys.executable).with_name("ansible-playbook")),
        playbook,
        f"--inventory={DEMO / 'inventory.yml'}",
        *arguments,
    ]
    environment = dict(
        os.environ, ANSIBLE_CONFIG=str(ROOT / "ansible.cfg"), ANSIBLE_NOCOLOR="1", ANSIBLE_FORCE_COLOR="0"
    )
    recap: dict[str, int] = {}
    lines: list[str] = []
    current, started = "", time.monotonic()
    with (
        (DEMO / "ansible.log").open("a", buffering=1) as log,
        subprocess.Popen(
            command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        ) as process,
    ):  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            log.write(line)
            lines.append(line)
            if match := re.match(r"PLAY \[(.*?)\]", line):
                finish(current, started)
                current, started = match[1], time.monotonic()
                usual = next((f", usually {time_}" for word, time_ in USUAL.items() if word in current.lower()), "")
                print(f"  {current}{usual}", flush=True)
            elif match := re.match(r"TASK \[(?:flyte\.onprem\.)?(.*?)\]", line):
                if sys.stdout.isatty():
                    print(f"\r\033[2K    {match[1][:100]}", end="", flush=True)
            elif match := re.match(r"demo\s+: (.*)", line):
                recap = {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", match[1])}
        finish(current, started)
    if process.returncode:
        text = "".join(lines)
        errors = re.findall(r"^\[ERROR\]: (.*?)(?=^Origin:|^fatal:|^\s*$)", text, re.M | re.S)
        message = "\n".join(errors).strip() or "".join(lines[-25:])
        raise BedError(
            f"{playbook} failed:\n\n{message}\n\n"
            f"The whole output is in {DEMO / 'ansible.log'}. `make demo` can simply be run again."
        )
    return recap


def finish(name: str, started: float) -> None:
    """Close the line of a play."""
    if name and sys.stdout.isatty():
        print("\r\033[2K", end="")
    if name:
        print(f"    done in {time.monotonic() - started:.0f} s", flush=True)


def unresolved() -> list[str]:
    """The site's names that this machine does not resolve to itself."""
    missing = []
    for name in (DOMAIN, f"s3.{DOMAIN}"):
        try:
            addresses = {str(info[4][0]) for info in socket.getaddrinfo(name, S3_PORT, type=socket.SOCK_STREAM)}
        except OSError:
            addresses = set()
        if not addresses & {"127.0.0.1", "::1"}:
            missing.append(name)
    return missing


def summary(source: str, seconds: float, changed: int) -> str:
    """What a person wants to know at the end."""
    report = json.loads((DEMO / "report.json").read_text())
    passed = sum(check["status"] == "passed" for area in report["areas"] for check in area["checks"])
    shown = DEMO.relative_to(Path.cwd()) if DEMO.is_relative_to(Path.cwd()) else DEMO
    took = f"{int(seconds) // 60} min {int(seconds) % 60} s"
    lines = ["", f"Flyte is ready{took:>44}, {passed} checks passed, {changed} changes"]
    ran = [area["facts"]["workflow_seconds"] for area in report["areas"] if "workflow_seconds" in area["facts"]]
    if ran:
        lines.append(f"  proof     a workflow of two tasks ran in {ran[0]} s")
    if missing := unresolved():
        lines.append("  names     this machine does not resolve them; pyflyte needs this line in /etc/hosts:")
        lines.append(f"            127.0.0.1 {' '.join(missing)}")
    lines += [
        f"  console   https://{DOMAIN}:{HTTPS_PORT}/console",
        f"  health    curl --cacert {shown}/ca.crt https://{DOMAIN}:{HTTPS_PORT}/healthcheck",
        f"  client    export FLYTECTL_CONFIG={shown}/client/config.yaml",
        f"            python3 -m venv {shown}/venv && {shown}/venv/bin/pip install flytekit   # Python 3.10 to 3.12",
        f"            {shown}/venv/bin/pyflyte run --remote {shown}/hello.py hello --name you",
        f"  trust     {shown}/ca.crt          secrets  {shown}/secrets/ (0600)",
        f"  report    {shown}/report.html     remove   make demo-down",
    ]
    lines.append(f"  {source_line(source)}")
    return "\n".join(lines)


def source_line(source: str) -> str:
    """Say what is installed: the official artefacts, or the bed's with its stand-ins by name."""
    if source == "upstream":
        return "official artefacts of k3s, MinIO, Helm and Flyte in this run"
    pins = load_pins()
    parts, images = ([name for name, spec in pins[kind].items() if spec["stand_in"]] for kind in ("bundle", "images"))
    return f"stand-ins in this run: {', '.join(parts)}; images of {', '.join(images)} (see tests/testbed/README.md)"


def bed(*arguments: str) -> str:
    """Run a command of the bed, whose progress goes to the terminal, and return the last line that it answers."""
    made = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("bed.py")), *arguments],
        check=False,
        text=True,
        stdout=subprocess.PIPE,
    )
    if made.returncode:
        raise BedError("The demo stops here; the reason is above.")
    return (made.stdout.strip().splitlines() or [""])[-1]


def up() -> None:
    """Bring the demo up; nothing changes where it is up already."""
    started = time.monotonic()
    if os.geteuid() != 0:
        raise BedError("The demo starts a container with systemd, which only root may do here. Run: sudo make demo")
    source = choose_source()
    origin = "the official artefacts" if source == "upstream" else "the bed"
    print(f"make demo: a Flyte site in a container of this machine, from {origin}.")
    if source == "bed":
        print("  The official places cannot all be reached, or TESTBED=bed.")
    print(f"  {source_line(source)}")
    print("  Usually 10 minutes; 30 the first time, when the bed is built.", flush=True)
    bed("tools")
    bundle = bed("bundle") if source == "bed" else ""
    bed("host-up", HOST, *(f"--publish={port}:{port}" for port in (HTTPS_PORT, HTTP_PORT, S3_PORT)))
    write_inventory(bundle)
    recap = play("flyte.onprem.site")
    print(summary(source, time.monotonic() - started, recap.get("changed", 0)))


def down() -> None:
    """Remove the demo's host with its data, and the folder with its secrets."""
    bed("host-down", HOST)
    shutil.rmtree(DEMO, ignore_errors=True)
    print("The demo is gone: its host, its data and the folder demo/.")


def main() -> int:
    """Run the command line; its only word is ``down``."""
    try:
        down() if sys.argv[1:] == ["down"] else up()
    except BedError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
