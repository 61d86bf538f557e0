# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: firewall_rules
author:
  - flyte.onprem contributors
short_description: Rules that open ports, as ufw or firewalld lists them
version_added: 0.1.0
description:
  - Writes each rule the way the firewall itself writes it when it lists its rules, so that two lists can be compared.
positional: _input, firewall
options:
  _input:
    description:
      - Hosts, each with C(address), and C(tcp) and C(udp), the ports that are opened to it.
    type: list
    elements: dict
    required: true
  firewall:
    description: Whose words they are to be.
    type: str
    choices: [ufw, firewalld]
    required: true
  networks:
    description: Networks to which all is opened.
    type: list
    elements: str
    default: []
  public:
    description: TCP ports that are opened to all.
    type: list
    elements: int
    default: []
  routed:
    description: Networks from and to which packets go through the host. With V(firewalld) that is a policy.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Show how ufw lets another server of the cluster in
  ansible.builtin.debug:
    msg: "{{ [{'address': '192.0.2.12', 'tcp': [2379, 2380], 'udp': [8472]}] | flyte.onprem.firewall_rules('ufw') }}"
"""

RETURN = r"""
_value:
  description: The rules, without the command in front.
  type: list
  elements: str
"""

import ipaddress
import socket

from ansible.errors import AnsibleFilterError

PROTOCOLS = ("tcp", "udp")


def as_ufw_lists(text):
    """Return an address or a network in ufw's own spelling: in another one, a rule would be made and deleted by turns.

    Of a network of IPv4 it drops what is not of the network, of one of IPv6 it does not.
    """
    try:
        found = ipaddress.ip_interface(text)
    except ValueError:
        return text
    address = found.ip if found.version == 6 or "/" not in text else found.network.network_address
    family = socket.AF_INET if found.version == 4 else socket.AF_INET6
    return "/".join([socket.inet_ntop(family, address.packed), *text.split("/")[1:]])


def ufw(address, ports, protocol):
    """Return the rule of ufw for some ports, none meaning all, and an address, none meaning all."""
    numbers = ",".join(str(port) for port in ports)
    if not address:
        return [f"allow {numbers}/{protocol}"]
    source = as_ufw_lists(address)
    if not ports:
        return [f"allow from {source}"]
    return [f"allow from {source} to any port {numbers} proto {protocol}"]


def ufw_routes(networks):
    """Return the rules of ufw that let packets through from and to networks."""
    return [f"route allow {way} {as_ufw_lists(network)}" for way in ("from", "to") for network in networks]


def firewalld(address, ports, protocol):
    """Return a rich rule of firewalld for each port, none meaning all, and an address, none meaning all."""
    source = f' family="{"ipv6" if ":" in address else "ipv4"}" source address="{address}"' if address else ""
    if not ports:
        return [f"rule{source} accept"]
    return [f'rule{source} port port="{port}" protocol="{protocol}" accept' for port in ports]


FIREWALLS = {"ufw": ufw, "firewalld": firewalld}


def firewall_rules(peers, firewall, networks=(), public=(), routed=()):
    """Return the rules that open ports to *peers*, all to *networks*, and the ports *public* to all.

    With ufw they also let packets through from and to the networks *routed*.

    Raises AnsibleFilterError for an unknown firewall.
    """
    if firewall not in FIREWALLS:
        raise AnsibleFilterError(f"firewall_rules knows {', '.join(FIREWALLS)}, and not {firewall}")
    openings = [(network, [], "") for network in networks]
    openings += [("", sorted(public), "tcp")] if public else []
    openings += [
        (peer["address"], sorted(peer[protocol]), protocol)
        for peer in peers
        for protocol in PROTOCOLS
        if peer[protocol]  # none would mean all
    ]
    rules = [rule for opening in openings for rule in FIREWALLS[firewall](*opening)]
    return rules + (ufw_routes(routed) if firewall == "ufw" else [])


class FilterModule:
    """The filter plugin."""

    def filters(self):
        """Return the filters by name."""
        return {"firewall_rules": firewall_rules}
