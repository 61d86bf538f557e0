# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Day two of a cluster: addresses that change, certificates that end, nodes that are drained, tokens that are changed.

The tests build on each other in their order.
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from support.admin import s3_client
from support.pki import Authority
from support.servers import Minio, minio
from testbed.builder import hosts

from ..conftest import LOSE_THE_DISK, TOKENS, Kubectl, Machine, assert_whole, joins, nodes_now, processes, restarted
from ..playbooks import CLUSTER, Playbooks

TLS = "/var/lib/rancher/k3s/server/tls"
AGENT = "/var/lib/rancher/k3s/agent"
# Of another server than the first, and of the agent.
ENDING = {
    "server2": (f"{TLS}/etcd/peer-server-client.crt", f"{TLS}/etcd/peer-ca"),
    "agent": (f"{AGENT}/client-kubelet.crt", f"{TLS}/client-ca"),
}
# So that only the agent has something to restart for.
AGENTS_CHANGE = {"k3s_config": "{{ {'kubelet-arg': ['max-pods=99']} if inventory_hostname == 'agent' else {} }}"}
SERVERS_CHANGE = {"k3s_config": {"kubelet-arg": ["max-pods=98"]}}
# From the rotation on: secrets of k3s's own options, too.
S3_KEY = "CanaryS3x7y8z9"
S3 = {"etcd-s3-bucket": "snapshots", "etcd-s3-access-key": "flyte", "etcd-s3-secret-key": S3_KEY}
ALL_CHANGE = {"k3s_config": AGENTS_CHANGE["k3s_config"].replace("else {}", f"else {S3}")}
SNAPSHOTS = "/var/lib/rancher/k3s/server/db/snapshots"
BUSYBOX = "docker.io/rancher/mirrored-library-busybox:1.37.0"


@pytest.fixture(scope="module")
def playbooks(inventory: str, secrets: Path) -> Playbooks:
    return Playbooks(inventory, {name: (secrets / name).read_text().strip() for name in TOKENS})


def read(machine: Machine, path: str) -> bytes:
    return base64.b64decode(machine.host.check_output(f"base64 {path}"))


def end(machine: Machine, path: str) -> datetime.datetime:
    return x509.load_pem_x509_certificate(read(machine, path)).not_valid_after_utc


def end_in(days: int, machine: Machine, path: str, server: Machine, authority: str) -> None:
    """Put another certificate in the place of one, which is the same but for its end."""
    old = x509.load_pem_x509_certificate(read(machine, path))
    issuer = x509.load_pem_x509_certificate(read(server, f"{authority}.crt"))
    key: Any = serialization.load_pem_private_key(read(server, f"{authority}.key"), None)
    builder = x509.CertificateBuilder(issuer.subject, old.subject, old.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(old.not_valid_before_utc)
    builder = builder.not_valid_after(datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days))
    for extension in old.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    chain = [builder.sign(key, hashes.SHA256()), issuer]
    text = base64.b64encode(b"".join(each.public_bytes(serialization.Encoding.PEM) for each in chain)).decode()
    machine.host.check_output(f"echo {text} | base64 -d >{path}")


def selfcheck(tmp_path: Path) -> str:
    """A playbook that asks each host what verify asks it of k3s."""
    roles = [("flyte.onprem.site", "selfcheck"), ("flyte.onprem.k3s", "selfcheck")]
    tasks = [{"ansible.builtin.import_role": {"name": name, "tasks_from": phase}} for name, phase in roles]
    hosts = "k3s_servers:k3s_agents"
    (tmp_path / "ask.yml").write_text(yaml.safe_dump([{"hosts": hosts, "gather_facts": True, "tasks": tasks}]))
    return str(tmp_path / "ask.yml")


def test_a_second_run_changes_nothing(playbooks: Playbooks) -> None:
    assert set(playbooks.do().values()) == {0}


@pytest.fixture
def moved(servers: list[Machine]) -> Iterator[tuple[str, str]]:
    """The address of a server that is not the first one, and another one that it has in the same network meanwhile."""
    host = servers[1].host
    link = host.check_output("ip -oneline -4 route show default").split(" dev ")[1].split()[0]
    line = host.check_output(f"ip -oneline -4 address show dev {link} scope global").splitlines()[0]
    first = ipaddress.ip_interface(line.split(" inet ")[1].split()[0])
    # Networks give addresses from their beginning on.
    second = first.network.broadcast_address - 1
    host.check_output(f"ip address add {second}/{first.network.prefixlen} dev {link}")
    yield str(first.ip), str(second)
    host.check_output(f"ip address delete {second}/{first.network.prefixlen} dev {link}")


