# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: kubeconfig_contexts
author:
  - flyte.onprem contributors
short_description: Contexts of a kubeconfig
version_added: 0.1.0
description:
  - Gives the names of a kubeconfig's contexts, and says where a text is no kubeconfig, without a word of what is in it.
positional: _input
options:
  _input:
    description: The text of the kubeconfig.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show which clusters the kubeconfig is for
  ansible.builtin.debug:
    msg: "{{ (lookup('ansible.builtin.file', 'kubeconfig') | flyte.onprem.kubeconfig_contexts)['names'] }}"
"""

RETURN = r"""
_value:
  description: C(names), the names of the contexts, and C(problem), why it is no kubeconfig; empty where it is one.
  type: dict
"""

import yaml


def kubeconfig_contexts(text):
    """Return the contexts of a kubeconfig as ``names``, or a ``problem``; a parser's own message may quote a key."""
    try:
        config = yaml.safe_load(text)
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        return {"names": [], "problem": f"line {mark.line + 1} is no YAML" if mark else "it is no YAML"}
    if not isinstance(config, dict):
        return {"names": [], "problem": "it is empty" if config is None else "it has no keys"}
    contexts = config.get("contexts") or []
    if not isinstance(contexts, list) or not all(isinstance(context, dict) for context in contexts):
        return {"names": [], "problem": "its contexts are no list of contexts"}
    return {"names": [str(context["name"]) for context in contexts if "name" in context], "problem": ""}


class FilterModule:
    """The filter plugin."""

    def filters(self):
        """Return the filters by name."""
        return {"kubeconfig_contexts": kubeconfig_contexts}
