# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The pins and what follows from them: keys, needs, the bundle's manifest."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from testbed.builder import bundle
from testbed.builder.cache import Cache
from testbed.builder.recipes import BED, Recipes, load_pins


def pins(**changes: Any) -> dict[str, Any]:
    """Two small artefacts in place of versions.toml."""
    made = {
        "artefacts": {
            "tool": {"kind": "wheel", "package": "p", "version": "1", "sha256": "0", "files": {}, "usual": 9},
        },
        "images": {
            "tool": {
                "name": "docker.io/x/tool:1",
                "files": {"/tool": "tool/tool"},
                "source": "here",
                "stand_in": True,
            },
        },
        "bundle": {
            "tool": {"file": "tool/tool", "version": "v1", "source": "there", "stand_in": False},
            "chart": {
                "file": "tool/chart.tgz",
                "path": "charts/c.tgz",
                "version": "v2",
                "source": "t",
                "stand_in": True,
            },
        },
    }
    made["artefacts"]["tool"].update(changes)
    return made


def made(tmp_path: Path) -> Recipes:
    """Recipes whose artefact is in the cache already."""
    cache = Cache(tmp_path)
    recipes = Recipes(cache, pins())

    def build(work: Path) -> dict[str, Any]:
        (work / "tool").write_text("tool")
        (work / "chart.tgz").write_text("chart")
        return {}

    cache.make("tool", recipes.key("tool"), build)
    return recipes


