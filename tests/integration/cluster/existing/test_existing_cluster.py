# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole site in a cluster that somebody else runs, with the rights of the manifest for its owner and no others.

The cluster is upstream Kubernetes with a Traefik of its own; nothing of k3s is in it. The tests build on each other in
their order: the finished site, what is refused, the site removed, what is refused before it is there, the site again.
"""

from __future__ import annotations

import json
import shlex
from base64 import b64decode
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import testinfra
import yaml
from testinfra.host import Host

from ..conftest import door, variable
from ..playbooks import ROOT, Playbooks, Run

MANIFEST = ROOT / "roles/existing_cluster/files/owner.yml"
KUBECTL = "/opt/kubernetes/bin/kubectl --kubeconfig=/etc/kubernetes/admin.conf"
# What Kubernetes puts into a pod of a service account.
ACCOUNT = "/run/secrets/kubernetes.io/serviceaccount"


@dataclass(frozen=True)
class Existing:
    """The cluster, as its owner and as the site's administrator see it."""

    others: Host
    control: Host

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        """Run kubectl as the owner."""
        command = f"{KUBECTL} {shlex.join(arguments)}"
        return str(self.others.check_output(f"printf %s {shlex.quote(stdin)} | {command}" if stdin else command))

    def may(self, verb: str, resource: str, namespace: str = "flyte") -> bool:
        """Whether the site's administrator may do this."""
        user = "--as=system:serviceaccount:flyte-onprem:flyte-onprem"
        # It ends with an error where it answers no.
        asked = f"{KUBECTL} auth can-i {shlex.quote(verb)} {resource} --namespace={namespace} {user}"
        return str(self.others.run(asked).stdout).strip() == "yes"

    def variable(self, name: str) -> Any:
        """A variable of the site."""
        return variable(self.control, name)

    @property
    def site_directory(self) -> Path:
        """The site's folder on this machine."""
        return Path(self.variable("site_directory"))

    @property
    def installed(self) -> str:
        """What Helm has made in Flyte's namespace."""
        return self.kubectl("-n", "flyte", "get", "secrets,deployments", "-o", "name")

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The checks of the site's report."""
        report = json.loads((self.site_directory / "report.json").read_text())
        return [row for area in report["areas"] for row in area["checks"]]


@pytest.fixture(scope="module")
def existing(inventory: str) -> Existing:
    others, control = (
        testinfra.get_host(f"ansible://{name}", ansible_inventory=inventory) for name in ("others", "control")
    )
    return Existing(door(others), control)


@pytest.fixture(scope="module")
def playbooks(inventory: str, existing: Existing) -> Playbooks:
    secrets = {path.name: path.read_text().strip() for path in (existing.site_directory / "secrets").iterdir()}
    kubeconfig = yaml.safe_load(Path(existing.variable("site_kubernetes_connection")["kubeconfig"]).read_text())
    return Playbooks(inventory, {**secrets, "token": kubeconfig["users"][0]["user"]["token"]})


def refused(run: Run) -> str:
    """What a run says that was refused before it changed anything."""
    assert run.code != 0
    assert set(run.changed.values()) == {0}, run.changed
    return run.output


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


def test_namespaces_have_the_labels_that_they_are_given(existing: Existing) -> None:
    for namespace in existing.variable("existing_cluster_namespaces"):
        found = json.loads(existing.kubectl("get", "namespace", namespace["name"], "-o", "json"))
        assert found["metadata"]["labels"].items() >= namespace["labels"].items()


def test_the_proof_has_run(existing: Existing) -> None:
    assert [row["status"] for row in existing.rows if row["id"] == "FLYTE-60"] == ["passed"]


def test_no_check_was_left_out_for_want_of_a_right(existing: Existing) -> None:
    assert [row["id"] for row in existing.rows if "may not ask" in row["observed"]] == []


def test_one_site_has_no_page_of_all_sites(existing: Existing) -> None:
    assert list(existing.site_directory.parent.glob("fleet.*")) == []


def test_verify_passes(playbooks: Playbooks) -> None:
    assert set(playbooks.do("flyte.onprem.verify", "-vvv", "--diff").values()) == {0}


def test_check_mode_finds_nothing_to_change(playbooks: Playbooks) -> None:
    assert set(playbooks.do("flyte.onprem.site", "-vvv", "--check", "--diff").values()) == {0}


def test_without_a_kubeconfig_nothing_begins(existing: Existing, playbooks: Playbooks) -> None:
    connection = {**existing.variable("site_kubernetes_connection"), "kubeconfig": "/nonexistent/kubeconfig"}
    said = refused(playbooks.run("flyte.onprem.site", site_kubernetes_connection=connection))
    assert "CLUSTER-51" in said


