#!/usr/bin/env python3
# Copyright (c) 2026, The flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the parts of the documents that follow from the collection's own files.

    docs/generate.py            write them
    docs/generate.py --check    say which are not up to date, and fail if there are any

What it writes: the table of options in each role's README (from meta/argument_specs.yml), the tables of roles, modules
and playbooks in README.md, one page a module (from its DOCUMENTATION), and docs/problems.md (from docs/problems.d and
the catalogue of checks). Between a begin and an end mark only what stands there is replaced.
"""

from __future__ import annotations

import ast
import difflib
import re
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / ".collections"))

from ansible_collections.flyte.onprem.plugins.module_utils._catalogue import CATALOGUE  # noqa: E402

GENERATED = "<!-- Written by docs/generate.py; change its sources, not this page. -->\n"
MARKUP = (
    (r"L\(([^,()]+),\s*([^()]+)\)", r"[\1](\2)"),
    (r"U\(([^()]+)\)", r"<\1>"),
    (r"RV\((?:ignore:)?((?:[^()]|\([^()]*\))+)\)", r"`\1`"),
    (r"\b[OVCE]\(((?:[^()]|\([^()]*\))+)\)", r"`\1`"),
    (r"M\(([^()]+)\)", r"`\1`"),
    (r"P\(([^()#]+)#\w+\)", r"`\1`"),
    (r"B\(([^()]+)\)", r"**\1**"),
    (r"I\(([^()]+)\)", r"*\1*"),
)


def main() -> int:
    wanted = {**role_pages(), **module_pages(), ROOT / "docs/problems.md": problems(), ROOT / "README.md": readme()}
    changed = {path: text for path, text in wanted.items() if not path.is_file() or path.read_text() != text}
    if "--check" in sys.argv:
        for path, text in changed.items():
            old = path.read_text().splitlines() if path.is_file() else []
            sys.stdout.write(f"{path.relative_to(ROOT)} is not up to date; make docs would change:\n")
            for line in list(difflib.unified_diff(old, text.splitlines(), lineterm="", n=0))[2:12]:
                sys.stdout.write(f"  {line}\n")
        return int(bool(changed))
    for path, text in changed.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        sys.stdout.write(f"wrote {path.relative_to(ROOT)}\n")
    return 0


def between(text: str, mark: str, content: str, path: Path) -> str:
    """Replace what stands between the marks ``<!-- mark:begin -->`` and ``<!-- mark:end -->``."""
    begin, end = f"<!-- {mark}:begin -->\n", f"<!-- {mark}:end -->"
    if begin not in text or end not in text:
        raise SystemExit(f"{path.relative_to(ROOT)} has no marks {begin.strip()} and {end}")
    head, rest = text.split(begin, 1)
    return f"{head}{begin}{content}{end}{rest.split(end, 1)[1]}"


def prose(value: Any) -> str:
    """Ansible's description, a string or a list of them, as Markdown on one line."""
    text = " ".join(value) if isinstance(value, list) else str(value or "")
    for pattern, replacement in MARKUP:
        text = re.sub(pattern, replacement, text)
    return re.sub(r"\s+", " ", text).strip()


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def code(value: Any) -> str:
    """A default as it stands in YAML, short enough for a table."""
    if value is None:
        return ""
    text = {True: "true", False: "false", "": '""'}.get(value, value) if isinstance(value, (bool, str)) else value
    text = re.sub(r"\s+", " ", str(text)).strip()
    return f"`{cell(text)}`"


def options_table(options: dict[str, Any]) -> str:
    lines = ["| option | type | default | meaning |", "|---|---|---|---|"]
    for name, option, depth in flatten(options):
        kind = option.get("type", "str")
        if option.get("elements"):
            kind = f"{kind} of {option['elements']}"
        default = "**required**" if option.get("required") else code(option.get("default"))
        meaning = prose(option.get("description"))
        if option.get("choices"):
            meaning += " One of " + ", ".join(f"`{choice}`" for choice in option["choices"]) + "."
        indent = "&nbsp;" * 4 * depth
        lines.append(f"| {indent}`{name}` | {kind} | {default} | {cell(meaning)} |")
    return "\n".join(lines) + "\n"


