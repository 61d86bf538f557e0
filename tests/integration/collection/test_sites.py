# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a run tells of its sites, without hosts: nobody answers there, or all that they use belongs to others."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.cases import first

from .conftest import ROOT, Run, run_ansible

NOBODY = {"ansible_port": 1}
SECRETS = [
    "site_database_password", "site_object_store_secret_key", "site_minio_root_password", "site_kubernetes_token",
    "site_kubernetes_agent_token",
]  # fmt: skip
# What a message says that is none: an expression that lacked a fact.
NO_MESSAGE = ("has no attribute", "is undefined", "{{")


def describe(folder: Path, **sites: dict[str, Any]) -> None:
    """Write an inventory of sites with one host for everything; the values are variables of that host."""
    hosts = {
        f"edge-{site}": {**NOBODY, "ansible_host": f"127.0.0.{number}", "site_name": site, **variables}
        for number, (site, variables) in enumerate(sites.items(), 1)
    }
    groups = {group: {"hosts": dict.fromkeys(hosts)} for group in ("k3s_servers", "postgresql", "minio")}
    variables = {"site_domain": "{{ site_name }}.example.com", **dict.fromkeys(SECRETS, "secret")}
    inventory = {"all": {"hosts": hosts, "children": groups, "vars": variables}}
    (folder / "hosts.yml").write_text(yaml.safe_dump(inventory))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return run_ansible(Path(sys.executable).parent, ROOT / ".collections", tmp_path)


def table(stdout: str) -> list[str]:
    """The lines of the table for sites that have failed."""
    return [line.strip().strip('",') for line in stdout.splitlines() if " failed   " in line]


def states(stdout: str) -> dict[str, str]:
    """State of each site, as the table says it."""
    return dict(re.findall(r'^ +"([a-z]+) +(ok|failed|skipped)\b', stdout, re.MULTILINE))


def test_a_host_that_does_not_answer_is_named_with_what_to_do(run: Run, tmp_path: Path) -> None:
    describe(tmp_path, kiel={}, ulm={"site_domain": "https://flyte"})
    result = run("ansible-playbook", "flyte.onprem.preflight", "-i", "hosts.yml", check=False)
    assert result.returncode == 2, result.stdout
    kiel, ulm = table(result.stdout)
    assert kiel.startswith("kiel  failed   Refuse what cannot work, on edge-kiel: [SITE-31] edge-kiel did not answer.")
    assert "Try ansible -m ansible.builtin.ping" in result.stdout
    assert "[SITE-01]" in ulm
    assert [word for word in NO_MESSAGE if word in kiel + ulm] == []


def test_the_list_to_run_again_has_the_hosts_that_are_not_done(run: Run, tmp_path: Path) -> None:
    describe(tmp_path, kiel={}, ulm={})
    run("ansible-playbook", "flyte.onprem.preflight", "-i", "hosts.yml", "--limit", "edge-ulm", check=False)
    assert (tmp_path / "failed-sites-preflight.retry").read_text() == "edge-ulm\n"
    run("ansible-playbook", "flyte.onprem.preflight", "-i", "hosts.yml", "--limit", "edge-kiel", check=False)
    assert (tmp_path / "failed-sites-preflight.retry").read_text() == "edge-kiel\nedge-ulm\n"


LOCAL = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
ADDRESSES = [
    {
        "hosts": "all",
        "gather_facts": False,
        "tasks": [
            {"ansible.builtin.import_role": {"name": "flyte.onprem.site", "tasks_from": "preflight"}},
            {"ansible.builtin.debug": {"msg": "addresses: {{ site_host_addresses }}"}},
        ],
    }
]


def addresses(run: Run, folder: Path, **left_out: Any) -> str:
    """What a run that is limited to one host of a site knows of the other's address."""
    describe(folder, kiel={"ansible_host": "kiel.invalid", **LOCAL}, ulm={"ansible_host": "ulm.invalid", **left_out})
    inventory = (folder / "hosts.yml").read_text().replace("site_name: ulm", "site_name: kiel")
    (folder / "hosts.yml").write_text(inventory)
    (folder / "play.yml").write_text(yaml.safe_dump(ADDRESSES))
    return str(run("ansible-playbook", "play.yml", "-i", "hosts.yml", "--limit=edge-kiel", check=False).stdout)


def test_a_host_that_a_run_leaves_out_is_asked_for_its_address(run: Run, tmp_path: Path) -> None:
    (told,) = re.findall(r"addresses: (.*)\"", addresses(run, tmp_path, **LOCAL))
    known = ast.literal_eval(told)
    assert known["edge-ulm"] == known["edge-kiel"]
    assert "invalid" not in told


