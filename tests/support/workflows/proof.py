# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Workflows that prove a site: values pass from the user to a task, between tasks, and back."""

from flytekit import task, workflow


@task
def double(number: int) -> int:
    """A task with an input and an output."""
    return number * 2


@task
def describe(number: int) -> str:
    """A task that reads what another wrote."""
    return f"the answer is {number}"


@task
def halve(number: int) -> int:
    """A task that fails with a message of its own."""
    if number % 2:
        raise ValueError(f"{number} cannot be halved")
    return number // 2


@workflow
def answer(number: int) -> str:
    """Two tasks, the second after the first."""
    return describe(number=double(number=number))


@workflow
def single(number: int) -> int:
    """One task, for many executions at once."""
    return double(number=number)


@workflow
def failing(number: int) -> int:
    """Ends with its task's error where the number is odd."""
    return halve(number=number)
