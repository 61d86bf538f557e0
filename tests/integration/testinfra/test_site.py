# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A finished site, through its users' doors."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import grpc
import pytest
from testinfra.host import Host

from .conftest import DOMAINS, Request, Site

testinfra_hosts = ["ansible://k3s_servers"]

MIB = 1024 * 1024


def test_health_is_answered_over_verified_tls(site: Site, request_url: Request) -> None:
    assert request_url(f"{site.url}/healthcheck").status == 200


def test_the_seeded_project_is_listed(site: Site, request_url: Request) -> None:
    answer = request_url(f"{site.url}/api/v1/projects")
    assert "flytesnacks" in [project["id"] for project in answer.json()["projects"]]


def test_plain_http_is_sent_to_https(site: Site, request_url: Request) -> None:
    answer = request_url(f"http://{site.domain}:{site.http_port}/console")
    assert answer.status in (301, 302, 307, 308)
    port = "" if site.https_port == 443 else f":{site.https_port}"
    assert answer.headers["Location"] in (f"https://{site.domain}{port}/console", f"{site.url}/console")


# The published image carries no version either ("unknown"); that the call is answered is what counts.
def test_grpc_answers_the_version(channel: grpc.Channel) -> None:
    get_version = channel.unary_unary("/flyteidl.service.AdminService/GetVersion")
    assert get_version(b"", timeout=30).startswith(b"\n")  # GetVersionResponse{control_plane_version: ...}


def test_grpc_health_is_serving(channel: grpc.Channel) -> None:
    check = channel.unary_unary("/grpc.health.v1.Health/Check")
    assert check(b"", timeout=30) == b"\x08\x01"  # HealthCheckResponse{status: SERVING}


