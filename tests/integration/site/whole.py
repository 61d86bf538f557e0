# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A finished site, asked for its proof and changed by its administrator."""

from __future__ import annotations

import copy
import json
import subprocess
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import urllib3
from minio import MinioAdmin
from minio.credentials import StaticProvider
from support.flyte import wait_for
from support.leaks import shown
from support.modules import Result, run_module

from ansible_collections.flyte.onprem.plugins.module_utils._checks import Outcome
from ansible_collections.flyte.onprem.plugins.module_utils._flyte import Target, call
from ansible_collections.flyte.onprem.plugins.module_utils._reach import parse_url
from ansible_collections.flyte.onprem.plugins.module_utils._resolve import pinned
from ansible_collections.flyte.onprem.plugins.modules.flyte_workflow_check import main

from .conftest import CANARIES, Box

URL = "https://flyte.test"
PROJECT = "flyte-verify"
NAMESPACE = f"{PROJECT}-development"
IMAGE = "cr.flyte.org/flyteorg/flytekit:py3.11-1.16.31"
SECRET, TEMPLATE, RELEASE = "flyte-task-s3", "flyte-task", "flyte-binary"

Json = dict[str, Any]


@dataclass
class Site:
    """A finished site, as its administrator and as the check see it."""

    box: Box

    @property
    def addresses(self) -> dict[str, str]:
        return dict.fromkeys(("flyte.test", "s3.flyte.test"), self.box.address)

    @property
    def ca_file(self) -> str:
        return str(self.box.site_directory / "ca.crt")

    def check(self, **options: Any) -> Result:
        arguments = {
            "url": URL,
            "ca_file": self.ca_file,
            "resolve": self.addresses,
            "image": IMAGE,
            "kubeconfig": str(self.box.site_directory / "kubeconfig"),
            "release": RELEASE,
            "task_secret": SECRET,
            "task_template": TEMPLATE,
            "run_timeout": 150,
            **options,
        }
        result = run_module(main, arguments)
        assert shown(result.output, CANARIES) == {}
        return result

    def ask(self, method: str, path: str, body: Json | None = None) -> None:
        """Ask Flyte through the ingress; raises C(Outcome) where it does not do it."""
        target = Target(address=parse_url(URL), ca_file=self.ca_file, timeout=10, project=PROJECT, domain="development")
        with pinned(self.addresses):
            call(target, method, path, body=body)

    def answers(self) -> bool:
        try:
            self.ask("GET", "/api/v1/version")
        except Outcome:
            return False
        return True

    def kubectl(self, *arguments: str, given: Json | None = None) -> str:
        """Run kubectl on the host; it must succeed."""
        command = ["podman", "exec", "-i", self.box.name, "k3s", "kubectl", "--cache-dir=/run/kubectl", *arguments]
        document = json.dumps(given) if given else None
        done = subprocess.run(command, input=document, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def get(self, kind: str, name: str, *, namespace: str = NAMESPACE) -> Json:
        return dict(json.loads(self.kubectl("-n", namespace, "get", kind, name, "-o", "json")))

    def replace(self, found: Json) -> None:
        """Put an object back as it was, or as a test wants it."""
        wanted = copy.deepcopy(found)
        for key in ("resourceVersion", "uid", "creationTimestamp", "generation", "managedFields"):
            wanted["metadata"].pop(key, None)
        self.kubectl("replace", "--force", "-f", "-", given=wanted)

    def restart(self, deployment: str, *, namespace: str) -> None:
        self.kubectl("-n", namespace, "rollout", "restart", f"deployment/{deployment}")
        self.kubectl("-n", namespace, "rollout", "status", f"deployment/{deployment}", "--timeout=180s")
        # A rollout is over before the pods that it replaced are: until then they may still answer.
        labels = self.get("deployment", deployment, namespace=namespace)["spec"]["selector"]["matchLabels"]
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        pods = ("-n", namespace, "get", "pods", "-l", selector, "-o", "json")
        wait_for(lambda: "deletionTimestamp" not in self.kubectl(*pods), what=f"the end of {deployment}", seconds=60)

    @cached_property
    def minio(self) -> MinioAdmin:
        """The object store's administrator."""
        certificates = urllib3.PoolManager(ca_certs=self.ca_file)
        keys = StaticProvider("admin-site", CANARIES["site_minio_root_password"])
        return MinioAdmin(endpoint=f"{self.box.address}:9000", credentials=keys, http_client=certificates)
