# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is PRIVATE to the collection. It can change at any time.

"""Whether a Flyte 2 works for those who use it, row by row: by Connect, which is JSON over HTTP.

Sources: the answers of a Flyte 2.0.43 behind Traefik, call by call; the
Connect protocol (an error is a JSON object with a C(code)).
"""

from __future__ import annotations

import contextlib
import json
import typing as t
from urllib.parse import urlsplit

from ansible_collections.flyte.onprem.plugins.module_utils import _flyte, _reach
from ansible_collections.flyte.onprem.plugins.module_utils._checks import Check, Failed, Report, Skipped
from ansible_collections.flyte.onprem.plugins.module_utils._imports import GRPC, available

PROJECTS = "/flyteidl2.project.ProjectService/ListProjects"
CLUSTER = "/flyteidl2.cluster.ClusterService/SelectCluster"
RUNS = "/flyteidl2.workflow.RunService/ListRuns"
UPLOAD = "/flyteidl2.dataproxy.DataProxyService/CreateUploadLocation"
IDENTITY = "/flyteidl2.auth.IdentityService/UserInfo"

_NO_ROUTES = "ING-04"

Json = _flyte.Json


def probe_service(
    report: Report, target: _flyte.Target, *, http_port: int | None, grpc: bool, upload: bool, write: bool
) -> Check:
    """Add all rows about the address; the last one is that of the list of projects."""
    reached = _reach.reach(report, target.address, ids=_flyte.REACH, ca_file=target.ca_file, timeout=target.timeout)
    endpoint = {"endpoint": target.address.endpoint, "host": target.address.host}

    def projects() -> str:
        names = _flyte.project_names(_flyte.shaped(call(target, PROJECTS, {}).get("projects") or {}, dict))
        report.facts["projects"] = names
        if target.project not in names:
            raise Failed(f"no project {target.project}; there are: {', '.join(names) or 'none'}")
        return ", ".join(names)

    # It goes to the database, so it is Flyte 2's best proof of life; its health checks are not served to the outside.
    listed = report.check("FLYTE-17", projects, after=[reached], project=target.project)
    routed = report.check(_NO_ROUTES, lambda: _routes(target), after=[listed], **endpoint)
    report.check("FLYTE-27", lambda: _forwarded(target), after=[routed], **endpoint)
    _flyte.probe_redirect(report, target, http_port, after=reached)
    report.check("FLYTE-20", lambda: _grpc(target, wanted=grpc), after=[*_flyte.silence(report), listed], **endpoint)
    # It signs downloads of what a run made only.
    _flyte.probe_upload(report, target, wanted=upload, write=write, after=listed, locate=upload_location, find=None)
    return listed


def ask(target: _flyte.Target, path: str, body: Json) -> _flyte.Answer:
    return _flyte.ask(
        target,
        target.address,
        "POST",
        path,
        body=json.dumps(body).encode(),
        headers={"Accept": "application/json", "Content-Type": "application/json"},
    )


def call(target: _flyte.Target, path: str, body: Json) -> Json:
    """Call a method. Raises an outcome for what is not status 200."""
    found = ask(target, path, body)
    if found.status != 200:
        raise _flyte.refusal(found, path)
    return found.json()


def upload_location(target: _flyte.Target, digest: str) -> Json:
    """Ask Flyte 2 where to upload to."""
    return call(
        target,
        UPLOAD,
        {
            "project": target.project,
            "domain": target.domain,
            "filename": _flyte.UPLOAD_NAME,
            "contentMd5": digest,
        },
    )


def _routes(target: _flyte.Target) -> str:
    """That the ingress routes each of Flyte's services, whatever the service itself answers."""
    bodies: t.Mapping[str, Json] = {
        CLUSTER: {},
        RUNS: {"projectId": {"name": target.project, "domain": target.domain}},
        UPLOAD: {},
        IDENTITY: {},
    }
    missing = [path for path, body in bodies.items() if not _is_flytes(ask(target, path, body))]
    if missing:
        raise Failed(f"404 for {', '.join(missing)}")
    return f"{len(bodies) + 1} services"


def _is_flytes(answer: _flyte.Answer) -> bool:
    """Whether a 404 is Flyte's own word, which has a code, and not the ingress controller's."""
    if answer.status != 404:
        return True
    try:
        return "code" in json.loads(answer.body)
    except (ValueError, TypeError, RecursionError):
        return False


def _forwarded(target: _flyte.Target) -> str:
    """That Flyte knows the address by which it was asked, which it hands to clients as that of the cluster."""
    told = str(call(target, CLUSTER, {}).get("clusterEndpoint", ""))
    with contextlib.suppress(ValueError):
        parts = urlsplit(told)
        if (parts.scheme, parts.hostname) == (target.address.scheme, target.address.host):
            return told
    raise Failed(f"Flyte takes its address for {told or 'none'}")


def _grpc(target: _flyte.Target, *, wanted: bool) -> str:
    if not wanted:
        raise Skipped("not asked for")
    if not available(GRPC):
        raise Skipped("the Python library grpcio is not installed")
    if not target.address.tls:
        raise Skipped("the address is not https; clients speak gRPC over TLS")
    _flyte.grpc_call(target, PROJECTS)
    return "ListProjects answers over gRPC"
