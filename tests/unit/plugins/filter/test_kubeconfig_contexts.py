# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.flyte.onprem.plugins.filter.kubeconfig_contexts import kubeconfig_contexts


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("contexts: [{name: ours, context: {}}, {name: theirs}]", ["ours", "theirs"]),
        ("contexts: [{name: 7}, {}]", ["7"]),
        ('{"kind": "Config", "contexts": null}', []),
    ],
)
def test_a_kubeconfig_has_contexts(text: str, names: list[str]) -> None:
    assert kubeconfig_contexts(text) == {"names": names, "problem": ""}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("kind: Config\ntoken: geheim: geheim\n", "line 2 is no YAML"),
        ("token: *geheim", "line 1 is no YAML"),
        ("token: !geheim x", "line 1 is no YAML"),
        ("geheim\x00", "it is no YAML"),
        ("geheim", "it has no keys"),
        ("- geheim", "it has no keys"),
        ("", "it is empty"),
        ("contexts: [geheim]", "its contexts are no list of contexts"),
        ("contexts: {geheim: {}}", "its contexts are no list of contexts"),
    ],
)
def test_what_is_no_kubeconfig_is_named_and_not_quoted(text: str, problem: str) -> None:
    assert kubeconfig_contexts(text) == {"names": [], "problem": problem}
