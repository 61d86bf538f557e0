# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What check mode tells of a cluster in which the control node is a pod, by a played API."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from support.kubernetes_api import TOKEN, kubernetes_api, named
from support.pki import Authority

from .conftest import ROOT, run_ansible

NAMESPACES: dict[str, Any] = {"name": "namespaces", "kind": "Namespace", "namespaced": False, "verbs": ["get"]}
API = {
    "/version": {"major": "1", "minor": "36", "gitVersion": "v1.36.4"},
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {"kind": "APIGroupList", "groups": []},
    "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": [NAMESPACES]},
}


FLYTE: dict[str, Any] = {"apiVersion": "v1", "kind": "Namespace"} | named("flyte", metadata={"labels": {"a": "b"}})


@pytest.mark.parametrize(
    ("answers", "changed"),
    # The kubeconfig is one change, and a namespace that is not there the other one.
    [({"POST /api/v1/namespaces": (201, FLYTE)}, 2), ({"/api/v1/namespaces/flyte": FLYTE}, 1)],
    ids=["none", "made"],
)
def test_check_mode_tells_of_namespaces_before_a_pod_has_its_kubeconfig(
    tmp_path: Path, answers: dict[str, Any], changed: int
) -> None:
    authority = Authority(tmp_path)
    authority.certificate.rename(tmp_path / "ca.crt")
    (tmp_path / "token").write_text(TOKEN)
    variables = {
        "__existing_cluster_account": str(tmp_path),
        "existing_cluster_in_cluster": True,
        "existing_cluster_kubeconfig": str(tmp_path / "kubeconfig"),
        "existing_cluster_context": "in-cluster",
        "existing_cluster_namespaces": [{"name": "flyte", "labels": {"a": "b"}}],
    }
    role = {"name": "flyte.onprem.existing_cluster"}
    tasks = [{"ansible.builtin.import_role": {**role, "tasks_from": part}} for part in ("install", "configure")]
    (tmp_path / "playbook.yml").write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    run = run_ansible(Path(sys.executable).parent, ROOT / ".collections", tmp_path)
    options = ["--inventory=control,", "--check", f"--extra-vars={json.dumps(variables)}"]
    with kubernetes_api(API | answers, tls=authority.issue("127.0.0.1")) as api:
        pod = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(urlsplit(api.server).port)}
        output = run("ansible-playbook", *options, "playbook.yml", **pod).stdout
    assert re.findall(r"changed=(\d+)", output) == [str(changed)], output
    asked = zip(api.asked, api.queries, strict=True)
    assert {query for call, query in asked if not call.startswith("GET ")} <= {"dryRun=All"}
    assert not (tmp_path / "kubeconfig").exists()
