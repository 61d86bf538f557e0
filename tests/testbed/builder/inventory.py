# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The inventory that a user with hosts of the bed would write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

PARTS = ("k3s_servers", "postgresql", "minio")
_CONNECTION = "containers.podman.podman"


def write_one_host(
    path: Path, alias: str, container: str, variables: dict[str, Any], *, parts: Sequence[str] = PARTS
) -> None:
    """Write an inventory of one host that does all of *parts*; a file that says the same already stays as it is.

    ``alias`` is the host's name in the inventory, ``container`` that of the host of the bed behind it.
    """
    write(path, {alias: {"ansible_host": container}}, {part: [alias] for part in parts}, variables)


def write(
    path: Path, hosts: dict[str, dict[str, Any]], groups: dict[str, Sequence[str]], variables: dict[str, Any]
) -> None:
    """Write an inventory of several hosts, each with variables of its own, in groups."""
    more = {} if has_cgroup_v2() else {"k3s_kubelet_config": {"failCgroupV1": False}}
    inventory = {
        "all": {
            "hosts": {alias: {"ansible_connection": _CONNECTION, **own} for alias, own in hosts.items()},
            "children": {group: {"hosts": dict.fromkeys(members)} for group, members in groups.items()},
            "vars": more | variables,
        }
    }
    text = "---\n" + yaml.safe_dump(inventory, sort_keys=False)
    if path.exists() and path.read_text() == text:
        return
    path.touch(mode=0o600)
    path.write_text(text)


def has_cgroup_v2() -> bool:
    """Whether this machine, and so its hosts, has what Kubernetes wants since 1.35 unless told otherwise."""
    return Path("/sys/fs/cgroup/cgroup.controllers").exists()
