# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # Options that every check has.
    DOCUMENTATION = r"""
options:
  report_only:
    description:
      - Whether to succeed with the report even though a check failed.
      - Without it the task fails with the whole report when RV(ignore:passed) is V(false).
    type: bool
    default: false
  timeout:
    description:
      - Seconds to wait for a connection, and for each answer until all of it is there.
      - A dead address costs about this much altogether, since nothing else is tried on it.
    type: float
    default: 10
notes:
  - No result or message of this module holds a secret.
"""

    # For checks that connect by name to a service whose name the machine may not resolve.
    RESOLVE = r"""
options:
  resolve:
    description:
      - Addresses for host names, used instead of asking for them, as with C(curl --resolve).
      - The name stays in TLS and in the request, so the service is judged as its users will see it.
    type: dict
    default: {}
"""
