#!/usr/bin/python
# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: minio_access
short_description: Give one user of a MinIO one policy
version_added: 0.1.0
author: The flyte.onprem authors (!UNKNOWN)
description:
  - Makes a user of a MinIO server, a policy, and attaches the one to the other, through MinIO's admin API.
  - The user ends enabled, with the given secret key, and with exactly this policy; other policies are detached from it.
  - MinIO never tells a secret key. Whether it is the one given is found out by signing a request with it.
  - No secret stands in an argument of a process, in a result, or in a diff; what is sent to the server is encrypted.
requirements:
  - minio >= 7.2 (the Python library)
extends_documentation_fragment:
  - flyte.onprem.attributes
  - flyte.onprem.checks.resolve
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - The diff says that the secret key differs, and does not show it.
  idempotent:
    support: full
options:
  endpoint:
    description: Address of the server's API, such as C(https://192.0.2.10:9000).
    type: str
    required: true
  admin_access_key:
    description: Access key of whoever administers the server, usually its root user.
    type: str
    required: true
  admin_secret_key:
    description: Secret key that belongs to O(admin_access_key).
    type: str
    required: true
  ca_file:
    description:
      - File with the CA certificates, in PEM format, that the server's certificate is verified against.
      - Without it, the CAs that the system trusts are taken.
    type: path
  timeout:
    description: Seconds to wait for a connection, and for each answer until all of it is there.
    type: float
    default: 10
  user:
    description: The user.
    type: dict
    required: true
    suboptions:
      access_key:
        description: Access key, 3 to 20 characters.
        type: str
        required: true
      secret_key:
        description: Secret key, 8 to 40 characters. Required with O(state=present).
        type: str
  policy:
    description: The policy. Required with O(state=present); without it, V(absent) removes the user alone.
    type: dict
    suboptions:
      name:
        description: Name of the policy.
        type: str
        required: true
      document:
        description:
          - What the policy allows, in the form of an AWS policy. Required with O(state=present).
          - Order of statements, actions and resources means nothing, and is no change.
        type: dict
  state:
    description:
      - V(present) makes or corrects user, policy and attachment.
      - V(absent) removes user and policy. MinIO refuses to remove a policy that another user has.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - module: flyte.onprem.s3_bucket_check
"""

EXAMPLES = r"""
- name: Give Flyte a user that may do what it needs in its two buckets, and nothing else
  flyte.onprem.minio_access:
    endpoint: https://s3.flyte.example.com:9000
    ca_file: /etc/ssl/certs/site-ca.crt
    admin_access_key: admin
    admin_secret_key: "{{ site_minio_root_password }}"
    user:
      access_key: flyte
      secret_key: "{{ site_object_store_secret_key }}"
    policy:
      name: flyte
      document:
        Version: "2012-10-17"
        Statement:
          - Effect: Allow
            Action: [s3:ListBucket, s3:GetBucketLocation]
            Resource: [arn:aws:s3:::flyte-metadata, arn:aws:s3:::flyte-data]
          - Effect: Allow
            Action: [s3:GetObject, s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload]
            Resource: [arn:aws:s3:::flyte-metadata/*, arn:aws:s3:::flyte-data/*]

- name: Remove a user whose key nobody uses any more, and leave the policy to the others
  flyte.onprem.minio_access:
    endpoint: https://s3.flyte.example.com:9000
    ca_file: /etc/ssl/certs/site-ca.crt
    admin_access_key: admin
    admin_secret_key: "{{ site_minio_root_password }}"
    user:
      access_key: flyte-2025
    state: absent

- name: Take both away again
  flyte.onprem.minio_access:
    endpoint: https://s3.flyte.example.com:9000
    ca_file: /etc/ssl/certs/site-ca.crt
    admin_access_key: admin
    admin_secret_key: "{{ site_minio_root_password }}"
    user:
      access_key: flyte
    policy:
      name: flyte
    state: absent
"""

RETURN = r"""
access_key:
  description: Access key of the user.
  type: str
  returned: success
  sample: flyte
policy:
  description: Name of the policy; empty if there was none to look at.
  type: str
  returned: success
  sample: flyte
reason:
  description:
    - Why it failed, for conditions in a play.
    - One of V(unreachable), V(wrong_credentials), V(denied), and V(refused).
  type: str
  returned: failure
  sample: unreachable
"""

import typing as t

from ansible_collections.flyte.onprem.plugins.module_utils._imports import MINIO, require
from ansible_collections.flyte.onprem.plugins.module_utils._limits import refuse_wait
from ansible_collections.flyte.onprem.plugins.module_utils._minio import (
    Access,
    Admin,
    AdminError,
    Server,
    apply,
    differs,
    look,
    wanted,
)
from ansible_collections.flyte.onprem.plugins.module_utils._module import Module
from ansible_collections.flyte.onprem.plugins.module_utils._resolve import pinned

ARGUMENT_SPEC: dict[str, t.Any] = {
    "endpoint": {"type": "str", "required": True},
    "admin_access_key": {"type": "str", "required": True, "no_log": False},
    "admin_secret_key": {"type": "str", "required": True, "no_log": True},
    "ca_file": {"type": "path"},
    "resolve": {"type": "dict", "default": {}},
    "timeout": {"type": "float", "default": 10},
    "user": {
        "type": "dict",
        "required": True,
        "options": {
            "access_key": {"type": "str", "required": True, "no_log": False},
            "secret_key": {"type": "str", "no_log": True},
        },
    },
    "policy": {
        "type": "dict",
        "options": {"name": {"type": "str", "required": True}, "document": {"type": "dict"}},
    },
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def main() -> None:
    module = Module(addresses=["endpoint", "resolve"], argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    require(module, MINIO)
    params = module.params
    present = params["state"] == "present"
    policy = params["policy"] or {}
    # required_if looks at the options of one level only.
    if present and not (params["user"]["secret_key"] and policy.get("document")):
        module.fail_json(msg="state is present but user.secret_key or policy.document is missing")
    access = Access(
        access_key=params["user"]["access_key"],
        secret_key=params["user"]["secret_key"] or "",
        policy=policy.get("name", ""),
        document=policy.get("document") or {},
    )
    try:
        refuse_wait("timeout", params["timeout"])
        with pinned(params["resolve"]):
            admin = Admin(
                Server(
                    endpoint=params["endpoint"],
                    access_key=params["admin_access_key"],
                    secret_key=params["admin_secret_key"],
                    ca_file=params["ca_file"],
                    timeout=params["timeout"],
                )
            )
            found = look(admin, access)
            goal = wanted(access, present=present)
            changed = differs(found, goal)
            if changed and not module.check_mode:
                apply(admin, access, found=found, goal=goal)
    except AdminError as exc:
        module.fail_json(msg=str(exc), reason=exc.reason)
    except (OSError, ValueError) as exc:  # a ca_file that is none, an endpoint that is no address
        module.fail_json(msg=str(exc), reason="refused")
    result: dict[str, t.Any] = {"changed": changed, "access_key": access.access_key, "policy": access.policy}
    if module._diff:
        result["diff"] = {"before": found.as_diff(access), "after": (goal if changed else found).as_diff(access)}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
