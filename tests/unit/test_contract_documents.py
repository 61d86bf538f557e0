# Copyright (c) 2026, The flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for the documents: they follow the code, their links lead somewhere, every id is explained."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from ansible.parsing.splitter import parse_kv
from support.kubernetes_api import TOKEN, kubernetes_api
from support.modules import run_module
from support.pki import Authority
from support.servers import free_port
from unit.contract import ROLES, ROLES_DIR, ROOT, load, role_files, specs

from ansible_collections.flyte.onprem.plugins.module_utils._catalogue import CATALOGUE
from ansible_collections.flyte.onprem.plugins.module_utils._kubernetes import open_api
from ansible_collections.flyte.onprem.plugins.modules import postgresql_check

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted(ROLES_DIR.glob("*/README.md"))]
EXPLAINED = set(re.findall(r"^### ([A-Z0-9]+-\d+)$", (ROOT / "docs/problems.md").read_text(), re.MULTILINE))


def test_the_generated_parts_are_up_to_date() -> None:
    result = subprocess.run(
        [sys.executable, ROOT / "docs/generate.py", "--check"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, f"Run make docs.\n{result.stdout}{result.stderr}"


@pytest.mark.parametrize("role", ROLES)
def test_every_finding_of_a_role_is_explained(role: str) -> None:
    """The ids of rules, and those that a message sends its reader to."""
    named = set()
    for path in role_files(role, "vars", "tasks", "templates"):
        text = path.read_text()
        named |= set(re.findall(r"\bid: ['\"]?([A-Z][A-Z0-9]+-\d+)", text))
        named |= {name.upper() for name in re.findall(r"docs/problems\.md#([a-z0-9]+-\d+)", text)}
    assert named - EXPLAINED == set()


def test_every_check_is_explained() -> None:
    assert set(CATALOGUE) - EXPLAINED == set()


def test_the_modules_and_filters_name_only_explained_ids() -> None:
    for path in (ROOT / "plugins").rglob("*.py"):
        named = {name.upper() for name in re.findall(r"docs/problems\.md#([a-z0-9]+-\d+)", path.read_text())}
        assert named - EXPLAINED == set(), path.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_variables_that_a_page_names_exist(page) -> None:
    """A variable in code marks that starts like an input of a role is one."""
    known = {name for role in ROLES for entry in specs(role).values() for name in entry.get("options") or {}}
    known |= {f"{role}_" for role in ROLES}
    used = set(re.findall(rf"`((?:{'|'.join(ROLES)})_[a-z0-9_]+)[`:]", page.read_text()))
    modules = {path.stem for path in (ROOT / "plugins/modules").glob("*.py")} | {"minio_access"}
    assert used - known - modules == set()


def test_the_readme_names_every_option_of_the_site_that_it_shows() -> None:
    known = set(specs("site")["main"]["options"])
    assert set(re.findall(r"^\| .*?`(site_\w+)`", (ROOT / "README.md").read_text(), re.MULTILINE)) <= known


def test_the_versions_in_the_readme_are_those_of_the_roles() -> None:
    text = (ROOT / "README.md").read_text()
    assert f"({load(ROOT / 'galaxy.yml')['version']})" in text
    for role, name in (("k3s", "k3s_version"), ("flyte", "flyte_chart_version")):
        version = load(ROLES_DIR / role / "defaults/main.yml")[name]
        assert version.lstrip("v") in text, f"README.md does not name {name} {version}"


def test_the_first_workflow_is_the_file_that_users_copy() -> None:
    shown = re.search(r"```python\n(.*?)```", (ROOT / "docs/clients.md").read_text(), re.DOTALL)
    assert shown
    assert (ROOT / "docs/hello.py").read_text().endswith(shown[1])


INVENTORIES = sorted((ROOT / "inventories").rglob("*.yml"))


@pytest.mark.parametrize("page", [*PAGES, *INVENTORIES], ids=lambda page: str(page.relative_to(ROOT)))
def test_what_lies_beside_an_inventory_is_hidden(page: Path) -> None:
    """With -i inventory/, Ansible takes every other file for an inventory."""
    places = re.findall(r"\{\{ inventory_dir \}\}/([^\"` ]+)", page.read_text())
    assert [place for place in places if not place.startswith(".")] == []


@pytest.mark.parametrize("inventory", sorted((ROOT / "inventories").iterdir()), ids=lambda path: path.name)
def test_a_cluster_of_several_servers_is_found_at_none_of_them(inventory: Path) -> None:
    """The first one is where it is found by default, and may be lost."""
    site = load(inventory / "group_vars/all/site.yml")
    servers = load(inventory / "hosts.yml")["all"]["children"].get("k3s_servers", {}).get("hosts") or {}
    addresses = [server["ansible_host"] for server in servers.values() if server]
    assert len(addresses) < 2 or site.get("site_kubernetes_address", addresses[0]) not in addresses


def test_the_kubeconfig_for_a_token_of_the_owner_works(tmp_path: Path) -> None:
    page = (ROOT / "docs/existing-services.md").read_text()
    (text,) = re.findall(r"```yaml\n# inventory/[.]flyte/kubeconfig\n(.*?)```", page, re.DOTALL)
    authority = Authority(tmp_path)
    authority.certificate.rename(tmp_path / "cluster-ca.crt")
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    connection = re.search(r"^site_kubernetes_connection:\n(?:  .*\n)*?  context: (\S+)", page, re.MULTILINE)
    assert connection
    with kubernetes_api({"/version": {"gitVersion": "v1.35.0"}}, tls=authority.issue("127.0.0.1")) as server:
        (tmp_path / "kubeconfig").write_text(text.replace("https://api.example.com:6443", server.server))
        api = open_api(str(tmp_path / "kubeconfig"), connection[1], timeout=3)
        assert api.get("/version")["gitVersion"] == "v1.35.0"
        api.close()


def commands_of(page: str) -> dict[str, dict[str, str]]:
    """The arguments of each module that a page has its readers call by the command C(ansible)."""
    found = {}
    for block in re.findall(r"```console\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL):
        for line in block.replace("\\\n", "").splitlines():
            words = shlex.split(line)
            if words[0] == "ansible":
                found[words[words.index("-m") + 1]] = parse_kv(words[words.index("-a") + 1])
    return found


def test_the_command_that_asks_a_database_beforehand_asks_it(tmp_path: Path) -> None:
    """Its arguments are complete, so that the first thing to fail is that no server is there."""
    commands = commands_of("existing-services.md")
    arguments = commands["flyte.onprem.postgresql_check"]
    placeholders = {"password": "Secret0fFlyte", "ca_file": str(Authority(tmp_path).certificate)}
    assert arguments["ca_file"] == commands["ansible.builtin.copy"]["dest"]
    assert arguments["password"] == "{{ site_database_password }}"
    here = {name: given for name, given in placeholders.items() if name in arguments}
    here |= {"address": "127.0.0.1", "port": str(free_port()), "retries": "0", "timeout": "3"}
    result = run_module(postgresql_check.main, arguments | here)
    assert "checks" in result.values, result["msg"]
    assert result.statuses("failed") == ["DB-12"]
