# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster's hosts are its nodes, its pods reach each other, and nothing secret lies about."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from support.leaks import forms, shown

from ..conftest import Kubectl, Machine, condition, fetch, taints, web_server

ROLE = "node-role.kubernetes.io/"
PODS = "cluster-test"
SHARED = "shared-image"
# Brings an image into a host's containerd whose content is on no other host: $1 is its name, $2 what it says.
IMPORT = """
set -eu
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
mkdir layer
cp "$(find /var/lib/rancher/k3s/agent/containerd -path '*/bin/busybox' -type f -print -quit)" layer/busybox
echo "$2" >layer/word
tar --create --file=layer.tar --directory=layer .
cat >config.json <<END
{"architecture": "$(dpkg --print-architecture)", "os": "linux", "config": {"Cmd": ["/busybox", "cat", "/word"]},
 "rootfs": {"type": "layers", "diff_ids": ["sha256:$(sha256sum layer.tar | cut -c -64)"]}}
END
cat >manifest.json <<END
[{"Config": "config.json", "RepoTags": ["$1"], "Layers": ["layer.tar"]}]
END
tar --create config.json manifest.json layer.tar | k3s ctr images import -
"""
PLACES = "/etc /run /usr/local /var/lib/rancher /var/log"
# The file as the server serves it; an agent has a copy.
CA_HASH = "sha256sum /var/lib/rancher/k3s/agent/server-ca.crt | cut -c -64"


def test_every_host_is_a_ready_node_of_its_kind(machines: list[Machine], nodes: dict[str, dict[str, Any]]) -> None:
    assert set(nodes) == {machine.node for machine in machines}
    for machine in machines:
        node = nodes[machine.node]
        assert condition(node, "Ready") == "True", machine.name
        assert (node["metadata"]["labels"].get(f"{ROLE}control-plane") == "true") == machine.is_server
        assert machine.labels.items() <= node["metadata"]["labels"].items()
        assert machine.taints <= taints(node), machine.name


def test_the_units_are_those_of_the_hosts_kind_and_start_at_boot(machines: list[Machine]) -> None:
    for machine in machines:
        units = {"k3s": machine.is_server, "k3s-agent": not machine.is_server}
        assert {unit: machine.host.service(unit).is_running for unit in units} == units
        assert machine.host.service(machine.unit).is_enabled


def test_members_of_etcd_vote(servers: list[Machine], nodes: dict[str, dict[str, Any]]) -> None:
    embedded = len(servers) > 1 and not servers[0].variable("k3s_datastore_endpoint | default('')")
    for server in servers:
        node = nodes[server.node]
        assert condition(node, "EtcdIsVoter") == ("True" if embedded else None)
        assert (f"{ROLE}etcd" in node["metadata"]["labels"]) == embedded