def test_a_member_of_etcd_with_another_address_is_refused_before_anything_is_changed(
    playbooks: Playbooks, machines: list[Machine], servers: list[Machine], moved: tuple[str, str]
) -> None:
    """Not on the first server either, which has its turn before that and would be told of the address."""
    old, new = moved
    name = servers[1].name
    own = "ansible_facts['default_ipv4']['address']"
    address = f"{{{{ '{new}' if inventory_hostname == '{name}' else {own} }}}}"
    configuration = "sha256sum /etc/rancher/k3s/config.yaml"
    before = processes(machines), {each.name: each.host.check_output(configuration) for each in machines}
    run = playbooks.run(site_address=address)
    assert run.code != 0
    said = (
        f"[K3S-105] {name} is a member of etcd with the address {old}, and its address (k3s_node_address) is now {new}"
    )
    assert said in run.output
    assert f"flyte.onprem.remove_node, -e remove_node={name}" in run.output
    assert {run.changed[machine.name] for machine in machines} == {0}
    assert (processes(machines), {each.name: each.host.check_output(configuration) for each in machines}) == before


def test_a_server_that_has_founded_a_second_cluster_is_refused_and_comes_back_as_it_is_told(
    playbooks: Playbooks, machines: list[Machine], servers: list[Machine], kubectl: Kubectl, secrets: Path
) -> None:
    """The first one, whose data were lost and which started by itself."""
    first = servers[0].host
    first.check_output("k3s-killall.sh >/dev/null 2>&1; rm -rf /var/lib/rancher/k3s/server")
    first.check_output("systemctl start k3s")
    first.check_output(f"timeout 300 sh -c 'until k3s kubectl get node {servers[0].node}; do sleep 2; done'")
    kubeconfig = secrets.parent / "kubeconfig"
    before = processes(machines), kubeconfig.read_text()
    run = playbooks.run()
    assert run.code != 0
    assert f"[K3S-108] {servers[0].name} has the data of another cluster" in run.output
    assert (processes(machines), kubeconfig.read_text()) == before

    first.check_output("k3s-killall.sh >/dev/null 2>&1")
    first.check_output("mv /var/lib/rancher/k3s/server /var/lib/rancher/k3s-second-cluster")
    changed = playbooks.do()
    assert {name for name, count in changed.items() if count} == {servers[0].name}
    assert restarted(machines, before[0]) == {servers[0].name}
    assert_whole(kubectl, machines)


def test_a_server_that_has_lost_its_data_and_started_by_itself_is_healed(
    playbooks: Playbooks, machines: list[Machine], servers: list[Machine], kubectl: Kubectl
) -> None:
    """One that joins: the others have a member of its name, so that its k3s ends again and again."""
    host = servers[1].host
    host.check_output("k3s-killall.sh >/dev/null 2>&1; rm -rf /var/lib/rancher/k3s/server")
    host.check_output("systemctl start --no-block k3s")
    words = "duplicate node name found"
    host.check_output(
        f"timeout 120 sh -c 'until journalctl -u k3s --since -2m | grep -q \"{words}\"; do sleep 1; done'"
    )
    before = processes(machines)
    changed = playbooks.do()
    assert {name for name, count in changed.items() if count} == {servers[1].name}
    assert restarted(machines, before) - {servers[1].name} == set()
    assert_whole(kubectl, machines)


def test_a_cluster_all_of_whose_servers_were_stopped_is_started(
    playbooks: Playbooks, machines: list[Machine], servers: list[Machine], kubectl: Kubectl
) -> None:
    """The first one is not ready before the second one runs."""
    for server in servers:
        server.host.check_output("systemctl stop k3s")
    changed = playbooks.do()
    assert {name for name, count in changed.items() if count} == {server.name for server in servers}
    assert_whole(kubectl, machines)


def test_no_server_restarts_while_another_one_is_away(
    playbooks: Playbooks, machines: list[Machine], servers: list[Machine], kubectl: Kubectl
) -> None:
    """It is started alone, with which the others may restart: to what was there before."""
    last = servers[-1]
    last.host.check_output("systemctl stop k3s")
    before = processes(machines)
    for options in (["--check"], []):
        run = playbooks.run(CLUSTER, *options, **SERVERS_CHANGE)
        assert run.code != 0
        assert f"[K3S-113] Of the 3 members of etcd, {last.node} does not " in run.output, run.output[-3000:]
        assert restarted(machines, before) == set()
    playbooks.do(CLUSTER, f"--limit={last.name}", **SERVERS_CHANGE)
    assert restarted(machines, before) == {last.name}
    assert_whole(kubectl, machines)
    assert nodes_now(kubectl)[last.node]["status"]["capacity"]["pods"] == "98"
    playbooks.do()
    assert restarted(machines, before) == {servers[0].name, last.name}
    assert_whole(kubectl, machines)