def flatten(options: dict[str, Any], depth: int = 0) -> list[tuple[str, dict[str, Any], int]]:
    found = []
    for name, option in options.items():
        found.append((name, option, depth))
        found += flatten(option.get("options") or option.get("suboptions") or {}, depth + 1)
    return found


# Roles


def role_specs() -> dict[str, dict[str, Any]]:
    paths = sorted((ROOT / "roles").glob("*/meta/argument_specs.yml"))
    return {path.parents[1].name: yaml.safe_load(path.read_text())["argument_specs"] for path in paths}


def role_pages() -> dict[Path, str]:
    pages = {}
    for role, entries in role_specs().items():
        path = ROOT / "roles" / role / "README.md"
        if not path.is_file():
            continue  # the contract tests tell of it
        main_options = entries.get("main", {}).get("options") or {}
        content, plain = "", ""
        for entry, spec in entries.items():
            options = spec.get("options") or {}
            more = {name: option for name, option in options.items() if entry == "main" or name not in main_options}
            if more:
                content += f"\n## {'Options' if entry == 'main' else f'Entry point `{entry}`'}\n\n"
                content += f"{prose(spec['short_description'])}."
                content += " Takes the options above, and:" if len(more) < len(options) else ""
                content += f"\n\n{options_table(more)}"
            elif entry != "main":
                plain += f"| `{entry}` | {cell(prose(spec['short_description']))} |\n"
        if plain:
            content += "\n## Entry points\n\nFor `tasks_from`; they take the options above.\n\n"
            content += f"| entry point | what it does |\n|---|---|\n{plain}"
        pages[path] = between(path.read_text(), "options", content + "\n", path)
    return pages


# Modules


def constants_of(body: list[ast.stmt]) -> dict[str, Any]:
    """The names that are set to a plain value."""
    return {
        node.targets[0].id: node.value.value
        for node in body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
    }


def fragment(name: str) -> dict[str, Any]:
    """A documentation fragment of this collection: ``flyte.onprem.attributes.check`` is CHECK in attributes.py."""
    file, _, part = name.removeprefix("flyte.onprem.").partition(".")
    tree = ast.parse((ROOT / "plugins/doc_fragments" / f"{file}.py").read_text())
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef))
    return yaml.safe_load(constants_of(body)[part.upper() or "DOCUMENTATION"])


def documentation(text: str) -> dict[str, Any]:
    """A module's DOCUMENTATION with its fragments; what the module says itself wins."""
    doc = yaml.safe_load(text)
    for name in doc.pop("extends_documentation_fragment", None) or []:
        for key, values in fragment(name).items():
            if isinstance(values, list):
                doc[key] = [*(doc.get(key) or []), *values]
                continue
            own = doc.setdefault(key, {})
            for item, value in values.items():
                own[item] = {**value, **(own.get(item) or {})}
    return doc


def module_docs() -> dict[str, dict[str, Any]]:
    docs = {}
    for path in sorted((ROOT / "plugins/modules").glob("*.py")):
        constants = constants_of(ast.parse(path.read_text()).body)
        docs[path.stem] = {
            "doc": documentation(constants["DOCUMENTATION"]),
            "examples": constants["EXAMPLES"],
            "returns": yaml.safe_load(constants["RETURN"]) or {},
        }
    return docs


def module_pages() -> dict[Path, str]:
    pages = {}
    for name, parts in module_docs().items():
        doc = parts["doc"]
        text = f"{GENERATED}# flyte.onprem.{name}\n\n{prose(doc['short_description'])}.\n\n"
        description = doc["description"] if isinstance(doc["description"], list) else [doc["description"]]
        text += "\n".join(f"- {prose(line)}" for line in description) + "\n"
        if doc.get("requirements"):
            needs = ", ".join(prose(item) for item in doc["requirements"])
            text += f"\nNeeds on the host that runs it: {needs}.\n"
        text += "\n## Options\n\n" + options_table(doc.get("options") or {})
        if doc.get("attributes"):
            text += "\n## Behaviour\n\n| | support | |\n|---|---|---|\n"
            for key, value in doc["attributes"].items():
                text += f"| {key} | {value.get('support', '')} | {cell(prose(value.get('details')))} |\n"
        text += f"\n## Examples\n\n```yaml\n{parts['examples'].strip()}\n```\n"
        text += "\n## Returns\n\n| key | type | returned | meaning |\n|---|---|---|---|\n"
        for key, value, depth in flatten_returns(parts["returns"]):
            text += (
                f"| {'&nbsp;' * 4 * depth}`{key}` | {value.get('type', '')} | {cell(prose(value.get('returned')))} "
                f"| {cell(prose(value.get('description')))} |\n"
            )
        if doc.get("notes"):
            text += "\n## Notes\n\n" + "\n".join(f"- {prose(note)}" for note in doc["notes"]) + "\n"
        pages[ROOT / "docs/modules" / f"{name}.md"] = text
    return pages


