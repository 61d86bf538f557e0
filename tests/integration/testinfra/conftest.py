# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The doors of a site, for tests: kubectl, SQL, HTTPS, gRPC and S3, as a user comes in.

Runs against a Molecule scenario, and as well against a live site:
``pytest --ansible-inventory=INVENTORY tests/integration/testinfra``.
"""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import grpc
import pytest
from testbed.builder.client import Client
from testinfra.host import Host

WORKFLOWS = Path(__file__).parents[2] / "support" / "workflows"
DOMAINS = ("development", "staging", "production")


@dataclass(frozen=True)
class Site:
    """Where one site is and where its files lie on the control node."""

    domain: str
    s3_domain: str
    database_domain: str
    address: str
    directory: Path
    https_port: int
    http_port: int
    s3_port: int

    @property
    def url(self) -> str:
        """Address that a user types."""
        return f"https://{self.domain}:{self.https_port}"

    def secret(self, name: str) -> str:
        """Return one of the site's generated secrets."""
        return (self.directory / "secrets" / name).read_text().strip()

    @property
    def secrets(self) -> dict[str, str]:
        """Every generated secret by name."""
        return {path.name: path.read_text().strip() for path in (self.directory / "secrets").iterdir()}


def from_inventory(host: Host, *expressions: str) -> list[str]:
    """Work out expressions over the host's variables as Ansible does."""
    text = "|".join(f"{{{{ {expression} }}}}" for expression in expressions)
    return str(host.ansible("debug", f'msg="{text}"')["msg"]).split("|")


@pytest.fixture(scope="module")
def site(host: Host) -> Site:
    """The site under test, read from its inventory."""
    domain, s3_domain, database_domain, directory, https_port, http_port, s3_port = from_inventory(
        host,
        "site_domain",
        "site_s3_domain | default('s3.' ~ site_domain)",
        "site_database_domain | default('postgresql.' ~ site_domain)",
        "site_directory | default(inventory_dir ~ '/.flyte/' ~ site_name | default('site'))",
        "site_https_port | default(443)",
        "site_http_port | default(80)",
        "site_s3_port | default(9000)",
    )
    return Site(
        domain=domain,
        s3_domain=s3_domain,
        database_domain=database_domain,
        address=host.check_output("ip -4 route get 192.0.2.1 | sed -n 's/.* src \\([0-9.]*\\).*/\\1/p'"),
        directory=Path(directory),
        https_port=int(https_port),
        http_port=int(http_port),
        s3_port=int(s3_port),
    )