def test_a_host_in_no_group_of_a_site_is_no_host_of_one(run: Run, tmp_path: Path) -> None:
    describe(tmp_path, kiel=LOCAL)
    inventory = yaml.safe_load((tmp_path / "hosts.yml").read_text())
    inventory["all"]["hosts"]["printer"] = {**NOBODY, "ansible_host": "127.0.0.9", "site_domain": "printer.example.com"}
    inventory["all"]["vars"]["site_name"] = "kiel"
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(inventory))
    (tmp_path / "play.yml").write_text(yaml.safe_dump(ADDRESSES))
    alone = run("ansible-playbook", "play.yml", "-i", "hosts.yml", "--limit=edge-kiel", check=False).stdout
    (told,) = re.findall(r"addresses: (.*)\"", alone)
    assert list(ast.literal_eval(told)) == ["edge-kiel"]
    assert "printer" not in run_playbook(run, "preflight", "-e", "ansible_connection=ssh").stdout


def test_a_host_that_a_run_leaves_out_and_that_does_not_answer_needs_an_address(run: Run, tmp_path: Path) -> None:
    silent = {"ansible_host": "127.0.0.1"}
    assert "[SITE-34] edge-ulm, left out of this run, did not answer either" in addresses(run, tmp_path, **silent)
    assert "SITE-34" not in addresses(run, tmp_path, **silent, site_address="192.0.2.9")


def test_check_mode_names_no_list_that_it_does_not_write(run: Run, tmp_path: Path) -> None:
    describe(tmp_path, kiel={})
    result = run("ansible-playbook", "flyte.onprem.preflight", "-i", "hosts.yml", "--check", check=False)
    assert table(result.stdout) != []
    assert not (tmp_path / "failed-sites-preflight.retry").exists()
    assert "failed-sites" not in result.stdout


def test_verify_names_a_host_that_does_not_answer_and_nothing_that_follows_from_it(run: Run, tmp_path: Path) -> None:
    describe(tmp_path, kiel={})
    site = tmp_path / ".flyte/kiel"
    site.mkdir(parents=True)
    result = run("ansible-playbook", "flyte.onprem.verify", "-i", "hosts.yml", check=False)
    assert result.returncode != 0, result.stdout
    report = json.loads((site / "report.json").read_text())
    rows = [row for area in report["areas"] for row in area["checks"]]
    assert rows[0]["id"] == "SITE-31"
    assert rows[0]["observed"].startswith("edge-kiel did not answer. ")
    assert [row["observed"] for row in rows for word in NO_MESSAGE if word in row["observed"]] == []


def test_nodes_of_one_site_ask_each_other_whatever_the_batches(run: Run, tmp_path: Path) -> None:
    describe(tmp_path, kiel={**LOCAL, "site_address": "127.0.0.1"}, ulm={**LOCAL, "site_address": "127.0.0.2"})
    together = yaml.safe_load((tmp_path / "hosts.yml").read_text())
    together["all"]["hosts"]["edge-ulm"]["site_name"] = "kiel"
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(together))
    # Both are this machine, and so refused by their names before anything else.
    output = run_playbook(run, "cluster", "--check", "-v", "-e", "fleet_serial=1").stdout
    answers = re.findall(r'^ok: \[([\w-]+)\] => (\{.*"clock_offset".*\})$', output, re.MULTILINE)
    asked = {host: [peer["name"] for peer in json.loads(answer)["peers"]] for host, answer in answers}
    assert asked == {"edge-kiel": ["edge-ulm"], "edge-ulm": ["edge-kiel"]}, output


def test_preflight_asks_nodes_of_several_batches_once_more_and_others_not(run: Run, tmp_path: Path) -> None:
    describe(tmp_path, kiel={}, ulm={})
    for arguments, hosts in (["--list-hosts"], 0), (["--list-hosts", "-e", "fleet_serial=1"], 2):
        output = run_playbook(run, "preflight", *arguments).stdout
        assert re.findall(r"Refuse what cannot work between nodes\s.*\n.*\n +hosts \((\d+)\)", output) == [str(hosts)]


SITES = ("alpha", "beta", "broken", "delta", "epsilon", "zeta")


