# Copyright (c) 2026, The flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for the collection as a whole: one identity, one list of dependencies, no word about its tests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from run import STAGES
from unit.contract import MODULES, PLAYBOOKS, ROLES, ROOT, load, role_files, tracked_files

from docs import generate

PRODUCT = ("meta/", "playbooks/", "plugins/", "roles/")
PYTHON = [path for path in tracked_files() if path.suffix == ".py" and path.stat().st_size]


def galaxy() -> dict:
    return load(ROOT / "galaxy.yml")


def test_requirements_are_the_dependencies_of_the_collection() -> None:
    required = {item["name"]: item["version"] for item in load(ROOT / "requirements.yml")["collections"]}
    assert required == galaxy()["dependencies"]


def test_the_dependencies_are_the_collections_that_are_used() -> None:
    """A name with two dots before a module's arguments, or in a call of a filter, test or look-up."""
    files = [path for role in ROLES for path in role_files(role, "tasks", "handlers", "vars", "defaults", "templates")]
    used = set()
    for path in [*files, *PLAYBOOKS]:
        text = path.read_text()
        used |= set(re.findall(r"^\s*(?:- )?([a-z_]+\.[a-z_]+)\.[a-z_0-9]+:", text, re.MULTILINE))
        used |= set(re.findall(r"(?:\||\bis\b|lookup\(')\s*([a-z_]+\.[a-z_]+)\.[a-z_0-9]+", text))
        used |= set(re.findall(r"group/([a-z_]+\.[a-z_]+)\.", text))
    assert used - {"ansible.builtin", "flyte.onprem"} == set(galaxy()["dependencies"])


def test_every_dependency_has_a_lower_bound() -> None:
    assert all(version.startswith(">=") for version in galaxy()["dependencies"].values())


def test_the_changelog_describes_the_version_in_the_making() -> None:
    released = load(ROOT / "changelogs/changelog.yaml")["releases"]
    version = galaxy()["version"]
    assert version in released or (ROOT / f"changelogs/fragments/{version}.yml").is_file()


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: str(path.relative_to(ROOT)))
def test_python_files_say_their_licence(path) -> None:
    head = path.read_text().splitlines()[:20]
    assert "# SPDX-License-Identifier: GPL-3.0-or-later" in head
    assert any("GNU General Public License v3.0+" in line for line in head)
    if str(path.relative_to(ROOT)).startswith("plugins/"):
        assert "from __future__ import annotations" in path.read_text()


def test_the_licence_is_the_whole_text() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "GNU GENERAL PUBLIC LICENSE" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_the_product_does_not_know_its_tests() -> None:
    words = re.compile(r"\b(molecule|test ?bed|stand-?ins?|pytest|testinfra)\b", re.IGNORECASE)
    for path in tracked_files():
        if str(path.relative_to(ROOT)).startswith(PRODUCT) and path.name != "README.md":
            assert not words.search(path.read_text()), f"{path.relative_to(ROOT)}: {words.search(path.read_text())}"


def test_nothing_names_the_machine_it_was_written_on_or_a_package_index() -> None:
    """Where packages come from is the business of each machine's own configuration."""
    private = re.compile(
        r"(?<![\w.-])/(?:work|root)/(?!\.kube)|pypi\.org|pythonhosted\.org|proxy\.golang\.org|goproxy|registry\.npmjs|"
        r"crates\.io|repo1?\.maven|deb\.debian\.org|archive\.ubuntu\.com|--(?:extra-)?index-url"
    )
    for path in tracked_files():
        if path.name in ("go.sum", "test_contract_collection.py"):
            continue
        found = private.search(path.read_text(errors="replace"))
        assert not found, f"{path.relative_to(ROOT)} names {found[0] if found else ''}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_module_documents_itself(path) -> None:
    page = generate.module_docs()[path.stem]
    documentation = page["doc"]
    assert documentation["module"] == path.stem
    assert {"check_mode", "diff_mode", "idempotent"} <= set(documentation.get("attributes", {})), "attributes"
    assert any(f"flyte.onprem.{path.stem}" in task for task in yaml.safe_load(page["examples"]))
    for name, value in each_result(page["returns"]):
        assert {"type", "returned", "description"} <= set(value), name


def each_result(results: dict, prefix: str = "") -> list:
    found = []
    for name, value in results.items():
        # Below a documented list or dict "returned" is that of the whole.
        found.append((prefix + name, value if not prefix else {"returned": "", **value}))
        found += each_result(value.get("contains") or {}, f"{prefix}{name}.")
    return found


@pytest.mark.parametrize("folder", ["modules", "module_utils"])
def test_unit_tests_mirror_the_plugins(folder: str) -> None:
    plugins = {path.stem for path in (ROOT / "plugins" / folder).glob("*.py") if path.stem != "__init__"}
    tests = {path.stem.removeprefix("test_") for path in (ROOT / "tests/unit").rglob("test_*.py")}
    assert {name for name in plugins if name not in tests and name.lstrip("_") not in tests} == set()


def test_every_check_module_is_in_the_action_group() -> None:
    group = load(ROOT / "meta/runtime.yml")["action_groups"]["checks"]
    assert sorted(group) == [path.stem for path in MODULES if path.stem.endswith("_check")]


def test_every_test_belongs_to_a_stage() -> None:
    """Of make test-all: as a file, below a folder that a stage names, or as the verifier of a scenario of Molecule."""
    given = [word for stage in STAGES for word in stage.command.split()]
    scenarios = [given[at + 1] for at, word in enumerate(given) if word == "-s"]
    verifiers = [load(ROOT / f"molecule/{scenario}/molecule.yml")["verifier"] for scenario in scenarios]
    given += [verifier["directory"].removeprefix("${MOLECULE_PROJECT_DIRECTORY}/") for verifier in verifiers]
    tests = [path.relative_to(ROOT) for path in PYTHON if re.fullmatch(r"test_\w+[.]py", path.name)]
    stages = {word for word in given if word.startswith("tests/")}
    assert [str(path) for path in tests if not {str(path), *map(str, path.parents)} & stages] == []


def facts_set(tasks: list[dict[str, Any]], folder: Path, known: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The tasks of a play that set facts, with those of files that it imports, in the order in which they run."""
    for task in tasks:
        yield from facts_set(task.get("block", []), folder, known)
        if "ansible.builtin.import_tasks" in task:
            path = folder / re.sub(
                r"\{\{ (\w+) \}\}", lambda name: known[name[1]], task["ansible.builtin.import_tasks"]
            )
            yield from facts_set(load(path), path.parent, known)
        if "ansible.builtin.set_fact" in task:
            yield task


# The last one of a run asks no host for its facts.
PLAYS = [*PLAYBOOKS, *sorted(set((ROOT / "playbooks/plays").glob("*.yml")) - {ROOT / "playbooks/plays/outcome.yml"})]


@pytest.mark.parametrize("path", PLAYS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_play_begins_with_a_fact_that_is_set_once_for_all_hosts(path: Path) -> None:
    """ansible-core 2.21 lets hosts whose first fact that is share all others: each has the name of another one."""
    plays = [play for play in load(path) if isinstance(play, dict) and "hosts" in play]
    first = [next(facts_set(play.get("tasks", []), path.parent, play.get("vars", {})), {}) for play in plays]
    assert [task["name"] for task in first if task.get("run_once")] == []
