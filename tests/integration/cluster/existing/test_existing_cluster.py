# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole site in a cluster that somebody else runs, with the rights of the manifest for its owner and no others.

The cluster is upstream Kubernetes with a Traefik of its own; nothing of k3s is in it. The tests build on each other in
their order.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.leaks import shown
from testbed.builder import cluster, hosts, inventory
from testbed.builder.cache import Cache, cache_root
from testbed.builder.recipes import Recipes, load_pins

from .conftest import BED, CANARIES, ROOT, Box
from .services import DATABASE, STORE, services_of_others

MANIFEST = ROOT / "roles/existing_cluster/files/owner.yml"
NAME = "flyte-onprem-existing"
# What Kubernetes puts into a pod of a service account.
ACCOUNT = "/run/secrets/kubernetes.io/serviceaccount"
NAMESPACES = [
    {"name": "flyte", "labels": {"pod-security.kubernetes.io/enforce": "baseline"}},
    {"name": "ml-jobs", "labels": {"team": "ml"}},
]


@dataclass
class Existing:
    """The cluster, as its owner and as the site's administrator see it."""

    box: Box
    owner: Path
    variables: dict[str, Any]

    def kubectl(self, *arguments: str, given: str | None = None, check: bool = True) -> str:
        """Run kubectl as the owner."""
        command = ["podman", "exec", "-i", self.box.name, "/opt/kubernetes/bin/kubectl"]
        command += ["--kubeconfig=/etc/kubernetes/admin.conf", *arguments]
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout.strip()

    def may(self, verb: str, resource: str, namespace: str = "flyte") -> bool:
        """Whether the site's administrator may do this."""
        user = "--as=system:serviceaccount:flyte-onprem:flyte-onprem"
        return self.kubectl("auth", "can-i", verb, resource, f"--namespace={namespace}", user, check=False) == "yes"

    def hand_out(self) -> None:
        """Do as the owner what the manifest says, and give the site's administrator a kubeconfig of the token."""
        self.kubectl("apply", "-f", "-", given=MANIFEST.read_text())
        token = self.kubectl("-n", "flyte-onprem", "create", "token", "flyte-onprem", "--duration=24h")
        config = yaml.safe_load(self.owner.read_text())
        user = {"name": "flyte-onprem", "user": {"token": token}}
        context = {"name": "flyte-onprem", "context": {"cluster": "kubernetes", "user": "flyte-onprem"}}
        kubeconfig = self.box.folder / "kubeconfig"
        kubeconfig.touch(mode=0o600)
        kubeconfig.write_text(yaml.safe_dump({**config, "users": [user], "contexts": [context], "current-context": ""}))


@pytest.fixture(scope="module")
def existing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Existing]:
    """A cluster with Traefik in front, and services of others beside it."""
    folder = tmp_path_factory.mktemp("existing")
    box = Box(NAME, folder)
    down = [*BED, "host-down", NAME]
    subprocess.run(down, check=True, capture_output=True)
    volumes = [f"--volume={path}" for path in cluster.VOLUMES]
    subprocess.run([*BED, "host-up", NAME, *volumes], check=True)
    try:
        with services_of_others(folder, hosts.gateway()) as variables:
            cache = Cache(cache_root())
            cluster.up(Recipes(cache, load_pins()), NAME, box.address, folder / "owner.conf")
            names = {"flyte.test": box.address, DATABASE: hosts.gateway(), STORE: hosts.gateway()}
            cluster.resolve(NAME, names)
            made = Existing(box, folder / "owner.conf", variables | described(box))
            control = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
            groups = {"existing_cluster": ["control"]}
            box.inventory.mkdir()
            inventory.write(box.inventory / "hosts.yml", {"control": control}, groups, made.variables)
            yield made
    finally:
        subprocess.run(down, check=True, capture_output=True)


