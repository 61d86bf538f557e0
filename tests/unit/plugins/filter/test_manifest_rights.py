# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.flyte.onprem.plugins.filter.manifest_rights import manifest_rights

MANIFEST = """\
kind: ServiceAccount
---
kind: ClusterRole
rules:
  - {apiGroups: ["", events.k8s.io], resources: [events], verbs: [list]}
---
kind: Role
metadata: {namespace: flyte}
rules:
  - {apiGroups: [apps], resources: [deployments, replicasets], verbs: [get, list]}
---
"""


def test_every_rule_is_a_right_for_each_of_its_groups() -> None:
    assert manifest_rights(MANIFEST, "other") == [
        {"verbs": ["list"], "resources": ["events"], "group": "", "namespace": ""},
        {"verbs": ["list"], "resources": ["events"], "group": "events.k8s.io", "namespace": ""},
        {"verbs": ["get", "list"], "resources": ["deployments", "replicasets"], "group": "apps", "namespace": "other"},
    ]


def test_a_manifest_without_roles_gives_none() -> None:
    assert manifest_rights("kind: Namespace", "flyte") == []


def test_what_is_no_manifest_is_named_as_such() -> None:
    with pytest.raises(AnsibleFilterError, match="not YAML"):
        manifest_rights("a: [", "flyte")