def test_certificates_that_end_are_renewed_by_the_next_run(
    playbooks: Playbooks, machines: list[Machine], servers: list[Machine], kubectl: Kubectl, tmp_path: Path
) -> None:
    ending = {machine.name: machine for machine in machines if machine.name in ENDING}
    for name, (path, authority) in ENDING.items():
        end_in(10, ending[name], path, servers[0], authority)
    asked = playbooks.run(selfcheck(tmp_path))
    assert asked.code != 0
    assert set(re.findall(r"\[K3S-89\] On (\S+):", asked.output)) == set(ENDING), asked.output[-3000:]

    before = processes(machines)
    foreseen = playbooks.do(CLUSTER, "--check")
    assert {name for name in before if foreseen[name]} == set(ENDING)
    assert restarted(machines, before) == set()

    playbooks.do()
    assert restarted(machines, before) == set(ENDING)
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=300)
    assert [name for name, (path, _) in ENDING.items() if end(ending[name], path) < soon] == []
    assert_whole(kubectl, machines)
    assert set(playbooks.do().values()) == {0}


def workload(kubectl: Kubectl, node: str) -> None:
    """One pod, on this node as long as it takes pods, which has to be there at all times."""
    prefer = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}
    pod = {
        "affinity": {
            "nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "preference": prefer}]}
        },
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "wait", "image": BUSYBOX, "command": ["sleep", "1000000"]}],
    }
    labels = {"app": "kept"}
    selector = {"matchLabels": labels}
    items = [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "kept"},
            "spec": {"selector": selector, "template": {"metadata": {"labels": labels}, "spec": pod}},
        },
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "kept"},
            "spec": {"selector": selector, "minAvailable": 1},
        },
    ]
    kubectl("apply", "--filename=-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    kubectl("rollout", "status", "deployment/kept", "--timeout=180s")


def node_of_the_pod(kubectl: Kubectl) -> str:
    return kubectl("get", "pods", "--selector=app=kept", "--output=jsonpath={.items[*].spec.nodeName}")


def closed(kubectl: Kubectl) -> list[str]:
    return [name for name, node in nodes_now(kubectl).items() if node["spec"].get("unschedulable")]


def test_a_node_whose_pods_cannot_be_moved_is_not_restarted(
    playbooks: Playbooks, machines: list[Machine], kubectl: Kubectl
) -> None:
    agent = machines[-1]
    workload(kubectl, agent.node)
    assert node_of_the_pod(kubectl) == agent.node
    before = processes(machines)
    run = playbooks.run(k3s_drain=True, k3s_ready_timeout=60, **AGENTS_CHANGE)
    assert run.code != 0
    assert f"[K3S-87] The pods of {agent.node} could not be moved" in run.output
    assert restarted(machines, before) == set()
    assert closed(kubectl) == []


def test_a_node_is_empty_while_it_restarts_and_takes_pods_again(
    playbooks: Playbooks, machines: list[Machine], kubectl: Kubectl
) -> None:
    agent = machines[-1]
    kubectl("delete", "poddisruptionbudget", "kept")
    before = processes(machines)
    playbooks.do(k3s_drain=True, **AGENTS_CHANGE)
    assert restarted(machines, before) == {agent.name}
    assert node_of_the_pod(kubectl) != agent.node
    assert closed(kubectl) == []
    assert nodes_now(kubectl)[agent.node]["status"]["capacity"]["pods"] == "99"


def test_a_run_opens_what_an_interrupted_one_has_closed_and_nothing_else(
    playbooks: Playbooks, machines: list[Machine], servers: list[Machine], kubectl: Kubectl
) -> None:
    agent, server = machines[-1].node, servers[-1].node
    kubectl("cordon", agent, server)
    kubectl("annotate", "node", agent, "flyte.onprem/cordoned=true")
    changed = playbooks.do(**AGENTS_CHANGE)
    assert {name for name, count in changed.items() if count} == {machines[-1].name}
    assert closed(kubectl) == [server]
    kubectl("uncordon", server)


def test_a_restoration_wants_a_word_and_a_snapshot(playbooks: Playbooks, machines: list[Machine]) -> None:
    before = processes(machines)
    answers = {"restore_snapshot": "none", "restore_confirm": "flyte.test"}
    for wrong, identifier in (({"restore_confirm": "flyte"}, "K3S-90"), ({}, "K3S-91")):
        run = playbooks.run("flyte.onprem.restore_cluster", **{**answers, **wrong}, **AGENTS_CHANGE)
        assert run.code != 0
        assert f"[{identifier}]" in run.output
    run = playbooks.run("flyte.onprem.restore_cluster", "--limit=server1", **answers, **AGENTS_CHANGE)
    assert "[K3S-92] server2, server3 would be left out" in run.output
    wrong = {"k3s_config": "{{ {'tls-sans': ['x']} if inventory_hostname == 'agent' else {} }}"}
    run = playbooks.run("flyte.onprem.restore_cluster", **answers, **wrong)
    assert run.code != 0
    assert "[K3S-63] k3s_config has tls-sans" in run.output
    assert "Nothing was stopped, since agent would be refused" in run.output
    assert restarted(machines, before) == set()


def test_a_restored_cluster_knows_what_it_knew_and_is_whole(
    playbooks: Playbooks, machines: list[Machine], servers: list[Machine], kubectl: Kubectl
) -> None:
    kubectl("create", "configmap", "before")
    servers[0].host.check_output("k3s etcd-snapshot save --name=kept")
    kubectl("delete", "configmap", "before")
    kubectl("create", "configmap", "after")
    snapshot = servers[0].host.check_output(f"cd {SNAPSHOTS} && ls kept-*")
    answers = {"restore_snapshot": snapshot, "restore_confirm": "flyte.test"}
    playbooks.do("flyte.onprem.restore_cluster", **answers, **AGENTS_CHANGE)
    known = kubectl("get", "configmaps", "--output=name").split()
    assert "configmap/before" in known
    assert "configmap/after" not in known
    assert_whole(kubectl, machines)
    kubectl("rollout", "status", "deployment/kept", "--timeout=180s")
    assert set(playbooks.do(**AGENTS_CHANGE).values()) == {0}


def test_another_token_is_refused_with_the_way_to_change_it(playbooks: Playbooks, machines: list[Machine]) -> None:
    before = processes(machines)
    run = playbooks.run(site_kubernetes_token="a1b2c3d4e5f6g7h8i9j0", **AGENTS_CHANGE)
    assert run.code != 0
    assert "[K3S-61]" in run.output
    assert "flyte.onprem.rotate_token" in run.output
    assert restarted(machines, before) == set()


def test_after_a_rotation_that_was_interrupted_and_run_again_no_old_token_is_of_use(
    playbooks: Playbooks, machines: list[Machine], servers: list[Machine], kubectl: Kubectl, secrets: Path
) -> None:
    old = dict(playbooks.secrets)
    assert joins(servers, old) == {server.name: [200, 200] for server in servers}
    for name in TOKENS:
        (secrets / name).rename(secrets / f"{name}.old")
    token_file = "cat /var/lib/rancher/k3s/server/token"
    first = servers[0].host.check_output(token_file)
    playbooks.interrupt(
        "flyte.onprem.rotate_token", lambda: servers[0].host.check_output(token_file) != first, **ALL_CHANGE
    )
    new = {name: (secrets / name).read_text().strip() for name in TOKENS}
    playbooks.secrets["S3"] = S3_KEY
    playbooks.secrets |= {f"new {name}": value for name, value in new.items()}
    assert set(new.values()).isdisjoint(old.values())

    before = processes(machines)
    foreseen = playbooks.do("flyte.onprem.rotate_token", "--check", "--diff", **ALL_CHANGE)
    assert min(foreseen[machine.name] for machine in machines) > 0
    assert restarted(machines, before) == set()

    playbooks.do("flyte.onprem.rotate_token", "--diff", **ALL_CHANGE)
    assert_whole(kubectl, machines)
    assert joins(servers, new) == {server.name: [200, 200] for server in servers}
    assert joins(servers, old) == {server.name: [401, 401] for server in servers}
    sought = " ".join(f"-e {value}" for value in old.values())
    for machine in machines:
        found = machine.host.run(f"grep -rlF {sought} /etc/rancher /var/lib/rancher/k3s/server/cred /run /etc/systemd")
        assert found.stdout == "", machine.name
    assert set(playbooks.do(**ALL_CHANGE).values()) == {0}


def test_a_server_does_not_start_with_the_old_token_and_is_healed(
    playbooks: Playbooks, machines: list[Machine], servers: list[Machine], kubectl: Kubectl, secrets: Path
) -> None:
    """As one would whose configuration comes from a backup."""
    last = servers[-1].host
    old, new = ((secrets / f"kubernetes_token{ending}").read_text().strip() for ending in (".old", ""))
    config = "/etc/rancher/k3s/config.yaml"
    text = last.file(config).content_string
    assert new in text
    last.check_output(f"echo {base64.b64encode(text.replace(new, old).encode()).decode()} | base64 -d >{config}")
    last.run("systemctl restart --no-block k3s")
    words = "bootstrap data already found and encrypted with different token"
    last.check_output(f"timeout 60 sh -c 'until journalctl -u k3s --since -1m | grep -q \"{words}\"; do sleep 1; done'")
    changed = playbooks.do(**ALL_CHANGE)
    assert {name for name, count in changed.items() if count} == {servers[-1].name}
    assert_whole(kubectl, machines)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Minio]:
    """An object store outside of the cluster, without a bucket."""
    folder = tmp_path_factory.mktemp("store")
    authority = Authority(folder / "pki")
    address = hosts.gateway()
    leaf = authority.issue(address)
    with minio(folder / "s3", tls=leaf, ca_file=authority.certificate, address=address) as running:
        yield running


