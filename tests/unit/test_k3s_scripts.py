# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scripts with which role k3s ends and removes k3s, in pieces.

A piece finds no program but those of the test: PATH has nothing else, and what it calls only notes that it was called.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from unit.contract import ROLES_DIR, role_files, role_tasks
from unit.templates import role_variables, templated

SHELL = str(shutil.which("sh"))
RULES = """*filter
:INPUT ACCEPT [0:0]
:KUBE-FORWARD - [0:0]
:FLANNEL-FWD - [0:0]
-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
-A FORWARD -j KUBE-FORWARD
-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
-A CNI-HOSTPORT-DNAT -p tcp -j CNI-DN-0
COMMIT
"""
KEPT = """*filter
:INPUT ACCEPT [0:0]
-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
COMMIT
"""


def rendered(text: str, root: Path) -> str:
    """What the role makes of a script for a host whose folders are all in another place."""
    known: dict[str, Any] = {
        **role_variables("k3s", "vars"),
        "ansible_managed": "Managed",
        "inventory_hostname": "a",
        "k3s_servers": ["a"],
    }
    return re.sub(r"(?<![\w*])/(?=(?:etc|run|sys|usr|var)/)", f"{root}/", str(templated(text, known)))


def script(name: str, root: Path) -> str:
    return rendered((ROLES_DIR / "k3s/templates" / name).read_text(), root)


def piece(text: str, beginning: str) -> str:
    """The compound command of a script that begins with a line, to the first line that ends one."""
    found = re.search(rf"^{re.escape(beginning)}.*?^(?:done|fi|}})\n", text, re.MULTILINE | re.DOTALL)
    assert found, beginning
    return found[0]


def tool(path: Path, body: str) -> None:
    """A program of the test's own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{SHELL}\n{body}\n")
    path.chmod(0o755)


def borrowed(host: Path, *names: str) -> None:
    """Give a host some of this machine's programs, of which none changes anything."""
    host.mkdir(exist_ok=True)
    for name in names:
        (host / name).symlink_to(str(shutil.which(name)))


def iptables(folder: Path, rules: Path) -> None:
    """Programs that tell these rules, and note which ones they were given."""
    rules.write_text(RULES)
    for family in ("iptables", "ip6tables"):
        tool(folder / f"{family}-save", f'while read -r line; do echo "$line"; done <{rules}')
        tool(folder / f"{family}-restore", f'while read -r line; do echo "$line"; done >{rules}.{family}')


def noting(host: Path, *names: str) -> None:
    """Programs that only note how they were called."""
    for name in names:
        tool(host / name, f'echo "{name} $*" >>{host}.calls')