def test_key_follows_pins_and_what_it_is_made_from_but_not_words(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    first, newer, reworded = (Recipes(cache, pins(**change)) for change in ({}, {"version": "2"}, {"usual": 10}))
    assert first.key("tool") != newer.key("tool")
    assert first.key("image-tool") != newer.key("image-tool")
    assert first.key("tool") == reworded.key("tool")


def test_bundle_has_manifest_sums_and_names_its_stand_ins(tmp_path: Path) -> None:
    directory = bundle.lay_out(Cache(tmp_path), made(tmp_path))
    manifest = json.loads((directory / "manifest.json").read_text())
    assert manifest["format"] == 1
    assert manifest["artifacts"]["tool"] == {
        "version": "v1",
        "file": "tool/v1/tool",
        "sha256": hashlib.sha256(b"tool").hexdigest(),
        "source": "there",
        "stand_in": False,
    }
    assert manifest["artifacts"]["chart"]["file"] == "charts/c.tgz"
    (image,) = manifest["images"]
    assert image["file"] == "images/docker.io_x_tool_1.tar"
    assert bundle.stand_ins(manifest) == ["chart", "docker.io/x/tool:1"]
    for line in (directory / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((directory / name).read_bytes()).hexdigest() == digest
    listed = {line.split("  ")[1] for line in (directory / "SHA256SUMS").read_text().splitlines()}
    assert listed == {"README.txt", "charts/c.tgz", "images/docker.io_x_tool_1.tar", "manifest.json", "tool/v1/tool"}


def test_same_pins_give_the_same_bundle_directory(tmp_path: Path) -> None:
    recipes = made(tmp_path)
    assert bundle.lay_out(recipes.cache, recipes) == bundle.lay_out(recipes.cache, recipes)


@pytest.mark.parametrize("table", ["bundle", "images"])
def test_each_published_name_says_where_it_is_from_and_whether_it_is_a_stand_in(table: str) -> None:
    for spec in load_pins()[table].values():
        assert spec["source"]
        assert isinstance(spec["stand_in"], bool)


def test_an_image_of_ready_layers_needs_them_and_gets_no_files_but_those_named(tmp_path: Path) -> None:
    changed = pins()
    layered = {"name": "x/tool:1", "layers": ["tool/tool"], "user": "someone", "working_directory": "/root"}
    changed["images"]["tool"] = layered
    recipes = Recipes(Cache(tmp_path), changed)
    recipes.cache.make("tool", recipes.key("tool"), lambda work: {"bytes": (work / "tool").write_bytes(b"layer")})
    assert recipes.needs("image-tool") == {"tool"}
    image = recipes.image("tool", tmp_path)
    assert [layer.read_bytes() for layer in image.layers] == [b"layer"]
    assert (image.files, image.user, image.working_directory) == ({}, "someone", "/root")


# pyflyte works out the name of its tasks' image from its own version and its Python's.
def test_the_task_image_has_the_name_that_its_flytekit_asks_for() -> None:
    artefact, image = load_pins()["artefacts"]["flytekit"], load_pins()["images"]["flytekit"]
    chosen = (BED / artefact["directory"] / "requirements.in").read_text()
    version = re.search(r"^flytekit==(\S+)$", chosen, re.M)
    assert version
    assert image["name"] == f"cr.flyte.org/flyteorg/flytekit:py{artefact['python']}-{version[1]}"
    assert image["source"].startswith(f"Debian's python{artefact['python']} and PyPI flytekit {version[1]};")


def test_every_wheel_of_the_task_image_is_pinned_with_its_hashes() -> None:
    directory = BED / load_pins()["artefacts"]["flytekit"]["directory"]
    pinned = re.sub(r"\\\n", "", (directory / "requirements.txt").read_text())
    lines = [line for line in pinned.splitlines() if not line.startswith("#")]
    for line in lines:
        assert re.fullmatch(r"[a-z0-9-]+==\S+(?: +--hash=sha256:[0-9a-f]{64})+", line), line
    for chosen in re.findall(r"^[^#\s]\S*", (directory / "requirements.in").read_text(), re.M):
        assert any(line.startswith(f"{chosen} ") for line in lines), f"{chosen}: run make lock"


def test_everything_is_pinned_and_everything_needed_is_there(tmp_path: Path) -> None:
    recipes = Recipes(Cache(tmp_path), load_pins())
    for name, spec in recipes.specs.items():
        assert recipes.needs(name) <= set(recipes.specs)
        if spec["kind"] == "wheel":
            assert re.fullmatch(r"[0-9a-f]{64}", spec["sha256"])
        if spec["kind"] == "go-install":
            assert spec["sum"].startswith("h1:")


def test_the_bundle_of_the_version_before_has_another_k3s_and_nothing_else() -> None:
    now, before = load_pins(), load_pins(before=True)
    assert {name for name, item in now["bundle"].items() if before["bundle"][name] != item} == {"k3s"}
    assert before["bundle"]["k3s"]["version"] < now["bundle"]["k3s"]["version"]
    recipes = Recipes(Cache(Path("unused")), before)
    assert recipes.needs("k3s-before") - recipes.needs("k3s") == {"kubernetes-before"}


@pytest.mark.parametrize("before", [False, True])
def test_the_page_of_the_k3s_stand_in_names_what_it_claims_to_be(before: bool) -> None:
    assert f"`{load_pins(before=before)['bundle']['k3s']['version']}`" in (BED / "k3s/README.md").read_text()


def test_the_bundle_of_a_cluster_has_what_its_k3s_starts_and_no_image_of_flyte() -> None:
    whole, alone = load_pins(), load_pins(cluster=True)
    assert {name: whole["bundle"][name] for name in ("k3s", "helm", "flyte-binary")} == alone["bundle"]
    started = set(whole["bundle"]["k3s"]["airgap_images"]["images"]) - {"traefik"}
    assert set(alone["images"]) == started
    assert {name: whole["images"][name] for name in started} == alone["images"]
    before = load_pins(before=True, cluster=True)
    assert before["bundle"]["k3s"] == load_pins(before=True)["bundle"]["k3s"]
    assert before["images"] == alone["images"]


def test_the_bundle_of_a_cluster_wants_no_server_of_flyte_built(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    recipes = Recipes(cache, load_pins(cluster=True))
    assert bundle.directory(cache, recipes) != bundle.directory(cache, Recipes(cache, load_pins()))
    needed = {name for image in recipes.pins["images"] for name in recipes.needs(f"image-{image}")}
    assert needed == {"pause", "coredns", "local-path-provisioner", "host-packages", "klipper-lb"}
