# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: host_address
author:
  - flyte.onprem contributors
short_description: Address at which the other hosts of a site reach a host
version_added: 0.1.0
description:
  - Takes the variables of a host and gives O(_input)'s C(site_address) where the inventory sets it, else the address
    of its default route as gathered, else C(ansible_host), else its name.
positional: _input
options:
  _input:
    description: The host's variables, such as an element of C(hostvars).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show where the first PostgreSQL host is
  ansible.builtin.debug:
    msg: "{{ hostvars[groups['postgresql'][0]] | flyte.onprem.host_address }}"
"""

RETURN = r"""
_value:
  description: An address or a name.
  type: str
"""


def host_address(host):
    """Return the address of the host whose variables are *host* (a mapping)."""
    facts = host.get("ansible_facts") or {}
    default_route = facts.get("default_ipv4") or {}
    return (
        host.get("site_address")
        or default_route.get("address")
        or host.get("ansible_host")
        or host.get("inventory_hostname", "")
    )


class FilterModule:
    """The filter plugin."""

    def filters(self):
        """Return the filters by name."""
        return {"host_address": host_address}
