# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: stale_files
author:
  - flyte.onprem contributors
short_description: Those files that are not on the host as they should be
version_added: 0.1.0
description:
  - Compares files as they should be with what one call of M(ansible.builtin.find) saw, so that a second run needs
    one module execution for all files of a role instead of two for each.
positional: _input, found
options:
  _input:
    description:
      - The files as they should be. Each has C(path), C(owner), C(group), C(mode), and unless it is a directory
        C(content).
      - Other keys are left as they are, for the use of the caller.
    type: list
    elements: dict
    required: true
  found:
    description:
      - The result of M(ansible.builtin.find), called with O(ansible.builtin.find#module:file_type=any) and
        O(ansible.builtin.find#module:get_checksum=true).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Look at what is in place
  ansible.builtin.find:
    paths: "{{ wanted | map(attribute='path') | map('dirname') | unique }}"
    patterns: "{{ wanted | map(attribute='path') | map('basename') }}"
    file_type: any
    get_checksum: true
  register: found

- name: Write what differs
  ansible.builtin.copy:
    dest: "{{ item.path }}"
    content: "{{ item.content }}"
    owner: "{{ item.owner }}"
    group: "{{ item.group }}"
    mode: "{{ item.mode }}"
  loop: "{{ wanted | flyte.onprem.stale_files(found) }}"
"""

RETURN = r"""
_value:
  description: The elements of O(_input) that are missing on the host or differ there.
  type: list
  elements: dict
"""

import hashlib

from ansible.errors import AnsibleFilterError


def is_as_wanted(wanted, seen):
    """Tell whether *seen*, an element of find's ``files`` or None, is what *wanted* describes."""
    if seen is None:
        return False
    if (seen["pw_name"], seen["gr_name"], seen["mode"]) != (wanted["owner"], wanted["group"], wanted["mode"]):
        return False
    if "content" not in wanted:
        return seen["isdir"]
    # SHA-1 is what find gives on every supported release of ansible-core; it compares, it protects nothing.
    digest = hashlib.sha1(wanted["content"].encode(), usedforsecurity=False).hexdigest()
    return seen["isreg"] and seen.get("checksum") == digest


def stale_files(wanted, found):
    """Return the elements of *wanted* that *found* does not show as they should be."""
    if "files" not in found:
        raise AnsibleFilterError("stale_files needs the result of ansible.builtin.find")
    seen = {entry["path"]: entry for entry in found["files"]}
    return [entry for entry in wanted if not is_as_wanted(entry, seen.get(entry["path"]))]


class FilterModule:
    """The filter plugin."""

    def filters(self):
        """Return the filters by name."""
        return {"stale_files": stale_files}
