# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: mount_of
author:
  - flyte.onprem contributors
short_description: Mount on which a path lies
version_added: 0.1.0
description:
  - Takes a host's mounts as gathered, and gives the one that holds O(path), or will once the path is made.
positional: _input, path
options:
  _input:
    description: The mounts, as in C(ansible_facts['mounts']). Those without C(size_available) are left out.
    type: list
    elements: dict
    required: true
  path:
    description: An absolute path on the host.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Show where the objects of MinIO lie
  ansible.builtin.debug:
    msg: "{{ (ansible_facts['mounts'] | flyte.onprem.mount_of('/var/lib/minio'))['mount'] }}"
"""

RETURN = r"""
_value:
  description: The mount, or an empty mapping where none of them is known to hold the path.
  type: dict
"""

from pathlib import PurePosixPath


def mount_of(mounts, path):
    """Return that of *mounts* (mappings with ``mount`` and ``size_available``) on which *path* lies, or {}."""
    above = [str(path), *map(str, PurePosixPath(path).parents)]
    holding = [mount for mount in mounts if "size_available" in mount and mount["mount"] in above]
    return max(holding, key=lambda mount: len(mount["mount"]), default={})


class FilterModule:
    """The filter plugin."""

    def filters(self):
        """Return the filters by name."""
        return {"mount_of": mount_of}
