# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: nft_drops
author:
  - flyte.onprem contributors
short_description: Which traffic of pods a ruleset of nftables drops for certain
version_added: 0.1.0
description:
  - Follows packets of a cluster's pods through the base chains for C(input) and C(forward) whose policy is C(drop).
  - The chain C(FORWARD) of iptables is left out, as k3s's network adds to it what it needs.
  - A rule that cannot be judged, because it has a set by name, a mark or a match of iptables in it, may accept; only
    what no rule can accept is named.
positional: _input
options:
  _input:
    description: What C(nft --json list table) says of the tables, their lists C(nftables) in one.
    type: list
    elements: dict
    required: true
  pods:
    description: The networks of the pods.
    type: list
    elements: str
    required: true
  port:
    description: A TCP port of the host that pods have to reach, if any.
    type: int
  but:
    description: Tables that are left out, by their names.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Show what the host's own rules drop
  ansible.builtin.debug:
    msg: "{{ (ruleset.stdout | from_json).nftables | flyte.onprem.nft_drops(pods=['10.42.0.0/16'], port=6443) }}"
"""

RETURN = r"""
_value:
  description: A phrase for each chain and kind of traffic.
  type: list
  elements: str
"""

import ipaddress

FAMILIES = {4: ("ip", "ipv4"), 6: ("ip6", "ipv6")}
BRIDGE = "cni0"
# Meta keys with one meaning; JSON has names of interfaces in both.
SAME_KEYS = {"iif": "iifname", "oif": "oifname"}
# Statements that match nothing. What else is not known here may match.
HARMLESS = ("counter", "log")
LET_THROUGH = "let through, perhaps"
DROPPED = "dropped"
GOES_ON = "goes on"
ENDS = {"accept": LET_THROUGH, "queue": LET_THROUGH, "drop": DROPPED, "reject": DROPPED, "return": GOES_ON}


def matches(value, right):
    """Return whether a known value of a packet is that of a match; None where nobody can tell."""
    if isinstance(right, dict) and "elem" in right:
        right = right["elem"]["val"]
    if isinstance(right, dict) and "set" in right:
        right = right["set"]
    if isinstance(right, list):
        answers = [matches(value, each) for each in right]
        return True if True in answers else None if None in answers else False
    if value is None or (isinstance(right, str) and right.startswith("@")):
        return None
    if isinstance(value, (ipaddress.IPv4Network, ipaddress.IPv6Network)):
        return covers(right, value)
    if isinstance(right, dict):
        first, last = right.get("range", (None, None))
        return first <= value <= last if isinstance(value, int) and isinstance(first, int) else None
    if isinstance(value, str) and isinstance(right, str):
        return value.startswith(right[:-1]) if right.endswith("*") else value == right
    return value == right if isinstance(right, type(value)) else None


def covers(right, network):
    """Return whether an address or a prefix of a match covers a whole network; None where it covers a part of it."""
    if isinstance(right, dict) and "prefix" in right:
        right = f"{right['prefix']['addr']}/{right['prefix']['len']}"
    try:
        found = ipaddress.ip_network(right, strict=False)
    except (TypeError, ValueError):  # a range, a name
        return None
    if found.version != network.version or not found.overlaps(network):
        return False
    return True if network.subnet_of(found) else None


def value_of(left, packet):
    """Return what a match looks at as ``(whether the packet has it, its value)``."""
    if not isinstance(left, dict):
        return True, None
    kind, what = next(iter(left.items()))
    if kind == "payload" and "field" in what:
        if what["protocol"] not in packet["protocols"]:
            return False, None
        return True, packet.get(f"{what['protocol']} {what['field']}")
    if kind in ("meta", "ct") and "dir" not in what:
        return True, packet.get(f"{kind} {SAME_KEYS.get(what['key'], what['key'])}")
    return True, None


def holds(match, packet):
    """Return whether a match holds for a packet; None where nobody can tell."""
    has, value = value_of(match["left"], packet)
    if not has:
        return False
    answer = matches(value, match["right"])
    if match["op"] in ("==", "in") or answer is None:
        return answer
    return not answer if match["op"] == "!=" else None


def mapped(vmap, packet):
    """Return the statement to which a map of verdicts leads, None where to none, or one that may accept."""
    has, value = value_of(vmap["key"], packet)
    if not has:
        return None
    elements = vmap["data"]["set"] if isinstance(vmap["data"], dict) else None  # or a map by name
    answers = [matches(value, key) for key, _verdict in elements or []]
    if elements is None or None in answers:
        return {"queue": None}
    return next((found for answer, (_key, found) in zip(answers, elements) if answer), None)


def verdict(rule, packet):
    """Return how a rule ends for a packet, as ``(kind, what, whether it is certain)``; None where it does not."""
    certain = True
    for statement in rule:
        found = mapped(statement["vmap"], packet) if "vmap" in statement else statement
        if found is None:
            return None
        kind, what = next(iter(found.items()))
        if kind in ENDS or kind in ("jump", "goto"):
            return kind, what, certain
        answer = holds(what, packet) if kind == "match" else (kind in HARMLESS or None)
        if answer is False:
            return None
        certain = certain and answer is True
    return None


def follow(name, packet, chains):
    """Return what becomes of a packet in a chain, whose policy is not looked at."""
    may_return = False
    for kind, what, certain in filter(None, (verdict(rule, packet) for rule in chains.get(name, []))):
        end = ENDS[kind] if kind in ENDS else follow(what["target"], packet, chains)
        if end == LET_THROUGH:
            return LET_THROUGH
        if end == DROPPED and certain:
            return LET_THROUGH if may_return else DROPPED
        if end == GOES_ON and kind != "jump":
            if certain:
                return GOES_ON
            may_return = True
    return GOES_ON


def packets(pods, port):
    """Yield packets that have to come through: the hook, the family's name, words, what is known of the packet."""
    for network in [ipaddress.ip_network(each, strict=False) for each in pods]:
        family, name = FAMILIES[network.version]
        packet = {
            "protocols": (family, "tcp", "th"),
            "meta iifname": BRIDGE,
            "meta nfproto": name,
            "meta l4proto": "tcp",
            "ct state": "new",
            f"{family} saddr": network,
        }
        if port:
            words = f"TCP {port} from pods ({network})"
            yield "input", family, words, {**packet, "tcp dport": int(port), "th dport": int(port)}
        yield "forward", family, f"traffic between pods ({network})", {
            **packet, "meta oifname": BRIDGE, f"{family} daddr": network,
        }  # fmt: skip


def nft_drops(objects, pods, port=None, but=()):
    """Return which packets of pods are dropped for certain, and by which chain, as phrases.

    Tables whose names are in *but* are left out.
    """
    bases = [
        each["chain"]
        for each in objects
        if each.get("chain", {}).get("policy") == "drop"
        and each["chain"]["table"] not in but
        and (each["chain"]["table"], each["chain"]["name"]) != ("filter", "FORWARD")
    ]
    found = []
    for base in bases:
        table = (base["family"], base["table"])
        chains = {}
        for rule in [each["rule"] for each in objects if "rule" in each]:
            if (rule["family"], rule["table"]) == table:
                chains.setdefault(rule["chain"], []).append(rule["expr"])
        found += [
            f"chain {base['name']} of table {' '.join(table)} drops {words}"
            for hook, family, words, packet in packets(pods, port)
            if base["hook"] == hook
            and base["family"] in ("inet", family)
            and follow(base["name"], packet, chains) != LET_THROUGH
        ]
    return found


class FilterModule:
    """The filter plugin."""

    def filters(self):
        """Return the filters by name."""
        return {"nft_drops": nft_drops}
