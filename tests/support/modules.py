# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a module's main() in this process, as Ansible would: arguments in, one JSON document out."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest import mock

from ansible.module_utils import basic

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Result:
    """What a module said: C(output) is all of it, for those who look for secrets in it."""

    failed: bool
    values: dict[str, Any]
    output: str

    def __getitem__(self, key: str) -> Any:
        return self.values[key]

    def statuses(self, status: str) -> list[str]:
        """The ids of the checks with this status, each once, in order."""
        return list(dict.fromkeys(row["id"] for row in self.values["checks"] if row["status"] == status))

    def assert_fails_only(self, id: str, *words: str) -> None:
        """One check failed, with one of the words in what was seen of it, and with cause and remedy."""
        assert self.statuses("failed") == [id], self.values["msg"]
        rows = [row for row in self.values["checks"] if row["status"] == "failed"]
        assert any(word in row["observed"] for row in rows for word in words), self.values["msg"]
        assert all(row["cause"] and row["fix"] for row in rows), self.values["msg"]

    def row(self, id: str) -> dict[str, str]:
        """The first row of this id."""
        return next(row for row in self.values["checks"] if row["id"] == id)


def run_module(
    main: Callable[[], None], arguments: dict[str, Any], *, check: bool = False, diff: bool = False
) -> Result:
    """Run C(main) and return its result. It must end as a module does, by exit_json or fail_json."""
    # With the arguments in the answer, as Ansible asks for it at its higher levels of detail.
    details = {"_ansible_check_mode": check, "_ansible_diff": diff, "_ansible_inject_invocation": True}
    given = {**arguments, **details}
    output = io.StringIO()
    with (
        mock.patch.object(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": given}).encode()),
        # ansible-core 2.19 and newer want to know how to write the answer; 2.18 has no such thing.
        mock.patch.object(basic, "_ANSIBLE_PROFILE", "legacy", create=True),
        contextlib.redirect_stdout(output),
        contextlib.suppress(SystemExit),
    ):
        main()
    text = output.getvalue()
    values = json.loads(text)
    # Ansible itself hides what stands here; the module has to hide it elsewhere.
    values.pop("invocation", None)
    return Result(failed=bool(values.get("failed")), values=values, output=text)
