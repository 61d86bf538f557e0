# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cases of parametrized tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest


def first(cases: Sequence[Any], number: int = 1) -> list[Any]:
    """Cases of which ``make test`` runs the first *number*, and ``make test-all`` all."""
    as_arguments = [case if isinstance(case, tuple) else (case,) for case in cases]
    return [
        pytest.param(*arguments, marks=[pytest.mark.further] if place >= number else [])
        for place, arguments in enumerate(as_arguments)
    ]