@pytest.fixture(scope="module")
def pods(machines: list[Machine], kubectl: Kubectl) -> Any:
    """One web server on each node, by the node's name: its pod's address."""
    manifests = [web_server(machine, PODS) for machine in machines]
    kubectl("apply", "--filename=-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests}))
    try:
        kubectl("wait", "pod", f"--selector=app={PODS}", "--for=condition=Ready", "--timeout=180s")
        found = json.loads(kubectl("get", "pods", f"--selector=app={PODS}", "--output=json"))["items"]
        yield {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in found}
    finally:
        kubectl("delete", "pods", f"--selector=app={PODS}", "--now")


def test_pods_reach_each_other_and_names_from_every_node(pods: dict[str, str], kubectl: Kubectl) -> None:
    resolve = "nslookup kubernetes.default.svc.cluster.local"
    script = "; ".join([*map(fetch, pods.values()), resolve])
    for source in pods:
        answer = kubectl("exec", source, "--", "sh", "-c", script)
        assert answer.splitlines()[: len(pods)] == list(pods), f"from {source}: {answer}"
        assert "10.43.0.1" in answer, f"from {source}: {answer}"


def test_the_kubelets_port_answers_the_servers(pods: dict[str, str], kubectl: Kubectl) -> None:
    """kubectl logs goes from the API to the kubelet of the pod's node."""
    for name in pods:
        assert kubectl("logs", name) == ""


def secrets(machine: Machine) -> dict[str, str]:
    """The generated secrets of the host's site, and the passwords of its datastore, its proxy and its registries."""
    directory = Path(machine.variable("site_directory")) / "secrets"
    found = {path.name: path.read_text().strip() for path in directory.iterdir()}
    addresses = {
        "datastore": machine.variable("k3s_datastore_endpoint | default('')"),
        "proxy": machine.variable("(k3s_environment | default({})).HTTPS_PROXY | default('')"),
    }
    passwords = {name: urlsplit(address).password for name, address in addresses.items()}
    registries = machine.variable("(k3s_registries | default({})).configs | default({})")
    passwords |= {name: registry["auth"]["password"] for name, registry in registries.items()}
    return {**found, **{name: password for name, password in passwords.items() if password}}


def test_tokens_lie_in_files_of_root_alone(machines: list[Machine]) -> None:
    for machine in machines:
        files = ["/etc/rancher/k3s/config.yaml", "/etc/rancher/node/password"]
        if machine.variable("k3s_registries is defined"):
            files.append("/etc/rancher/k3s/registries.yaml")
        modes = machine.host.check_output(f"stat --format='%U %a' {' '.join(files)}")
        assert modes.splitlines() == ["root 600"] * len(files), machine.name
        arguments = machine.host.run("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '").stdout
        assert "k3s" in arguments
        values = secrets(machine)
        assert [name for name, value in values.items() if value in arguments] == [], machine.name
        sought = " ".join(f"-e {form}" for value in values.values() for form in forms(value))
        open_files = f"find {PLACES} -xdev -type f -perm /0044 -size -1024k -exec grep -lF {sought} {{}} +"
        assert machine.host.run(open_files).stdout == "", machine.name


def test_no_journal_shows_a_secret(machines: list[Machine]) -> None:
    """Of k3s, and of Ansible's modules, which write there what they were asked for."""
    for machine in machines:
        journal = machine.host.check_output("journalctl --no-pager --all | LC_ALL=C tr -cd '[:print:]\\n'")
        words = ("level=info", "Invoked with")
        assert [word for word in words if word not in journal] == [], machine.name
        assert shown(journal, secrets(machine)) == {}, machine.name


def test_an_agent_does_not_have_the_servers_token(machines: list[Machine], servers: list[Machine]) -> None:
    for machine in machines:
        if not machine.is_server:
            config = machine.host.file("/etc/rancher/k3s/config.yaml").content_string
            assert secrets(servers[0])["kubernetes_agent_token"] in config
            assert secrets(servers[0])["kubernetes_token"] not in config


def test_what_joins_knows_its_clusters_ca(machines: list[Machine]) -> None:
    for machine in machines:
        config = machine.host.file("/etc/rancher/k3s/config.yaml").content_string
        # An agent that was given a token has it as it was given.
        if "\nserver: " in config and not machine.variable("k3s_agent_token is defined"):
            user = "server" if machine.is_server else "node"
            assert f"\ntoken: K10{machine.host.check_output(CA_HASH)}::{user}:" in config


def test_what_the_hosts_are_told_of_a_proxy_excepts_the_cluster(
    machines: list[Machine], nodes: dict[str, dict[str, Any]]
) -> None:
    addresses = {entry["address"] for node in nodes.values() for entry in node["status"]["addresses"]}
    for machine in machines:
        if machine.variable("k3s_environment is defined"):
            process = machine.host.check_output(f"systemctl show --property=MainPID --value {machine.unit}")
            variables = machine.host.check_output(f"tr '\\0' '\\n' </proc/{process}/environ").splitlines()
            (direct,) = [line for line in variables if line.startswith("NO_PROXY=")]
            missing = addresses - set(nodes) - set(direct.removeprefix("NO_PROXY=").split(","))
            assert missing == set(), machine.name


def test_requests_are_recorded_for_root_alone(servers: list[Machine], kubectl: Kubectl) -> None:
    if not servers[0].variable("k3s_audit_policy is defined"):
        pytest.skip("no audit policy in this scenario")
    kubectl("get", "serviceaccount", "default", "--namespace=kube-public")
    logs = "/var/lib/rancher/k3s/server/logs"
    entries = servers[0].host.check_output(f"grep namespaces/kube-public/serviceaccounts/default {logs}/audit.log")
    assert json.loads(entries.splitlines()[-1])["kind"] == "Event"
    assert servers[0].host.check_output(f"stat --format='%U %a' {logs} {logs}/audit.log") == "root 700\nroot 600"


def test_the_kernel_is_as_the_kubelet_wants_it(machines: list[Machine]) -> None:
    if not machines[0].variable("(k3s_config | default({}))['protect-kernel-defaults'] | default(false)"):
        pytest.skip("the kubelet sets the kernel up itself in this scenario")
    wanted = {
        "vm.overcommit_memory": "1",
        "vm.panic_on_oom": "0",
        "kernel.panic": "10",
        "kernel.panic_on_oops": "1",
        "kernel.keys.root_maxkeys": "1000000",
        "kernel.keys.root_maxbytes": "25000000",
    }
    for machine in machines:
        text = machine.host.file("/etc/sysctl.d/90-flyte-onprem-k3s.conf").content_string
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        assert dict(line.split(" = ") for line in lines) == wanted, machine.name
        files = " ".join(f"/proc/sys/{name.replace('.', '/')}" for name in wanted)
        assert machine.host.check_output(f"cat {files}").split() == list(wanted.values()), machine.name


def test_a_namespace_takes_no_privileged_pod_unless_it_is_exempt(servers: list[Machine], kubectl: Kubectl) -> None:
    """Asked of each server, since each has the configuration of its own."""
    if not servers[0].variable("k3s_admission_config is defined"):
        pytest.skip("no admission configuration in this scenario")
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "privileged"},
        "spec": {"containers": [{"name": "x", "image": "x", "securityContext": {"privileged": True}}]},
    }
    kubectl("create", "namespace", "guarded")
    try:
        for server in servers:
            create = f"echo {shlex.quote(json.dumps(pod))} | k3s kubectl create --dry-run=server --filename=-"
            refused = server.host.run(f"{create} --namespace=guarded")
            assert refused.failed, server.name
            assert 'violates PodSecurity "restricted:latest"' in refused.stderr, server.name
            assert server.host.run(f"{create} --namespace=kube-system").succeeded, server.name
    finally:
        kubectl("delete", "namespace", "guarded", "--wait=false")