def run(host: Path, *pieces: str) -> list[str]:
    """Run pieces on a host that has the programs of one folder and no others: the calls that were noted."""
    done = subprocess.run(
        [SHELL, "-u"],
        input="\n".join([*pieces, ":"]),
        env={"PATH": str(host)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    calls = Path(f"{host}.calls")
    return calls.read_text().splitlines() if calls.exists() else []


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """The programs of a host."""
    borrowed(tmp_path / "host", "grep")
    return tmp_path / "host"


def removed_rules(host: Path) -> list[str]:
    text = script("k3s-killall.sh.j2", host.parent)
    return run(host, piece(text, "for bin in"), piece(text, "remove_rules() {"), "remove_rules")


def test_rules_go_by_the_iptables_that_k3s_has_brought(tmp_path: Path, host: Path) -> None:
    iptables(tmp_path / "var/lib/rancher/k3s/data/0123/bin/aux", tmp_path / "rules")
    removed_rules(host)
    assert (tmp_path / "rules.iptables").read_text() == KEPT
    assert (tmp_path / "rules.ip6tables").read_text() == KEPT


def test_the_hosts_own_iptables_comes_first(tmp_path: Path, host: Path) -> None:
    """As for k3s itself: rules of the other kind it would not see."""
    iptables(host, tmp_path / "rules")
    iptables(tmp_path / "var/lib/rancher/k3s/data/0123/bin/aux", tmp_path / "others")
    removed_rules(host)
    assert (tmp_path / "rules.iptables").read_text() == KEPT
    assert not (tmp_path / "others.iptables").exists()


def test_sets_of_network_policies_and_tables_of_kube_proxy_go_and_no_others(host: Path) -> None:
    noting(host, "nft")
    sets = "KUBE-SRC-A\ninet6:KUBE-DST-B\nblocklist"
    tool(host / "ipset", f'if [ "$1" = list ]; then echo "{sets}"; else echo "$@" >>{host}.calls; fi')
    assert removed_rules(host) == [
        "destroy KUBE-SRC-A",
        "destroy inet6:KUBE-DST-B",
        "nft delete table ip kube-proxy",
        "nft delete table ip6 kube-proxy",
    ]


def test_the_ways_to_pods_of_other_nodes_go(tmp_path: Path, host: Path) -> None:
    borrowed(host, "awk", "sed")
    noting(host, "ip")
    (tmp_path / "run/flannel").mkdir(parents=True)
    (tmp_path / "run/flannel/subnet.env").write_text(
        "FLANNEL_NETWORK=10.42.0.0/16\nFLANNEL_SUBNET=10.42.1.1/24\nFLANNEL_IPV6_NETWORK=fd42::/56\nFLANNEL_MTU=1500\n"
    )
    text = script("k3s-killall.sh.j2", tmp_path)
    calls = run(host, piece(text, "remove_links() {"), "remove_links")
    assert [call for call in calls if "route" in call] == [
        "ip -4 route flush root 10.42.0.0/16",
        "ip -6 route flush root fd42::/56",
    ]


def test_cgroups_of_processes_that_are_still_ending_are_waited_for(tmp_path: Path, host: Path) -> None:
    borrowed(host, "ls")
    noting(host, "sleep")
    group = tmp_path / "sys/fs/cgroup/memory/kubepods"
    group.mkdir(parents=True)
    # The first time it is refused.
    tool(host / "find", f"[ ! -e {tmp_path}/asked ] && : >{tmp_path}/asked || {shutil.which('rmdir')} {group}")
    assert run(host, piece(script("k3s-killall.sh.j2", tmp_path), "for try in")) == ["sleep 1"]
    assert not group.exists()


@pytest.mark.parametrize(
    ("file", "calls"),
    [
        ("flyte-onprem-k3s.repo", ["dnf -y remove k3s-selinux", "rm -f {}"]),
        ("rancher-k3s-common.repo", []),  # of somebody else
    ],
)
def test_the_policy_goes_where_the_role_has_installed_it(
    tmp_path: Path, host: Path, file: str, calls: list[str]
) -> None:
    noting(host, "dnf", "rm")
    repository = tmp_path / "etc/yum.repos.d" / file
    repository.parent.mkdir(parents=True)
    repository.touch()
    text = script("k3s-uninstall.sh.j2", tmp_path)
    assert run(host, piece(text, f"if [ -e {tmp_path}/etc/yum.repos.d/")) == [call.format(repository) for call in calls]


def test_the_data_go_where_they_are_a_link_to_another_disk(tmp_path: Path, host: Path) -> None:
    """To remove the link alone would leave all of them, secrets included."""
    noting(host, "rm", "rmdir")
    (tmp_path / "disk/server").mkdir(parents=True)
    data = tmp_path / "var/lib/rancher/k3s"
    data.parent.mkdir(parents=True)
    data.symlink_to(tmp_path / "disk")
    text = script("k3s-uninstall.sh.j2", tmp_path)
    calls = run(host, f"data={data}", piece(text, 'if [ "${1:-}" = --keep-data ]; then'))
    assert f"{data}/server" in calls[0].split()


def test_kept_data_are_all_that_k3s_does_not_make_again(tmp_path: Path, host: Path) -> None:
    """Volumes and snapshots may have any folder below that of its data."""
    data = tmp_path / "var/lib/rancher/k3s"
    for folder in ("agent/images", "data/current", "server/db", "storage", "volumes/pvc-1", "snapshots"):
        (data / folder).mkdir(parents=True)
    borrowed(host, "rm")
    text = piece(script("k3s-uninstall.sh.j2", tmp_path), 'if [ "${1:-}" = --keep-data ]; then')
    run(host, f"data={data}; set -- --keep-data", text)
    assert sorted(path.name for path in data.iterdir()) == ["server", "snapshots", "storage", "volumes"]


@pytest.fixture
def commands(tmp_path: Path) -> Path:
    """Names of k3s on a host: one is its link, one a user's program, one a user's link to what is not there."""
    folder = tmp_path / "usr/local/bin"
    tool(folder / "k3s", "exit 1")
    (folder / "kubectl").write_text("of a user\n")
    (folder / "crictl").symlink_to("/nonexistent/crictl")
    (folder / "ctr").symlink_to("k3s")
    return folder


def linked(host: Path) -> list[str]:
    """The names that the role would link, by the look of its preflight."""
    look = (ROLES_DIR / "k3s/tasks/preflight.yml").read_text()
    found = re.search(r'echo "commands: .*?done\)\]"', look, re.DOTALL)
    assert found
    borrowed(host, "ls", "readlink")
    asked = f"{rendered(found[0], host.parent)} >{host}.said"
    run(host, asked)
    seen = yaml.safe_load(Path(f"{host}.said").read_text())
    task = next(task for _, task in role_tasks("k3s") if task["name"].startswith("install | Link the names"))
    return sorted(templated(task["loop"], {**role_variables("k3s", "vars"), "__k3s_seen": seen}))


def test_all_names_are_linked_on_a_host_that_has_none(host: Path) -> None:
    assert linked(host) == ["crictl", "ctr", "kubectl"]


@pytest.mark.usefixtures("commands")
def test_what_a_user_has_under_a_name_of_k3s_is_not_replaced(host: Path) -> None:
    assert linked(host) == []


def test_a_command_that_the_host_has_elsewhere_is_not_hidden(host: Path) -> None:
    tool(host / "kubectl", "exit 0")
    assert linked(host) == ["crictl", "ctr"]


@pytest.mark.usefixtures("commands")
def test_only_links_to_k3s_are_removed(tmp_path: Path, host: Path) -> None:
    borrowed(host, "readlink")
    noting(host, "rm")
    text = script("k3s-uninstall.sh.j2", tmp_path)
    assert run(host, piece(text, "for link in")) == [f"rm -f {tmp_path}/usr/local/bin/ctr"]


def test_kubectl_keeps_nothing_in_roots_home() -> None:
    """Where it would stay, beside what a user has there."""
    files = role_files("k3s", "tasks", "handlers", "templates")
    assert [path.name for path in files if "k3s kubectl" in path.read_text()] == []
    assert role_variables("k3s", "vars")["__k3s_kubectl"].split()[2:] == ["--cache-dir=/run/k3s/kubectl"]


@pytest.mark.parametrize(
    ("config", "is_server", "places"),
    [
        ({}, True, []),
        ({"etcd-snapshot-dir": "/var/lib/rancher/k3s/snapshots"}, True, []),
        (
            {"default-local-storage-path": "/srv/volumes", "etcd-snapshot-dir": "/srv/snapshots"},
            True,
            ["/srv/volumes", "/srv/snapshots"],
        ),
        (
            {"default-local-storage-path": "/srv/volumes", "etcd-snapshot-dir": "/srv/snapshots"},
            False,
            ["/srv/volumes"],
        ),
    ],
)
def test_what_k3s_keeps_elsewhere_is_named(config: dict[str, str], is_server: bool, places: list[str]) -> None:
    known = {**role_variables("k3s", "vars"), "k3s_config": config, "__k3s_is_server": is_server}
    assert templated("{{ __k3s_other_places }}", known) == places


@pytest.mark.parametrize(("named", "removed"), [(["k3s"], ""), ([], "agent/")])
def test_data_that_are_not_named_stay(tmp_path: Path, host: Path, named: list[str], removed: str) -> None:
    noting(host, "find")
    task = next(task for _, task in role_tasks("k3s") if task["name"] == "uninstall | Remove the data")
    known = {**role_variables("k3s", "vars"), "k3s_uninstall_delete_data": named}
    folder = templated(task["vars"]["__k3s_unwanted_data"], known)
    command = str(templated(task["ansible.builtin.shell"]["cmd"], {"__k3s_unwanted_data": f"{tmp_path}{folder}"}))
    assert run(host, command) == [f"find {tmp_path}/var/lib/rancher/k3s/{removed} -depth -delete -print"]