@pytest.fixture
def six(tmp_path: Path) -> Path:
    """An inventory of sites whose cluster and services are all of others, so that this machine will do as a host."""
    hosts = {
        f"{site}-1": {
            "ansible_connection": "local",
            "ansible_python_interpreter": "{{ ansible_playbook_python }}",
            "site_name": site,
        }
        for site in SITES
    }  # fmt: skip
    hosts["broken-1"]["site_domain"] = "https://flyte"
    contexts = [{"name": f"of-{site}", "context": {"cluster": site, "user": "ours"}} for site in SITES]
    kubeconfig = {"contexts": contexts}
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(kubeconfig))
    variables = {
        **dict.fromkeys(SECRETS, "secret"),
        "site_domain": "{{ site_name }}.example.com",
        "site_kubernetes": "existing",
        "site_kubernetes_connection": {
            "kubeconfig": str(tmp_path / "kubeconfig"), "context": "of-{{ site_name }}", "pod_cidr": "10.244.0.0/16",
            "storage_class": "", "ingress_class": "public",
        },
        "site_ingress_connection": {
            "host": "{{ site_domain }}", "address": "192.0.2.30", "https_port": 443, "class": "public",
            "url": "https://{{ site_domain }}", "tls_secret": "flyte-tls",
        },
        "site_database": "external",
        "site_database_connection": {
            "host": "db.example.com", "port": 5432, "database": "flyte", "user": "flyte", "sslmode": "require",
        },
        "site_object_store": "external",
        "site_object_store_connection": {
            "endpoint": "https://s3.example.com", "public_endpoint": "https://s3.example.com", "region": "us-east-1",
            "metadata_bucket": "flyte-metadata", "data_bucket": "flyte-data", "access_key": "flyte",
        },
    }  # fmt: skip
    children = {"existing_cluster": {"hosts": dict.fromkeys(hosts)}}
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts, "children": children, "vars": variables}}))
    return inventory


def preflight(run: Run, *arguments: str) -> subprocess.CompletedProcess:
    return run("ansible-playbook", "flyte.onprem.preflight", "-i", "hosts.yml", *arguments, check=False)


def test_a_site_that_fails_stops_no_other_and_only_it_is_run_again(run: Run, six: Path) -> None:
    result = preflight(run)
    assert result.returncode == 2, result.stdout
    assert states(result.stdout) == {site: "failed" if site == "broken" else "ok" for site in SITES}
    assert "5 ok, 1 failed, 0 skipped" in result.stdout
    six.write_text(six.read_text().replace("https://flyte", "flyte.example.com"))
    result = preflight(run, "--limit", f"@{six.parent}/failed-sites-preflight.retry")
    assert result.returncode == 0, result.stdout
    assert states(result.stdout) == {"broken": "ok"}
    assert "5 more in the inventory were not in this run" in result.stdout
    assert not (six.parent / "failed-sites-preflight.retry").exists()


# As if each had k3s on a machine of its own.
NO_CLASHES: dict[str, Any] = {kind: {} for kind in ("domains", "directories", "machines", "clusters", "split")}
NODES = {"hosts_k3s_servers": "existing_cluster", "sites_clashes": NO_CLASHES}


@pytest.mark.parametrize("more", first([NODES, {}]), ids=["clusters of one node", "clusters of others"])
@pytest.mark.usefixtures("six")
def test_in_batches_the_run_stops_when_too_many_have_failed(run: Run, more: dict[str, Any]) -> None:
    batches = ["-e", "fleet_serial=2", "-e", "fleet_max_fail_percentage=10"]
    result = preflight(run, "--forks=2", *batches, "-e", json.dumps(more))
    assert result.returncode == 2, result.stdout
    assert states(result.stdout) == {
        "alpha": "ok", "beta": "ok", "broken": "failed", "delta": "ok", "epsilon": "skipped", "zeta": "skipped",
    }  # fmt: skip


@pytest.mark.usefixtures("six")
def test_a_batch_that_fails_as_a_whole_stops_no_other(run: Run) -> None:
    result = preflight(run, "-e", "fleet_serial=1")
    assert states(result.stdout) == {site: "failed" if site == "broken" else "ok" for site in SITES}


def dies_in(play: str) -> dict[str, Any]:
    """A host that is lost as soon as the play asks it something."""
    return {"ansible_connection": f"{{{{ 'ssh' if sites_doing | default('') == '{play}' else 'local' }}}}", **NOBODY}


