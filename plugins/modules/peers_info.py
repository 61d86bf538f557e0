#!/usr/bin/python
# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: peers_info
short_description: What comes through from a host to others, and how its clock goes
version_added: 0.1.0
author: The flyte.onprem authors (!UNKNOWN)
description:
  - Asks ports of other hosts, all at once, also before anything listens there. A port where nothing listens refuses a
    connection, which proves the way to it; what a firewall drops is never answered.
  - Compares the host's clock with the moment at which it was asked.
  - Judges nothing, and changes nothing; to the others it looks like a connection that is closed at once.
notes:
  - A firewall that refuses as a host would (with a reset, or with C(icmp-port-unreachable)) cannot be told from a port
    where nothing listens.
  - A host that listens on a UDP port gives no sign either, so ask only for UDP ports where nothing listens yet. Silence
    counts as closed there if the other host says of another UDP port that nothing listens.
extends_documentation_fragment:
  - flyte.onprem.attributes
attributes:
  check_mode:
    support: full
    details:
      - This action does not modify state.
  diff_mode:
    support: N/A
    details:
      - This action does not modify state.
  idempotent:
    support: full
    details:
      - This action does not modify state.
options:
  peers:
    description: The other hosts.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: How the result calls it.
        type: str
        required: true
      address:
        description: Its address, or a name that this host resolves.
        type: str
        required: true
      tcp:
        description: TCP ports that have to be open.
        type: list
        elements: int
        default: []
      udp:
        description: UDP ports that have to be open, and where nothing listens yet.
        type: list
        elements: int
        default: []
      also:
        description: TCP ports that need not be open, but whose answer proves that there is a way. SSH's is a good one.
        type: list
        elements: int
        default: []
      clock:
        description:
          - Port of a server of HTTPS there, whose answer tells the time. Its certificate is not looked at, and nothing
            is told to it.
        type: int
  asked_at:
    description: The time of the one who asks, in seconds since 1970. Without it the clock is not compared.
    type: float
  timeout:
    description:
      - Seconds to wait for an answer. All ports are asked at once, and those that gave no answer once more, so it takes
        about twice as long altogether.
    type: float
    default: 4
"""

EXAMPLES = r"""
- name: Ask whether a server of a cluster reaches another one
  flyte.onprem.peers_info:
    peers:
      - name: server2
        address: 192.0.2.12
        tcp: [6443, 2379, 2380, 10250]
        udp: [8472]
        also: [22]
    asked_at: "{{ now().timestamp() }}"
  register: seen
"""

RETURN = r"""
clock_offset:
  description:
    - How far the host's clock is ahead of O(asked_at), in seconds; negative where it is behind.
    - The way of the question to the host is in it, usually less than a second.
  type: float
  returned: when O(asked_at) is given
  sample: 0.4
peers:
  description: One element for each of O(peers), in their order.
  type: list
  elements: dict
  returned: success
  contains:
    name:
      description: Its O(peers[].name).
      type: str
      sample: server2
    address:
      description: Its O(peers[].address).
      type: str
      sample: 192.0.2.12
    reached:
      description: Whether anything came through to it. V(null) where that could not be told.
      type: bool
      sample: true
    closed:
      description: The ports that are closed although others answer.
      type: list
      elements: str
      sample: [2379/tcp, 8472/udp]
    words:
      description: Why it was not reached, in the words of the system.
      type: str
      sample: No route to host
    ports:
      description:
        - For each port V(open) (something answered), V(refused) (nothing listens, and there is a way), V(lost) (no
          answer), V(rejected) (somebody said that there is no way), or V(unknown) (of UDP, no answer that says
          anything).
      type: dict
      sample: {6443/tcp: refused, 8472/udp: lost}
"""

import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.flyte.onprem.plugins.module_utils._limits import refuse_wait
from ansible_collections.flyte.onprem.plugins.module_utils._peers import Peer, ways

ARGUMENT_SPEC: dict[str, t.Any] = {
    "peers": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "address": {"type": "str", "required": True},
            "tcp": {"type": "list", "elements": "int", "default": []},
            "udp": {"type": "list", "elements": "int", "default": []},
            "also": {"type": "list", "elements": "int", "default": []},
            "clock": {"type": "int"},
        },
    },
    "asked_at": {"type": "float"},
    "timeout": {"type": "float", "default": 4},
}


def main() -> None:
    now = time.time()  # before anything that takes time
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    params = module.params
    try:
        refuse_wait("timeout", params["timeout"])
    except ValueError as exc:
        module.fail_json(msg=str(exc))
    found = ways([Peer(**peer) for peer in params["peers"]], timeout=params["timeout"])
    result: dict[str, t.Any] = {"peers": [way.as_dict() for way in found]}
    own = None if params["asked_at"] is None else now - params["asked_at"]
    if own is not None:
        result["clock_offset"] = round(own, 1)
    for peer in result["peers"]:
        ahead = peer.pop("ahead")
        peer["clock_offset"] = None if own is None or ahead is None else round(own + ahead, 1)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
