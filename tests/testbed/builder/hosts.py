# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts of the bed: containers with systemd that behave like small machines."""

from __future__ import annotations

import ipaddress
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import machine
from .console import BedError, run, stage

_LABEL = "flyte.onprem.testbed=host"
_ADDRESS_LABEL = "flyte.onprem.testbed.address"
_BOOT_SECONDS = 120.0
_INOTIFY_INSTANCES = 1024
# A network of the hosts' own: only there podman lets a host choose, and so keep, its address.
_NETWORK = "flyte-onprem"
# containerd and kubelet mount overlays of their own, which an overlay cannot carry.
VOLUMES = ("/var/lib/rancher", "/var/lib/kubelet")
# What any container needs where root has no CAP_SYS_RESOURCE (podman's own
# limits are higher than it may set) and cgroups are version 1 (crun refuses).
CONTAINER_OPTIONS = (
    "--runtime=runc",
    "--ulimit=nofile=20000:20000",
    "--ulimit=nproc=32000:32000",
)
# Without a cgroup namespace of its own, runc in the host finds no cgroup for pods.
_HOST_OPTIONS = (
    *CONTAINER_OPTIONS,
    "--cgroupns=private",
    "--privileged",
    # podman's own --systemd mode mounts the machine's root of cgroup v1's systemd hierarchy
    # into each host, where several systemds remove each other's cgroups. These are the rest
    # of what that mode does.
    "--systemd=false",
    "--tmpfs=/run",
    "--tmpfs=/run/lock",
    "--tmpfs=/tmp:exec",
    "--stop-signal=SIGRTMIN+3",
    "--env=container=podman",
    "--stop-timeout=60",
)


@dataclass(frozen=True)
class Host:
    """What a host is to be."""

    name: str
    image: str
    hostname: str
    publish: Sequence[str] = field(default=())
    volumes: Sequence[str] = VOLUMES
    memory: str | None = None

    def run_command(self, address: str) -> list[str]:
        """The ``podman run`` line that makes it, with an address that it keeps over a restart."""
        command = ["podman", "run", "--detach", f"--name={self.name}"]
        command += [f"--hostname={self.hostname}", f"--label={_LABEL}", *_HOST_OPTIONS]
        command += [f"--volume={volume_name(self.name, path)}:{path}" for path in self.volumes]
        command += [f"--publish={on_loopback(mapping)}" for mapping in self.publish]
        if self.memory:
            command.append(f"--memory={self.memory}")
        command += [f"--network={_NETWORK}", f"--ip={address}", f"--label={_ADDRESS_LABEL}={address}"]
        return [*command, self.image, "/sbin/init"]


def volume_name(host: str, path: str) -> str:
    """Name the volume of a host's directory: ``demo`` and ``/var/lib/rancher`` give
    ``demo-var-lib-rancher``."""
    return host + path.replace("/", "-")


def on_loopback(mapping: str) -> str:
    """Complete ``8443:443`` with the loopback address; a full mapping stays as it is."""
    return f"127.0.0.1:{mapping}" if mapping.count(":") == 1 else mapping


def up(host: Host) -> str:
    """Start the host if it does not run, wait for its systemd, return its address."""
    machine.require_root("start a host")
    _raise_inotify_limit()
    state = _state(host.name)
    if state is None:
        machine.require_namespaces()
        with stage(host.name, f"starting a host from {host.image}", 10):
            run(host.run_command(_free_address()))
            _wait_until_booted(host.name)
    elif state != "running":
        with stage(host.name, "starting the stopped host again", 10):
            run(["podman", "start", host.name])
            _wait_until_booted(host.name)
    return address(host.name)


def _raise_inotify_limit() -> None:
    """Let the services of several hosts watch files: all count as one root, whom Debian allows 128."""
    limit = Path("/proc/sys/fs/inotify/max_user_instances")
    if int(limit.read_text()) < _INOTIFY_INSTANCES:
        limit.write_text(str(_INOTIFY_INSTANCES))


def down(name: str) -> None:
    """Remove a host and its volumes; nothing happens if there is none."""
    machine.require_root("remove a host")
    if _state(name) is not None:
        run(["podman", "rm", "--force", "--time=20", name])
    volumes = run(["podman", "volume", "ls", "--format={{.Name}}"]).split()
    own = [volume for volume in volumes if volume.startswith(f"{name}-var-lib-")]
    if own:
        run(["podman", "volume", "rm", *own])


def address(name: str) -> str:
    """The host's address on podman's network."""
    networks = json.loads(run(["podman", "inspect", "--format={{json .NetworkSettings.Networks}}", name]))
    addresses = [network["IPAddress"] for network in networks.values() if network["IPAddress"]]
    if not addresses:
        raise BedError(f"The host {name} has no address. See 'podman logs {name}'.")
    return str(addresses[0])


def gateway() -> str:
    """This machine's address on the hosts' network, where what serves the hosts may listen."""
    return str(next(_network().hosts()))


def _network() -> ipaddress.IPv4Network:
    """The hosts' network, which is made where there is none."""
    if subprocess.run(["podman", "network", "exists", _NETWORK], check=False).returncode:
        # Somebody beside us may be the first; the look below tells whether it is there.
        subprocess.run(["podman", "network", "create", "--disable-dns", _NETWORK], capture_output=True, check=False)
    network = json.loads(run(["podman", "network", "inspect", _NETWORK]))[0]
    return ipaddress.IPv4Network(network["subnets"][0]["subnet"])


def _free_address() -> str:
    """The lowest address of the hosts' network that no host has."""
    label = f'{{{{index .Labels "{_ADDRESS_LABEL}"}}}}'
    taken = run(["podman", "ps", "--all", f"--filter=label={_LABEL}", f"--format={label}"]).split()
    hosts = _network().hosts()
    next(hosts)  # the gateway
    return next(str(candidate) for candidate in hosts if str(candidate) not in taken)


def _state(name: str) -> str | None:
    command = ["podman", "container", "inspect", "--format={{.State.Status}}", name]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else None


def _wait_until_booted(name: str) -> None:
    # systemd's bus is not there in the first moments of a boot; one shell in the
    # host waits for it, so that the loop does not start a podman each time.
    wait = (
        "until systemctl is-system-running >/dev/null 2>&1 || "
        '[ "$(systemctl is-system-running 2>/dev/null)" = degraded ]; do sleep 0.2; done; '
        "systemctl list-units --failed --plain --no-legend"
    )
    failed = run(["podman", "exec", name, "sh", "-c", wait], timeout=_BOOT_SECONDS).strip()
    if failed:
        raise BedError(f"The host {name} started with failed units:\n{failed}\nSee 'podman exec {name} journalctl -b'.")