@pytest.mark.parametrize(
    ("play", "group", "provider"),
    first([("PostgreSQL", "postgresql", "site_database"), ("MinIO", "minio", "site_object_store")]),
)
def test_the_only_host_with_a_service_that_dies_stops_no_other_site(
    run: Run, six: Path, play: str, group: str, provider: str
) -> None:
    """Ansible ends a run when all hosts of a play are lost."""
    inventory = yaml.safe_load(six.read_text())
    connection = inventory["all"]["vars"]["site_kubernetes_connection"]
    inventory["all"]["vars"]["site_object_store_connection"] |= {"address": "192.0.2.31", "ca_file": "ca.crt"}
    alpha = {
        **inventory["all"]["hosts"]["alpha-1"],
        "site_address": "127.0.0.1",
        "site_kubernetes_connection": {**connection, "node_cidr": "192.0.2.0/24"},
        provider: group,
    }
    inventory["all"]["hosts"] |= {"alpha-1": alpha, "alpha-2": {**alpha, "site_address": "127.0.0.2", **dies_in(play)}}
    inventory["all"]["children"][group] = {"hosts": {"alpha-2": None}}
    six.write_text(yaml.safe_dump(inventory))
    result = run_playbook(run, "backends", "--limit", "alpha-1,alpha-2,beta-1")
    assert states(result.stdout) == {"alpha": "failed", "beta": "ok"}, result.stdout
    (alpha_failed,) = table(result.stdout)
    assert f"{play}, on alpha-2: it did not answer any more" in alpha_failed
    assert (six.parent / "failed-sites-backends.retry").read_text().split() == ["alpha-1", "alpha-2"]


@pytest.mark.parametrize(
    ("play", "nodes"),
    first([("Refuse what cannot work between nodes", ["alpha-1", "alpha-2"]), ("Kubernetes", ["alpha-1"])]),
)
def test_the_only_nodes_that_die_stop_no_cluster_of_others(run: Run, six: Path, play: str, nodes: list[str]) -> None:
    inventory = yaml.safe_load(six.read_text())
    connection = inventory["all"]["vars"]["site_kubernetes_connection"]
    alpha = {
        **inventory["all"]["hosts"].pop("alpha-1"),
        "site_kubernetes": "k3s",
        "site_kubernetes_connection": {
            **connection,
            "server": "https://192.0.2.1:6443",
            "service_cidr": "10.43.0.0/16",
        },
        **dies_in(play),
    }
    inventory["all"]["hosts"] |= {node: {**alpha, "site_address": f"127.0.0.{node[-1]}"} for node in nodes}
    inventory["all"]["children"]["existing_cluster"]["hosts"].pop("alpha-1")
    inventory["all"]["children"]["k3s_servers"] = {"hosts": {"alpha-1": None}}
    inventory["all"]["children"]["k3s_agents"] = {"hosts": dict.fromkeys(nodes[1:])}
    six.write_text(yaml.safe_dump(inventory))
    result = run_playbook(run, "cluster", "--check", "--limit", ",".join([*nodes, "beta-1"]))
    assert f"{play}, on alpha-1: it did not answer any more" in result.stdout, result.stdout
    assert "PLAY [Kubernetes of others]" in result.stdout
    assert "beta" in states(result.stdout)


@pytest.mark.usefixtures("six")
def test_batches_that_are_none_are_refused_by_name_before_a_play_takes_them(run: Run) -> None:
    result = preflight(run, "-e", "fleet_serial=1.5", "-e", "fleet_max_fail_percentage=-1")
    assert result.returncode == 2, result.stdout
    output = result.stdout + result.stderr
    assert '[SITE-26] fleet_serial is "1.5". Expected: ' in output.replace("\\", "")
    assert '[SITE-26] fleet_max_fail_percentage is "-1". Expected: ' in output.replace("\\", "")
    assert "PLAY [Refuse what cannot work]" not in output


def refused(result: subprocess.CompletedProcess, identifier: str) -> list[str]:
    """The sites that the table refuses with this id."""
    return [line.split()[0] for line in table(result.stdout) if f"[{identifier}]" in line]


def run_playbook(run: Run, playbook: str, *arguments: str) -> subprocess.CompletedProcess:
    return run("ansible-playbook", f"flyte.onprem.{playbook}", "-i", "hosts.yml", *arguments, check=False)


# What follows a playbook's first step is the same in the others.
@pytest.mark.parametrize("playbook", first(["preflight", "cluster"]))
def test_two_sites_with_one_domain_are_refused(run: Run, six: Path, playbook: str) -> None:
    six.write_text(six.read_text().replace("https://flyte", "zeta.example.com"))
    result = run_playbook(run, playbook)
    assert refused(result, "SITE-10") == ["broken", "zeta"]


@pytest.mark.parametrize("playbook", first(["site", "cluster"]))
def test_sites_on_one_machine_are_refused_before_it_is_asked(run: Run, tmp_path: Path, playbook: str) -> None:
    describe(tmp_path, kiel={"ansible_host": "192.0.2.1"}, bonn={}, ulm={"ansible_host": "192.0.2.1"})
    result = run_playbook(run, playbook)
    assert result.returncode == 2, result.stdout
    assert refused(result, "SITE-19") == ["kiel", "ulm"]
    assert "192.0.2.1, port 1, is edge-kiel (site kiel) and edge-ulm (site ulm)." in result.stdout
    assert refused(result, "SITE-31") == ["bonn"]


