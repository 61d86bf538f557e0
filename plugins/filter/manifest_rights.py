# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: manifest_rights
author:
  - flyte.onprem contributors
short_description: The rights that the roles of a manifest give
version_added: 0.1.0
description:
  - Takes the text of a manifest and gives the rules of its ClusterRoles and Roles in the form that
    O(flyte.onprem.kubernetes_check#module:rights) takes, so that what was asked of a cluster's owner and what is
    checked stand in one place.
positional: _input, namespace
options:
  _input:
    description: The text of a manifest, with one document or several.
    type: str
    required: true
  namespace:
    description: Namespace in which the rules of a Role are meant.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Ask whether the owner has applied the manifest
  flyte.onprem.kubernetes_check:
    kubeconfig: /home/admin/.kube/config
    rights: "{{ lookup('ansible.builtin.file', 'owner.yml') | flyte.onprem.manifest_rights('flyte') }}"
"""

RETURN = r"""
_value:
  description: Elements of O(flyte.onprem.kubernetes_check#module:rights).
  type: list
  elements: dict
"""

import typing as t

import yaml
from ansible.errors import AnsibleFilterError


def manifest_rights(manifest: str, namespace: str) -> list[dict[str, t.Any]]:
    """Return the rules of the roles in *manifest*; those of a Role are meant in *namespace*."""
    try:
        documents = [document for document in yaml.safe_load_all(manifest) if document]
    except yaml.YAMLError as exc:
        raise AnsibleFilterError(f"the manifest is not YAML: {exc}") from exc
    places = {"ClusterRole": "", "Role": namespace}
    return [
        {
            "verbs": rule["verbs"],
            "resources": rule["resources"],
            "group": group,
            "namespace": places[document["kind"]],
        }
        for document in documents
        if document.get("kind") in places
        for rule in document.get("rules") or []
        for group in rule["apiGroups"]
    ]


class FilterModule:
    """The filter plugin."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filters by name."""
        return {"manifest_rights": manifest_rights}
