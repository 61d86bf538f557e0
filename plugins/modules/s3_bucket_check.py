#!/usr/bin/python
# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: s3_bucket_check
short_description: Check that an S3 object store gives Flyte what it needs
version_added: 0.1.0
author: The flyte.onprem authors (!UNKNOWN)
description:
  - Asks an object store, with the keys that Flyte will use, for everything that Flyte will ask of it,
    and says for each need whether it is met, what was seen, why, and what to do.
  - It reaches the store, verifies its certificate, compares clocks, tries the keys, and then, for each bucket,
    lists, writes, reads, deletes, replaces, uploads in parts, and uploads by a signed URL through the public endpoint.
  - Works with every store that speaks S3, since it uses nothing but the S3 API. It is tested with MinIO and SeaweedFS.
  - Whether the keys may do more than Flyte needs is asked by requests that cannot succeed. A text that is no policy is
    sent as the bucket's policy, and stores refuse it as malformed. MinIO alone is asked whether the bucket may be
    deleted, by a request that it refuses as malformed once it has looked at the right, with an object in the bucket.
  - A bucket, right or connection that is missing is a row of RV(checks), not an error of its own.
    The task fails when RV(passed) is V(false), unless O(report_only=true).
  - What it writes is below C(flyte-onprem-check/) under the bucket's prefix and is removed again, also after a failure.
    What a killed run left, the next run removes once it is five minutes old, and reports until then, with folder and
    age. Its unfinished uploads and old versions are found only with the rights to list them, which Flyte does not need;
    where an upload may be unfinished and is not found, C(running) in the run's folder stays, and is reported.
  - In a bucket with object lock the first object stays until its retention ends; nothing more is written to it then.
requirements:
  - boto3 >= 1.26
extends_documentation_fragment:
  - flyte.onprem.attributes
  - flyte.onprem.attributes.check
  - flyte.onprem.checks
  - flyte.onprem.checks.resolve
options:
  endpoint:
    description: Address of the store's S3 API as servers and pods use it, without a path.
    type: str
    required: true
  public_endpoint:
    description:
      - Address of the same store as browsers and command line clients use it; signed URLs carry it.
      - Without it, signed URLs are tried through O(endpoint).
    type: str
  region:
    description: Region that requests are signed for.
    type: str
    default: us-east-1
  access_key:
    description:
      - Access key of the user that Flyte will be.
      - Without it and O(secret_key), boto3 looks for keys in the environment and the user's configuration.
    type: str
  secret_key:
    description: Secret key that belongs to O(access_key).
    type: str
  session_token:
    description: Session token of temporary keys.
    type: str
  ca_file:
    description:
      - File with the CA certificates, in PEM format, that the store's certificate is verified against.
      - Without it, the CAs that the system trusts are taken.
    type: path
  addressing_style:
    description:
      - Whether the bucket is part of the path or of the host name.
      - Flyte uses V(path) with every store that is named by an endpoint.
    type: str
    choices: [auto, path, virtual]
    default: path
  buckets:
    description:
      - Buckets that Flyte will use, each as its name, or as a dictionary with C(name) and C(prefix).
      - C(prefix) is where in the bucket Flyte writes; the check writes below it as well.
    type: list
    elements: raw
    required: true
  retries:
    description:
      - How often a request is tried again that the store refused because it is busy or starting.
      - What is not answered within O(timeout) is not tried again.
    type: int
    default: 2
  max_clock_skew:
    description:
      - Seconds by which the store's clock may differ from this machine's. S3 itself refuses more than 900.
      - A difference of more than 60 seconds is a warning.
    type: int
    default: 900
seealso:
  - module: flyte.onprem.postgresql_check
  - module: flyte.onprem.minio_access
"""

EXAMPLES = r"""
- name: Stop here unless the object store is ready for Flyte
  flyte.onprem.s3_bucket_check:
    endpoint: https://s3.flyte.example.com:9000
    access_key: flyte
    secret_key: "{{ site_object_store_secret_key }}"
    ca_file: /etc/ssl/certs/site-ca.crt
    buckets:
      - flyte-metadata
      - name: flyte-data
        prefix: data