def test_one_of_two_sites_on_a_machine_is_refused_alone_and_in_batches_too(run: Run, tmp_path: Path) -> None:
    describe(tmp_path, kiel={}, ulm={"ansible_host": "127.0.0.1"})
    assert refused(run_playbook(run, "preflight", "--limit", "edge-ulm"), "SITE-19") == ["ulm"]
    result = run_playbook(run, "preflight", "-e", "fleet_serial=1", "--tags", "k3s")
    assert refused(result, "SITE-19") == ["kiel", "ulm"]


def test_hosts_of_one_site_that_do_not_agree_are_refused_before_they_are_asked(run: Run, tmp_path: Path) -> None:
    describe(tmp_path, kiel={}, kiel2={}, ulm={}, ulm2={"site_domain": "ulm2.example.com"})
    inventory = yaml.safe_load((tmp_path / "hosts.yml").read_text())
    for host, variables in inventory["all"]["hosts"].items():
        variables["site_name"] = variables["site_name"].rstrip("2")
        if variables["site_name"] == "kiel":
            variables["site_hosts"] = [host]
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(inventory))
    result = run_playbook(run, "preflight")
    assert refused(result, "SITE-22") == ["kiel"]
    assert refused(result, "SITE-23") == ["ulm"]
    assert "lacks edge-kiel2." in result.stdout
    assert "ulm.example.com (edge-ulm) and ulm2.example.com (edge-ulm2)." in result.stdout


def test_sites_with_one_directory_or_one_cluster_of_others_are_refused(run: Run, six: Path) -> None:
    inventory = yaml.safe_load(six.read_text())
    hosts = inventory["all"]["hosts"]
    theirs = inventory["all"]["vars"]["site_kubernetes_connection"]
    hosts["beta-1"]["site_kubernetes_connection"] = theirs | {"context": "of-alpha"}
    for host in ("delta-1", "epsilon-1"):
        hosts[host]["site_directory"] = "{{ inventory_dir }}/.flyte/one"
    six.write_text(yaml.safe_dump(inventory))
    result = preflight(run)
    assert refused(result, "SITE-25") == ["alpha", "beta"]
    assert refused(result, "SITE-24") == ["delta", "epsilon"]
    assert states(result.stdout)["zeta"] == "ok"


def test_rights_are_asked_for_in_the_namespace_of_flyte(run: Run, six: Path) -> None:
    inventory = yaml.safe_load(six.read_text())
    namespaces = {"alpha": "site_flyte_namespace", "beta": "flyte_namespace", "delta": "existing_cluster_namespace"}
    for site, name in namespaces.items():
        inventory["all"]["hosts"][f"{site}-1"][name] = "workflows"
    six.write_text(yaml.safe_dump(inventory))
    result = preflight(run)
    assert refused(result, "CLUSTER-57") == ["beta", "delta"]
    assert states(result.stdout)["alpha"] == "ok"


def test_hosts_that_are_no_list_are_named(run: Run, tmp_path: Path) -> None:
    wrong = {"text": "edge-1", "number": 7, "nothing": None, "dict": {"edge-1": None}}
    describe(tmp_path, **{site: {"site_k3s_agents": value} for site, value in wrong.items()})
    result = run_playbook(run, "preflight")
    assert refused(result, "SITE-21") == sorted(wrong)
    assert [site for site in wrong if f"site_k3s_agents of site '{site}' is no list" not in result.stdout] == []


def test_hosts_of_a_site_that_are_no_list_are_named(run: Run, tmp_path: Path) -> None:
    wrong = {"text": "{{ inventory_hostname }}", "number": 7}
    describe(tmp_path, **{site: {"site_hosts": value} for site, value in wrong.items()})
    result = run_playbook(run, "preflight")
    assert refused(result, "SITE-21") == sorted(wrong), result.stdout
    assert [site for site in wrong if f"site_hosts of site '{site}' is no list" not in result.stdout] == []


def of_one_cluster(folder: Path, **hosts: dict[str, Any]) -> None:
    """Write an inventory of one site, all of whose hosts are this machine, with variables of their own."""
    describe(folder, **{name: {**LOCAL, **variables} for name, variables in hosts.items()})
    inventory = yaml.safe_load((folder / "hosts.yml").read_text())
    for name, host in inventory["all"]["hosts"].items():
        host |= {"site_name": "hamburg", "site_address": host["ansible_host"], "k3s_node_name": name}
        host["k3s_kubelet_config"] = {"failCgroupV1": False}
    (folder / "hosts.yml").write_text(yaml.safe_dump(inventory))


