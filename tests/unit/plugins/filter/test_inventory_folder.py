# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.flyte.onprem.plugins.filter.inventory_folder import inventory_folder


@pytest.mark.parametrize(
    ("sources", "folder"),
    [
        (["bremen", "hamburg"], "bremen"),
        (["hamburg/", "bremen"], "hamburg"),
        (["hamburg/hosts.yml"], "hamburg"),
        (["edge-1,edge-2", "bremen"], "bremen"),
        (["edge-1,"], "."),
        ([], "."),
    ],
)
def test_the_first_inventory_says_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sources: list[str], folder: str
) -> None:
    for name in ("bremen", "hamburg"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "hosts.yml").touch()
    monkeypatch.chdir(tmp_path)
    paths = [source if "," in source else f"{tmp_path}/{source}" for source in sources]
    assert inventory_folder(paths) == str(tmp_path / folder)
