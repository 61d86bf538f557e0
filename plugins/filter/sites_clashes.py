# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: sites_clashes
author:
  - flyte.onprem contributors
short_description: What several sites of an inventory have, of which each needs one of its own
version_added: 0.1.0
description:
  - Tells from the inventory alone which sites have one domain, and which have one machine. It reads each host once.
  - Hosts are one machine if they are reached by SSH at one address and port with the same options of SSH, which may
    name a host on the way, or if they are all the control node. Other connections have means of their own to tell hosts
    apart, so nothing is said of these.
positional: _input
options:
  _input:
    description: The hosts of the inventory.
    type: list
    elements: str
    required: true
  hostvars:
    description: Variables of all hosts.
    type: dict
    required: true
  installed:
    description: Those of the hosts on which something is installed. From any other, a cluster is only reached.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Refuse a domain that another site has
  ansible.builtin.assert:
    that: site_domain not in clashes['domains']
  vars:
    clashes: "{{ groups['all'] | flyte.onprem.sites_clashes(hostvars, groups['k3s_servers']) }}"
"""

RETURN = r"""
_value:
  description:
    - C(domains), names of the sites that have the same C(site_domain), by it; C(machines), each with C(where) it is and
      with C(hosts), what several sites call it, as text; C(hosts), the place of its machine in that list for each such
      host.
  type: dict
"""

import ipaddress
import typing as t
from collections.abc import Iterable, Sequence

from ansible_collections.flyte.onprem.plugins.filter.sites_outcome import Variables, known, site_of

SSH = ("ssh", "smart", "paramiko", "paramiko_ssh")
SSH_PORT = "22"
SSH_OPTIONS = ("ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args")

Machine = tuple[str, ...]


def sites_clashes(
    hosts: Sequence[str], hostvars: t.Mapping[str, Variables], installed: Iterable[str]
) -> dict[str, dict[str, t.Any]]:
    """Return the domains and machines that several of the sites have to which the *hosts* belong."""
    used = set(installed)
    domains: dict[str, list[str]] = {}
    machines: dict[Machine, dict[str, str]] = {}
    for host in hosts:
        variables = hostvars[host]
        site = site_of(host, variables)
        domain = known(variables, "site_domain")
        if domain:
            domains.setdefault(domain, []).append(site)
        machine = machine_of(host, variables) if host in used else None
        if machine:
            machines.setdefault(machine, {})[host] = site
    shared = [(machine[0], sites) for machine, sites in machines.items() if len(set(sites.values())) > 1]
    return {
        "domains": {domain: list(dict.fromkeys(sites)) for domain, sites in domains.items() if len(set(sites)) > 1},
        "machines": [
            {"where": where, "hosts": [f"{host} (site {site})" for host, site in sites.items()]}
            for where, sites in shared
        ],
        "hosts": {host: number for number, (_where, sites) in enumerate(shared) for host in sites},
    }


def machine_of(host: str, variables: Variables) -> Machine | None:
    """Return where a host is, for people, and what else tells it apart; None where that cannot be said."""
    connection = (known(variables, "ansible_connection") or SSH[0]).rpartition(".")[2]
    if connection == "local":
        return ("the control node",)
    if connection not in SSH:
        return None
    address = plain(known(variables, "ansible_host") or known(variables, "ansible_ssh_host") or host)
    port = known(variables, "ansible_port") or known(variables, "ansible_ssh_port") or SSH_PORT
    where = address if port == SSH_PORT else f"{address}, port {port}"
    return (where, *(known(variables, name) or "" for name in SSH_OPTIONS))


def plain(address: str) -> str:
    """Return an address in the one form that all its spellings have."""
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return address.lower()


class FilterModule:
    """The filter plugin."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filters by name."""
        return {"sites_clashes": sites_clashes}
