#!/usr/bin/python
# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: flyte_check
version_added: 0.1.0
author:
  - The flyte.onprem authors (@flyte-onprem)
short_description: Whether a Flyte works for those who use it
description:
  - Asks Flyte through its own address, with its certificate verified, as browsers, pyflyte and flytectl do, and says
    for each need whether it is met, what was seen, why, and what to do about it.
  - It looks at name, port and certificate, the health check, the version, the projects and what clients are told about
    logging in over HTTP, the redirect from plain HTTP, health and version over gRPC, and uploads a file with a URL that
    Flyte signs. From Flyte 1 it fetches the file back with another such URL; Flyte 2 signs downloads of what a run made
    only.
  - With O(kubeconfig) it looks into the cluster too, at Flyte's pods and their images, its custom resource definition,
    the namespaces of the projects and the Secret in each, the webhook and its certificate, and what an uninstalled
    Flyte has left.
  - With O(generation=2) it asks Flyte 2's services by Connect, and whether the ingress routes all of them.
  - That Flyte's pod is ready says nothing about the object store. The upload does.
options:
  url:
    description:
      - Address of Flyte, such as V(https://flyte.example.com) or V(https://flyte.example.com:8443).
    type: str
    required: true
  generation:
    description:
      - Generation of Flyte. Flyte 2 is asked by Connect, which is what its clients speak.
    type: int
    choices: [1, 2]
    default: 1
  ca_file:
    description:
      - File with the certificates of the CAs that are trusted, in PEM, for Flyte and for the object store.
      - Without it, those that the machine trusts.
    type: path
  http_port:
    description:
      - Port on which plain HTTP must lead to O(url). Without it, the redirect is not looked at.
    type: int
  grpc:
    description:
      - Whether to ask Flyte's gRPC interface. That takes the Python library grpcio; without it the rows are skipped.
    type: bool
    default: true
  upload:
    description:
      - Whether to ask for signed URLs, to upload a file of 5 MiB, and to fetch it back from Flyte 1.
    type: bool
    default: true
  project:
    description:
      - A project that Flyte must list, and that the upload is made in.
    type: str
    default: flytesnacks
  domain:
    description:
      - The domain that the upload is made in.
    type: str
    default: development
  kubeconfig:
    description:
      - File with the address of Flyte's cluster and a user's credentials.
      - Without it the cluster is not looked at.
      - A credential plugin in it (C(exec)) is run on the machine that runs the module, and has O(timeout) to answer.
      - An C(auth-provider) in it is refused, also that of OpenID Connect; a credential plugin does the same, in time.
    type: path
  context:
    description:
      - Context of O(kubeconfig). Without it, the one that is current there.
    type: str
  namespace:
    description:
      - Namespace of Flyte's release.
    type: str
    default: flyte
  release:
    description:
      - Name of Flyte's Helm release.
    type: str
    default: flyte
  projects:
    description:
      - Projects that must have a namespace for each of O(domains).
      - Without it, O(project) alone.
    type: list
    elements: str
  domains:
    description:
      - Domains of every project.
    type: list
    elements: str
    default: [development, staging, production]
  task_secret:
    description:
      - Name of the Secret with the keys of the object store that must be in each of these namespaces.
      - Without it, none is looked for.
    type: str
    default: ""
  task_secret_keys:
    description:
      - Keys that must stand in O(task_secret).
    type: list
    elements: str
    default: [FLYTE_AWS_ACCESS_KEY_ID, FLYTE_AWS_SECRET_ACCESS_KEY]
  images:
    description:
      - Images that the containers of Flyte's pods may have, with their tags or digests.
      - Without it, each must at least have a tag other than C(latest), or a digest.
    type: list
    elements: str
    default: []
requirements:
  - kubernetes >= 29, < 37 (Python package), with O(kubeconfig)
  - grpcio (Python package), for O(grpc)
attributes:
  check_mode:
    details:
      - The upload leaves one object in the object store, the same each time. Nothing else is written.
      - In check mode nothing is uploaded, and the rows that need it are V(skipped).
  idempotent:
    details:
      - Each check writes that one object anew, with the same name and content.
extends_documentation_fragment:
  - flyte.onprem.attributes
  - flyte.onprem.attributes.check
  - flyte.onprem.checks
  - flyte.onprem.checks.resolve
notes:
  - The upload leaves one object of 5 MiB named C(flyte-onprem-check) in the bucket that Flyte signs for, below
    O(project) and O(domain), since what Flyte signs allows no deletion. Its content, and so its name, is the same every
    time. Each check writes it anew, so that there is never a second one.
  - In check mode nothing is uploaded.
seealso:
  - module: flyte.onprem.kubernetes_check
  - module: flyte.onprem.s3_bucket_check
  - module: flyte.onprem.postgresql_check
"""

EXAMPLES = r"""
- name: See whether Flyte works for its users
  flyte.onprem.flyte_check:
    url: https://flyte.example.com
    ca_file: /etc/ssl/certs/example-ca.pem
    http_port: 80

- name: Look at Flyte and its cluster before the names are in the DNS
  flyte.onprem.flyte_check:
    url: https://flyte.example.com
    ca_file: /etc/ssl/certs/example-ca.pem
    resolve:
      flyte.example.com: 192.0.2.10
      s3.example.com: 192.0.2.11
    kubeconfig: /home/admin/.kube/config
    release: flyte-binary
    task_secret: flyte-task-s3
    report_only: true
  register: flyte
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
      sample: ING-01
    title:
      description: What should be so.
      type: str
      sample: The ingress at https://flyte.example.com speaks HTTP/2 to Flyte's gRPC port
    status:
      description: V(passed), V(failed), V(warning) or V(skipped).
      type: str
      sample: failed
    observed:
      description: What was seen, with the service's own words.
      type: str
      sample: 'gRPC gave UNAVAILABLE: Received http2 header with status: 502'
    expected:
      description: What is needed.
      type: str
      sample: gRPC answered through the ingress
    cause:
      description: Why; empty if nothing is wrong.
      type: str
      sample: The ingress controller speaks HTTP/1.1 to the gRPC port, since nothing tells it otherwise.
    fix:
      description: What to do; empty if nothing is wrong.
      type: str
      sample: "Traefik: service.grpcAnnotations {traefik.ingress.kubernetes.io/service.serversscheme: h2c}"
    reference:
      description: Where to read more.
      type: str
      sample: https://github.com/flyteorg/flyte/issues/4962
passed:
  description: Whether no check failed. Warnings and skipped checks do not count.
  type: bool
  returned: always
  sample: false
msg:
  description: The report for people; the checks that failed or warn, with cause and fix.
  type: str
  returned: always
  sample: All 35 checks passed (1 skipped).
flyte_version:
  description: Version that Flyte gives itself.
  type: str
  returned: when Flyte told it
  sample: v1.16.8
projects:
  description: Ids of the projects that Flyte lists.
  type: list
  elements: str
  returned: when Flyte listed them
  sample: [flytesnacks]
upload_endpoint:
  description: Address of the object store for which Flyte signs.
  type: str
  returned: when Flyte handed out a signed URL
  sample: https://s3.example.com:9000
"""

from ansible_collections.flyte.onprem.plugins.module_utils import _flyte, _flyte2
from ansible_collections.flyte.onprem.plugins.module_utils._catalogue import CATALOGUE
from ansible_collections.flyte.onprem.plugins.module_utils._checks import Report, clean_up_when_ended, finish
from ansible_collections.flyte.onprem.plugins.module_utils._flyte import (
    Installation,
    probe_cluster,
    target_of,
)
from ansible_collections.flyte.onprem.plugins.module_utils._imports import KUBERNETES, require
from ansible_collections.flyte.onprem.plugins.module_utils._kubernetes import cluster, refuse_namespace
from ansible_collections.flyte.onprem.plugins.module_utils._module import Module
from ansible_collections.flyte.onprem.plugins.module_utils._resolve import addresses_of, pinned

ARGUMENT_SPEC = {
    "url": {"type": "str", "required": True},
    "generation": {"type": "int", "choices": [1, 2], "default": 1},
    "ca_file": {"type": "path"},
    "http_port": {"type": "int"},
    "grpc": {"type": "bool", "default": True},
    "upload": {"type": "bool", "default": True},
    "project": {"type": "str", "default": "flytesnacks"},
    "domain": {"type": "str", "default": "development"},
    "kubeconfig": {"type": "path"},
    "context": {"type": "str"},
    "namespace": {"type": "str", "default": "flyte"},
    "release": {"type": "str", "default": "flyte"},
    "projects": {"type": "list", "elements": "str"},
    "domains": {"type": "list", "elements": "str", "default": ["development", "staging", "production"]},
    "task_secret": {"type": "str", "default": "", "no_log": False},
    "task_secret_keys": {
        "type": "list",
        "elements": "str",
        "default": ["FLYTE_AWS_ACCESS_KEY_ID", "FLYTE_AWS_SECRET_ACCESS_KEY"],
        "no_log": False,
    },
    "images": {"type": "list", "elements": "str", "default": []},
    "resolve": {"type": "dict", "default": {}},
    "timeout": {"type": "float", "default": 10},
    "report_only": {"type": "bool", "default": False},
}


def main() -> None:
    clean_up_when_ended()
    module = Module(addresses=["url", "resolve"], argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    given = module.params
    if given["kubeconfig"]:
        require(module, KUBERNETES)
    try:
        target = target_of(given)
        refuse_namespace("namespace", given["namespace"])
        addresses_of(given["resolve"])
    except ValueError as exc:
        module.fail_json(msg=str(exc))
    flyte = {1: _flyte, 2: _flyte2}[given["generation"]]
    installation = Installation(
        namespace=given["namespace"],
        release=given["release"],
        projects=given["projects"] or [given["project"]],
        domains=given["domains"],
        task_secret=given["task_secret"],
        task_secret_keys=given["task_secret_keys"],
        images=given["images"],
        generation=given["generation"],
    )
    report = Report(
        CATALOGUE,
        endpoint=target.address.endpoint,
        host=target.address.host,
        timeout=f"{given['timeout']:g}",
        http_port=str(given["http_port"]),
        project=given["project"],
        namespace=given["namespace"],
        release=given["release"],
        kubeconfig=given["kubeconfig"] or "",
        context=given["context"] or "that is current",
    )
    with pinned(given["resolve"]):
        flyte.probe_service(
            report,
            target,
            http_port=given["http_port"],
            grpc=given["grpc"],
            upload=given["upload"],
            write=not module.check_mode,
        )
        if given["kubeconfig"]:
            with cluster(
                report, kubeconfig=given["kubeconfig"], context=given["context"], timeout=given["timeout"]
            ) as (api, row):
                probe_cluster(report, api, installation, after=row)
    finish(module, report, report_only=given["report_only"])


if __name__ == "__main__":
    main()
