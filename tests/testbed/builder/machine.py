# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the bed takes from the machine it runs on: its apt sources, settings and trust."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .console import BedError, run

# Settings of apt that say how to reach and judge a mirror; the rest of the
# machine's apt configuration is its own business.
_APT_SETTINGS = re.compile(r'Acquire::(https?::\S+|Check-Date|Check-Valid-Until) "[^"]+";')


@dataclass(frozen=True)
class Sources:
    """A distribution's archives as this machine reaches them."""

    distribution: str
    suite: str
    archive: str
    security: str | None
    components: str
    keyring: Path

    def as_deb822(self) -> str:
        """The same archives as a .sources file for a host of the bed."""
        stanzas = [(self.archive, f"{self.suite} {self.suite}-updates")]
        if self.security:
            stanzas.append((self.security, f"{self.suite}-security"))
        return "\n".join(
            f"Types: deb\nURIs: {uri}\nSuites: {suites}\nComponents: {self.components}\nSigned-By: {self.keyring}\n"
            for uri, suites in stanzas
        )


def parse_sources(text: str) -> list[tuple[str, list[str]]]:
    """Read (URI, suites) of the binary archives from either format of apt's lists.

    Source: sources.list(5), "ONE-LINE-STYLE FORMAT" and "DEB822-STYLE FORMAT".
    """
    entries: list[tuple[str, list[str]]] = []
    for stanza in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            one_line = re.match(r"deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)", line)
            if one_line:
                entries.append((one_line[1], [one_line[2]]))
            elif ":" in line and not line[0].isspace():
                name, value = line.split(":", 1)
                fields[name.strip().lower()] = value.strip()
        if fields.get("enabled", "yes").lower() in {"no", "false"}:
            continue
        if "deb" in fields.get("types", "").split():
            suites = fields.get("suites", "").split()
            entries.extend((uri, suites) for uri in fields.get("uris", "").split())
    return entries


def os_release() -> dict[str, str]:
    """The machine's /etc/os-release."""
    lines = Path("/etc/os-release").read_text().splitlines()
    pairs = (line.split("=", 1) for line in lines if "=" in line)
    return {name: value.strip('"') for name, value in pairs}


def machine_sources(debian_suite: str) -> Sources:
    """Find the archives for hosts of the bed.

    On Debian these are ``debian_suite`` from the machine's own mirror, whatever
    its own release; on Ubuntu the machine's own release, the only one whose
    mirror is known.
    """
    release = os_release()
    distribution, codename = release.get("ID", ""), release.get("VERSION_CODENAME", "")
    if distribution not in {"debian", "ubuntu"}:
        raise BedError(
            f"The test bed builds its hosts with debootstrap from this machine's own Debian "
            f"or Ubuntu mirror, and this machine is '{distribution}'. Run it on Debian 12."
        )
    files = [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*.*")]
    entries = [
        entry
        for path in files
        if path.suffix in {".list", ".sources"} and path.is_file()
        for entry in parse_sources(path.read_text())
    ]
    archive = [uri for uri, suites in entries if codename in suites]
    security = [uri for uri, suites in entries if f"{codename}-security" in suites]
    keyring = Path(f"/usr/share/keyrings/{distribution}-archive-keyring.gpg")
    if not archive or not keyring.exists():
        raise BedError(
            f"Found no apt source for '{codename}' or no {keyring} on this machine. Hosts of the "
            "bed come from the same mirror: add it to /etc/apt and run 'apt-get update'."
        )
    return Sources(
        distribution=distribution,
        suite=debian_suite if distribution == "debian" else codename,
        archive=archive[0],
        security=security[0] if security else None,
        components="main" if distribution == "debian" else "main universe",
        keyring=keyring,
    )


def apt_settings() -> str:
    """How this machine's apt reaches its mirror (proxy, validity), as an apt.conf file."""
    lines = [line for line in run(["apt-config", "dump"]).splitlines() if _APT_SETTINGS.match(line)]
    for scheme in ("http", "https"):
        proxy = os.environ.get(f"{scheme}_proxy")
        if proxy:
            lines.append(f'Acquire::{scheme}::Proxy "{proxy}";')
    return "".join(f"{line}\n" for line in lines)


def own_authorities() -> list[Path]:
    """CA certificates that were added to this machine (a proxy's, say)."""
    return sorted(Path("/usr/local/share/ca-certificates").rglob("*.crt"))


def ca_bundle() -> Path:
    """The machine's own list of trusted CAs."""
    bundle = Path("/etc/ssl/certs/ca-certificates.crt")
    if not bundle.exists():
        raise BedError(f"{bundle} is missing: install the package ca-certificates.")
    return bundle


def require_root(action: str) -> None:
    """Refuse early, in one sentence, what needs rights that are not there."""
    if os.geteuid() != 0:
        raise BedError(f"To {action} the test bed needs root: run it as root or with sudo.")


def require_namespaces() -> None:
    """Refuse early where the kernel does not let this process make containers."""
    if shutil.which("unshare") is None:
        raise BedError("The program unshare (package util-linux) is missing.")
    probe = ["unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--fork", "true"]
    tried = subprocess.run(probe, capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        raise BedError(
            "Hosts of the test bed are containers, and this machine lets root make no namespaces "
            f"({tried.stderr.strip()}): run the bed on a virtual machine or in a privileged "
            "container."
        )
