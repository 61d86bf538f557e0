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
  - Finds networks without the length of their prefix, networks that share addresses, and networks that cover an address
    of somebody else.
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
  of_one_cluster:
    description:
      - Whether all are of one cluster. Each input then has one network of each family of addresses, in the order of the
        others, and each of O(addresses) that is known has an address of every family.
    type: bool
    default: false
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
import re


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
    """Return the network of a text with the length of its prefix; raise ValueError for another one."""
    if not re.fullmatch(r"[0-9a-fA-F.:]+/[0-9]+", text):  # ip_network would also take masks, and no mask at all
        raise ValueError(text)
    return ipaddress.ip_network(text, strict=False)


def words(found):
    """Return the families of networks or addresses as words, in their order."""
    return ", ".join(f"IPv{each.version}" for each in found)


def family_problems(networks, addresses):
    """Return where the families of the networks of one cluster, and of *addresses* in it, differ.

    Both are mappings of names to what was parsed.
    """
    problems = [
        f"{name} has several networks of one family ({words(found)})"
        for name, found in networks.items()
        if len({each.version for each in found}) < len(found)
    ]
    problems += [
        f"{name} is of {words(found)}, and {other} of {words(other_found)}"
        for (name, found), (other, other_found) in itertools.combinations(networks.items(), 2)
        if words(found) != words(other_found)
    ]
    wanted = {each.version for found in networks.values() for each in found}
    problems += [
        f"{owner} ({', '.join(map(str, found))}) has no address of IPv{version}, of which there are networks"
        for owner, found in addresses.items()
        for version in sorted(wanted - {each.version for each in found})
    ]
    return problems


def network_problems(networks, addresses=None, of_one_cluster=False):
    """Return what is wrong with *networks*, also beside *addresses*; both are mappings of names to texts.

    With *of_one_cluster* their families are compared, too.
    """
    known = [(name, part, parsed(network, part)) for name, text in networks.items() for part in parts(text)]
    problems = [f"{name} is '{part}', no network such as 10.42.0.0/16" for name, part, found in known if not found]
    known = [each for each in known if each[2]]
    problems += [
        f"{name} ({part}) and {other} ({other_part}) overlap"
        for (name, part, found), (other, other_part, other_found) in itertools.combinations(known, 2)
        if found.version == other_found.version and found.overlaps(other_found)
    ]
    taken = [
        (owner, parsed(ipaddress.ip_address, part)) for owner, text in (addresses or {}).items() for part in parts(text)
    ]
    taken = [each for each in taken if each[1]]
    problems += [
        f"{name} ({part}) covers {owner} ({address})"
        for owner, address in taken
        for name, part, found in known
        if address in found
    ]
    if of_one_cluster:
        problems += family_problems(
            {name: [found for other, _part, found in known if other == name] for name, _part, _found in known},
            {owner: [address for other, address in taken if other == owner] for owner, _address in taken},
        )
    return problems


class FilterModule:
    """The filter plugin."""

    def filters(self):
        """Return the filters by name."""
        return {"network_problems": network_problems}
