# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: node_ports
author:
  - flyte.onprem contributors
short_description: Which ports the hosts of a k3s cluster need of each other
version_added: 0.1.0
description:
  - Says for each of the other hosts which ports there O(host) has to reach, or which ports of O(host) it has to reach.
positional: _input, host
options:
  _input:
    description: The other hosts, by their names.
    type: list
    elements: str
    required: true
  host:
    description: The host, by its name.
    type: str
    required: true
  cluster:
    description:
      - C(servers) and C(addresses) (by name), C(api) (the port), and lists of ports - C(etcd) (between servers), C(tcp)
        and C(udp) (between all nodes).
    type: dict
    required: true
  inbound:
    description: Whether the ports are those of O(host) that the others need.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Show what server1 has to reach of the others
  ansible.builtin.debug:
    msg: "{{ ['server2', 'agent'] | flyte.onprem.node_ports('server1', cluster=cluster) }}"
  vars:
    cluster:
      servers: [server1, server2]
      addresses: {server1: 192.0.2.11, server2: 192.0.2.12, agent: 192.0.2.13}
      api: 6443
      etcd: [2379, 2380]
      tcp: [10250]
      udp: [8472]
"""

RETURN = r"""
_value:
  description: For each of O(_input) its C(name) and C(address), and the ports, each once, as C(tcp) and C(udp).
  type: list
  elements: dict
"""


def node_ports(peers, host, cluster, inbound=False):
    """Return the ports that *host* needs of each of *peers*, or with *inbound* each of them of *host*."""
    servers = cluster["servers"]
    found = []
    for peer in peers:
        asking, asked = (peer, host) if inbound else (host, peer)
        tcp = [cluster["api"]] if asked in servers else []
        tcp += cluster["etcd"] if asked in servers and asking in servers else []
        tcp += cluster["tcp"]
        found.append(
            {
                "name": peer,
                "address": cluster["addresses"][peer],
                "tcp": list(dict.fromkeys(int(port) for port in tcp)),
                "udp": [int(port) for port in cluster["udp"]],
            }
        )
    return found


class FilterModule:
    """The filter plugin."""

    def filters(self):
        """Return the filters by name."""
        return {"node_ports": node_ports}
