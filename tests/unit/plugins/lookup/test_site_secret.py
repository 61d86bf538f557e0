# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.flyte.onprem.plugins.lookup.site_secret import PLACEHOLDER, read_secret


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "database_password"
    path.write_text("abc123\n")
    path.chmod(0o600)
    return path


def test_the_secret_is_read_without_its_line_end(secret: Path) -> None:
    assert read_secret(str(secret)) == "abc123"


def test_a_secret_that_nobody_made_is_a_placeholder_fit_for_every_rule(tmp_path: Path) -> None:
    assert read_secret(str(tmp_path / "database_password")) == PLACEHOLDER
    assert PLACEHOLDER.isalnum()
    assert len(PLACEHOLDER) == 32


def test_a_secret_that_others_can_read_is_refused(secret: Path) -> None:
    secret.chmod(0o640)
    with pytest.raises(ValueError, match="chmod 0600"):
        read_secret(str(secret))


def test_an_empty_secret_is_refused_and_not_replaced(secret: Path) -> None:
    secret.write_text("")
    with pytest.raises(ValueError, match="Restore it from a backup"):
        read_secret(str(secret))
