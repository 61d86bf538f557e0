# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: sites_hosts
author:
  - flyte.onprem contributors (!UNKNOWN)
short_description: The hosts of the inventory that have a part of a site
version_added: 0.1.0
description:
  - Gives the hosts of the groups in which the playbooks of this collection look for hosts. Any other host of the
    inventory has nothing to do with a site.
  - A variable C(hosts_GROUP) stands for a group that has another name; as in the playbooks, it is a pattern of hosts.
    What C(hosts_site) names counts as well.
options:
  _terms:
    description:
      - Names of groups, V(k3s_servers), V(k3s_agents), V(existing_cluster), V(postgresql), V(minio).
      - Without any, the hosts of all of them; where there are none, as with roles alone whose hosts come from groups of
        other names, all hosts of the inventory.
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Show which hosts a run over all sites is about
  ansible.builtin.debug:
    msg: "{{ query('flyte.onprem.sites_hosts') }}"
"""

RETURN = r"""
_raw:
  description: Names of hosts, in the order of the inventory.
  type: list
  elements: str
"""

from ansible.plugins.lookup import LookupBase
from ansible.plugins.lookup.inventory_hostnames import LookupModule as ByPattern

GROUPS = ("k3s_servers", "k3s_agents", "existing_cluster", "postgresql", "minio")


class LookupModule(LookupBase):
    """The look-up plugin."""

    def run(self, terms, variables=None, **kwargs):
        """Return the hosts that are in one of the groups *terms*."""
        every = variables["groups"]["all"]
        found = {host for name in terms or (*GROUPS, "site") for host in self._hosts(name, variables)}
        if not found and not terms:
            return list(every)
        return [host for host in every if host in found]

    def _hosts(self, name, variables):
        """Return the hosts of a group, or of the pattern that is given in its place."""
        pattern = self._templar.template(variables.get(f"hosts_{name}"))
        if pattern is None:
            return variables["groups"].get(name, [])
        # Of an empty one, Ansible makes all hosts.
        return ByPattern(loader=self._loader, templar=self._templar).run([pattern], variables) if pattern else []