def described(box: Box) -> dict[str, Any]:
    """What the documents tell to set for such a cluster, and where the tests keep things."""
    return {
        **CANARIES,
        "site_domain": "flyte.test",
        "site_kubernetes": "existing",
        "site_kubernetes_connection": {
            "kubeconfig": str(box.folder / "kubeconfig"), "context": "flyte-onprem", "pod_cidr": "10.244.0.0/16",
            "storage_class": "standard", "ingress_class": "public",
        },
        "site_ingress_connection": {
            "host": "flyte.test", "address": box.address, "https_port": 443, "class": "public",
            "url": "https://flyte.test", "tls_secret": "flyte-tls",
        },
        "site_bundle": os.environ["FLYTE_ONPREM_BUNDLE"],
        "existing_cluster_namespaces": NAMESPACES,
    }  # fmt: skip


def test_without_a_kubeconfig_nothing_begins(existing: Existing) -> None:
    code, output = existing.box.run("site")
    assert code != 0
    assert "CLUSTER-51" in output and changed(output) == 0


def test_an_unknown_context_is_named_with_those_that_there_are(existing: Existing) -> None:
    existing.hand_out()
    connection = {**existing.variables["site_kubernetes_connection"], "context": "production"}
    code, output = existing.box.run("cluster", variables={"site_kubernetes_connection": connection})
    assert code != 0
    assert "CLUSTER-52" in output and "it has flyte-onprem" in output


def test_a_right_that_is_missing_is_named_before_anything_is_installed(existing: Existing) -> None:
    rules = [document for document in yaml.safe_load_all(MANIFEST.read_text()) if document]
    for document in rules:
        if document["kind"] == "Role":
            document["rules"] = [rule for rule in document["rules"] if rule["resources"] != ["ingresses"]]
    existing.kubectl("apply", "-f", "-", given=yaml.safe_dump_all(rules))
    code, output = existing.box.run("site")
    existing.kubectl("apply", "-f", "-", given=MANIFEST.read_text())
    assert code != 0
    assert "K8S-29" in output and "create ingresses.networking.k8s.io in flyte" in output
    assert existing.kubectl("-n", "flyte", "get", "secrets,deployments", "-o", "name") == ""


def test_a_class_that_is_not_there_is_named(existing: Existing) -> None:
    connection = {**existing.variables["site_kubernetes_connection"], "ingress_class": "traefik"}
    code, output = existing.box.run("cluster", variables={"site_kubernetes_connection": connection})
    assert code != 0
    assert "K8S-26" in output and "no ingress class traefik; there are: public" in output


def test_nothing_of_k3s_is_in_the_cluster(existing: Existing) -> None:
    assert "k3s" not in existing.kubectl("version", "-o", "json")
    assert existing.kubectl("api-resources", "--api-group=helm.cattle.io", "-o", "name") == ""


def test_the_rights_are_few(existing: Existing) -> None:
    assert existing.may("create", "deployments.apps")
    assert not existing.may("*", "*")
    assert not existing.may("create", "deployments.apps", namespace="default")
    assert not existing.may("create", "daemonsets.apps")
    assert not existing.may("escalate", "clusterroles")
    assert not existing.may("create", "nodes")


def run_as_in_a_pod(existing: Existing, *arguments: str) -> str:
    """Run the playbook cluster with the files and variables that a pod has, in a mount namespace that stands for it."""
    folder = existing.box.folder / "pod"
    folder.mkdir(exist_ok=True)
    config = yaml.safe_load(existing.owner.read_text())
    (folder / "ca.crt").write_bytes(b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]))
    (folder / "token").write_text(existing.kubectl("-n", "flyte-onprem", "create", "token", "flyte-onprem"))
    connection = existing.variables["site_kubernetes_connection"]
    connection = {**connection, "kubeconfig": str(existing.box.folder / "written"), "context": "in-cluster"}
    variables = {"existing_cluster_in_cluster": True, "site_kubernetes_connection": connection}
    pod = f'mount -t tmpfs tmpfs /run && mkdir -p {ACCOUNT} && cp {folder}/* {ACCOUNT}/ && exec "$@"'
    playbook = [str(Path(sys.executable).with_name("ansible-playbook")), "flyte.onprem.cluster", "--diff", *arguments]
    playbook += [f"--inventory={existing.box.inventory}", f"--extra-vars={json.dumps(variables)}"]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", pod, "sh", *playbook],
        cwd=ROOT,
        env=dict(os.environ, KUBERNETES_SERVICE_HOST=existing.box.address, KUBERNETES_SERVICE_PORT="6443"),
        capture_output=True,
        text=True,
        check=False,
    )
    existing.box.output += done.stdout
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    return done.stdout