@pytest.fixture(autouse=True)
def names(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Resolve the site's names here as its DNS would, without touching /etc/hosts."""
    ours = {site.domain, site.s3_domain, site.database_domain}
    original = socket.getaddrinfo

    def getaddrinfo(name: Any, *args: Any, **kwargs: Any) -> Any:
        return original(site.address if name in ours else name, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.fixture
def tls(site: Site) -> ssl.SSLContext:
    """A client that trusts the site's authority and nothing else."""
    return ssl.create_default_context(cafile=str(site.directory / "ca.crt"))


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Shows a redirect instead of following it."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Follow nothing."""
        return


@dataclass(frozen=True)
class Answer:
    """What an HTTP server said."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Parse the body."""
        return json.loads(self.body)


Request = Callable[..., Answer]


@pytest.fixture
def request_url(tls: ssl.SSLContext) -> Request:
    """Send one HTTP request; an error status is an answer, not an exception."""
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=tls), NoRedirect())

    def send(
        url: str, *, method: str = "GET", data: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        request = urllib.request.Request(url, data=data, method=method, headers=headers or {})
        try:
            with opener.open(request, timeout=60) as response:
                return Answer(response.status, dict(response.headers), response.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, dict(error.headers), error.read())

    return send


@pytest.fixture
def channel(site: Site) -> Iterator[grpc.Channel]:
    """A gRPC channel through the ingress with the certificate verified for the site's name."""
    credentials = grpc.ssl_channel_credentials((site.directory / "ca.crt").read_bytes())
    options = [
        ("grpc.ssl_target_name_override", site.domain),
        ("grpc.default_authority", f"{site.domain}:{site.https_port}"),
    ]
    with grpc.secure_channel(f"ipv4:{site.address}:{site.https_port}", credentials, options=options) as opened:
        yield opened


@pytest.fixture
def s3(site: Site) -> Any:
    """An S3 client with the very keys that Flyte uses."""
    return boto3.client(
        "s3",
        endpoint_url=f"https://{site.s3_domain}:{site.s3_port}",
        region_name="us-east-1",
        aws_access_key_id="flyte",
        aws_secret_access_key=site.secret("object_store_secret_key"),
        verify=str(site.directory / "ca.crt"),
    )


@pytest.fixture
def kubectl(host: Host) -> Callable[..., Any]:
    """Run kubectl on the server; ``-o json`` is parsed."""

    def run(*arguments: str) -> Any:
        command = host.run("k3s kubectl " + " ".join("%s" for _ in arguments), *arguments)
        assert command.succeeded, f"kubectl {' '.join(arguments)}: {command.stderr}"
        return json.loads(command.stdout) if "json" in arguments else command.stdout.strip()

    return run


@pytest.fixture(scope="module")
def client(site: Site) -> Client:
    """A user's machine with the files that the site hands out, as docs/clients.md has it."""
    return Client(
        configuration=site.directory / "client" / "config.yaml",
        authority=site.directory / "ca.crt",
        folder=WORKFLOWS,
        names={site.domain: site.address, site.s3_domain: site.address},
    )


@dataclass(frozen=True)
class Execution:
    """An execution as its user saw it: what pyflyte said of it, and what the API answers afterwards."""

    project: str
    name: str
    said: subprocess.CompletedProcess[str]
    phase: str
    error: str
    outputs: dict[str, Any]
    seconds: float
    listed: bool


RunWorkflow = Callable[..., Execution]


@pytest.fixture(scope="module")
def run_workflow(client: Client) -> RunWorkflow:
    """Run a workflow of proof.py to its end: ``run_workflow("answer", 21, project="flytesnacks")``."""

    def run(workflow: str, number: int, project: str = "flytesnacks") -> Execution:
        name = f"t{uuid.uuid4().hex[:10]}"
        said = client.pyflyte(
            "run", "--remote", "--wait", "--poll-interval=1", f"--project={project}", "--domain=development",
            f"--name={name}", "proof.py", workflow, f"--number={number}",
        )  # fmt: skip
        shown = client.python("executions.py", "show", project, name)
        assert shown.returncode == 0, f"pyflyte said: {said.stdout}{said.stderr}\nthe API: {shown.stdout}{shown.stderr}"
        return Execution(project=project, name=name, said=said, **json.loads(shown.stdout))

    return run


@pytest.fixture
def make_project(site: Site, request_url: Request, kubectl: Callable[..., Any]) -> Callable[[str], set[str]]:
    """Make a project by the API unless it is there; answers its namespaces that have all that tasks need, in time."""

    def complete(namespace: str) -> bool:
        wanted = {"secret/flyte-task-s3", "configmap/site-ca", "podtemplate/flyte-task"}
        kinds = "secret,configmap,podtemplate"
        found = kubectl("get", kinds, "-n", namespace, "--ignore-not-found", "-o", "name").split()
        return wanted <= set(found)

    def make(project: str) -> set[str]:
        body = json.dumps({"project": {"id": project, "name": project}}).encode()
        headers = {"Content-Type": "application/json"}
        made = request_url(f"{site.url}/api/v1/projects", method="POST", data=body, headers=headers)
        assert made.status in (200, 409)
        namespaces = {f"{project}-{domain}" for domain in DOMAINS}
        deadline = time.monotonic() + 120
        while (ready := {name for name in namespaces if complete(name)}) != namespaces and time.monotonic() < deadline:
            time.sleep(2)
        return ready

    return make


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Reboot after everything else, so that what ran before is there to come back."""
    items.sort(key=lambda item: item.path.name == "test_reboot.py")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Show what the host says of itself when a test fails."""
    outcome = yield
    report = outcome.get_result()
    host = getattr(item, "funcargs", {}).get("host")
    if report.when == "call" and report.failed and host is not None:
        report.sections.append(("pods", host.run("k3s kubectl get pods -A -o wide").stdout))
        report.sections.append(("journal", host.run("journalctl -n 60 --no-pager -p warning").stdout))
