# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: site_secret
author:
  - flyte.onprem contributors (!UNKNOWN)
short_description: Read one generated secret of a site
version_added: 0.1.0
description:
  - Reads a secret of the site from its file on the control node.
  - Role P(flyte.onprem.site#role) makes the files; until it has, the answer is a placeholder, so that
    a run in check mode on an empty control node can render what it would write.
options:
  _terms:
    description: Name of the secret, which is the name of its file.
    type: list
    elements: str
    required: true
  directory:
    description: The site's directory on the control node; the files lie in its folder C(secrets).
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Hand the database password to a module
  community.postgresql.postgresql_user:
    name: flyte
    password: "{{ lookup('flyte.onprem.site_secret', 'database_password', directory=site_directory) }}"
"""

RETURN = r"""
_raw:
  description: The secrets, in the order of the names.
  type: list
  elements: str
"""

import os

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

# Every rule for a password (length, characters) holds for it, so that check mode fails for no other reason.
PLACEHOLDER = "NotMadeYetNotMadeYetNotMadeYet00"


def read_secret(path: str) -> str:
    """Return the secret in *path*, or the placeholder where there is no such file.

    Raises ValueError for a file that others may read, or that is empty.
    """
    if not os.path.exists(path):
        return PLACEHOLDER
    if os.stat(path).st_mode & 0o077:
        raise ValueError(f"{path} can be read by others. Take that right away with: chmod 0600 {path}")
    with open(path, encoding="utf-8") as stream:
        secret = stream.read().strip()
    if not secret:
        raise ValueError(
            f"{path} is empty. Restore it from a backup; only if the site has no data yet, "
            "remove the file and run the playbook again, which makes a new secret."
        )
    return secret


class LookupModule(LookupBase):
    """The look-up plugin."""

    def run(self, terms, variables=None, **kwargs):
        """Return one secret for each of *terms*."""
        self.set_options(var_options=variables, direct=kwargs)
        folder = os.path.join(self.get_option("directory"), "secrets")
        try:
            return [read_secret(os.path.join(folder, name)) for name in terms]
        except (OSError, ValueError) as exc:
            raise AnsibleLookupError(str(exc)) from exc