@pytest.mark.parametrize(
    ("playbook", "changes"),
    # what each begins to change a cluster with
    first([("restore_cluster", "Restore the snapshot"), ("rotate_token", "Kubernetes"), ("cluster", "Kubernetes")]),
)
def test_a_fault_of_the_last_server_is_found_before_the_first_one_is_changed(
    run: Run, tmp_path: Path, playbook: str, changes: str
) -> None:
    of_one_cluster(tmp_path, kiel={}, ulm={}, bonn={"k3s_config": {"tls-sans": ["x"]}})
    answers = {"restore_snapshot": "kept", "restore_confirm": "hamburg.example.com"}
    result = run_playbook(run, playbook, "--check", "-e", json.dumps(answers))
    assert result.returncode == 2, result.stdout
    before, _, _ = result.stdout.partition(f"PLAY [{changes}]")
    assert "[K3S-63] k3s_config has tls-sans" in before, result.stdout


def test_a_restoration_looks_first_at_all_servers_that_it_stops(run: Run, tmp_path: Path) -> None:
    describe(tmp_path, kiel={}, ulm={})
    others = ["-e", "hosts_k3s_servers=edge-kiel:edge-ulm", "-e", "hosts_site=edge-kiel"]
    output = run_playbook(run, "restore_cluster", "--list-hosts", *others).stdout
    plays = dict(re.findall(r"\(.*\): (.*?)\tTAGS.*\n.*\n +hosts \((\d+)\)", output))
    assert plays["Refuse what would keep the cluster down"] == plays["Restore the snapshot"] == "2", output


@pytest.mark.parametrize(
    # the groups of the inventory, how the playbooks are told of other names
    ("clusters", "others", "told"),
    first(
        [
            ("edge", "existing_cluster", {"hosts_k3s_servers": "edge"}),
            ("k3s_servers", "reached", {"hosts_existing_cluster": "reached"}),
            ("edge", "reached", {"hosts_k3s_servers": "edge", "hosts_existing_cluster": "reached"}),
            ("k3s_servers", "existing_cluster", {}),
        ]
    ),
)
def test_groups_of_another_name_leave_out_no_site_of_the_other_kind(
    run: Run, tmp_path: Path, clusters: str, others: str, told: dict[str, str]
) -> None:
    groups = {clusters: {"hosts": {"edge-kiel": None}}, others: {"hosts": {"edge-ulm": None}}}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": groups}}))
    told = {**told, "hosts_site": f"{clusters}:{others}"}
    output = run_playbook(run, "site", "--list-hosts", "-e", json.dumps(told)).stdout
    plays = dict(re.findall(r"\(.*\): (.*?)\tTAGS.*\n.*\n +hosts \((\d+)\)", output))
    assert {play: plays[play] for play in ("Certificates", "Ingress controller", "Flyte")} == {
        "Certificates": "2", "Ingress controller": "2", "Flyte": "2"
    }, output  # fmt: skip


def test_a_host_that_is_away_is_found_before_a_restoration_stops_the_servers(run: Run, tmp_path: Path) -> None:
    """The plays that start them again would refuse it."""
    of_one_cluster(tmp_path, kiel={}, bonn={}, ulm={"ansible_connection": "ssh"})
    result = run_playbook(run, "restore_cluster", "--check", "-e", "restore_snapshot=kept", "-e", "restore_confirm=x")
    assert "[SITE-31] edge-ulm did not answer" in result.stdout
    assert "PLAY [Restore the snapshot]" not in result.stdout


# What the others begin with is the same as preflight's.
@pytest.mark.parametrize("playbook", first(["verify", "uninstall", "restore_cluster", "remove_node"]))
def test_hosts_that_are_no_list_are_named_by_other_playbooks(run: Run, tmp_path: Path, playbook: str) -> None:
    describe(tmp_path, kiel={"site_k3s_agents": 7, **LOCAL})
    words = {"uninstall_confirm": "", "restore_confirm": "", "remove_node": "edge-kiel"}
    result = run_playbook(run, playbook, "-e", json.dumps(words))
    assert result.returncode == 2, result.stdout
    assert "[SITE-21] site_k3s_agents of site 'kiel' is no list" in result.stdout


@pytest.mark.parametrize(
    ("pods", "taken"),
    first(
        [
            ("10.244.0.0/16", True),
            ("10.244.0.0/16,fd44::/56", True),
            ("10.244.0.0/255.255.0.0", False),
            ("10.244.0.0/16,", False),
        ],
        number=3,
    ),
)
def test_pods_of_an_existing_cluster_come_from_networks(run: Run, six: Path, pods: str, taken: bool) -> None:
    six.write_text(six.read_text().replace("10.244.0.0/16", pods))
    result = preflight(run, "--limit", "alpha-1")
    assert refused(result, "CLUSTER-54") == ([] if taken else ["alpha"]), result.stdout
    assert (result.returncode == 0) is taken