def flatten_returns(returns: dict[str, Any], depth: int = 0) -> list[tuple[str, dict[str, Any], int]]:
    found = []
    for key, value in returns.items():
        found.append((key, value, depth))
        found += flatten_returns(value.get("contains") or {}, depth + 1)
    return found


# Problems


class Names(dict):
    """Fills each field with its own name."""

    def __missing__(self, name: str) -> str:
        return f"*{name}*"


def readable(text: str) -> str:
    """A text of the catalogue, whose fields are filled at run time, for a reader who has no run."""
    return text.format_map(Names())


def problems() -> str:
    """docs/problems.md: the head, the findings of the roles, and every check of the catalogue, by id."""
    text = GENERATED + (ROOT / "docs/problems.d/head.md").read_text().rstrip() + "\n"
    known = {path.stem: path for path in (ROOT / "docs/problems.d").glob("*.md") if path.stem != "head"}
    order = ["site", "certificates", "k3s", "postgresql", "minio", "ingress", "flyte"]
    for stem in [*order, *sorted(set(known) - set(order))]:
        if stem in known:
            text += "\n" + known[stem].read_text().strip() + "\n"
    # What a hand-written entry already explains is not said again.
    written = set(re.findall(r"^### ([A-Z0-9]+-\d+)", text, re.MULTILINE))
    families: dict[str, list[Any]] = {}
    for identifier, entry in CATALOGUE.items():
        if identifier not in written:
            families.setdefault(identifier.rsplit("-", 1)[0], []).append(entry)
    names = {
        "TLS": "TLS, of every service",
        "S3": "Object store",
        "DB": "Database",
        "K8S": "Kubernetes",
        "ING": "Ingress",
        "FLYTE": "Flyte",
    }
    for family, entries in families.items():
        text += f"\n## Checks: {names.get(family, family)}\n"
        for entry in sorted(entries, key=lambda found: found.id):
            text += f"\n### {entry.id}\n\n**{readable(entry.title)}.** Expected: {readable(entry.expected)}.\n\n"
            text += f"- Cause: {readable(entry.cause)}\n- What to do: {readable(entry.fix)}\n"
            if entry.reference.startswith("http"):
                text += f"- Read more: <{entry.reference}>\n"
    return text


# README


def readme() -> str:
    path = ROOT / "README.md"
    text = path.read_text()
    roles = "| role | outcome |\n|---|---|\n"
    for role, entries in role_specs().items():
        if "main" in entries:
            roles += f"| [{role}](roles/{role}/README.md) | {cell(prose(entries['main']['short_description']))} |\n"
    modules = "| module | what it does |\n|---|---|\n"
    for name, parts in module_docs().items():
        modules += f"| [{name}](docs/modules/{name}.md) | {cell(prose(parts['doc']['short_description']))} |\n"
    playbooks = "| playbook | what it does |\n|---|---|\n"
    steps = ["cluster", "backends", "ingress", "flyte"]
    later = ["verify", "rotate_token", "restore_cluster", "remove_node", "uninstall"]
    for playbook in ["site", "preflight", *steps, *later]:
        comment = re.findall(r"^# ?(.*)$", (ROOT / f"playbooks/{playbook}.yml").read_text(), re.MULTILINE)[0]
        playbooks += f"| `flyte.onprem.{playbook}` | {cell(comment)} |\n"
    for mark, content in (("roles", roles), ("modules", modules), ("playbooks", playbooks)):
        text = between(text, mark, content, path)
    return text


if __name__ == "__main__":
    sys.exit(main())
