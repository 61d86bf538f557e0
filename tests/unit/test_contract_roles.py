# Copyright (c) 2026, The flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for every role: the same files, one way for a value, names that say whose they are."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from unit.contract import (
    PHASED_ROLES,
    PLAYBOOKS,
    PLAYS,
    ROLES,
    ROLES_DIR,
    ROOT,
    action,
    declared,
    defaults_text,
    load,
    role_files,
    role_tasks,
    specs,
)

FILES = ["README.md", "meta/argument_specs.yml", "meta/main.yml", "defaults/main.yml"]
PHASES = ["preflight", "install", "configure", "selfcheck", "uninstall"]
PHASE_FILES = ["vars/main.yml", "handlers/main.yml", "tasks/main.yml", *(f"tasks/{phase}.yml" for phase in PHASES)]
SECRET = re.compile(rf"\b(?:__)?(?:{'|'.join(ROLES)})_\w*(?:password|secret_key|token|secrets?)\b")
# What a role's product is called in the name of a handler.
PRODUCTS = {"postgresql": "PostgreSQL", "minio": "MinIO", "ingress": "Traefik", "flyte": "Flyte"}
# The tasks of a play that changes sites.
STEP = ["tasks/step.yml"]
TURNS = ["tasks/begin.yml", "tasks/turn.yml"]
# Of one site, which is named: the first failure ends them.
OF_ONE_SITE = {f"playbooks/{name}.yml" for name in ("uninstall", "remove_node", "restore_cluster")}
PUBLIC_ENTRIES = {"main", "selfcheck", "uninstall"}


@pytest.mark.parametrize("role", ROLES)
def test_every_role_has_the_same_files(role: str) -> None:
    wanted = FILES + (PHASE_FILES if role in PHASED_ROLES else [])
    assert [name for name in wanted if not (ROLES_DIR / role / name).is_file()] == []


@pytest.mark.parametrize("role", PHASED_ROLES)
def test_the_main_file_is_the_table_of_contents(role: str) -> None:
    steps = [action(task) for task in load(ROLES_DIR / role / "tasks/main.yml")]
    assert steps == [
        ("ansible.builtin.import_tasks", "preflight.yml"),
        ("ansible.builtin.import_tasks", "install.yml"),
        ("ansible.builtin.import_tasks", "configure.yml"),
        ("ansible.builtin.meta", "flush_handlers"),
        ("ansible.builtin.import_tasks", "selfcheck.yml"),
    ]


@pytest.mark.parametrize("role", ROLES)
def test_defaults_and_argument_specs_name_the_same_options(role: str) -> None:
    assert declared(role) == set().union(*(entry.get("options") or {} for entry in specs(role).values()))


@pytest.mark.parametrize("role", PHASED_ROLES)
def test_defaults_stand_in_the_order_of_the_specs(role: str) -> None:
    text = defaults_text(role)
    # A commented line is a required input, or an example below the input that it shows.
    names = list(dict.fromkeys(re.findall(rf"^(?:# )?({role}_\w+):", text, re.MULTILINE)))
    order = [name for name in specs(role).get("main", {}).get("options") or {} if name in names]
    assert [name for name in names if name in order] == order


@pytest.mark.parametrize("role", ROLES)
def test_every_entry_point_has_a_file_and_the_public_ones_a_contract(role: str) -> None:
    files = {path.stem for path in (ROLES_DIR / role / "tasks").glob("*.yml")}
    assert set(specs(role)) - files == set()
    if role in PHASED_ROLES:
        assert PUBLIC_ENTRIES - set(specs(role)) == set()


def each_option(options: dict[str, Any], prefix: str = "") -> list[tuple[str, dict[str, Any]]]:
    found = []
    for name, option in options.items():
        found.append((prefix + name, option))
        found += each_option(option.get("options") or {}, f"{prefix}{name}.")
    return found


@pytest.mark.parametrize("role", ROLES)
def test_every_option_is_described_and_typed(role: str) -> None:
    for entry in specs(role).values():
        assert entry.get("short_description")
        for name, option in each_option(entry.get("options") or {}):
            assert option.get("description"), f"{name} has no description"
            assert option.get("type"), f"{name} has no type"
            assert option["type"] != "list" or option.get("elements"), f"{name} does not say what is in the list"


@pytest.mark.parametrize("role", PHASED_ROLES)
def test_a_role_takes_each_key_of_a_connection_that_role_site_knows(role: str) -> None:
    """A key that the contract does not name is refused."""
    connections = {f"{{{{ {name} }}}}": option["options"] for name, option in specs("site")["main"]["options"].items()
                   if name.endswith("_connection")}  # fmt: skip
    for entry in specs(role).values():
        for name, option in (entry.get("options") or {}).items():
            known = connections.get(str(option.get("default"))) if option["type"] == "dict" else None
            assert set(known or {}) - set(option.get("options") or known or {}) == set(), name