def test_slips_in_what_is_said_of_a_cluster_are_named(run: Run, six: Path) -> None:
    inventory = yaml.safe_load(six.read_text())
    connection = inventory["all"]["vars"]["site_kubernetes_connection"]
    (six.parent / "torn").write_text("users:\n- name: ours: geheim\n")
    few = {name: connection[name] for name in ("kubeconfig", "pod_cidr")}
    own = {"alpha-1": {**connection, "kubeconfig": str(six.parent / "torn")}, "beta-1": few}
    own |= {"broken-1": {**few, "pod_cidr": None}, "delta-1": {**connection, "kubeconfig": "~/kubeconfig"}}
    for host, said in own.items():
        inventory["all"]["hosts"][host]["site_kubernetes_connection"] = said
    six.write_text(yaml.safe_dump(inventory))
    limit = ["--limit", ",".join(own)]
    result = run(
        "ansible-playbook", "flyte.onprem.preflight", "-i", "hosts.yml", *limit, HOME=str(six.parent), check=False
    )
    assert states(result.stdout)["delta"] == "ok", result.stdout
    assert refused(result, "CLUSTER-56") == ["alpha"]
    assert "torn is no kubeconfig; line 2 is no YAML" in result.stdout
    assert refused(result, "SITE-27") == ["beta"]
    assert "site_kubernetes_connection has no context, no storage_class, no ingress_class" in result.stdout
    assert "site_kubernetes_connection has no context, no pod_cidr, no storage_class" in result.stdout
    assert "geheim" not in result.stdout + result.stderr


EVERY_PLAYBOOK = sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml") if path.stem != "remove_node")


@pytest.mark.parametrize("playbook", first(EVERY_PLAYBOOK))
def test_no_playbook_ends_well_without_a_host(run: Run, tmp_path: Path, playbook: str) -> None:
    (tmp_path / "hosts.yml").write_text("all: {hosts: {edge-1: {site_domain: flyte.example.com}}}\n")
    result = run_playbook(run, playbook, "-e", "uninstall_confirm=", "-e", "restore_confirm=")
    assert result.returncode == 2, result.stdout
    assert "SITE-03: The inventory has no host in" in result.stdout + result.stderr


def test_a_limit_that_leaves_no_host_of_a_site_is_refused(run: Run, tmp_path: Path) -> None:
    describe(tmp_path, kiel={})
    inventory = yaml.safe_load((tmp_path / "hosts.yml").read_text())
    inventory["all"]["hosts"]["printer"] = {}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(inventory))
    result = run_playbook(run, "verify", "--limit", "printer")
    assert result.returncode == 2, result.stdout
    assert "SITE-03: --limit leaves no host of" in result.stdout + result.stderr


@pytest.mark.parametrize(
    # whose list there is, what is run, whether it is finished by that
    ("listed", "arguments", "finished"),
    first(
        [
            ("failed-sites.retry", [], False),
            ("failed-sites-cluster.retry", [], False),
            ("failed-sites-preflight.retry", [], True),
            ("failed-sites-preflight.retry", ["--tags", "minio"], False),
            ("failed-sites-preflight.retry", ["--skip-tags", "minio"], False),
            ("failed-sites-preflight.retry", ["--start-at-task", "sum_up | See how the sites did"], False),
        ],
        number=3,
    ),
)
def test_only_the_same_playbook_takes_hosts_off_its_list(
    run: Run, six: Path, listed: str, arguments: list[str], finished: bool
) -> None:
    (six.parent / listed).write_text("alpha-1\n")
    result = preflight(run, "--limit", "alpha-1", *arguments)
    assert result.returncode == 0, result.stdout
    assert (six.parent / listed).exists() is not finished


def a_whole_run(playbook: str) -> list[dict[str, Any]]:
    """A play that begins and ends as this playbook does, and does nothing on the hosts in between."""
    begin, sum_up = (str(ROOT / f"playbooks/tasks/{name}.yml") for name in ("begin", "sum_up"))
    tasks = [
        {"ansible.builtin.import_tasks": begin, "vars": {"sites_run": playbook}},
        {"ansible.builtin.fail": {"msg": "Not today."}, "when": "inventory_hostname == 'broken-1'"},
        {"ansible.builtin.import_tasks": sum_up},
    ]
    return [{"hosts": "all", "gather_facts": False, "tasks": tasks}]


