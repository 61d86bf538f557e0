# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from support.pages import Page


@pytest.mark.parametrize(
    ("body", "fetched"),
    [
        ('<img src="https://cdn.example.com/logo.png">', ["img"]),
        ('<link rel="stylesheet" href="//cdn.example.com/a.css">', ["link"]),
        ('<input type="image" src="http://cdn.example.com/a.png">', ["input"]),
        ('<p style="background: URL(https://cdn.example.com/a.png)">', ["URL("]),
        ("<style>@import 'https://cdn.example.com/a.css';</style>", ["@import"]),
        ('<a href="https://flyte.example.com/console">console</a> at http://flyte.example.com', []),
    ],
    ids=["image", "style sheet", "any source", "style", "import", "a link to follow"],
)
def test_what_a_page_fetches_is_told_from_links(body: str, fetched: list[str]) -> None:
    assert Page(f"<html><head></head><body>{body}</body></html>").fetched == fetched
