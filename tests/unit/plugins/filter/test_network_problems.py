# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.flyte.onprem.plugins.filter.network_problems import FilterModule

network_problems = FilterModule().filters()["network_problems"]


@pytest.mark.parametrize(
    ("pods", "services", "address", "problems"),
    [
        ("10.42.0.0/16", "10.43.0.0/16", "192.0.2.1", []),
        ("10.42.0.0/16,fd42::/56", "10.43.0.0/16, fd43::/112", "192.0.2.1,2001:db8::1", []),
        # Those whose address is a name, or not known yet, are nobody's business here.
        ("10.42.0.0/16", "10.43.0.0/16", "node-1", []),
        ("10.42.0.0", "10.43.0.0/16", "10.42.0.0", ["pods is '10.42.0.0', no network with a mask"]),
        ("10.42.0.0/33", "10.43.0.0/16", "", ["pods is '10.42.0.0/33', no network with a mask"]),
        ("10.42.0.0/16", "", "", ["services is '', no network with a mask"]),
        ("10.42.0.0/16", "10.42.128.0/17", "", ["pods (10.42.0.0/16) and services (10.42.128.0/17) overlap"]),
        ("192.0.2.0/24", "10.43.0.0/16", "192.0.2.1", ["pods (192.0.2.0/24) covers node (192.0.2.1)"]),
        ("10.42.0.0/16,fd42::/56", "10.43.0.0/16", "192.0.2.1,fd42::1", ["pods (fd42::/56) covers node (fd42::1)"]),
    ],
)  # fmt: skip
def test_networks_are_judged(pods: str, services: str, address: str, problems: list[str]) -> None:
    assert network_problems({"pods": pods, "services": services}, addresses={"node": address}) == problems


def test_without_addresses_only_networks_are_judged() -> None:
    assert network_problems({"pods": "10.42.0.0/16"}) == []
