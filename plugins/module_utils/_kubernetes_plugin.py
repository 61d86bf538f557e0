# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is PRIVATE to the collection. It can change at any time.

"""Credentials from the exec plugin of a kubeconfig, in time or not at all.

The kubernetes library waits for a plugin for ever. Where one fails, it writes
that to a log and goes on as nobody, or with the certificate that stands beside.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import typing as t

from ansible_collections.flyte.onprem.plugins.module_utils._imports import KUBERNETES, load


class NoCredentials(BaseException):
    """Why a plugin gave none, without any words of its own. The library holds back every C(Exception)."""


@contextlib.contextmanager
def credentials_within(timeout: float) -> t.Iterator[None]:
    """In this block the library's plugins have so many seconds. Raises C(NoCredentials) where one gives none."""
    load(KUBERNETES)
    from kubernetes.config import kube_config  # noqa: PLC0415

    original = kube_config.ExecProvider

    class Plugin:
        def __init__(self, config: t.Any, *more: t.Any) -> None:
            # Without its path, and without what somebody may have written behind it.
            words = str(config.safe_get("command") or "").split()
            self._command = os.path.basename(words[0]) if words else "without a command"
            self._arguments = (config, *more)

        def run(self) -> t.Any:
            try:
                with _processes_within(timeout) as started:
                    given = original(*self._arguments).run()
                held = {name: value for name, value in given.items() if value not in (None, "")}
                if "token" in held or {"clientCertificateData", "clientKeyData"} <= held.keys():
                    return held
                seen = "its answer holds none"
            except subprocess.TimeoutExpired:
                seen = f"no answer within {timeout:g} seconds"
            except OSError as exc:
                seen = f"{exc.strerror or exc}"
            except Exception:  # by the library, of several kinds; their words may be the plugin's, or quote its answer
                code = next((process.returncode for process in started), 0)
                seen = f"it ended with {code}" if code else "its answer holds none"
            raise NoCredentials(f"the plugin {self._command} gave no credentials: {seen}")

    kube_config.ExecProvider = Plugin
    try:
        yield
    finally:
        kube_config.ExecProvider = original


@contextlib.contextmanager
def _processes_within(timeout: float) -> t.Iterator[list[subprocess.Popen[str]]]:
    """Processes started in this block have so many seconds to say all that they say; then they are killed."""
    original = subprocess.Popen
    started: list[subprocess.Popen[str]] = []

    class Process(original):  # type: ignore[misc,valid-type]
        def __init__(self, *args: t.Any, **kwargs: t.Any) -> None:
            # In a group of its own, so that what it has started is killed as well.
            super().__init__(*args, **{**kwargs, "start_new_session": True})
            started.append(self)

        def communicate(self, *args: t.Any, **kwargs: t.Any) -> t.Any:
            try:
                return super().communicate(*args, **{**kwargs, "timeout": timeout})
            except BaseException:  # also where this process is told to end
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.pid, signal.SIGKILL)
                self.wait()
                raise

    subprocess.Popen = Process  # type: ignore[misc]
    try:
        yield started
    finally:
        subprocess.Popen = original  # type: ignore[misc]
