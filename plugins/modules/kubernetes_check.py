#!/usr/bin/python
# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kubernetes_check
version_added: 0.1.0
author:
  - The flyte.onprem authors (@flyte-onprem)
short_description: Whether a Kubernetes cluster meets Flyte's needs
description:
  - Asks a cluster's API server and says for each need whether it is met, what was seen, why, and what to do about it.
  - It looks at the kubeconfig and its certificate, the way to the API server and its certificate, the version, the
    nodes and what they can give to pods, storage class, ingress class and its controller, the cluster's own pods, the
    rights of the user, and whether namespaces admit pods like Flyte's.
  - With O(pod_image) it also runs a pod for some seconds, which looks whether pods resolve, reach and trust the
    database and the object store, since pods see another network than the machine that runs the module.
  - That pod is all that it makes, and it is deleted whatever happens.
options:
  kubeconfig:
    description:
      - File with the address of the cluster and a user's credentials.
      - Without it, the files that the environment variable C(KUBECONFIG) names, without those that are not there, else
        C(~/.kube/config).
      - A credential plugin in it (C(exec)) is run on the machine that runs the module, without anybody to answer it,
        and has O(timeout) to give credentials.
      - An C(auth-provider) in it is refused, also that of OpenID Connect; a credential plugin does the same, in time.
    type: path
  context:
    description:
      - Context of O(kubeconfig). Without it, the one that is current there.
    type: str
  generation:
    description:
      - Generation of Flyte that the cluster is for. The rights that its chart takes depend on it.
    type: int
    choices: [1, 2]
    default: 1
  namespace:
    description:
      - Namespace of Flyte's release. The rights of the user are looked at in it, pods must be admitted to it, and the
        pod of O(pod_image) runs in it. It need not be there yet; then what needs it is skipped.
      - Where it is empty, no namespace is looked at, and the rights must be there in the whole cluster.
    type: str
    default: flyte
  task_namespaces:
    description:
      - Further namespaces that must admit pods, those of projects and domains.
    type: list
    elements: str
    default: []
  minimum_version:
    description:
      - Oldest version of Kubernetes that will do. Flyte's charts name none; Traefik's asks for the default.
    type: str
    default: "1.25"
  maximum_version:
    description:
      - Newest version of Kubernetes that will do. Without it, one that is newer than 1.36, the newest on which Flyte
        was tried, is a warning.
    type: str
  expected_nodes:
    description:
      - How many nodes there must be at least; others may have joined. Any number above none is right, if not given.
    type: int
  node_networks:
    description:
      - Networks such as V(192.0.2.0/24), one of which each node's address must be in. Pods reach what is outside of the
        cluster with the address of their node, so these are the ones that a database there must admit.
      - Without it, the addresses are not looked at.
    type: list
    elements: str
    default: []
  minimum_cpu:
    description:
      - Cores that all nodes together must be able to give to pods, as a Kubernetes quantity such as V(4) or V(3500m).
    type: str
    default: "0"
  minimum_memory:
    description:
      - Memory that all nodes together must be able to give to pods, as a Kubernetes quantity such as V(8Gi).
    type: str
    default: "0"
  task_cpu:
    description:
      - Cores that the largest task asks for, as a Kubernetes quantity. One node alone must be able to give them.
    type: str
    default: "0"
  task_memory:
    description:
      - Memory that the largest task asks for, as a Kubernetes quantity. The same node must be able to give it.
    type: str
    default: "0"
  storage_class:
    description:
      - Name of a storage class that must be there. Without it, there must be a default one.
    type: str
    default: ""
  ingress_class:
    description:
      - Name of an ingress class that must be there. Without it, none is looked for.
    type: str
    default: ""
  ingress_controller:
    description:
      - The controller that O(ingress_class) must belong to, such as V(traefik.io/ingress-controller). Without it, any.
    type: str
    default: ""
  system_namespaces:
    description:
      - Namespaces whose pods must all run. In each there must be one at least.
    type: list
    elements: str
    default: [kube-system]
  rights:
    description:
      - Rights that the user of O(kubeconfig) must have.
      - Without it, the rights that installing the chart flyte-binary of O(generation) takes, and those that the chart
        gives to Flyte, since nobody may grant what he has not. An empty list asks for none.
    type: list
    elements: dict
    suboptions:
      verbs:
        description:
          - What the user must be able to do.
        type: list
        elements: str
        required: true
      resources:
        description:
          - With which resources, by their plural names.
        type: list
        elements: str
        required: true
      group:
        description:
          - API group of the resources; empty for the core group.
        type: str
        default: ""
      namespace:
        description:
          - In which namespace. Empty for all, and for resources that lie in none.
        type: str
        default: ""
  pod_image:
    description:
      - Image of a short-lived pod that asks O(pod_services) and O(pod_registries), one that the cluster has anyway. It
        needs C(python3) 3.7 or newer, as images for Flyte's tasks have.
      - Without it no pod is run.
    type: str
    default: ""
  pod_services:
    description:
      - Services that pods must resolve, reach and trust, as V(postgresql://host:port), V(https://host:port),
        V(http://host:port) or V(tcp://host:port). With the first two the certificate is looked at.
    type: list
    elements: str
    default: []
  pod_registries:
    description:
      - Registries that images are pulled from, as V(https://host). Their certificates are not judged, since it is not
        pods that pull.
    type: list
    elements: str
    default: []
  pod_ca_files:
    description:
      - Files with the certificates of the CAs that pods trust besides those of O(pod_image), in PEM.
    type: list
    elements: path
    default: []
  pod_timeout:
    description:
      - Seconds that the pod may take, from its creation to its verdict. Pulling its image counts.
    type: float
    default: 60
requirements:
  - kubernetes >= 29, < 37 (Python package), on the machine that runs the module
extends_documentation_fragment:
  - flyte.onprem.attributes
  - flyte.onprem.attributes.check
  - flyte.onprem.checks
notes:
  - In check mode no pod is run; all else is the same. To try whether a pod is admitted, and to ask for a right, makes
    nothing.
  - Requests go through the proxy that C(HTTP_PROXY) or C(HTTPS_PROXY) names, except to hosts in C(NO_PROXY), where the
    library reads them; name, port and certificate of the API server are looked at without it.
  - Where the module itself is killed, Kubernetes stops the pod after O(pod_timeout), and the next check deletes it.
  - The pod has the label C(app.kubernetes.io/component=kubernetes-check), runs as nobody with no rights, and is
    admitted at every pod security level.
seealso:
  - module: flyte.onprem.flyte_check
"""

EXAMPLES = r"""
- name: Refuse a cluster that Flyte could not use
  flyte.onprem.kubernetes_check:
    kubeconfig: /home/admin/.kube/config
    context: production
    minimum_version: "1.29"
    minimum_cpu: "4"
    minimum_memory: 8Gi
    ingress_class: nginx
    ingress_controller: nginx.org/ingress-controller

- name: See whether pods reach the database and the object store
  flyte.onprem.kubernetes_check:
    kubeconfig: /home/admin/.kube/config
    namespace: flyte
    pod_image: cr.flyte.org/flyteorg/flytekit:py3.11-1.16.31
    pod_services:
      - postgresql://db.example.com
      - https://s3.example.com:9000
    pod_registries: [https://cr.flyte.org]
    pod_ca_files: [/etc/ssl/certs/example-ca.pem]

- name: Look whether three nodes are ready, and go on in any case
  flyte.onprem.kubernetes_check:
    kubeconfig: /home/admin/.kube/config
    expected_nodes: 3
    rights: []
    report_only: true
  register: cluster
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
      sample: K8S-22
    title:
      description: What should be so.
      type: str
      sample: The nodes are ready
    status:
      description: V(passed), V(failed), V(warning) or V(skipped).
      type: str
      sample: failed
    observed:
      description: What was seen, with the server's own words.
      type: str
      sample: 'not ready: node1: container runtime is down'
    expected:
      description: What is needed.
      type: str
      sample: every node Ready, 3 of them
    cause:
      description: Why; empty if nothing is wrong.
      type: str
      sample: A node has not joined, its kubelet is stopped, or it lacks memory, disk or network.
    fix:
      description: What to do; empty if nothing is wrong.
      type: str
      sample: On the node named above, look at systemctl status k3s (or k3s-agent) and its journal.
    reference:
      description: Where to read more.
      type: str
      sample: docs/problems.md#k8s-22
passed:
  description: Whether no check failed. Warnings and skipped checks do not count.
  type: bool
  returned: always
  sample: false
msg:
  description: The report for people; the checks that failed or warn, with cause and fix.
  type: str
  returned: always
  sample: All 19 checks passed (2 skipped).
kubernetes_version:
  description: Version of the API server.
  type: str
  returned: when the API server answered
  sample: v1.36.4+k3s1
"""

import ipaddress
import ssl
import typing as t

from ansible_collections.flyte.onprem.plugins.module_utils._catalogue import CATALOGUE
from ansible_collections.flyte.onprem.plugins.module_utils._checks import Report, clean_up_when_ended, finish
from ansible_collections.flyte.onprem.plugins.module_utils._imports import KUBERNETES, require
from ansible_collections.flyte.onprem.plugins.module_utils._kubernetes import (
    NEWEST_TRIED,
    Needs,
    Network,
    cluster,
    parse_quantity,
    parse_version,
    probe_cluster,
    refuse_namespace,
)
from ansible_collections.flyte.onprem.plugins.module_utils._kubernetes_rights import Right, Rights, installing_flyte
from ansible_collections.flyte.onprem.plugins.module_utils._limits import refuse_wait
from ansible_collections.flyte.onprem.plugins.module_utils._module import Module
from ansible_collections.flyte.onprem.plugins.module_utils._pod import (
    Plan,
    Service,
    admission_row,
    parse_service,
    probe_network,
)

Parsed = t.TypeVar("Parsed")

ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    "kubeconfig": {"type": "path"},
    "context": {"type": "str"},
    "generation": {"type": "int", "choices": [1, 2], "default": 1},
    "namespace": {"type": "str", "default": "flyte"},
    "task_namespaces": {"type": "list", "elements": "str", "default": []},
    "minimum_version": {"type": "str", "default": "1.25"},
    "maximum_version": {"type": "str"},
    "expected_nodes": {"type": "int"},
    "node_networks": {"type": "list", "elements": "str", "default": []},
    "minimum_cpu": {"type": "str", "default": "0"},
    "minimum_memory": {"type": "str", "default": "0"},
    "task_cpu": {"type": "str", "default": "0"},
    "task_memory": {"type": "str", "default": "0"},
    "storage_class": {"type": "str", "default": ""},
    "ingress_class": {"type": "str", "default": ""},
    "ingress_controller": {"type": "str", "default": ""},
    "system_namespaces": {"type": "list", "elements": "str", "default": ["kube-system"]},
    "rights": {
        "type": "list",
        "elements": "dict",
        "options": {
            "verbs": {"type": "list", "elements": "str", "required": True},
            "resources": {"type": "list", "elements": "str", "required": True},
            "group": {"type": "str", "default": ""},
            "namespace": {"type": "str", "default": ""},
        },
    },
    "pod_image": {"type": "str", "default": ""},
    "pod_services": {"type": "list", "elements": "str", "default": []},
    "pod_registries": {"type": "list", "elements": "str", "default": []},
    "pod_ca_files": {"type": "list", "elements": "path", "default": []},
    "pod_timeout": {"type": "float", "default": 60},
    "timeout": {"type": "float", "default": 10},
    "report_only": {"type": "bool", "default": False},
}


def parsed(given: dict[str, t.Any], option: str, parse: t.Callable[[str], Parsed]) -> Parsed:
    """What an option says. Raises C(ValueError), with the option's name."""
    try:
        return parse(given[option])
    except ValueError as exc:
        raise ValueError(f"{option}: {exc}") from exc


def networks_of(given: dict[str, t.Any]) -> list[Network]:
    """The networks of the nodes. Raises C(ValueError), with the option's name."""
    try:
        return [ipaddress.ip_network(text) for text in given["node_networks"]]
    except ValueError as exc:
        raise ValueError(f"node_networks: {exc}") from exc


def needs_of(given: dict[str, t.Any]) -> Needs:
    """The needs that the options describe. Raises C(ValueError), with the option's name, for what is none."""
    oldest = parsed(given, "minimum_version", parse_version)
    newest = parsed(given, "maximum_version", parse_version) if given["maximum_version"] else None
    if newest and newest < oldest:
        raise ValueError(
            f"maximum_version: {given['maximum_version']} is below minimum_version, {given['minimum_version']}"
        )
    if (given["expected_nodes"] or 0) < 0:
        raise ValueError(f"expected_nodes: {given['expected_nodes']} is no number of nodes")
    if given["namespace"]:
        refuse_namespace("namespace", given["namespace"])
    for option in ("task_namespaces", "system_namespaces"):
        for name in given[option]:
            refuse_namespace(option, name)
    rights = installing_flyte(given["generation"], namespace=given["namespace"])
    if given["rights"] is not None:
        rights = Rights(
            made=[
                Right(verb=verb, resource=resource, group=item["group"], namespace=item["namespace"])
                for item in given["rights"]
                for resource in item["resources"]
                for verb in item["verbs"]
            ]
        )
    return Needs(
        minimum_version=oldest,
        maximum_version=newest,
        expected_nodes=given["expected_nodes"],
        node_networks=networks_of(given),
        minimum_cpu=parsed(given, "minimum_cpu", parse_quantity),
        minimum_memory=parsed(given, "minimum_memory", parse_quantity),
        task_cpu=parsed(given, "task_cpu", parse_quantity),
        task_memory=parsed(given, "task_memory", parse_quantity),
        storage_class=given["storage_class"],
        ingress_class=given["ingress_class"],
        ingress_controller=given["ingress_controller"],
        system_namespaces=given["system_namespaces"],
        rights=rights,
    )


def services_of(given: dict[str, t.Any], option: str, *, registry: bool = False) -> list[Service]:
    """The services in an option. Raises C(ValueError), with the option's name."""
    try:
        return [parse_service(text, registry=registry) for text in given[option]]
    except ValueError as exc:
        raise ValueError(f"{option}: {exc}") from exc


def plan_of(given: dict[str, t.Any]) -> Plan:
    """The pod that the options describe. Raises C(ValueError)."""
    for name in ("timeout", "pod_timeout"):
        refuse_wait(name, given[name])
    if given["pod_image"] and not given["namespace"]:
        raise ValueError("pod_image needs a namespace for its pod")
    authorities = []
    for path in given["pod_ca_files"]:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
            with open(path, encoding="ascii", errors="ignore") as stream:
                authorities.append(stream.read())
        except OSError as exc:
            raise ValueError(f"pod_ca_files: {path} holds no certificate that can be read: {exc}") from exc
    return Plan(
        image=given["pod_image"],
        namespace=given["namespace"],
        services=[*services_of(given, "pod_services"), *services_of(given, "pod_registries", registry=True)],
        authority="\n".join(authorities),
        timeout=given["timeout"],
        deadline=given["pod_timeout"],
    )


def main() -> None:
    clean_up_when_ended()
    module = Module(addresses=["pod_services", "pod_registries"], argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    require(module, KUBERNETES)
    given = module.params
    try:
        needs, plan = needs_of(given), plan_of(given)
    except ValueError as exc:
        module.fail_json(msg=str(exc))
    report = Report(
        CATALOGUE,
        kubeconfig=given["kubeconfig"] or "KUBECONFIG or ~/.kube/config",
        context=given["context"] or "that is current",
        timeout=f"{given['timeout']:g}",
        minimum_version=given["minimum_version"],
        maximum_version=given["maximum_version"] or NEWEST_TRIED,
        expected_nodes=str(given["expected_nodes"] or 1),
        node_networks=", ".join(given["node_networks"]) or "(none asked for)",
        minimum_cpu=given["minimum_cpu"],
        minimum_memory=given["minimum_memory"],
        task_cpu=given["task_cpu"],
        task_memory=given["task_memory"],
        storage_class=given["storage_class"] or "marked as default",
        ingress_class=given["ingress_class"] or "(none asked for)",
        ingress_controller=given["ingress_controller"] or "of any kind",
    )
    with cluster(report, kubeconfig=given["kubeconfig"], context=given["context"], timeout=given["timeout"]) as (
        api,
        row,
    ):
        probe_cluster(report, api, needs, after=row)
        for namespace in dict.fromkeys([given["namespace"], *given["task_namespaces"]]):
            if namespace:
                admission_row(report, api, namespace, after=row)
        if plan.image or plan.services:
            probe_network(report, api, plan, write=not module.check_mode, after=row)
    finish(module, report, report_only=given["report_only"])


if __name__ == "__main__":
    main()
