# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The chart that stands in for Flyte's renders what the roles rely on.

What is expected here was taken from the published chart flyte-binary v1.16.8; tests/testbed/flyte/compare.py compares
everything, for who has that chart.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

CHART = Path(__file__).parents[2] / "testbed" / "flyte" / "chart"
CACHE = Path(os.environ.get("FLYTE_ONPREM_CACHE", Path.home() / ".cache" / "flyte-onprem"))
SITE: dict[str, Any] = {
    "fullnameOverride": "flyte-binary",
    "configuration": {
        "database": {
            "host": "db.example.com",
            "username": "flyte",
            "passwordPath": "/etc/flyte/db/password",
            "options": "sslmode=verify-full",
        },
        "storage": {
            "metadataContainer": "flyte-meta",
            "userDataContainer": "flyte-data",
            "providerConfig": {"s3": {"endpoint": "https://s3.example.com", "authType": "iam"}},
        },
        "inlineSecretRef": "flyte-inline",
        "inline": {"storage": {"enable-multicontainer": True}},
    },
    "ingress": {"create": True, "host": "flyte.example.com", "ingressClassName": "traefik"},
}


@pytest.fixture(scope="module")
def helm() -> str:
    built = sorted(CACHE.glob("artefacts/*/*/helm")) + sorted(CACHE.glob("bundle/*/helm/*/helm"))
    program = str(built[-1]) if built else shutil.which("helm")
    if program is None:
        pytest.skip(f"no helm in {CACHE} (make the bundle) nor on PATH")
    return program


def render(helm: str, values: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [helm, "template", "flyte-binary", str(CHART), "--namespace", "flyte", "--values", "-"],
        input=yaml.safe_dump(values),
        capture_output=True,
        text=True,
        check=False,
    )


def objects(helm: str, values: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    run = render(helm, values)
    assert run.returncode == 0, run.stderr
    return {(o["kind"], o["metadata"]["name"]): o for o in yaml.safe_load_all(run.stdout) if o}


def configuration(site: dict[tuple[str, str], dict[str, Any]], name: str) -> Any:
    return yaml.safe_load(site["ConfigMap", "flyte-binary-config"]["data"][name])


def test_names_of_all_objects(helm: str) -> None:
    assert set(objects(helm, SITE)) == {
        ("ServiceAccount", "flyte-binary"),
        ("ClusterRole", "flyte-binary-cluster-role"),
        ("ClusterRoleBinding", "flyte-binary-cluster-role-binding"),
        ("ConfigMap", "flyte-binary-config"),
        ("ConfigMap", "flyte-binary-cluster-resource-templates"),
        ("Secret", "flyte-binary-config-secret"),
        ("Service", "flyte-binary-http"),
        ("Service", "flyte-binary-grpc"),
        ("Service", "flyte-binary-webhook"),
        ("Deployment", "flyte-binary"),
        ("Ingress", "flyte-binary-http"),
        ("Ingress", "flyte-binary-grpc"),
    }


@pytest.mark.parametrize(
    ("service", "port", "target"), [("http", 8088, "http"), ("grpc", 8089, "grpc"), ("webhook", 443, "webhook")]
)
def test_ports_of_services(helm: str, service: str, port: int, target: str) -> None:
    spec = objects(helm, SITE)["Service", f"flyte-binary-{service}"]["spec"]
    assert [(p["name"], p["port"], p["targetPort"]) for p in spec["ports"]] == [(service, port, target)]


def test_server_container(helm: str) -> None:
    spec = objects(helm, SITE)["Deployment", "flyte-binary"]["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert container["image"] == "cr.flyte.org/flyteorg/flyte-binary-release:v1.16.8"
    assert container["args"] == ["start", "--config", "/etc/flyte/config.d/*.yaml"]
    assert {p["name"]: p["containerPort"] for p in container["ports"]} == {"http": 8088, "grpc": 8089, "webhook": 9443}
    assert [c["name"] for c in spec["initContainers"]] == ["wait-for-db"]
    sources = next(v for v in spec["volumes"] if v["name"] == "config")["projected"]["sources"]
    assert sources == [
        {"configMap": {"name": "flyte-binary-config"}},
        {"secret": {"name": "flyte-binary-config-secret"}},
        {"secret": {"name": "flyte-inline"}},
    ]


def test_configuration_files_and_their_keys(helm: str) -> None:
    site = objects(helm, SITE)
    assert sorted(site["ConfigMap", "flyte-binary-config"]["data"]) == [
        "000-core.yaml",
        "001-plugins.yaml",
        "002-database.yaml",
        "003-storage.yaml",
        "100-inline-config.yaml",
    ]
    core = configuration(site, "000-core.yaml")
    assert core["webhook"]["secretName"] == "flyte-binary-webhook-secret"
    assert core["propeller"] == {"create-flyteworkflow-crd": True}
    assert configuration(site, "002-database.yaml")["database"]["postgres"] == {
        "host": "db.example.com",
        "port": 5432,
        "dbname": "flyte",
        "username": "flyte",
        "options": "sslmode=verify-full",
        "passwordPath": "/etc/flyte/db/password",
    }
    storage = configuration(site, "003-storage.yaml")
    assert storage["propeller"]["rawoutput-prefix"] == "s3://flyte-data/data"
    assert storage["storage"]["container"] == "flyte-meta"
    assert storage["storage"]["stow"]["config"]["auth_type"] == "iam"


def test_the_users_own_templates_replace_the_namespace_template(helm: str) -> None:
    name = ("ConfigMap", "flyte-binary-cluster-resource-templates")
    assert set(objects(helm, {"fullnameOverride": "flyte-binary"})[name]["data"]) == {"namespace.yaml"}
    own = {"fullnameOverride": "flyte-binary", "clusterResourceTemplates": {"inline": {"010.yaml": "x: {{ key }}"}}}
    assert objects(helm, own)[name]["data"] == {"010.yaml": "x: {{ key }}"}


def test_keys_in_values_end_in_the_release(helm: str) -> None:
    """Why the roles use authType iam with a Secret of their own."""
    keys = {"authType": "accesskey", "accessKey": "id", "secretKey": "canary"}
    site = objects(helm, {"configuration": {"storage": {"providerConfig": {"s3": keys}}}})
    assert "canary" in site["Secret", "flyte-binary-config-secret"]["stringData"]["013-storage-secrets.yaml"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"configuration": {"storage": {"providerConfig": {"s3": {"authType": "accesskey"}}}}},
            "accessKey is required",
        ),
        ({"configuration": {"storage": {"provider": "minio"}}}, "s3, gcs or azure, not minio"),
        ({"configuration": {"auth": {"enabled": True}}}, "is required with auth.enabled"),
        ({"deployment": {"image": {"registry": "x"}}}, "additional properties 'registry' not allowed"),
        ({"ingress": {"className": "traefik"}}, "additional properties 'className' not allowed"),
    ],
)
def test_values_that_fail(helm: str, values: dict[str, Any], said: str) -> None:
    run = render(helm, values)
    assert run.returncode != 0
    assert said in run.stderr