@pytest.mark.parametrize("role", ROLES)
def test_a_secret_is_a_plain_string(role: str) -> None:
    """A role argument of the wrong type or choice is quoted in the error, whatever no_log says."""
    for entry in specs(role).values():
        for name, option in each_option(entry.get("options") or {}):
            if re.search(r"(password|secret_key|token)$", name):
                assert option["type"] == "str", name
                assert "choices" not in option, name


@pytest.mark.parametrize("role", ROLES)
def test_no_default_is_a_secret_or_a_moving_target(role: str) -> None:
    text = defaults_text(role)
    assert not re.search(r"changeme|latest", text, re.IGNORECASE)
    for name, value in (yaml.safe_load(text) or {}).items():
        if re.search(r"(password|secret_key|token)$", name) and value:
            assert re.match(r"^\{\{ .* \}\}$", str(value)), f"{name} has a value of its own"


def test_an_entry_point_is_named_without_extension() -> None:
    """`tasks_from: x.yml` is silently not validated against the role's argument specs."""
    files = [path for role in ROLES for path in role_files(role, "tasks", "handlers")] + PLAYBOOKS
    assert [str(path) for path in files if re.search(r"tasks_from:\s*\S+\.ya?ml", path.read_text())] == []


def test_every_entry_point_that_is_used_has_a_contract() -> None:
    files = [path for role in ROLES for path in role_files(role, "tasks", "handlers")] + PLAYBOOKS
    for path in files:
        for role, entry in re.findall(
            r"name: (?:flyte\.onprem\.)?(\w+)\s+tasks_from: (\w+)", path.read_text()
        ) + re.findall(r"role: (?:flyte\.onprem\.)?(\w+)[, ]+tasks_from: (\w+)", path.read_text()):
            assert entry in specs(role), f"{path.relative_to(ROOT)} uses {role} {entry}"


@pytest.mark.parametrize("role", ROLES)
def test_what_a_role_makes_up_carries_its_name(role: str) -> None:
    mine = re.compile(rf"^__{role}_\w+$")
    for where, task in role_tasks(role):
        module, arguments = action(task)
        names = [task["register"]] if "register" in task else []
        names += [task["loop_control"]["loop_var"]] if "loop_var" in (task.get("loop_control") or {}) else []
        names += [name for name in arguments if name != "cacheable"] if module.endswith(".set_fact") else []
        assert [name for name in names if not mine.match(name)] == [], where
    private = load(ROLES_DIR / role / "vars/main.yml") or {}
    assert [name for name in private if not mine.match(name)] == []


def in_expression(name: str, text: str) -> bool:
    """Whether an expression or a condition uses a variable; a word in quotes is a text."""
    plain = re.sub(r"'\w+'", "", text)
    return bool(
        re.search(rf"\{{[{{%][^}}]*\b{name}\b|^\s*(?:when|until|that|\w+_when):.*\b{name}\b", plain, re.MULTILINE)
    )


@pytest.mark.parametrize("role", ROLES)
def test_no_role_reads_the_variables_of_another(role: str) -> None:
    """Only defaults may read site_*; what an included entry point of `common` takes is handed over by name."""
    foreign = {other: declared(other) for other in ROLES if other not in (role, "common")}
    for path in role_files(role, "tasks", "handlers", "templates", "vars", "defaults"):
        words = set(re.findall(r"\b_*[a-z]\w+", path.read_text()))
        for other, names in foreign.items():
            allowed = names if other == "site" and path.parent.name == "defaults" else set()
            # A key of a dict may be called like an input of another role; an expression may not use it.
            used = {name for name in words & (names - allowed) if in_expression(name, path.read_text())}
            used |= {word for word in words if re.match(rf"__{other}_", word)}
            assert used == set(), f"{path.relative_to(ROOT)} reads {sorted(used)} of {other}"


@pytest.mark.parametrize("role", ROLES)
def test_no_role_knows_the_groups_of_an_inventory(role: str) -> None:
    text = "\n".join(path.read_text() for path in role_files(role, "tasks", "handlers", "templates", "vars"))
    assert not re.search(r"\bgroups\b\s*[\[.]|\bgroup_names\b", text)
    if role != "site":
        assert not re.search(r"\bgroups\b\s*[\[.]|\bhostvars\b", defaults_text(role))


def test_lists_of_hosts_keep_their_order() -> None:
    """The first host of a list has a meaning; Ansible's set filters give another order in each process."""
    assert not re.search(r"\b(?:intersect|difference|union)\(", defaults_text("site"))


def test_handler_names_carry_their_product_and_are_unique() -> None:
    """All roles of a play share their handlers' names."""
    names = []
    for role in PHASED_ROLES:
        for task in load(ROLES_DIR / role / "handlers/main.yml") or []:
            names.append(task["name"])
            product = PRODUCTS.get(role, role)
            assert product.lower() in task["name"].lower(), f"{role}: {task['name']} does not name {product}"
    assert len(names) == len(set(names))


