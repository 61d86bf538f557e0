#!/usr/bin/python
# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: flyte_workflow_check
version_added: 0.1.0
author:
  - The flyte.onprem authors (@flyte-onprem)
short_description: Whether a workflow runs on a Flyte
description:
  - Registers a workflow of two tasks with an input and an output, runs it through Flyte's own address, and compares
    what comes out. Credentials, certificates, images, quotas and rights of tasks show at no other time.
  - The tasks' code is uploaded with a URL that Flyte signs, as C(pyflyte run) does. The first task writes into the
    bucket for data, the second one reads that and removes it.
  - When the workflow does not run, it says which of the known causes it was, from the execution's error and, with
    O(kubeconfig), from the pods, their events and logs. A cause that waiting does not mend ends the wait early.
  - What runs is ended, and with O(kubeconfig) its objects and pods are removed, whatever happened before. What a killed
    run left, a later one removes once it is older than O(run_timeout).
options:
  url:
    description:
      - Address of Flyte, such as V(https://flyte.example.com) or V(https://flyte.example.com:8443).
    type: str
    required: true
  ca_file:
    description:
      - File with the certificates of the CAs that are trusted, in PEM, for Flyte and for the object store.
      - Without it, those that the machine trusts.
    type: path
  image:
    description:
      - Image of the tasks. It must hold Python and flytekit 1.16 or newer, with C(pyflyte-fast-execute) in its path.
    type: str
    required: true
  project:
    description:
      - A project for this check alone. It is made where there is none, and opened where it was archived. One that
        somebody else made is refused.
    type: str
    default: flyte-verify
  domain:
    description:
      - The domain that the workflow runs in.
    type: str
    default: development
  resources:
    description:
      - What the tasks ask for. Without it, the site's defaults for tasks are tried too.
    type: dict
    default: {}
    suboptions:
      requests:
        description:
          - What each of them needs.
        type: dict
        default: {}
        suboptions:
          cpu:
            description:
              - Such as V(500m).
            type: str
          memory:
            description:
              - Such as V(500Mi).
            type: str
      limits:
        description:
          - The most that each of them gets.
        type: dict
        default: {}
        suboptions:
          cpu:
            description:
              - Such as V(500m).
            type: str
          memory:
            description:
              - Such as V(500Mi).
            type: str
  run_timeout:
    description:
      - Seconds until the workflow must have ended, with all that goes before.
    type: float
    default: 300
  unless_succeeded_since:
    description:
      - A moment, as ISO 8601 or as Helm writes it. When an execution of the very same workflow, image and code
        succeeded that began after it, nothing is run and the check has passed.
      - What was seen is asked of Flyte itself, so it holds for runs that were interrupted too.
    type: str
  skip_reason:
    description:
      - Why nothing can be run, if nothing can. Then nothing is, and the only row says this.
    type: str
    default: ""
  kubeconfig:
    description:
      - File with the address of Flyte's cluster and a user's credentials.
      - Without it, causes that only the cluster knows are not found, and Flyte removes the objects within a day.
      - A credential plugin in it (C(exec)) is run on the machine that runs the module, and has O(timeout) to answer.
      - An C(auth-provider) in it is refused, also that of OpenID Connect; a credential plugin does the same, in time.
    type: path
  context:
    description:
      - Context of O(kubeconfig). Without it, the one that is current there.
    type: str
  namespace:
    description:
      - Namespace of Flyte's release, for what there is to do.
    type: str
    default: flyte
  release:
    description:
      - Name of Flyte's Helm release, for what there is to do.
    type: str
    default: flyte
  task_secret:
    description:
      - Name of the Secret with the keys of the object store in the namespaces of tasks. Without it, none is looked for.
      - The first task also asks Flyte's webhook for it, as tasks do that need a secret.
    type: str
    default: ""
  task_template:
    description:
      - Name of the PodTemplate in the namespaces of tasks. Without it, none is looked for.
    type: str
    default: ""
requirements:
  - kubernetes >= 29, < 37 (Python package), with O(kubeconfig)
extends_documentation_fragment:
  - flyte.onprem.attributes
  - flyte.onprem.attributes.check
  - flyte.onprem.checks
  - flyte.onprem.checks.resolve
notes:
  - These stay, for Flyte deletes none of them. O(project) with its namespaces; the records of each execution, with a
    few KiB of inputs and outputs in the bucket for metadata; one registered version for each image; the code, 1 KiB.
  - The namespaces stay on purpose. Flyte remembers that it made them, and makes none again before it is restarted.
  - In check mode nothing is submitted.
seealso:
  - module: flyte.onprem.flyte_check
  - module: flyte.onprem.s3_bucket_check
"""

EXAMPLES = r"""
- name: See whether a workflow runs
  flyte.onprem.flyte_workflow_check:
    url: https://flyte.example.com
    ca_file: /etc/ssl/certs/example-ca.pem
    image: registry.example.com/flytekit:py3.11-1.16.31

- name: Run one unless one has run since the last upgrade, and find out why if it fails
  flyte.onprem.flyte_workflow_check:
    url: https://flyte.example.com
    ca_file: /etc/ssl/certs/example-ca.pem
    image: registry.example.com/flytekit:py3.11-1.16.31
    resources:
      limits: {cpu: 500m, memory: 500Mi}
    unless_succeeded_since: "2026-11-25T16:03:16Z"
    kubeconfig: /home/admin/.kube/config
    task_secret: flyte-task-s3
    task_template: flyte-task
    report_only: true
  register: workflow
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
      sample: FLYTE-72
    title:
      description: What should be so.
      type: str
      sample: Images that are on the node are not pulled
    status:
      description: V(passed), V(failed), V(warning) or V(skipped).
      type: str
      sample: failed
    observed:
      description: What was seen, with the service's own words.
      type: str
      sample: registry.example.com/flytekit:py3.11-1.16.31 is on the node, and its pod has imagePullPolicy Always
    expected:
      description: What is needed.
      type: str
      sample: imagePullPolicy IfNotPresent in the pods of tasks
    cause:
      description: Why; empty if nothing is wrong.
      type: str
      sample: The API server fills in the policy Always for the untagged placeholder in a PodTemplate without a policy.
    fix:
      description: What to do; empty if nothing is wrong.
      type: str
      sample: "Set imagePullPolicy: IfNotPresent in PodTemplate flyte-task of namespace flyte-verify-development."
    reference:
      description: Where to read more.
      type: str
      sample: docs/problems.md#flyte-72
passed:
  description: Whether no check failed. Warnings and skipped checks do not count.
  type: bool
  returned: always
  sample: true
msg:
  description: The report for people; the checks that failed or warn, with cause and fix.
  type: str
  returned: always
  sample: All 21 checks passed.
execution:
  description: Name of the execution.
  type: str
  returned: when a workflow was run to its end
  sample: v3f9c2a7be410
workflow_seconds:
  description: How long the workflow took, from its submission to its end.
  type: float
  returned: when it succeeded
  sample: 21.4
"""

import typing as t

from ansible_collections.flyte.onprem.plugins.module_utils._catalogue import CATALOGUE
from ansible_collections.flyte.onprem.plugins.module_utils._checks import PASSED, Report, clean_up_when_ended, finish
from ansible_collections.flyte.onprem.plugins.module_utils._flyte import target_of
from ansible_collections.flyte.onprem.plugins.module_utils._imports import KUBERNETES, require
from ansible_collections.flyte.onprem.plugins.module_utils._kubernetes import cluster, refuse_namespace
from ansible_collections.flyte.onprem.plugins.module_utils._limits import refuse_wait
from ansible_collections.flyte.onprem.plugins.module_utils._module import Module
from ansible_collections.flyte.onprem.plugins.module_utils._resolve import addresses_of, pinned
from ansible_collections.flyte.onprem.plugins.module_utils._workflow import Clock, Plan, parse_time, prepare

QUANTITIES = {"cpu": {"type": "str"}, "memory": {"type": "str"}}
ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    "url": {"type": "str", "required": True},
    "ca_file": {"type": "path"},
    "image": {"type": "str", "required": True},
    "project": {"type": "str", "default": "flyte-verify"},
    "domain": {"type": "str", "default": "development"},
    "resources": {
        "type": "dict",
        "default": {},
        "options": {
            "requests": {"type": "dict", "default": {}, "options": QUANTITIES},
            "limits": {"type": "dict", "default": {}, "options": QUANTITIES},
        },
    },
    "run_timeout": {"type": "float", "default": 300},
    "unless_succeeded_since": {"type": "str"},
    "skip_reason": {"type": "str", "default": ""},
    "kubeconfig": {"type": "path"},
    "context": {"type": "str"},
    "namespace": {"type": "str", "default": "flyte"},
    "release": {"type": "str", "default": "flyte"},
    "task_secret": {"type": "str", "default": "", "no_log": False},
    "task_template": {"type": "str", "default": ""},
    "resolve": {"type": "dict", "default": {}},
    "timeout": {"type": "float", "default": 10},
    "report_only": {"type": "bool", "default": False},
}


def quantities(given: dict[str, str | None] | None) -> dict[str, str]:
    """Those that were given."""
    return {name: value for name, value in (given or {}).items() if value is not None}


def main() -> None:
    clean_up_when_ended()
    module = Module(addresses=["url", "resolve"], argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    given = module.params
    if given["kubeconfig"]:
        require(module, KUBERNETES)
    option = ""
    try:
        target = target_of(given)
        option = "unless_succeeded_since: "
        since = parse_time(given["unless_succeeded_since"]) if given["unless_succeeded_since"] else None
        option = ""
        refuse_namespace("namespace", given["namespace"])
        refuse_wait("run_timeout", given["run_timeout"])
        addresses_of(given["resolve"])
    except ValueError as exc:
        module.fail_json(msg=f"{option}{exc}")
    plan = Plan(
        project=given["project"],
        domain=given["domain"],
        image=given["image"],
        run_timeout=given["run_timeout"],
        requests=quantities(given["resources"].get("requests")),
        limits=quantities(given["resources"].get("limits")),
        task_secret=given["task_secret"],
        task_template=given["task_template"],
    )
    report = Report(
        CATALOGUE,
        endpoint=target.address.endpoint,
        host=target.address.host,
        timeout=f"{given['timeout']:g}",
        run_timeout=f"{given['run_timeout']:g}",
        project=given["project"],
        image=given["image"],
        task_namespace=f"{given['project']}-{given['domain']}",
        task_secret=given["task_secret"] or "of tasks",
        task_template=given["task_template"] or "of tasks",
        namespace=given["namespace"],
        release=given["release"],
        kubeconfig=given["kubeconfig"] or "",
        context=given["context"] or "that is current",
        # Of the object store, whose rows a failed run may add.
        bucket="of the site",
        region="of the site",
        public_endpoint="the object store",
        max_clock_skew="900",
    )
    with pinned(given["resolve"]):
        run = prepare(
            report,
            target,
            plan,
            since=since,
            skip_reason=given["skip_reason"],
            write=not module.check_mode,
            clock=Clock(),
        )
        if run and given["kubeconfig"]:
            with cluster(
                report, kubeconfig=given["kubeconfig"], context=given["context"], timeout=given["timeout"]
            ) as (api, row):
                # Without its cluster a workflow can still be run, with less to say about its end.
                run.to_its_end(api if row.status == PASSED else None)
        elif run:
            run.to_its_end(None)
    finish(module, report, report_only=given["report_only"])


if __name__ == "__main__":
    main()