def test_a_control_node_that_is_a_pod_needs_no_kubeconfig(existing: Existing) -> None:
    assert changed(run_as_in_a_pod(existing)) > 0
    written = existing.box.folder / "written"
    assert written.stat().st_mode & 0o777 == 0o600
    token = (existing.box.folder / "pod/token").read_text()
    assert token not in written.read_text() + existing.box.output
    assert changed(run_as_in_a_pod(existing)) == 0


def test_namespaces_have_the_labels_that_they_are_given(existing: Existing) -> None:
    for namespace in NAMESPACES:
        found = json.loads(existing.kubectl("get", "namespace", namespace["name"], "-o", "json"))
        assert found["metadata"]["labels"].items() >= namespace["labels"].items()


def test_check_mode_tells_what_would_be_done_and_does_nothing(existing: Existing) -> None:
    code, output = existing.box.run("site", "--check")
    assert code == 0, output[-4000:]
    assert changed(output) > 0
    assert existing.kubectl("-n", "flyte", "get", "secrets,deployments", "-o", "name") == ""


def test_a_site_comes_up_with_them(existing: Existing) -> None:
    code, output = existing.box.run("site")
    assert code == 0, output[-6000:]
    assert "Flyte is ready. Checks passed:" in output


def changed(output: str) -> int:
    """How many changes a run reports in its recap."""
    (count,) = re.findall(r"^control\s+: .*\bchanged=(\d+)", output, re.M)
    return int(count)


def rows(existing: Existing) -> list[dict[str, Any]]:
    """The checks of the site's report."""
    report = json.loads((existing.box.site_directory / "report.json").read_text())
    return [row for area in report["areas"] for row in area["checks"]]


def test_the_proof_has_run(existing: Existing) -> None:
    assert [row["status"] for row in rows(existing) if row["id"] == "FLYTE-60"] == ["passed"]


def test_no_check_was_left_out_for_want_of_a_right(existing: Existing) -> None:
    assert [row["id"] for row in rows(existing) if "may not ask" in row["observed"]] == []


def test_verify_passes(existing: Existing) -> None:
    code, output = existing.box.run("verify")
    assert code == 0, output[-4000:]
    assert changed(output) == 0


def test_a_second_run_changes_nothing(existing: Existing) -> None:
    code, output = existing.box.run("site")
    assert code == 0, output[-4000:]
    assert changed(output) == 0, re.findall(r"^changed: .*", output, re.M)


def test_check_mode_finds_nothing_to_change(existing: Existing) -> None:
    code, output = existing.box.run("site", "--check")
    assert code == 0, output[-4000:]
    assert changed(output) == 0, re.findall(r"^changed: .*", output, re.M)


def test_one_site_has_no_page_of_all_sites(existing: Existing) -> None:
    assert list(existing.box.site_directory.parent.glob("fleet.*")) == []


def test_uninstall_leaves_the_cluster_and_takes_flyte(existing: Existing) -> None:
    code, output = existing.box.run("uninstall", variables={"uninstall_confirm": "flyte.test"})
    assert code == 0, output[-4000:]
    left = existing.kubectl("get", "namespaces", "-o", "name").split()
    assert not [name for name in left if "flyte" in name and name != "namespace/flyte-onprem"]
    assert (
        existing.kubectl("-n", "traefik", "get", "deployment", "traefik", "-o", "jsonpath={.status.readyReplicas}")
        == "1"
    )


def test_no_secret_was_shown(existing: Existing) -> None:
    assert shown(existing.box.output, CANARIES) == {}
