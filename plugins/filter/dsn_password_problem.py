# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: dsn_password_problem
version_added: 0.1.0
author:
  - The flyte.onprem authors (@flyte-onprem)
short_description: Why Flyte could not use a database password
description:
  - Flyte writes the password of its database without quotes into a connection string. White space, backslashes, an
    opening apostrophe and double braces do not survive that, and with an empty password Flyte turns TLS off.
  - The sentence never repeats the password or a part of it.
positional: _input
options:
  _input:
    description:
      - The password.
    type: str
    required: true
seealso:
  - module: flyte.onprem.postgresql_check
"""

EXAMPLES = r"""
- name: Refuse a password that Flyte could not use
  ansible.builtin.assert:
    that: (database_password | flyte.onprem.dsn_password_problem) == ''
    fail_msg: "database_password cannot be used: {{ database_password | flyte.onprem.dsn_password_problem }}"
"""

RETURN = r"""
_value:
  description: The problem as a sentence, or an empty string.
  type: str
  sample: It contains white space, which ends the password in Flyte's connection string.
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.flyte.onprem.plugins.module_utils import _postgresql


def dsn_password_problem(password: object) -> str:
    if not isinstance(password, str):
        # Its type only: a number that was meant as a password is a secret too.
        raise AnsibleFilterError(f"dsn_password_problem wants a text, not {type(password).__name__}; put it in quotes")
    return _postgresql.dsn_password_problem(password)


class FilterModule:
    """The filter plugin."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"dsn_password_problem": dsn_password_problem}