def test_a_signed_url_takes_five_mebibytes(site: Site, request_url: Request, s3: Any) -> None:
    content = hashlib.sha256(str(time.time_ns()).encode()).digest() * (5 * MIB // 32)
    digest = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
    body = {"project": "flytesnacks", "domain": "development", "filename": "upload.bin", "content_md5": digest}
    location = request_url(
        f"{site.url}/api/v1/dataproxy/artifact_urn",
        method="POST",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    ).json()
    signed = location.get("signed_url") or location["signedUrl"]
    assert signed.startswith(f"https://{site.s3_domain}:{site.s3_port}/")
    assert request_url(signed, method="PUT", data=content, headers={"Content-MD5": digest}).status == 200

    native = location.get("native_url") or location["nativeUrl"]
    bucket, key = native.removeprefix("s3://").split("/", 1)
    assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == content
    s3.delete_object(Bucket=bucket, Key=key)


def answers(address: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex((address, port)) == 0


def test_only_the_documented_ports_answer_from_outside(host: Host, site: Site, kubectl: Callable[..., Any]) -> None:
    # Node ports are opened by packet filter rules, so nothing listens on them.
    services = kubectl("get", "service", "-A", "-o", "json")["items"]
    node_ports = {port["nodePort"] for service in services for port in service["spec"]["ports"] if "nodePort" in port}
    listening = host.check_output("ss -Hltn | awk '{print $4}' | grep -v '^127\\.' | sed 's/.*://' | sort -un")
    candidates = {int(port) for port in listening.split()} | node_ports
    candidates |= {5432, 10250, 10256, 2379, site.https_port, site.http_port}
    wanted = {site.https_port, site.http_port, site.s3_port, 6443}
    assert {port for port in candidates if answers(site.address, port)} == wanted


def test_postgresql_answers_pods_by_name(site: Site, kubectl: Callable[..., Any]) -> None:
    name = f"reach-{time.time_ns()}"
    image = "docker.io/library/postgres:15-alpine"
    # Not attached to it: what a pod says that ends at once is lost now and then.
    kubectl(
        "run", name, "-n", "flyte", "--image", image, "--image-pull-policy=Never", "--restart=Never",
        "--command", "--", "pg_isready", "-h", site.database_domain, "-p", "5432", "-U", "flyte",
    )  # fmt: skip
    kubectl("wait", f"pod/{name}", "-n", "flyte", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
    assert "accepting connections" in kubectl("logs", name, "-n", "flyte")
    kubectl("delete", "pod", name, "-n", "flyte")


@pytest.mark.parametrize("project", ["flytesnacks", "later"])
def test_every_project_namespace_has_keys_authority_and_template(
    project: str, site: Site, make_project: Callable[[str], set[str]], kubectl: Callable[..., Any]
) -> None:
    assert make_project(project) == {f"{project}-{domain}" for domain in DOMAINS}
    secret = kubectl("get", "secret", "flyte-task-s3", "-n", f"{project}-development", "-o", "json")
    key = base64.b64decode(secret["data"]["FLYTE_AWS_SECRET_ACCESS_KEY"]).decode()
    assert key == site.secret("object_store_secret_key")


def test_no_configmap_holds_a_secret(site: Site, kubectl: Callable[..., Any]) -> None:
    text = kubectl("get", "configmap", "-A", "-o", "yaml")
    assert [name for name, value in site.secrets.items() if value in text] == []


def test_helm_keeps_no_secret(site: Site, kubectl: Callable[..., Any]) -> None:
    releases = kubectl("get", "secret", "-A", "-l", "owner=helm", "-o", "json")["items"]
    assert releases
    for release in releases:
        text = gzip.decompress(base64.b64decode(base64.b64decode(release["data"]["release"]))).decode()
        assert [name for name, value in site.secrets.items() if value in text] == []


# Prints the files that hold a line of PATTERNS and that others can read, on all mounts. Images and what containers see
# of them are left out: they hold what was published. A path below a directory that others cannot enter is closed.
OPEN_FILES = """
find / '(' -path /proc -o -path /sys -o -path '/run/k3s/containerd/*/rootfs' \\
    -o -path /var/lib/rancher/k3s/agent/images -o -path '*/io.containerd.content.*' \\
    -o -path '*/io.containerd.snapshotter.*' ')' -prune -o -type f -perm /044 -print0 \\
    | LC_ALL=C xargs -0 grep -lsFf PATTERNS | while IFS= read -r path; do
    runuser -u nobody -- test -r "$path" && echo "$path"
done
"""


def files_open_to_others(host: Host, secrets: Iterable[str]) -> set[str]:
    """Files of the host that hold one of these and that any user can read."""
    # The first and last lines of a key in PEM stand in programs, too, and what is short stands anywhere.
    lines = [line for secret in secrets for line in secret.splitlines() if len(line) >= 16 and line[0] != "-"]
    patterns = host.check_output("umask 077; mktemp /run/patterns.XXXXXX")
    try:
        host.check_output(f"printf '%%s\\n' {' '.join('%s' for _ in lines)} > {patterns}", *lines)
        found = host.run("timeout 300 sh -c %s", OPEN_FILES.replace("PATTERNS", patterns))
        assert found.rc != 124, "the search was not done in five minutes"
        return set(found.stdout.splitlines())
    finally:
        host.run("rm -f %s", patterns)


@pytest.fixture
def canary_files(host: Host) -> Iterator[tuple[str, set[str]]]:
    """A value, and the files that hold it open to others: on the data's volume, on the system, and a large log."""
    canary = f"canary-{time.time_ns()}"
    small, large = f"/var/lib/rancher/{canary}", f"/var/log/{canary}.log"
    host.check_output(f"umask 022; echo {canary} > {small}; head -c 9000000 /dev/zero | tr '\\0' '\\n' > {large}")
    host.check_output(f"echo {canary} >> {large}; mkdir -m 0700 {small}.d; cp {small} {small}.d/closed")
    yield canary, {small, large}
    host.check_output(f"rm -r {small} {large} {small}.d")


def test_no_file_that_others_can_read_holds_a_secret(
    host: Host, site: Site, canary_files: tuple[str, set[str]]
) -> None:
    canary, planted = canary_files
    assert files_open_to_others(host, [canary, *site.secrets.values()]) == planted


def test_no_process_shows_a_secret(host: Host, site: Site) -> None:
    arguments = host.check_output("cat /proc/[0-9]*/cmdline | tr '\\0' '\\n'")
    assert [name for name, value in site.secrets.items() if value in arguments] == []


def test_the_client_configuration_trusts_the_authority(site: Site) -> None:
    text = (site.directory / "client" / "config.yaml").read_text()
    assert f"dns:///{site.domain}:{site.https_port}" in text or f"dns:///{site.domain}\n" in text
    assert str(site.directory / "ca.crt") in text
    assert "insecureSkipVerify" not in text
