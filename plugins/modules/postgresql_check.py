#!/usr/bin/python
# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_check
version_added: 0.1.0
author:
  - The flyte.onprem authors (@flyte-onprem)
short_description: Whether a PostgreSQL database meets Flyte's needs
description:
  - Logs in as Flyte will and says for each need whether it is met, what was seen, why, and what to do about it.
  - A login that fails is told apart by its cause. The name does not resolve, there is no way to the server, the port is
    closed, something else answers, TLS is off, the certificate is from another CA, for another name or out of its time,
    C(pg_hba.conf) does not admit, the password is wrong, the user may not connect, the database is missing, all
    connections are taken, or the server is not ready.
  - In the database it looks at version, rights, encoding, room for connections, notifications, read-only states, clock,
    and tables of the other generation of Flyte.
  - It only reads, and leaves nothing behind.
options:
  host:
    description:
      - Name or address of the server. With O(sslmode=verify-full) the server's certificate must hold it.
    type: str
    required: true
  port:
    description:
      - TCP port of the server.
    type: int
    default: 5432
  address:
    description:
      - IP address to connect to instead of asking for that of O(host); libpq calls it C(hostaddr).
      - The name stays in the check of the certificate.
    type: str
  database:
    description:
      - Name of Flyte's database.
    type: str
    default: flyte
  user:
    description:
      - The role that Flyte logs in as.
    type: str
    default: flyte
  password:
    description:
      - The role's password.
      - Flyte cannot use an empty one, nor one with white space, backslashes, an opening apostrophe or double braces.
    type: str
    required: true
  sslmode:
    description:
      - How the connection is protected, in libpq's words.
      - V(verify-full) checks CA and name of the server's certificate, V(verify-ca) only the CA, V(require) neither.
      - V(prefer) uses TLS if the server has it, V(disable) never.
    type: str
    choices: [disable, prefer, require, verify-ca, verify-full]
    default: verify-full
  ca_file:
    description:
      - File on the machine that runs the module, with the certificates of the CAs that are trusted, in PEM.
      - Required with O(sslmode=verify-ca) and O(sslmode=verify-full).
    type: path
  minimum_version:
    description:
      - Oldest major version that will do. Flyte needs 12.
    type: int
    default: 12
  maximum_version:
    description:
      - Newest major version that will do. Any is, if not given.
    type: int
  pool_size:
    description:
      - How many connections Flyte may open, its C(database.maxOpenConnections).
      - Flyte's own default is 100, and so is the C(max_connections) of a server, less those reserved. Half of it is a
        safe choice for Flyte.
    type: int
    default: 50
  generation:
    description:
      - The generation of Flyte that uses the database.
      - Tables of the other one are a failure. A transaction pooler is a failure for V(2) and a warning for V(1).
    type: int
    choices: [1, 2]
    default: 1
  retries:
    description:
      - How often a login is tried again that was refused by a closed port, for want of a free connection, or by a
        server that starts. All attempts share O(timeout).
      - A name that does not resolve, a lost packet or a wrong password is not tried again.
    type: int
    default: 2
  max_clock_skew:
    description:
      - Seconds by which the clocks of the server and of the machine that runs the module may differ before it is a
        warning.
    type: float
    default: 60
requirements:
  - psycopg2 >= 2.8 (Debian package python3-psycopg2), on the machine that runs the module
extends_documentation_fragment:
  - flyte.onprem.attributes
  - flyte.onprem.attributes.check
  - flyte.onprem.checks
notes:
  - In check mode the module does the same as without.
seealso:
  - module: flyte.onprem.s3_bucket_check
  - module: flyte.onprem.flyte_check
  - plugin: flyte.onprem.dsn_password_problem
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Refuse a database that Flyte could not use
  flyte.onprem.postgresql_check:
    host: postgresql.example.com
    user: flyte
    password: "{{ vault_database_password }}"
    database: flyte
    ca_file: /etc/ssl/certs/example-ca.pem

- name: Look at a server by its address before its name is in the DNS
  flyte.onprem.postgresql_check:
    host: postgresql.example.com
    address: 192.0.2.10
    password: "{{ vault_database_password }}"
    ca_file: /etc/ssl/certs/example-ca.pem
    pool_size: 20
    report_only: true
  register: database
"""

RETURN = r"""
checks:
  description: One row for each need, in the order in which they were looked at.
  type: list
  elements: dict
  returned: always
  contains:
    id:
      description: Id of the check; one for each distinct remedy.
      type: str
      sample: DB-05
    title:
      description: What should be so.
      type: str
      sample: User flyte may create tables in database flyte
    status:
      description: V(passed), V(failed), V(warning) or V(skipped).
      type: str
      sample: failed
    observed:
      description: What was seen, with the server's own words.
      type: str
      sample: CREATE on schema public, which belongs to pg_database_owner, is not granted
    expected:
      description: What is needed.
      type: str
      sample: CREATE on schema public
    cause:
      description: Why; empty if nothing is wrong.
      type: str
      sample: Flyte makes its tables itself. Since PostgreSQL 15 nobody but the owner may create in schema public.
    fix:
      description: What to do; empty if nothing is wrong.
      type: str
      sample: "Make the user owner of the database: ALTER DATABASE flyte OWNER TO flyte"
    reference:
      description: Where to read more.
      type: str
      sample: docs/problems.md#db-05
