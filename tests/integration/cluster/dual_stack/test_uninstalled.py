# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of a cluster of two families: nothing of the second one stays either.

Runs after the other tests of this folder.
"""

from __future__ import annotations

from pathlib import Path

from support.leftovers import LEFTOVERS, unseen

from ..conftest import TOKENS, Machine
from ..playbooks import Playbooks

# Rules, addresses and ways of IPv6, and what the firewall lets in for the cluster.
LEFTOVERS_OF_IPV6 = r"""
rules=$(ip6tables-save) || exit 1
echo "$rules" | grep -i -E 'KUBE-|CNI-|FLANNEL'
{ ip -6 address; ip -6 route; } | grep -E 'fd4[23]:'
if command -v ufw >/dev/null; then ufw show added | grep flyte; fi
true
"""


def test_uninstall_leaves_nothing_of_either_family(inventory: str, secrets: Path, machines: list[Machine]) -> None:
    assert unseen(*(machine.host.check_output(LEFTOVERS) for machine in machines)) == set()
    for machine in machines:
        assert "FLANNEL" in machine.host.check_output(LEFTOVERS_OF_IPV6), machine.name
    playbooks = Playbooks(inventory, {name: (secrets / name).read_text().strip() for name in TOKENS})
    variables = {"uninstall_confirm": "flyte.test", "uninstall_delete_data": ["k3s", "site"]}
    playbooks.do("flyte.onprem.uninstall", **variables)
    for machine in machines:
        assert machine.host.check_output(LEFTOVERS + LEFTOVERS_OF_IPV6) == "", machine.name
        assert machine.variable("second_address") in machine.host.check_output("ip -6 address"), machine.name
    assert set(playbooks.do("flyte.onprem.uninstall", **variables).values()) == {0}
