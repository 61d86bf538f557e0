# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: network_problems
author:
  - flyte.onprem contributors
short_description: Why networks cannot be used side by side
version_added: 0.1.0
description:
  - Finds networks without a mask, networks that share addresses, and networks that cover an address of somebody else.
positional: _input
options:
  _input:
    description: The networks, by the name of the input that has them. Several in one text are separated by commas.
    type: dict
    required: true
  addresses:
    description: Addresses that no network may cover, by the name of their input. What is no address is left out.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Show what is wrong with the networks of a cluster
  ansible.builtin.debug:
    msg: "{{ {'pods': '10.42.0.0/16', 'services': '10.42.128.0/17'} | flyte.onprem.network_problems }}"
"""

RETURN = r"""
_value:
  description: A phrase for each problem.
  type: list
  elements: str
"""

import ipaddress
import itertools


def parts(text):
    """Return what stands between the commas of a text."""
    return [part.strip() for part in str(text).split(",")]


def parsed(parse, text):
    """Return what *parse* makes of a text, or None."""
    try:
        return parse(text)
    except ValueError:
        return None


def network(text):
    """Return the network of a text with a mask; raise ValueError for another one."""
    if "/" not in text:
        raise ValueError(text)
    return ipaddress.ip_network(text, strict=False)


def network_problems(networks, addresses=None):
    """Return what is wrong with *networks*, also beside *addresses*; both are mappings of names to texts."""
    known = [(name, part, parsed(network, part)) for name, text in networks.items() for part in parts(text)]
    problems = [f"{name} is '{part}', no network with a mask" for name, part, found in known if not found]
    known = [each for each in known if each[2]]
    problems += [
        f"{name} ({part}) and {other} ({other_part}) overlap"
        for (name, part, found), (other, other_part, other_found) in itertools.combinations(known, 2)
        if found.version == other_found.version and found.overlaps(other_found)
    ]
    taken = [
        (owner, parsed(ipaddress.ip_address, part)) for owner, text in (addresses or {}).items() for part in parts(text)
    ]
    problems += [
        f"{name} ({part}) covers {owner} ({address})"
        for owner, address in taken
        for name, part, found in known
        if address and address in found
    ]
    return problems


class FilterModule:
    """The filter plugin."""

    def filters(self):
        """Return the filters by name."""
        return {"network_problems": network_problems}
