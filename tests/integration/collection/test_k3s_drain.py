# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How role k3s empties a node before it restarts or leaves, and removes one whose host comes back without its disk.

By an API that refuses, is slow or knows no such user.

Nothing can be removed from this machine: what would do it as root is kept from becoming that, or runs in check mode.
The setting with which systemd leaves k3s ended is only said to be written.
"""

from __future__ import annotations

import contextlib
import copy
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from support.kubernetes_api import FakeApi, items, kubernetes_api
from support.pki import Authority

from .test_k3s_refusals import CLUSTER, ROOT, ansible, by_id

NODE, MARK = "/api/v1/nodes/node-b", "flyte.onprem/cordoned"
REMOVE, REMOVED, MEMBER = (f"etcd.k3s.cattle.io/{name}" for name in ("remove", "removed-node-name", "node-name"))
RESOURCES = [
    {
        "name": name,
        "singularName": kind.lower(),
        "namespaced": kind != "Node",
        "kind": kind,
        "verbs": ["get", "list", "patch"],
    }
    for name, kind in (("nodes", "Node"), ("pods", "Pod"), ("secrets", "Secret"))
]
REFUSAL = (
    429,
    {"kind": "Status", "message": "Cannot evict pod as it would violate the pod's disruption budget.", "code": 429},
)
OURS: dict[str, Any] = {"metadata": {"annotations": {MARK: "true"}}, "spec": {"unschedulable": True}}
OPEN: dict[str, Any] = {"metadata": {"annotations": {MARK: None}}, "spec": {"unschedulable": None}}
ASKED_TO_LEAVE_ETCD: dict[str, Any] = {"metadata": {"annotations": {REMOVE: "true"}}}
ASKED_TO_STAY: dict[str, Any] = {
    "metadata": {"annotations": {REMOVE: "false", MARK: None}},
    "spec": {"unschedulable": None},
}
# In the place of sudo. It runs nothing, notes which modules it was asked for, and has those done that write a file.
ROOT_IN_NAME = r"""#!/bin/sh
echo "$*" | sed -n 's/.*echo \(BECOME-SUCCESS-[a-z]*\).*/\1/p'
module=$(echo "$*" | sed -n 's/.*AnsiballZ_\([a-z_]*\)[.]py.*/\1/p')
echo "$module" >> "${0%/*}/as_root"
case $module in
    "$(cat "${0%/*}/refuses")") echo '{"failed": true, "msg": "No space left on device"}' ;;
    stat) echo '{"changed": false, "stat": {"exists": false}}' ;;
    file | copy | systemd_service) echo '{"changed": true}' ;;
    *) exit 1 ;;
esac
"""


def pod(name: str, owner: str = "ReplicaSet", phase: str = "Running") -> dict[str, Any]:
    owners = {"ownerReferences": [{"apiVersion": "v1", "kind": owner, "name": "owner", "uid": "1"}]} if owner else {}
    mirror = {"annotations": {"kubernetes.io/config.mirror": "1"}} if owner == "Node" else {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": name, **owners, **mirror},
        "spec": {"nodeName": "node-b", "containers": [{"name": "main", "image": "image"}]},
        "status": {"phase": phase},
    }


def merged(found: Any, change: Any) -> Any:
    """RFC 7396."""
    if not isinstance(change, dict):
        return change
    result = dict(found) if isinstance(found, dict) else {}
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


@dataclass
class Cluster:
    """Its node-b, the pods there, and what was asked for."""

    api: FakeApi
    kubeconfig: Path
    node: dict[str, Any]
    pods: dict[str, dict[str, Any]]
    refusals: int = 0
    ends: bool = True
    lets_go: bool = True
    silences: int = 0
    changes: list[dict[str, Any]] = field(default_factory=list)

    def evict(self, name: str) -> Any:
        if self.refusals:
            self.refusals -= 1
            return REFUSAL
        if self.ends:
            self.pods.pop(name, None)
        return 201, {"kind": "Status", "status": "Success"}

    def patch(self) -> Any:
        change = self.api.sent[-1]
        metadata = {"annotations": change["metadata"]["annotations"]}
        self.changes.append({"metadata": metadata} | ({"spec": change["spec"]} if "spec" in change else {}))
        self.node = merged(self.node, change)
        answer = copy.deepcopy(self.node)
        marks = self.node["metadata"]["annotations"]
        if marks.get(REMOVE) == "true" and MEMBER in marks and self.lets_go:
            marks[REMOVED] = marks.pop(MEMBER)  # as k3s does, a moment later
        elif REMOVED in marks and self.silences:
            self.silences -= 1
            return 503, {"kind": "Status", "message": "no leader", "code": 503}
        return answer

    def asked(self, method: str) -> list[str]:
        return [question for question in self.api.asked if question.startswith(method)]


@contextlib.contextmanager
def cluster(
    tmp_path: Path, *pods: dict[str, Any], spec: dict[str, Any] | None = None, known: bool = True
) -> Iterator[Cluster]:
    authority = Authority(tmp_path / "ca")
    listed = {each["metadata"]["name"]: each for each in pods}
    member = {
        "labels": {"node-role.kubernetes.io/etcd": "true"},
        "annotations": {MEMBER: "node-b-1"},
        "resourceVersion": "1",
    }
    ready = {"conditions": [{"type": "Ready", "status": "True"}], "addresses": []}
    own = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "node-b", **member},
        "spec": spec or {},
        "status": ready,
    }
    other = {**own, "metadata": {"name": "node-a", **member}}
    with kubernetes_api({}, tls=authority.issue("127.0.0.1")) as api:
        user = {} if known else {"token": "of somebody else"}
        found = Cluster(api, api.kubeconfig(tmp_path, ca_file=authority.certificate, **user), own, listed)
        api.objects |= {
            "/version": {"major": "1", "minor": "36", "gitVersion": "v1.36.4"},
            "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
            "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": RESOURCES},
            "/api/v1/nodes": lambda: {"kind": "NodeList", "apiVersion": "v1", **items(other, found.node)},
            "/api/v1/pods": lambda: {**items(*found.pods.values()), "kind": "PodList", "apiVersion": "v1"},
            NODE: lambda: found.node,
            f"PATCH {NODE}": found.patch,
            f"DELETE {NODE}": 403,
        }
        for name in listed:
            path = f"/api/v1/namespaces/default/pods/{name}"
            api.objects[path] = partial(found.pods.get, name, 404)
            api.objects[f"POST {path}/eviction"] = partial(found.evict, name)
        yield found


def run(tmp_path: Path, found: Cluster, tasks: str, *options: str, **variables: Any) -> str:
    """The output of a part of the role for host b."""
    role = {"ansible.builtin.import_role": {"name": "flyte.onprem.k3s", "tasks_from": tasks}}
    play = {"name": "Do it", "hosts": "all", "gather_facts": False, "tasks": [role]}
    # Those that become root would change this machine, also where the tests are root.
    local = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "ansible_become_exe": "/bin/false",
    }
    files = {
        "playbook": [play | {"vars_files": [str(ROOT / "roles/site/defaults/main.yml")]}],
        "inventory": {"all": {"hosts": {"b": None}, "vars": local}},
        "variables": {
            **CLUSTER,
            "site_directory": str(tmp_path),
            "site_host_addresses": {"a": "127.0.0.1", "b": "192.0.2.2", "c": "127.0.0.2", "d": "192.0.2.4"},
            "k3s_api_port": urlsplit(found.api.server).port,
            "k3s_kubeconfig": str(found.kubeconfig),
            "k3s_node_name": "node-b",
            "k3s_ready_timeout": 10,
            **variables,
        },
    }
    for name, content in files.items():
        (tmp_path / f"{name}.yml").write_text(yaml.safe_dump(content))
    (tmp_path / "ansible.cfg").write_text("[privilege_escalation]\nbecome_allow_same_user = true\n")
    return ansible(tmp_path, "--extra-vars=@variables.yml", *options)


def test_a_budget_that_lets_one_pod_go_after_the_other_is_waited_for(tmp_path: Path) -> None:
    stay = [pod("daemon", "DaemonSet"), pod("static", "Node")]
    with cluster(tmp_path, pod("web-1"), pod("web-2"), *stay) as found:
        found.refusals = 1
        output = run(tmp_path, found, "drain")
    assert "failed=0" in output, output
    assert set(found.pods) == {"daemon", "static"}
    assert found.changes == [OURS]


@pytest.mark.parametrize(
    ("tasks", "said"),
    [("drain", "k3s was not restarted"), ("uninstall", "nothing was removed")],
    ids=["stays", "leaves"],
)
def test_a_budget_that_refuses_for_good_leaves_the_node_as_it_was(tmp_path: Path, tasks: str, said: str) -> None:
    with cluster(tmp_path, pod("web-1")) as found:
        found.refusals = 99
        text = " ".join(by_id(run(tmp_path, found, tasks))["K3S-87"].split())
    assert "disruption budget" in text
    assert f"{said}, and the node takes pods as before" in text
    assert len(found.asked("POST")) == 2
    assert found.changes == [OURS, OPEN]
    assert found.asked("DELETE") == []


def test_a_pod_that_does_not_end_is_not_passed_over(tmp_path: Path) -> None:
    with cluster(tmp_path, pod("slow"), pod("done", phase="Succeeded"), pod("daemon", "DaemonSet")) as found:
        found.ends = False
        text = by_id(run(tmp_path, found, "drain", k3s_ready_timeout=1))["K3S-87"]
    assert "after 1 s these still run there: default/slow." in text
    assert found.changes == [OURS, OPEN]


def test_a_node_that_somebody_else_has_closed_stays_so(tmp_path: Path) -> None:
    with cluster(tmp_path, pod("bare", ""), spec={"unschedulable": True}) as found:
        text = by_id(run(tmp_path, found, "drain"))["K3S-87"]
    assert "default/bare" in text
    assert found.changes == []


def test_an_api_that_does_not_know_the_user_is_named_with_the_way_out(tmp_path: Path) -> None:
    with cluster(tmp_path, known=False) as found:
        text = by_id(run(tmp_path, found, "drain"))["K3S-87"]
    assert "Unauthorized" in text or "401" in text
    assert "-e k3s_drain=false" in text
    assert found.asked("PATCH") == []


def root_in_name(tmp_path: Path, refuses: str = "none") -> dict[str, str]:
    """Variables with which tasks become it."""
    path = tmp_path / "sudo"
    path.write_text(ROOT_IN_NAME)
    path.chmod(0o700)
    (tmp_path / "refuses").write_text(refuses)
    return {"ansible_become_exe": str(path)}


def test_a_server_is_out_of_etcd_before_it_stops(tmp_path: Path) -> None:
    with cluster(tmp_path, pod("web-1")) as found:
        output = run(tmp_path, found, "uninstall", **root_in_name(tmp_path))
    assert found.pods == {}
    assert found.changes == [OURS, ASKED_TO_LEAVE_ETCD, ASKED_TO_LEAVE_ETCD]
    assert found.node["metadata"]["annotations"][REMOVED] == "node-b-1"
    assert output.index("TASK [flyte.onprem.k3s : uninstall | Stop k3s]") > output.index(
        "Take the server's member out of etcd"
    )
    assert (tmp_path / "as_root").read_text().split()[:5] == ["file", "stat", "copy", "systemd_service", "command"]


def test_a_server_that_etcd_does_not_let_go_stays_as_it_was(tmp_path: Path) -> None:
    with cluster(tmp_path, pod("web-1")) as found:
        found.lets_go = False
        few = {"__k3s_removal_tries": 1}
        text = by_id(run(tmp_path, found, "uninstall", **root_in_name(tmp_path), **few))["K3S-122"]
    assert "etcd did not let the member node-b go" in text
    assert "could not be told" not in text
    assert found.changes == [OURS, ASKED_TO_LEAVE_ETCD, ASKED_TO_LEAVE_ETCD, ASKED_TO_STAY]
    assert found.asked("DELETE") == []


@pytest.mark.parametrize("silences", [3, 10], ids=["until_it_is_told_to_stay", "until_it_is_told_so_again"])
def test_a_server_whose_member_went_unseen_leaves(tmp_path: Path, silences: int) -> None:
    """Nobody could say so while the role waited for it."""
    with cluster(tmp_path) as found:
        found.silences = silences
        few = {"__k3s_removal_tries": 1}
        output = run(tmp_path, found, "uninstall", **root_in_name(tmp_path), **few)
    assert "K3S-122" not in output
    assert found.changes[-2:] == [ASKED_TO_STAY, ASKED_TO_LEAVE_ETCD]
    assert found.node["metadata"]["annotations"][REMOVED] == "node-b-1"
    assert "TASK [flyte.onprem.k3s : uninstall | Stop k3s]" in output


def test_a_server_that_systemd_would_start_again_stays_as_it_was(tmp_path: Path) -> None:
    with cluster(tmp_path, pod("web-1")) as found:
        text = by_id(run(tmp_path, found, "uninstall", **root_in_name(tmp_path, refuses="copy")))["K3S-122"]
    assert "No space left on device" in text
    assert "nothing was removed" in text
    assert found.changes == [OURS, ASKED_TO_STAY]
    assert found.asked("DELETE") == []


def test_a_node_that_is_away_is_removed_without_its_pods(tmp_path: Path) -> None:
    with cluster(tmp_path, pod("web-1")) as found:
        found.node["status"] = {"conditions": [{"type": "Ready", "status": "Unknown"}]}
        found.node["metadata"]["annotations"] = {REMOVE: "true", REMOVED: "node-b-1"}  # an interrupted run has done so
        run(tmp_path, found, "uninstall", **root_in_name(tmp_path))
    assert found.asked("POST") == []
    assert found.changes == [ASKED_TO_LEAVE_ETCD]


FOREIGN = {
    "k3s_servers": [],
    "k3s_agents": ["b"],
    "k3s_join_url": "https://k8s.example.com:6443",
    "k3s_agent_token": "x",
}


def test_an_agent_leaves_the_cluster_of_others_through_their_kubeconfig(tmp_path: Path) -> None:
    with cluster(tmp_path, pod("web-1")) as found:
        found.node["metadata"]["labels"] = {}
        run(tmp_path, found, "uninstall", **FOREIGN)
        assert found.pods == {}
        output = run(tmp_path, found, "uninstall", "--check", ansible_become=False, **FOREIGN)
    assert found.changes[0] == OURS
    assert found.asked("DELETE") == [f"DELETE {NODE}"]
    assert "still known" not in output


def test_a_kubeconfig_of_others_is_kept_and_a_node_that_stays_is_named(tmp_path: Path) -> None:
    with cluster(tmp_path) as found:
        found.node["metadata"]["labels"] = {}
        known = {"k3s_kubeconfig": str(tmp_path / "none"), "k3s_uninstall_delete_data": []}
        output = run(tmp_path, found, "uninstall", "--check", ansible_become=False, **FOREIGN, **known)
        assert "kubectl delete node node-b" in output, output
        assert found.api.asked == []
        found.api.objects[f"DELETE {NODE}"] = {"kind": "Status", "status": "Success"}
        known = {"k3s_uninstall_delete_data": []}
        output = run(tmp_path, found, "uninstall", "--check", ansible_become=False, **FOREIGN, **known)
    assert "kubectl delete node" not in output
    task = output.partition("Remove the kubeconfig from the control node]")[2]
    assert task.splitlines()[1] == "skipping: [b]"


PASSWORD = "/api/v1/namespaces/kube-system/secrets/node-b.node-password.k3s"


def come_back(
    tmp_path: Path,
    found: Cluster,
    *,
    address: str,
    password: bool = True,
    was_here: bool = False,
    busy: int = 0,
) -> str:
    """The output of what is done before k3s starts on a host of which the cluster may have a node.

    *busy* times the API has no time for an answer.
    """
    refusals = iter([503] * busy)
    found.node["status"]["addresses"] = [
        {"type": "InternalIP", "address": address},
        {"type": "Hostname", "address": "node-b"},
    ]
    found.api.objects[PASSWORD] = (
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "node-b.node-password.k3s"},
            "data": {"hash": "aHVzaA=="},
        }
        if password
        else 404
    )
    found.api.objects[f"DELETE {NODE}"] = {"kind": "Status", "status": "Success"}
    found.api.objects[NODE] = lambda: next(refusals, 404 if found.asked("DELETE") else found.node)
    tasks = yaml.safe_load((ROOT / "roles/k3s/tasks/configure.yml").read_text())
    (removing,) = (task for task in tasks if task["name"] == "configure | Remove the node that this host was before")
    server = urlsplit(found.api.server)
    known = {
        **yaml.safe_load((ROOT / "roles/k3s/vars/main.yml").read_text()),
        "k3s_node_name": "node-b",
        "k3s_node_address": "192.0.2.2",
        "k3s_api_port": server.port,
        "k3s_kubeconfig": str(found.kubeconfig),
        "k3s_context": "default",
        "__k3s_seen": {"was_here": was_here, "state": "activating", "peers": [server.hostname]},
    }
    start = {"name": "Start k3s", "ansible.builtin.debug": {"msg": "started"}}
    play = {"hosts": "all", "gather_facts": False, "vars": known, "tasks": [removing, start]}
    (tmp_path / "playbook.yml").write_text(yaml.safe_dump([play]))
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    (tmp_path / "inventory.yml").write_text(yaml.safe_dump({"all": {"hosts": {"b": local}}}))
    output = ansible(tmp_path)
    assert "aHVzaA==" not in output
    return output


def test_the_node_of_a_lost_disk_is_removed_before_its_host_joins_again(tmp_path: Path) -> None:
    with cluster(tmp_path) as found:
        output = come_back(tmp_path, found, address="192.0.2.2")
    assert found.asked("DELETE") == [f"DELETE {NODE}"]
    assert '"msg": "started"' in output, output


def test_a_cluster_that_is_busy_is_asked_for_the_node_again(tmp_path: Path) -> None:
    with cluster(tmp_path) as found:
        output = come_back(tmp_path, found, address="192.0.2.2", busy=1)
    assert found.asked("DELETE") == [f"DELETE {NODE}"]
    assert '"msg": "started"' in output, output


def test_a_node_with_another_address_is_not_removed_but_named(tmp_path: Path) -> None:
    with cluster(tmp_path) as found:
        output = come_back(tmp_path, found, address="192.0.2.9")
    text = " ".join(by_id(output)["K3S-140"].split())
    assert "a node node-b with 192.0.2.9, and b, which has nothing of a node any more, has 192.0.2.2. Expected" in text
    assert "kubectl delete node node-b" in text
    assert found.asked("DELETE") == []
    assert '"msg": "started"' not in output


@pytest.mark.parametrize(
    "known",
    [{"password": False}, {"was_here": True}],
    ids=["the password was forgotten, as after a restoration", "the host has not lost its disk"],
)
def test_a_node_with_another_address_whose_host_is_not_refused_stays(tmp_path: Path, known: dict[str, bool]) -> None:
    with cluster(tmp_path) as found:
        output = come_back(tmp_path, found, address="192.0.2.9", **known)
    assert found.asked("DELETE") == []
    assert '"msg": "started"' in output, output