@pytest.mark.parametrize(
    # what is run, whose lists keep the host that is done
    ("command", "keep"),
    first(
        [
            ("site", ["rotate_token"]),
            ("backends", ["cluster", "rotate_token", "verify"]),
            ("site --tags k3s", ["cluster", "rotate_token", "verify"]),
            ("site --check", ["cluster", "rotate_token", "verify"]),
            ("site --limit zeta-1", ["cluster", "rotate_token", "verify"]),
        ],
        number=2,
    ),
)
def test_a_site_that_is_done_needs_none_of_its_steps_again(run: Run, six: Path, command: str, keep: list[str]) -> None:
    playbook, *arguments = command.split()
    lists = {name: six.parent / f"failed-sites-{name}.retry" for name in ("cluster", "rotate_token", "verify")}
    for path in lists.values():
        path.write_text("alpha-1\nbroken-1\n")
    (six.parent / "play.yml").write_text(yaml.safe_dump(a_whole_run(playbook)))
    run("ansible-playbook", "play.yml", "-i", "hosts.yml", *arguments, check=False)
    left = {name: path.read_text().split() for name, path in lists.items()}
    assert left == {name: ["alpha-1", "broken-1"] if name in keep else ["broken-1"] for name in lists}


def test_a_list_of_a_step_is_removed_with_its_last_host(run: Run, six: Path) -> None:
    path = six.parent / "failed-sites-cluster.retry"
    path.write_text("alpha-1\nzeta-1\n")
    (six.parent / "play.yml").write_text(yaml.safe_dump(a_whole_run("site")))
    run("ansible-playbook", "play.yml", "-i", "hosts.yml", check=False)
    assert not path.exists()


def test_an_inventory_with_brackets_in_its_path_has_its_lists(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "fleet[1]"
    folder.mkdir()
    describe(folder, kiel=LOCAL, ulm=LOCAL)
    lists = {"": ["edge-kiel"], "-cluster": ["edge-bonn", "edge-ulm"], "-verify": ["edge-ulm"]}
    for name, hosts in lists.items():
        (folder / f"failed-sites{name}.retry").write_text("".join(f"{host}\n" for host in hosts))
    tasks = [{"ansible.builtin.import_tasks": str(ROOT / "playbooks/tasks/lists.yml")}]
    (tmp_path / "play.yml").write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    run("ansible-playbook", "play.yml", "-i", "fleet[1]/hosts.yml")
    assert {path.name: path.read_text() for path in folder.glob("*.retry")} == {
        "failed-sites-cluster.retry": "edge-bonn\n"
    }


def test_the_table_is_shown_where_the_list_to_run_again_cannot_be_written(run: Run, six: Path) -> None:
    (six.parent / "play.yml").write_text(yaml.safe_dump(a_whole_run("site")))
    nowhere = ["-e", "sites_rerun_file=/nonexistent/failed-sites.retry"]
    result = run("ansible-playbook", "play.yml", "-i", "hosts.yml", *nowhere, check=False)
    assert result.returncode == 2, result.stdout
    assert states(result.stdout) == {site: "failed" if site == "broken" else "ok" for site in SITES}
    assert '"Again for what is not done: --limit broken-1"' in result.stdout
    assert "/nonexistent/failed-sites.retry could not be written: Destination directory" in result.stdout


@pytest.mark.parametrize(
    ("inventories", "beside"),
    first([(["bremen", "hamburg"], "bremen"), (["."], ".")]),
    ids=["two", "one of two folders"],
)
def test_what_is_of_all_sites_stays_in_one_place_whichever_are_in_the_run(
    run: Run, tmp_path: Path, inventories: list[str], beside: str
) -> None:
    folder = tmp_path / "inventory"
    for place, host in ("bremen", "broken-1"), ("hamburg", "alpha-1"):
        (folder / place / ".flyte").mkdir(parents=True)
        hosts = {host: {**LOCAL, "site_name": place, "site_domain": f"{place}.example.com"}}
        (folder / place / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
    (tmp_path / "play.yml").write_text(yaml.safe_dump(a_whole_run("site")))
    sources = [argument for inventory in inventories for argument in ("-i", f"inventory/{inventory}")]
    for limit in [], ["--limit=alpha-1"]:
        run("ansible-playbook", "play.yml", *sources, *limit, check=False)
        kept = sorted(path for path in folder.rglob("*") if path.suffix in (".retry", ".json"))
        assert kept == [folder / beside / ".flyte/fleet.json", folder / beside / "failed-sites.retry"]
    assert (folder / beside / "failed-sites.retry").read_text() == "broken-1\n"
    rows = json.loads((folder / beside / ".flyte/fleet.json").read_text())["sites"]
    assert [row["site"] for row in rows] == ["bremen", "hamburg"]