def test_an_unknown_context_is_named_with_those_that_there_are(existing: Existing, playbooks: Playbooks) -> None:
    connection = {**existing.variable("site_kubernetes_connection"), "context": "production"}
    said = refused(playbooks.run("flyte.onprem.cluster", site_kubernetes_connection=connection))
    assert "CLUSTER-52" in said and "it has flyte-onprem" in said


def test_a_class_that_is_not_there_is_named(existing: Existing, playbooks: Playbooks) -> None:
    connection = {**existing.variable("site_kubernetes_connection"), "ingress_class": "traefik"}
    said = refused(playbooks.run("flyte.onprem.cluster", site_kubernetes_connection=connection))
    assert "K8S-26" in said and "no ingress class traefik; there are: public" in said


def test_a_node_that_the_database_would_not_let_in_is_named(existing: Existing, playbooks: Playbooks) -> None:
    connection = {**existing.variable("site_kubernetes_connection"), "node_cidr": "192.0.2.0/24"}
    address = existing.variable("site_ingress_connection")["address"]  # the cluster has one node
    said = refused(playbooks.run("flyte.onprem.cluster", site_kubernetes_connection=connection))
    assert "K8S-35" in said and f"({address})" in said


def test_uninstall_leaves_the_cluster_and_takes_flyte(existing: Existing, playbooks: Playbooks) -> None:
    playbooks.do("flyte.onprem.uninstall", uninstall_confirm="flyte.test")
    left = existing.kubectl("get", "namespaces", "-o", "name").split()
    assert not [name for name in left if "flyte" in name and name != "namespace/flyte-onprem"]
    ready = "jsonpath={.status.readyReplicas}"
    assert existing.kubectl("-n", "traefik", "get", "deployment", "traefik", "-o", ready) == "1"


def test_a_right_that_is_missing_is_named_before_anything_is_installed(
    existing: Existing, playbooks: Playbooks
) -> None:
    rules = [document for document in yaml.safe_load_all(MANIFEST.read_text()) if document]
    for document in rules:
        if document["kind"] == "Role":
            document["rules"] = [rule for rule in document["rules"] if rule["resources"] != ["ingresses"]]
    existing.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(rules))
    run = playbooks.run("flyte.onprem.site")
    existing.kubectl("apply", "-f", "-", stdin=MANIFEST.read_text())
    assert run.code != 0
    assert "K8S-29" in run.output and "create ingresses.networking.k8s.io in flyte" in run.output
    assert existing.installed == ""


def test_check_mode_tells_what_would_be_done_and_does_nothing(existing: Existing, playbooks: Playbooks) -> None:
    changed = playbooks.do("flyte.onprem.site", "-vvv", "--check", "--diff")
    assert changed["control"] > 0
    assert changed["data"] > 0
    assert existing.installed == ""


def test_a_control_node_that_is_a_pod_needs_no_kubeconfig(
    existing: Existing, playbooks: Playbooks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the files and variables that a pod has, in a mount namespace that stands for it."""
    as_pod = f"mkdir -p /run/secrets && mount -t tmpfs tmpfs /run/secrets && mkdir -p {ACCOUNT} && cp $POD/* {ACCOUNT}/"
    owner = yaml.safe_load((Path(existing.variable("own_directory")) / "owner/kubeconfig").read_text())
    pod, written = tmp_path / "pod", tmp_path / "written"
    pod.mkdir()
    (pod / "ca.crt").write_bytes(b64decode(owner["clusters"][0]["cluster"]["certificate-authority-data"]))
    token = existing.kubectl("-n", "flyte-onprem", "create", "token", "flyte-onprem")
    (pod / "token").write_text(token)
    connection = existing.variable("site_kubernetes_connection")
    variables = {
        "existing_cluster_in_cluster": True,
        "site_kubernetes_connection": {**connection, "kubeconfig": str(written), "context": "in-cluster"},
    }
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", existing.variable("site_ingress_connection")["address"])
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "6443")
    playbooks.secrets["token of the pod"] = token
    monkeypatch.setenv("POD", str(pod))
    monkeypatch.setattr(playbooks, "within", ["unshare", "--mount", "sh", "-c", f'{as_pod} && exec "$@"', "sh"])
    assert playbooks.do("flyte.onprem.cluster", "-vvv", "--diff", **variables)["control"] > 0
    assert written.stat().st_mode & 0o777 == 0o600
    assert token not in written.read_text()
    assert playbooks.do("flyte.onprem.cluster", "-vvv", "--diff", **variables)["control"] == 0


def test_a_site_comes_up_and_shows_no_secret(playbooks: Playbooks) -> None:
    """On the data that the uninstallation has kept. Every run is searched for secrets, talkative ones too."""
    run = playbooks.run("flyte.onprem.site", "-vvv", "--diff")
    assert run.code == 0, run.output[-6000:]
    assert "Flyte is ready. Checks passed:" in run.output