passed:
  description: Whether no check failed. Warnings and skipped checks do not count.
  type: bool
  returned: always
  sample: false
msg:
  description: The report for people; the checks that failed or warn, with cause and fix.
  type: str
  returned: always
  sample: All 24 checks passed (1 skipped).
server_version:
  description: Version of the server.
  type: str
  returned: when the server answered a query
  sample: "17.4"
server_version_num:
  description: Version of the server as the number it gives itself.
  type: int
  returned: when the server answered a query
  sample: 170004
authentication_method:
  description: How the server asked for the password; V(scram-sha-256), V(md5), V(password) or V(trust).
  type: str
  returned: when the login succeeded
  sample: scram-sha-256
tls_version:
  description: Version of TLS in use; V(none) if there is none.
  type: str
  returned: when the login succeeded
  sample: TLSv1.3
login_seconds:
  description: How long a login took.
  type: float
  returned: when the login succeeded
  sample: 0.021
"""

import datetime
import ssl

from ansible_collections.flyte.onprem.plugins.module_utils._catalogue import CATALOGUE
from ansible_collections.flyte.onprem.plugins.module_utils._checks import Report, finish
from ansible_collections.flyte.onprem.plugins.module_utils._imports import PSYCOPG2, require
from ansible_collections.flyte.onprem.plugins.module_utils._limits import (
    refuse_below,
    refuse_port,
    refuse_range,
    refuse_retries,
    refuse_wait,
)
from ansible_collections.flyte.onprem.plugins.module_utils._module import Module
from ansible_collections.flyte.onprem.plugins.module_utils._postgresql import Needs, probe_database
from ansible_collections.flyte.onprem.plugins.module_utils._postgresql_login import Target

ARGUMENT_SPEC = {
    "host": {"type": "str", "required": True},
    "port": {"type": "int", "default": 5432},
    "address": {"type": "str"},
    "database": {"type": "str", "default": "flyte"},
    "user": {"type": "str", "default": "flyte"},
    "password": {"type": "str", "required": True, "no_log": True},
    "sslmode": {
        "type": "str",
        "choices": ["disable", "prefer", "require", "verify-ca", "verify-full"],
        "default": "verify-full",
    },
    "ca_file": {"type": "path"},
    "minimum_version": {"type": "int", "default": 12},
    "maximum_version": {"type": "int"},
    "pool_size": {"type": "int", "default": 50},
    "generation": {"type": "int", "choices": [1, 2], "default": 1},
    "retries": {"type": "int", "default": 2},
    "max_clock_skew": {"type": "float", "default": 60},
    "timeout": {"type": "float", "default": 10},
    "report_only": {"type": "bool", "default": False},
}


def main() -> None:
    module = Module(
        addresses=["host", "address"],
        argument_spec=ARGUMENT_SPEC,
        required_if=[("sslmode", "verify-ca", ["ca_file"]), ("sslmode", "verify-full", ["ca_file"])],
        supports_check_mode=True,
    )
    require(module, PSYCOPG2)
    given = module.params
    try:
        module.refuse_passwords("host", "address")
        refuse_port("port", given["port"])
        refuse_wait("timeout", given["timeout"])
        refuse_retries("retries", given["retries"])
        refuse_below("pool_size", given["pool_size"], 0)
        refuse_below("max_clock_skew", given["max_clock_skew"], 0)
        refuse_range("minimum_version", given["minimum_version"], "maximum_version", given["maximum_version"])
    except ValueError as exc:
        module.fail_json(msg=str(exc))
    target = Target(
        host=given["host"],
        port=given["port"],
        address=given["address"],
        database=given["database"],
        user=given["user"],
        password=given["password"],
        sslmode=given["sslmode"],
        ca_file=given["ca_file"],
        timeout=given["timeout"],
    )
    needs = Needs(
        minimum_version=given["minimum_version"],
        maximum_version=given["maximum_version"],
        pool_size=given["pool_size"],
        generation=given["generation"],
        max_clock_skew=given["max_clock_skew"],
    )
    if target.verifies:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=target.ca_file)
        except OSError as exc:
            module.fail_json(msg=f"ca_file {target.ca_file} holds no certificate that can be read: {exc}")
    report = Report(
        CATALOGUE,
        endpoint=f"PostgreSQL at {target.host}:{target.port}",
        **{
            key: f"{given[key]:g}" if isinstance(given[key], float) else str(given[key])
            for key in (
                "host",
                "port",
                "database",
                "user",
                "sslmode",
                "timeout",
                "minimum_version",
                "maximum_version",
                "pool_size",
                "generation",
                "max_clock_skew",
            )
        },
    )
    today = datetime.datetime.now(datetime.timezone.utc).date()
    probe_database(report, target, needs, retries=given["retries"], today=today)
    finish(module, report, report_only=given["report_only"])


if __name__ == "__main__":
    main()