@pytest.mark.parametrize("role", ROLES)
def test_a_task_with_a_secret_says_no_log(role: str) -> None:
    """Looks at what a module is given; `when` and the variables of a task are not shown by Ansible."""
    for where, task in role_tasks(role):
        module, arguments = action(task)
        if module.endswith((".include_role", ".import_role", ".include_tasks", ".import_tasks", ".assert")):
            continue
        if module.startswith("flyte.onprem."):
            continue  # they declare their secrets, and their report is what its reader needs
        given = re.findall(r"\{\{.*?\}\}|\{%.*?%\}", str(arguments) + str(task.get("loop", "")), re.DOTALL)
        secrets = {name for expression in given for name in SECRET.findall(expression)}
        assert not secrets or task["no_log"] is not False, f"{where} shows {sorted(secrets)}"


@pytest.mark.parametrize("role", ROLES)
def test_an_error_is_never_ignored_and_a_check_never_skipped(role: str) -> None:
    for where, task in role_tasks(role):
        assert "ignore_errors" not in task, where
        conditions = task.get("when", [])
        for condition in conditions if isinstance(conditions, list) else [conditions]:
            assert not re.fullmatch(r"not ansible_check_mode", str(condition)), (
                f"{where}: ask whether what it needs exists, not whether this is check mode"
            )


@pytest.mark.parametrize("role", ROLES)
def test_a_template_says_who_writes_the_file(role: str) -> None:
    for path in role_files(role, "templates"):
        if path.name.endswith((".html.j2", ".json.j2")):
            continue  # one is for people and says so in its foot, the other has no comments
        assert "ansible_managed" in path.read_text(), path.relative_to(ROOT)


def test_every_finding_has_an_id_of_its_own() -> None:
    found: dict[str, str] = {}
    for role in ROLES:
        for path in role_files(role, "vars", "tasks", "defaults"):
            for identifier in re.findall(r"\bid: ['\"]?([A-Z][A-Z0-9]+-\d+)", path.read_text()):
                assert identifier not in found, f"{identifier} is in {found[identifier]} and in {path}"
                found[identifier] = str(path)
    assert found, "no finding was found: has the form of the rules changed?"


def test_playbooks_are_short() -> None:
    for path in [*PLAYBOOKS, *PLAYS]:
        assert re.fullmatch(r"[a-z0-9_]+", path.stem), f"{path.name} cannot be run as flyte.onprem.{path.stem}"
        lines = [line for line in path.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")]
        assert len(lines) <= 30, f"{path.name} has {len(lines)} lines"


def plays() -> list[tuple[str, dict[str, Any]]]:
    """(where it stands, play) for all plays."""
    found = [(str(path.relative_to(ROOT)), play) for path in [*PLAYBOOKS, *PLAYS] for play in load(path)]
    return [(where, play) for where, play in found if "ansible.builtin.import_playbook" not in play]


def test_a_play_asks_the_inventory_for_its_hosts_and_only_a_task_for_more_rights() -> None:
    for where, play in plays():
        hosts = play["hosts"]
        assert "{{" in hosts or hosts in {"localhost", "localhost:all"}, f"{where}: hosts is no variable"
        assert "become" not in play, f"{where}: become belongs to the task that needs it"


def test_a_failure_stays_inside_its_site() -> None:
    """What changes a site is a step, which begins with a look at its other hosts and keeps what fails."""
    for where, play in plays():
        if where in OF_ONE_SITE:
            continue
        assert "any_errors_fatal" not in play, where
        assert "roles" not in play, f"{where}: a role outside of a step would end the run for all sites"
        if "step" in play.get("vars", {}):
            used = [action(task)[1] for task in play["tasks"]]
            assert [name.removeprefix("../") for name in used] in (STEP, TURNS), where


def test_hosts_take_their_turns_whatever_strategy_a_user_has_chosen() -> None:
    """With another one all servers of a cluster would restart at once, and what runs once would run for each host."""
    for where, play in plays():
        if play["hosts"] == "localhost":
            continue
        assert play.get("strategy") == "ansible.builtin.linear", f"{where}: {play['name']}"


@pytest.mark.parametrize("role", ROLES)
def test_a_task_for_another_host_works_out_its_address(role: str) -> None:
    """In a delegated task inventory_hostname is that of the first host, and so is an ansible_host made of it."""
    for where, task in role_tasks(role):
        if task.get("delegate_to", "localhost") != "localhost":
            assert "ansible_host" in task.get("vars", {}), where
            assert "loop" not in task, f"{where}: the connection is made without the loop's variable"


def test_k3s_is_called_by_its_path() -> None:
    """The RHEL family's sudo does not look into /usr/local/bin (secure_path)."""
    bare = re.compile(r"(?<![\w./-])k3s (?:kubectl|etcd-snapshot|server) |(?:argv: \[|^ +- )k3s(?:,|$)", re.MULTILINE)
    for path in role_files("k3s", "tasks", "handlers"):
        assert not bare.search(path.read_text()), path


def test_role_site_comes_first_in_every_part() -> None:
    used = [action(task)[1]["name"] for task in load(ROOT / "playbooks/tasks/part.yml")]
    assert used == ["flyte.onprem.site", "flyte.onprem.{{ part }}"]
