# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the report's pages as a browser does."""

from __future__ import annotations

import re
from html.parser import HTMLParser

_FETCHING_TAGS = ("script", "link", "img", "iframe", "object", "embed", "video", "audio", "source")
_FETCHING_ATTRIBUTES = ("src", "srcset", "background", "poster")


class Page(HTMLParser):
    """What a browser would fetch for the page, and its text. A link is fetched only when it is followed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched = re.findall(r"url\s*\(|@import", text, re.IGNORECASE)
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag in _FETCHING_TAGS or any(name in _FETCHING_ATTRIBUTES for name, _value in attributes):
            self.fetched.append(tag)

    def handle_data(self, data: str) -> None:
        self.words.append(data)
