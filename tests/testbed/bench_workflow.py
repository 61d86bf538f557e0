# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a workflow of two tasks takes through Flyte, beside its two pods by hand: a part of ``make bench-site``.

By hand the same functions run in the same image with the same limits, one pod after the other, each seen to its end;
what they take is Kubernetes and Python. The rest is Flyte: queues, checks, values through the object store.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder import hosts
from builder.client import Client
from builder.recipes import load_pins

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = ROOT / "tests/support/workflows"
PROJECT, NAMESPACE = "flytesnacks", "flytesnacks-development"
ROUNDS = 3
# The code comes as an argument, as the image has none.
_CALL = 'cd /tmp && printf %s "$1" >proof.py && exec python3 -c "import proof; print(proof.$2)"'
_TO_THE_END = (
    f"k3s kubectl create --namespace={NAMESPACE} --filename=- >/dev/null; "
    f'k3s kubectl wait --namespace={NAMESPACE} "pod/$0" --for=jsonpath={{.status.phase}}=Succeeded --timeout=120s '
    f'>/dev/null; k3s kubectl logs --namespace={NAMESPACE} "$0"'
)


@dataclass(frozen=True)
class Figures:
    """Seconds of the same work, the medians of ROUNDS."""

    flyte: float
    by_hand: float

    @property
    def lines(self) -> list[str]:
        """What the bench prints."""
        return [
            f"{'workflow, by hand':24}{self.by_hand:>10.1f}",
            f"{'workflow, by Flyte':24}{self.flyte:>10.1f}",
            f"by Flyte / by hand       {self.flyte / self.by_hand:.2f}",
        ]


def measure(host: str, directory: Path, domain: str) -> Figures:
    """Run both on a site: the name of its host, its directory on this machine, its domain."""
    address = hosts.address(host)
    client = Client(
        configuration=directory / "client" / "config.yaml",
        authority=directory / "ca.crt",
        folder=WORKFLOWS,
        names={domain: address, f"s3.{domain}": address},
    )
    flyte, by_hand = [], []
    for _ in range(ROUNDS):
        name = f"b{uuid.uuid4().hex[:10]}"
        flyte.append(_by_flyte(client, name))
        by_hand.append(_by_hand(host, name))
    return Figures(statistics.median(flyte), statistics.median(by_hand))


def _by_flyte(client: Client, name: str) -> float:
    """Seconds from the request to the execution's end, by the server's own clock."""
    run = client.pyflyte(
        "run", "--remote", "--wait", "--poll-interval=1", f"--project={PROJECT}", "--domain=development",
        f"--name={name}", "proof.py", "answer", "--number=21",
    )  # fmt: skip
    if run.returncode:
        raise RuntimeError(f"The workflow {name} failed: {run.stdout}{run.stderr}")
    shown = client.python("executions.py", "show", PROJECT, name)
    return float(json.loads(shown.stdout)["seconds"])


def _by_hand(host: str, name: str) -> float:
    """Seconds from the first pod's request to the second pod's answer, with the limits that Flyte gave its pods."""
    pods = _on_host(host, f"k3s kubectl get pods --namespace={NAMESPACE} --selector=execution-id={name} --output=json")
    resources = json.loads(pods)["items"][0]["spec"]["containers"][0]["resources"]
    started = time.monotonic()
    doubled = _pod(host, f"{name}-1", "double(number=21)", resources)
    answer = _pod(host, f"{name}-2", f"describe(number={doubled})", resources)
    seconds = time.monotonic() - started
    if answer != "the answer is 42":
        raise RuntimeError(f"The pods {name}-1 and {name}-2 answered {answer!r}.")
    return seconds


def _pod(host: str, name: str, call: str, resources: dict[str, Any]) -> str:
    """What a function of proof.py answers in a pod of its own."""
    container = {
        "name": name,
        "image": load_pins()["images"]["flytekit"]["name"],
        "imagePullPolicy": "Never",
        "resources": resources,
        "command": ["sh", "-c", _CALL, "sh", (WORKFLOWS / "proof.py").read_text(), call],
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"restartPolicy": "Never", "containers": [container]},
    }
    return _on_host(host, _TO_THE_END, name, stdin=json.dumps(pod)).strip()


def _on_host(host: str, script: str, *arguments: str, stdin: str = "") -> str:
    """Run a shell script on a host."""
    command = ["podman", "exec", "--interactive", host, "sh", "-euc", script, *arguments]
    return subprocess.run(command, check=True, input=stdin, stdout=subprocess.PIPE, text=True).stdout
