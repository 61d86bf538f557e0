# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.flyte.onprem.plugins.filter.nft_drops import nft_drops

PODS = "10.42.0.0/16"
Rule = list[dict[str, Any]]
ACCEPT, DROP, RETURN = {"accept": None}, {"drop": None}, {"return": None}


def match(left: dict[str, Any], right: Any, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": left, "right": right}}


def meta(key: str, right: Any, op: str = "==") -> dict[str, Any]:
    return match({"meta": {"key": key}}, right, op)


def field(name: str, right: Any, op: str = "==") -> dict[str, Any]:
    protocol, of = name.split()
    return match({"payload": {"protocol": protocol, "field": of}}, right, op)


def prefix(address: str, length: int) -> dict[str, Any]:
    return {"prefix": {"addr": address, "len": length}}


def ruleset(*rules: Rule, hook: str = "input", policy: str = "drop", family: str = "inet", **more: list[Rule]) -> Any:
    """What nftables says of a table with a base chain, and of further chains of it."""
    place = {"family": family, "table": "mine"}
    base = {**place, "name": "base", "type": "filter", "hook": hook, "prio": 0, "policy": policy}
    chains = {"base": list(rules), **more}
    return [
        {"metainfo": {"version": "1.0.6"}},
        {"chain": base},
        *({"chain": {**place, "name": name}} for name in more),
        *({"rule": {**place, "chain": name, "expr": rule}} for name, found in chains.items() for rule in found),
    ]


def drops(*rules: Rule, **more: Any) -> bool:
    return nft_drops(ruleset(*rules, **more), [PODS], port=6443) != []


# As nftables 1.0.6 gave back: a host that lets in SSH, HTTP and who has been let in before, and knows nothing of pods.
RECORDED = json.loads("""[
{"table": {"family": "inet", "name": "filter", "handle": 1}},
{"chain": {"family": "inet", "table": "filter", "name": "input", "handle": 2, "type": "filter", "hook": "input",
"prio": 0, "policy": "drop"}},
{"chain": {"family": "inet", "table": "filter", "name": "forward", "handle": 3, "type": "filter", "hook": "forward",
"prio": 0, "policy": "drop"}},
{"rule": {"family": "inet", "table": "filter", "chain": "input", "handle": 7, "expr": [{"vmap": {"key": {"ct":
{"key": "state"}}, "data": {"set": [["invalid", {"drop": null}], ["established", {"accept": null}], ["related",
{"accept": null}]]}}}]}},
{"rule": {"family": "inet", "table": "filter", "chain": "input", "handle": 8, "expr": [{"match": {"op": "==",
"left": {"meta": {"key": "iifname"}}, "right": "lo"}}, {"accept": null}]}},
{"rule": {"family": "inet", "table": "filter", "chain": "input", "handle": 10, "expr": [{"match": {"op": "==",
"left": {"meta": {"key": "l4proto"}}, "right": {"set": ["icmp", "ipv6-icmp"]}}}, {"limit": {"rate": 10, "burst": 5,
"per": "second"}}, {"accept": null}]}},
{"rule": {"family": "inet", "table": "filter", "chain": "input", "handle": 12, "comment": "x", "expr": [{"match":
{"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": {"set": [22, {"range": [80,
90]}]}}}, {"accept": null}]}},
{"rule": {"family": "inet", "table": "filter", "chain": "input", "handle": 13, "expr": [{"match": {"op": "==",
"left": {"payload": {"protocol": "udp", "field": "dport"}}, "right": 53}}, {"accept": null}]}},
{"rule": {"family": "inet", "table": "filter", "chain": "input", "handle": 14, "expr": [{"match": {"op": "==",
"left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": {"prefix": {"addr": "192.0.2.0", "len": 24}}}},
{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 6443}}, {"accept":
null}]}},
{"rule": {"family": "inet", "table": "filter", "chain": "forward", "handle": 16, "expr": [{"match": {"op": "in",
"left": {"ct": {"key": "state"}}, "right": ["established", "related"]}}, {"accept": null}]}},
{"rule": {"family": "inet", "table": "filter", "chain": "forward", "handle": 17, "expr": [{"match": {"op": "!=",
"left": {"meta": {"key": "iifname"}}, "right": "eth0"}}, {"match": {"op": "==", "left": {"meta": {"key":
"oifname"}}, "right": "docker0"}}, {"accept": null}]}}
]""")


def test_a_ruleset_that_knows_nothing_of_pods_drops_their_traffic() -> None:
    assert nft_drops(RECORDED, [PODS, "fd42::/56"], port=6443) == [
        "chain input of table inet filter drops TCP 6443 from pods (10.42.0.0/16)",
        "chain input of table inet filter drops TCP 6443 from pods (fd42::/56)",
        "chain forward of table inet filter drops traffic between pods (10.42.0.0/16)",
        "chain forward of table inet filter drops traffic between pods (fd42::/56)",
    ]


def test_a_host_of_which_pods_need_no_port_is_judged_by_what_it_forwards() -> None:
    assert [phrase.split(" drops ")[0] for phrase in nft_drops(RECORDED, [PODS])] == [
        "chain forward of table inet filter"
    ]


@pytest.mark.parametrize(
    "rule",
    [
        [meta("iifname", "cni0"), ACCEPT],
        [meta("iif", "cni0"), ACCEPT],
        [meta("iifname", "cni*"), {"counter": {"packets": 0, "bytes": 0}}, ACCEPT],
        [meta("iifname", {"set": ["lo", "cni0"]}), ACCEPT],
        [meta("iifname", "eth0", "!="), ACCEPT],
        [field("ip saddr", prefix("10.0.0.0", 8)), ACCEPT],
        [field("tcp dport", {"set": [22, {"range": [6000, 7000]}]}), ACCEPT],
        [{"vmap": {"key": {"meta": {"key": "iifname"}}, "data": {"set": [["lo", ACCEPT], ["cni0", ACCEPT]]}}}],
        [match({"ct": {"key": "state"}}, "invalid", "!="), ACCEPT],
        [ACCEPT],
        # Of these nobody can tell.
        [field("ip saddr", "@friends"), ACCEPT],
        [field("ip saddr", prefix("10.42.7.0", 24)), ACCEPT],
        [field("ip saddr", {"range": ["10.42.0.0", "10.42.255.255"]}), ACCEPT],
        [{"xt": {"type": "match", "name": "comment"}}, ACCEPT],
        [meta("mark", 1), ACCEPT],
        [{"limit": {"rate": 10, "per": "second"}}, ACCEPT],
        [{"vmap": {"key": {"meta": {"key": "iifname"}}, "data": "@by_name"}}],
    ],
)
def test_what_a_rule_accepts_or_may_accept_is_not_named(rule: Rule) -> None:
    assert drops()
    assert not drops(rule)


@pytest.mark.parametrize(
    "rule",
    [
        [meta("iifname", "lo"), ACCEPT],
        [meta("nfproto", "ipv6"), ACCEPT],
        [field("ip6 saddr", prefix("fd42::", 56)), ACCEPT],
        [field("ip saddr", "192.0.2.1"), ACCEPT],
        [field("udp dport", 6443), ACCEPT],
        [field("tcp dport", 22), ACCEPT],
        [field("tcp dport", 6443, "!="), ACCEPT],
        [meta("mark", 1), DROP],
        [{"jump": {"target": "nobody"}}],
        [RETURN],
    ],
)
def test_a_rule_for_others_helps_no_pod(rule: Rule) -> None:
    assert drops(rule)


def test_what_was_dropped_or_has_left_before_is_accepted_by_no_later_rule() -> None:
    for rule in ([meta("iifname", "cni0"), DROP], [RETURN], [meta("iifname", "cni0"), {"reject": None}]):
        assert drops(rule, [ACCEPT])
    # Where that may have been another one's.
    assert not drops([meta("mark", 1), DROP], [ACCEPT])


def test_other_chains_are_followed() -> None:
    pods: list[Rule] = [[meta("iifname", "cni0"), ACCEPT]]
    assert not drops([{"jump": {"target": "pods"}}], pods=pods)
    assert drops([{"jump": {"target": "pods"}}], pods=[[DROP]])
    assert not drops([{"jump": {"target": "pods"}}], [ACCEPT], pods=[[RETURN]])
    assert drops([{"goto": {"target": "pods"}}], [ACCEPT], pods=[[RETURN]])
    # It may come back from there.
    assert not drops([{"jump": {"target": "pods"}}], [ACCEPT], pods=[[meta("mark", 1), RETURN], [DROP]])


def test_only_what_ends_by_a_drop_of_the_policy_is_judged() -> None:
    assert not drops(policy="accept")
    assert not drops(hook="output")
    assert not drops(family="ip6")
    assert drops(family="ip")
    assert nft_drops([], [PODS], port=6443) == []


def test_what_others_look_after_is_left_out() -> None:
    assert nft_drops(ruleset(), [PODS], port=6443, but=["mine"]) == []
    iptables = json.loads(json.dumps(ruleset(hook="forward", family="ip")).replace("mine", "filter"))
    assert nft_drops(iptables, [PODS]) != []
    assert nft_drops(json.loads(json.dumps(iptables).replace("base", "FORWARD")), [PODS]) == []