@pytest.fixture(scope="module")
def with_s3(playbooks: Playbooks, store: Minio) -> dict[str, Any]:
    """Variables of a cluster that sends its snapshots there."""
    assert store.ca_file
    playbooks.secrets["store"] = store.root_password
    return {
        "k3s_config": {
            "etcd-s3": True,
            "etcd-s3-endpoint": f"{store.address}:{store.port}",
            "etcd-s3-endpoint-ca": base64.b64encode(store.ca_file.read_bytes()).decode(),
            "etcd-s3-bucket": "snapshots",
            "etcd-s3-folder": "site",
            "etcd-s3-access-key": store.root_user,
            "etcd-s3-secret-key": store.root_password,
        }
    }


def test_snapshots_that_would_not_reach_s3_are_found_out(
    playbooks: Playbooks, servers: list[Machine], with_s3: dict[str, Any], tmp_path: Path
) -> None:
    """The cluster itself has no need of the store."""
    playbooks.do(CLUSTER, "--diff", **with_s3)
    run = playbooks.run(selfcheck(tmp_path), **with_s3)
    assert run.code != 0
    told = set(re.findall(r"\[K3S-117\] Snapshots of (\S+) do not reach S3", run.output))
    assert told == {server.name for server in servers}, run.output[-3000:]