def test_secrets_are_encrypted_in_etcd(servers: list[Machine], kubectl: Kubectl) -> None:
    if not servers[0].variable("(k3s_config | default({}))['secrets-encryption'] | default(false)"):
        pytest.skip("no encryption of Secrets in this scenario")
    kubectl("create", "secret", "generic", "canary", "--from-literal=word=CanaryOfASecret")
    kubectl("create", "configmap", "canary", "--from-literal=word=CanaryOfAConfigMap")
    try:
        files = "/var/lib/rancher/k3s/server/db/etcd/member"
        found = {
            word: servers[0].host.run(f"grep --recursive --text --quiet {word} {files}").succeeded
            for word in ("CanaryOfAConfigMap", "CanaryOfASecret")
        }
        assert found == {"CanaryOfAConfigMap": True, "CanaryOfASecret": False}
    finally:
        kubectl("delete", "secret/canary", "configmap/canary")


@pytest.fixture
def run_images(servers: list[Machine], kubectl: Kubectl) -> Any:
    """Start pods, by name, of images on nodes; where nodes share images."""
    if not servers[0].variable("(k3s_config | default({}))['embedded-registry'] | default(false)"):
        pytest.skip("no shared images in this scenario")

    def run(**pods: tuple[str, str]) -> None:
        manifests = [
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "labels": {"app": SHARED}},
                "spec": {
                    "nodeName": node,
                    "restartPolicy": "Never",
                    "containers": [{"name": "image", "image": image, "imagePullPolicy": "IfNotPresent"}],
                },
            }
            for name, (image, node) in pods.items()
        ]
        kubectl("apply", "--filename=-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests}))

    yield run
    kubectl("delete", "pods", f"--selector=app={SHARED}", "--now")


def test_an_image_that_one_node_has_runs_on_another(
    machines: list[Machine], kubectl: Kubectl, run_images: Callable[..., None]
) -> None:
    for machine in machines:
        arguments = [f"registry.invalid/{machine.name}:1", f"made on {machine.name}"]
        machine.host.check_output(shlex.join(["sh", "-c", IMPORT, "sh", *arguments]))
    others = [*machines[1:], machines[0]]
    run_images(
        **{
            f"of-{machine.name}": (f"registry.invalid/{machine.name}:1", other.node)
            for machine, other in zip(machines, others, strict=True)
        }
    )
    for machine in machines:
        pod = f"of-{machine.name}"
        kubectl("wait", f"pod/{pod}", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=120s")
        assert kubectl("logs", pod) == f"made on {machine.name}"


def test_an_image_that_no_node_has_is_not_to_be_had(
    machines: list[Machine], kubectl: Kubectl, run_images: Callable[..., None]
) -> None:
    run_images(nowhere=("registry.invalid/nowhere:1", machines[-1].node))
    reason = "{.status.containerStatuses[*].state.waiting.reason}"
    kubectl("wait", "pod/nowhere", f"--for=jsonpath={reason}=ErrImagePull", "--timeout=120s")
