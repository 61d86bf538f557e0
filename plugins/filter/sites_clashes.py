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
  - Tells from the inventory which sites have one domain, one directory, one machine or one cluster of others, and the
    hosts of which site have several domains. It reads each host once.
  - Hosts are one machine if they are reached by SSH at one address and port with the same options of SSH, which may
    name a host on the way, or if they are all the control node. Other connections have means of their own to tell hosts
    apart, so nothing is said of these.
  - A cluster is told by the address of its API in the kubeconfig, or by file and context where that has none.
positional: _input
options:
  _input:
    description: The hosts of the inventory that have a part of a site.
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
  reached:
    description: Those of the hosts from which a cluster of others is reached.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Refuse a domain that another site has
  ansible.builtin.assert:
    that: inventory_hostname not in clashes['domains']
  vars:
    clashes: >-
      {{ query('flyte.onprem.sites_hosts')
      | flyte.onprem.sites_clashes(hostvars, groups['k3s_servers'], groups['existing_cluster']) }}
"""

RETURN = r"""
_value:
  description:
    - C(domains), C(directories), C(machines), C(clusters) that several sites have; each has the hosts that it concerns,
      by name, with C(what) it is and C(whose), as text.
    - C(split), the same for sites whose hosts have several domains; C(what) is the site, C(whose) has the domains.
  type: dict
"""

import ipaddress
import os
import typing as t
from collections.abc import Iterable, Mapping, Sequence

import yaml
from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.flyte.onprem.plugins.filter.sites_outcome import Variables, known, site_of

SSH = ("ssh", "smart", "paramiko", "paramiko_ssh")
SSH_PORT = "22"
SSH_OPTIONS = ("ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args")
NAMED = 5
# As the default of site_directory says, beside the inventory.
DIRECTORIES = ".flyte"

# What something is for people, and what else tells it apart.
Thing = tuple[str, ...]
Clashes = dict[str, dict[str, str]]


def sites_clashes(
    hosts: Sequence[str], hostvars: Mapping[str, Variables], installed: Iterable[str], reached: Iterable[str]
) -> dict[str, Clashes]:
    """Return what several of the sites have to which the *hosts* belong, and of which site the hosts do not agree."""
    used, outside = set(installed), set(reached)
    sites: dict[str, str] = {}
    domains: dict[str, Thing | None] = {}
    directories: dict[str, Thing | None] = {}
    machines: dict[str, Thing | None] = {}
    clusters: dict[str, Thing | None] = {}
    for host in hosts:
        variables = hostvars[host]
        sites[host] = site_of(host, variables)
        domain = known(variables, "site_domain")
        domains[host] = (domain,) if domain else None
        directories[host] = directory_of(sites[host], variables)
        machines[host] = machine_of(host, variables) if host in used else None
        clusters[host] = cluster_of(variables) if host in outside else None
    calls = {host: f"{host} (site {site})" for host, site in sites.items()}
    return {
        "domains": shared(domains, sites, sites),
        "directories": shared(directories, sites, sites),
        "machines": shared(machines, sites, calls),
        "clusters": shared(clusters, sites, sites),
        "split": split(domains, sites),
    }


def shared(things: Mapping[str, Thing | None], sites: Mapping[str, str], calls: Mapping[str, str]) -> Clashes:
    """Return the hosts of several sites that have one thing; *calls* has what is said of each host."""
    found: dict[Thing, list[str]] = {}
    for host, thing in things.items():
        if thing:
            found.setdefault(thing, []).append(host)
    clashes: Clashes = {}
    for thing, hosts in found.items():
        if len({sites[host] for host in hosts}) > 1:
            clash = {"what": thing[0], "whose": several(calls[host] for host in hosts)}
            clashes |= dict.fromkeys(hosts, clash)
    return clashes


def split(domains: Mapping[str, Thing | None], sites: Mapping[str, str]) -> Clashes:
    """Return the hosts of each site that has several domains."""
    found: dict[str, dict[str, list[str]]] = {}
    for host, domain in domains.items():
        if domain:
            found.setdefault(sites[host], {}).setdefault(domain[0], []).append(host)
    clashes: Clashes = {}
    for site, of_site in found.items():
        if len(of_site) > 1:
            whose = several(f"{domain} ({several(hosts)})" for domain, hosts in of_site.items())
            clash = {"what": site, "whose": whose}
            clashes |= {host: clash for hosts in of_site.values() for host in hosts}
    return clashes


def several(names: Iterable[str]) -> str:
    """Return names as text, of many of them the first ones and how many more there are."""
    each = list(dict.fromkeys(names))
    more = [f"{len(each) - NAMED} more"] if len(each) > NAMED else []
    return " and ".join(each[:NAMED] + more)


def directory_of(site: str, variables: Variables) -> Thing | None:
    """Return where the files of a host's site are on the control node; None where that cannot be said."""
    path = known(variables, "site_directory")
    if path is None and "site_directory" not in variables:
        beside = known(variables, "inventory_dir")
        path = beside and os.path.join(beside, DIRECTORIES, site)
    return (real(path),) if path else None


def real(path: str) -> str:
    """Return a path of the control node in the one form that all its spellings have."""
    return os.path.realpath(os.path.expanduser(path))


def cluster_of(variables: Variables) -> Thing | None:
    """Return which cluster of others a host's site is to use; None where that cannot be said."""
    if known(variables, "site_kubernetes") != "existing":
        return None
    if boolean(known(variables, "existing_cluster_in_cluster") or "no", strict=False):
        return ("that of the control node",)
    kubeconfig = known(variables, "site_kubernetes_connection", "kubeconfig")
    context = known(variables, "site_kubernetes_connection", "context")
    if not kubeconfig or not context:
        return None
    path = real(kubeconfig)
    return api_of(path, context) or (f"context {context} of {path}",)


def api_of(kubeconfig: str, context: str) -> Thing | None:
    """Return where the API of a context is, and on which way; None where the file does not say that."""
    try:
        with open(kubeconfig, encoding="utf-8") as stream:
            content = yaml.safe_load(stream)
        contexts, clusters = ({each["name"]: each for each in content[kind]} for kind in ("contexts", "clusters"))
        cluster = clusters[contexts[context]["context"]["cluster"]]["cluster"]
        return (cluster["server"].rstrip("/"), *(str(cluster.get(way)) for way in ("tls-server-name", "proxy-url")))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError):
        return None


def machine_of(host: str, variables: Variables) -> Thing | None:
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