def test_a_cluster_whose_disks_are_all_lost_comes_back_from_s3(
    playbooks: Playbooks,
    machines: list[Machine],
    kubectl: Kubectl,
    store: Minio,
    with_s3: dict[str, Any],
) -> None:
    """With the tokens of the site's folder alone, on hosts that know nothing of it."""
    s3_client(store).create_bucket(Bucket="snapshots")
    kubectl("create", "configmap", "sent-to-s3")
    identity = ("get", "namespace", "kube-system", "--output=jsonpath={.metadata.uid}")
    lost = kubectl(*identity)
    last = [machine for machine in machines if machine.is_server][-1]
    last.host.check_output("k3s etcd-snapshot save --name=sent")
    stored = [item["Key"] for item in s3_client(store).list_objects_v2(Bucket="snapshots")["Contents"]]
    snapshot = next(key.removeprefix("site/") for key in stored if key.startswith("site/sent-"))

    for machine in machines:
        machine.host.check_output(LOSE_THE_DISK)
    (Path(machines[0].variable("site_directory")) / "kubeconfig").unlink()
    playbooks.do(k3s_config={**with_s3["k3s_config"], "etcd-disable-snapshots": True})
    assert kubectl(*identity) != lost

    answers = {"restore_confirm": "flyte.test", **with_s3}
    before = processes(machines)
    run = playbooks.run("flyte.onprem.restore_cluster", restore_snapshot="sent-elsewhere", **answers)
    assert "nor is there a snapshot s3://snapshots/site/sent-elsewhere" in " ".join(run.output.split())
    assert restarted(machines, before) == set()

    playbooks.do("flyte.onprem.restore_cluster", "--diff", restore_snapshot=snapshot, **answers)
    assert kubectl(*identity) == lost
    assert "configmap/sent-to-s3" in kubectl("get", "configmaps", "--output=name").split()
    assert_whole(kubectl, machines)
    assert set(playbooks.do(**with_s3).values()) == {0}