- name: Ask as well whether signed URLs work for people outside, before their DNS is changed
  flyte.onprem.s3_bucket_check:
    endpoint: http://minio.internal.example.com:9000
    public_endpoint: https://s3.flyte.example.com
    access_key: flyte
    secret_key: "{{ site_object_store_secret_key }}"
    buckets: [flyte-data]
    resolve:
      s3.flyte.example.com: 192.0.2.10

- name: Gather what is wrong without failing
  flyte.onprem.s3_bucket_check:
    endpoint: https://s3.flyte.example.com
    access_key: flyte
    secret_key: "{{ site_object_store_secret_key }}"
    buckets: [flyte-data]
    report_only: true
  register: object_store

- name: Refuse keys that may do more than they need
  ansible.builtin.assert:
    that: object_store.rights | selectattr('right', 'in', ['s3:PutBucketPolicy', 's3:DeleteBucket'])
      | selectattr('verdict', 'equalto', 'allowed') | list is empty
    fail_msg: Flyte's keys may change or delete its buckets.

- name: Show the checks that failed
  ansible.builtin.debug:
    msg: "{{ object_store.checks | selectattr('status', 'equalto', 'failed') }}"
"""

RETURN = r"""
checks:
  description: One row for each thing that was asked, in the order in which it was asked.
  type: list
  elements: dict
  returned: always
  contains:
    id:
      description: Identifier of the check in the catalogue; one for each distinct remedy.
      type: str
      returned: always
      sample: S3-12
    title:
      description: What is asked.
      type: str
      returned: always
      sample: Objects may be written to bucket flyte-data
    status:
      description: V(passed), V(failed), V(warning), or V(skipped).
      type: str
      returned: always
      sample: failed
    observed:
      description: What was seen, with the store's own words; for a skipped check, why.
      type: str
      returned: always
      sample: "PutObject gave AccessDenied (HTTP 403): Access Denied."
    expected:
      description: What is needed.
      type: str
      returned: always
      sample: s3:PutObject allowed on arn:aws:s3:::flyte-data/*
    cause:
      description: Why this usually happens. Empty unless failed or a warning.
      type: str
      returned: always
      sample: The policy of this user, or of the bucket, does not allow s3:PutObject on its objects.
    fix:
      description: What to do. Empty unless failed or a warning.
      type: str
      returned: always
      sample: Allow s3:PutObject on arn:aws:s3:::flyte-data/* in the user's policy.
    reference:
      description: Where to read more; a page of this collection's documentation, or an address.
      type: str
      returned: always
      sample: docs/problems.md#s3-12
msg:
  description: The report for people; the checks that failed or warn, with cause and fix.
  type: str
  returned: always
  sample: All 22 checks passed.
passed:
  description: Whether no check failed. Warnings and skipped checks do not count against it.
  type: bool
  returned: always
  sample: false
server:
  description: What the store calls itself.
  type: str
  returned: when the store answered
  sample: MinIO
latency_ms:
  description: Milliseconds that the store took for a first, unsigned request.
  type: float
  returned: when the store answered
  sample: 3.1
clock_skew:
  description: Seconds by which the store's clock is ahead of this machine's.
  type: float
  returned: when the store's answer holds a date
  sample: -0.4
rights:
  description:
    - The verdict on each right, for each bucket; those that Flyte needs, and two that it should not have
      (C(s3:PutBucketPolicy), C(s3:DeleteBucket)), where they were asked for.
  type: list
  elements: dict
  returned: always
  sample:
    - bucket: flyte-data
      right: s3:ListBucket
      verdict: allowed
      reason: allowed, in 4 ms
    - bucket: flyte-data
      right: s3:PutObject
      verdict: denied
      reason: "PutObject gave AccessDenied (HTTP 403): Access Denied."
    - bucket: flyte-data
      right: s3:AbortMultipartUpload
      verdict: unknown
      reason: "S3-12: PutObject gave AccessDenied (HTTP 403): Access Denied."
  contains:
    bucket:
      description: Name of the bucket.
      type: str
      returned: always
      sample: flyte-data
    right:
      description: The right, in the words of a policy.
      type: str
      returned: always
      sample: s3:PutObject
    verdict:
      description: V(allowed), V(denied), or V(unknown).
      type: str
      returned: always
      sample: denied
    reason:
      description: What was seen; for V(unknown), why it cannot be told, with the check that failed instead.
      type: str
      returned: always
      sample: "PutObject gave AccessDenied (HTTP 403): Access Denied."
leftovers:
  description:
    - What this run wrote and could not remove, with the reason in RV(checks); objects, and uploads that are unfinished.
    - Where the version of an object is not told and may not be listed, the object stays behind a delete marker.
  type: list
  elements: dict
  returned: always
  sample: []
  contains:
    bucket:
      description: Name of the bucket.
      type: str
      returned: always
      sample: flyte-data
    key:
      description: Key of the object.
      type: str
      returned: always
      sample: flyte-onprem-check/20261123T070000Z-5f0c2a11/object
    version:
      description: Its version, in a bucket that keeps versions.
      type: str
      returned: always
      sample: ''
"""

import signal
import ssl
import typing as t

from ansible_collections.flyte.onprem.plugins.module_utils._checks import finish
from ansible_collections.flyte.onprem.plugins.module_utils._imports import BOTO3, require
from ansible_collections.flyte.onprem.plugins.module_utils._limits import refuse_below, refuse_retries, refuse_wait
from ansible_collections.flyte.onprem.plugins.module_utils._module import Module
from ansible_collections.flyte.onprem.plugins.module_utils._resolve import pinned
from ansible_collections.flyte.onprem.plugins.module_utils._s3 import (
    Store,
    examine,
    parse_bucket,
    refuse_region,
)

ARGUMENT_SPEC: dict[str, t.Any] = {
    "endpoint": {"type": "str", "required": True},
    "public_endpoint": {"type": "str"},
    "region": {"type": "str", "default": "us-east-1"},
    "access_key": {"type": "str", "no_log": False},
    "secret_key": {"type": "str", "no_log": True},
    "session_token": {"type": "str", "no_log": True},
    "ca_file": {"type": "path"},
    "addressing_style": {"type": "str", "choices": ["auto", "path", "virtual"], "default": "path"},
    "buckets": {"type": "list", "elements": "raw", "required": True},
    "resolve": {"type": "dict", "default": {}},
    "timeout": {"type": "float", "default": 10},
    "retries": {"type": "int", "default": 2},
    "max_clock_skew": {"type": "int", "default": 900},
    "report_only": {"type": "bool", "default": False},
}

ENDING = (signal.SIGTERM, signal.SIGHUP)


def main() -> None:
    module = Module(
        addresses=["endpoint", "public_endpoint", "resolve"],
        argument_spec=ARGUMENT_SPEC,
        required_together=[("access_key", "secret_key")],
        supports_check_mode=True,
    )
    require(module, BOTO3)
    # An interrupted play hangs up or terminates; what was written is removed then as well.
    for number in ENDING:
        signal.signal(number, leave)
    params = module.params
    try:
        if params["ca_file"]:
            ssl.create_default_context(cafile=params["ca_file"])
    except OSError as exc:  # ssl.SSLError is one
        module.fail_json(msg=f"ca_file {params['ca_file']} cannot be used: {exc}")
    try:
        refuse_wait("timeout", params["timeout"])
        refuse_retries("retries", params["retries"])
        refuse_below("max_clock_skew", params["max_clock_skew"], 0)
        if not params["buckets"]:
            raise ValueError("buckets: the list is empty; name the buckets that Flyte will use")
        refuse_region(params["region"])
        with pinned(params["resolve"]):
            report = examine(
                Store(
                    endpoint=params["endpoint"],
                    public_endpoint=params["public_endpoint"] or "",
                    region=params["region"],
                    access_key=params["access_key"],
                    secret_key=params["secret_key"],
                    session_token=params["session_token"],
                    ca_file=params["ca_file"],
                    addressing_style=params["addressing_style"],
                    timeout=params["timeout"],
                    retries=params["retries"],
                    max_clock_skew=params["max_clock_skew"],
                ),
                [parse_bucket(given) for given in params["buckets"]],
                write=not module.check_mode,
            )
    except ValueError as exc:
        module.fail_json(msg=str(exc))
    finish(module, report, report_only=params["report_only"])


def leave(number: int, _frame: t.Any) -> t.NoReturn:
    # A second one would end the clean-up that the first one begins.
    for each in ENDING:
        signal.signal(each, signal.SIG_IGN)
    raise SystemExit(128 + number)


if __name__ == "__main__":
    main()
