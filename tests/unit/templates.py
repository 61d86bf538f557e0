# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Ansible makes of the collection's files and of expressions over their variables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from unit.contract import ROLES_DIR

LOADER = DataLoader()


def loaded(path: Path) -> Any:
    """A YAML file with its templates."""
    return LOADER.load_from_file(str(path), trusted_as_template=True)


def role_variables(role: str, kind: str) -> dict[str, Any]:
    """The ``defaults`` or ``vars`` of a role."""
    return dict(loaded(ROLES_DIR / role / kind / "main.yml"))


def templated(value: Any, known: dict[str, Any]) -> Any:
    """What becomes of a value with these variables; a text of the tests is a template, too."""
    trusted = trust_as_template(value) if type(value) is str else value
    return Templar(loader=LOADER, variables=known).template(trusted)
