# Copyright (c) 2026, The flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection on each ansible-core that meta/runtime.yml admits and that this machine can have."""

from __future__ import annotations

import os
import shutil
import subprocess
import textwrap
from pathlib import Path

import pytest
import yaml
from support.cases import first

from .conftest import PLAYBOOKS, ROOT, Run, run_ansible

# the last patch of a line when this was written, the Pythons it runs on (the first that is found is taken)
LINES = [
    ("2.18.19", ("3.13", "3.12", "3.11")),
    ("2.19.14", ("3.13", "3.12", "3.11")),
    ("2.20.10", ("3.14", "3.13", "3.12")),
    ("2.21.5", ("3.14", "3.13", "3.12")),
]
UV_VERSION = "0.13.9"


def cache() -> Path:
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "flyte-onprem"
    return Path(os.environ.get("FLYTE_ONPREM_CACHE", default))


def find_python(versions: tuple[str, ...]) -> str:
    """The path of the first of these Pythons that runs here; pyenv's are looked at too. Empty when there is none."""
    for version in versions:
        builds = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python3"))
        for candidate in [shutil.which(f"python{version}"), *map(str, builds)]:
            if candidate and subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode == 0:
                return candidate
    return ""


@pytest.fixture(scope="module", params=first([(line,) for line in LINES]), ids=[line[0] for line in LINES])
def ansible(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """ansible's commands of one line, with this checkout as the collection."""
    version, pythons = request.param
    python = find_python(pythons)
    if not python:
        pytest.skip(f"ansible-core {version} needs one of Python {', '.join(pythons)}, and none is on this machine")
    environment = cache() / "ansible-core" / version
    if not (environment / ".complete").is_file():
        uv = cache() / f"uv-{UV_VERSION}/bin/uv"
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", python, environment], check=True)
        packages = [f"ansible-core=={version}", "jmespath"]
        subprocess.run([uv, "pip", "install", "--quiet", "--python", environment, *packages], check=True)
        (environment / ".complete").touch()
    run = run_ansible(environment / "bin", ROOT / ".collections", tmp_path_factory.mktemp(f"core-{version}"))
    assert version in run("ansible", "--version").stdout
    return run


def test_no_warning_about_this_collection_and_version(ansible: Run) -> None:
    result = ansible("ansible-doc", "--list", "flyte.onprem")
    assert "does not support Ansible version" not in result.stderr


def test_every_playbook_is_accepted(ansible: Run, inventory: Path) -> None:
    names = [f"flyte.onprem.{playbook}" for playbook in PLAYBOOKS]
    result = ansible("ansible-playbook", "--syntax-check", "-i", str(inventory), *names)
    assert "WARNING" not in result.stderr.replace("[WARNING]: Collection community", ""), result.stderr


def test_every_module_is_documented(ansible: Run) -> None:
    names = [f"flyte.onprem.{path.stem}" for path in sorted((ROOT / "plugins/modules").glob("*.py"))]
    assert "ERROR" not in ansible("ansible-doc", *names).stderr


def test_every_role_is_documented(ansible: Run) -> None:
    names = [f"flyte.onprem.{path.name}" for path in sorted((ROOT / "roles").iterdir())]
    assert "ERROR" not in ansible("ansible-doc", "--type", "role", *names).stderr


@pytest.mark.parametrize(
    # extra variables, what the message must say
    ("bad", "message"),
    [
        ("site_domain=Flyte", "SITE-01"),
        ("site_https_port=9000", "SITE-04"),
        ("site_ingress=haproxy", "value of site_ingress must be one of"),
    ],
)
def test_bad_input_is_refused_before_anything_is_touched(ansible: Run, inventory: Path, bad: str, message: str) -> None:
    result = ansible("ansible-playbook", "flyte.onprem.site", "-i", str(inventory), "-e", bad, check=False)
    output = result.stdout + result.stderr
    assert result.returncode == 2, output
    assert message in output
    assert "unreachable=0" in output, "the host was asked before the inventory was found right"
    assert not (inventory.parent / "site").exists()


def test_a_missing_domain_is_named(ansible: Run, inventory: Path, tmp_path: Path) -> None:
    without = tmp_path / "hosts.yml"
    without.write_text(inventory.read_text().replace("vars: {site_domain: flyte.example.com}", "vars: {}"))
    result = ansible("ansible-playbook", "flyte.onprem.site", "-i", str(without), check=False)
    assert result.returncode == 2
    assert "site_domain" in result.stdout + result.stderr


def test_an_inventory_without_hosts_is_refused(ansible: Run, tmp_path: Path) -> None:
    empty = tmp_path / "hosts.yml"
    empty.write_text("all: {vars: {site_domain: flyte.example.com}}\n")
    result = ansible("ansible-playbook", "flyte.onprem.site", "-i", str(empty), check=False)
    assert result.returncode == 2
    said = " ".join((result.stdout + result.stderr).split())
    assert "SITE-03" in said
    assert "If your groups have other names, give -e hosts_site=" in said


def test_uninstall_without_confirmation_removes_nothing(ansible: Run, inventory: Path) -> None:
    result = ansible(
        "ansible-playbook", "flyte.onprem.uninstall", "-i", str(inventory), "-e", "uninstall_confirm=other", check=False
    )
    assert result.returncode == 2
    assert "Nothing was removed" in result.stdout + result.stderr


def test_what_the_inventory_has_encrypted_is_written_decrypted(ansible: Run, tmp_path: Path) -> None:
    """As by ansible-vault encrypt_string; k3s would take the ciphertext for the token."""
    (tmp_path / "password").write_text("of the vault")
    ansible_vault = ("--vault-password-file", str(tmp_path / "password"))
    text = ansible("ansible-vault", "encrypt_string", *ansible_vault, "s3cr3t", "--name", "kept").stdout
    (tmp_path / "hosts.yml").write_text(f"all:\n  hosts: {{edge-1: }}\n  vars:\n{textwrap.indent(text, '    ')}\n")
    writes = {
        "config": "{{ __k3s_config_text }}",
        "registries": "{{ lookup('ansible.builtin.template', role + '/templates/registries.yaml.j2') }}",
    }
    play = {
        "hosts": "edge-1",
        "connection": "local",
        "gather_facts": False,
        "vars_files": ["{{ role }}/vars/main.yml"],
        "vars": {"role": str(ROOT / "roles/k3s")},
        "tasks": [
            {
                "ansible.builtin.copy": {"content": content, "dest": str(tmp_path / name), "mode": "0600"},
                "vars": {"__k3s_config": {"token": "{{ kept }}"}, "k3s_registries": {"password": "{{ kept }}"}},
            }
            for name, content in writes.items()
        ],
    }
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    ansible("ansible-playbook", *ansible_vault, "-i", str(tmp_path / "hosts.yml"), str(tmp_path / "play.yml"))
    assert yaml.safe_load((tmp_path / "config").read_text()) == {"token": "s3cr3t"}
    assert yaml.safe_load((tmp_path / "registries").read_text()) == {"password": "s3cr3t"}
