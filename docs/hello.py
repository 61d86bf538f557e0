# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A first workflow: pyflyte run --remote hello.py hello --name you."""

from flytekit import task, workflow


@task
def greet(name: str) -> str:
    return f"Hello, {name}"


@workflow
def hello(name: str = "you") -> str:
    return greet(name=name)
