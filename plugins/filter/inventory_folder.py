# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: inventory_folder
author:
  - flyte.onprem contributors
short_description: Folder for what a run keeps of all its sites
version_added: 0.1.0
description:
  - Gives the folder that is the first inventory of a run, or in which it lies. C(inventory_dir) is one of each host,
    and another one where the inventory has several folders.
  - The folder that the command was run from, where no inventory is a file or a folder.
positional: _input
options:
  _input:
    description: The inventories of the run, as in C(ansible_inventory_sources).
    type: list
    elements: path
    required: true
"""

EXAMPLES = r"""
- name: Show where the lists to run again lie
  ansible.builtin.debug:
    msg: "{{ ansible_inventory_sources | flyte.onprem.inventory_folder }}"
"""

RETURN = r"""
_value:
  description: The path of the folder.
  type: path
"""

from pathlib import Path


def inventory_folder(sources):
    """Return the folder of the first of *sources* that is a file or a folder; others are lists of hosts."""
    for path in map(Path, sources):
        if path.is_dir():
            return str(path)
        if path.is_file():
            return str(path.parent)
    return str(Path.cwd())


class FilterModule:
    """The filter plugin."""

    def filters(self):
        """Return the filters by name."""
        return {"inventory_folder": inventory_folder}
