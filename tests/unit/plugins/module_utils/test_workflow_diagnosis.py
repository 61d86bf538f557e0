# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Causes by what was said: logs of flytekit 1.16.31 against each fault, texts of Flyte 1.16.8 and of the kubelet."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.flyte.onprem.plugins.module_utils._catalogue import CATALOGUE
from ansible_collections.flyte.onprem.plugins.module_utils._workflow_diagnosis import (
    LONGEST,
    OWN_ERROR,
    Evidence,
    diagnose,
    full_name,
    more_than_limited,
    plain,
    post_mortem,
)

# The ends of logs, as flytekit's frames of 80 columns break them.
DOWNLOAD = """\
│ ❱ 645 │   │   │   raise FlyteDownloadDataException(                          │
╰──────────────────────────────────────────────────────────────────────────────╯
FlyteDownloadDataException: SYSTEM:DownloadDataError: error=Failed to get data
from s3://flyte-metadata/x/code.tar.gz to ./ (recursive=False).

Original exception: """
NAME = """\
ClientConnectorDNSError: Cannot connect to host s3.flyte.test:9000
ssl:default [Name or service not known]

During handling of the above exception, another exception occurred:
EndpointConnectionError: Could not connect to the endpoint URL:
"https://s3.flyte.test:9000/flyte-metadata?list-type=2&prefix=x%2Fcode.tar.gz
%2F&delimiter=%2F&encoding-type=url"
"""
REFUSED = """\
ClientConnectorError: Cannot connect to host s3.flyte.test:9000 ssl:default [Connect
call failed ('10.0.0.4', 9000)]
EndpointConnectionError: Could not connect to the endpoint URL:
"https://s3.flyte.test:9000/flyte-metadata?list-type=2&prefix=x%2Fcode.tar.gz%2F&delimi
ter=%2F&encoding-type=url"
"""
UNTRUSTED = """\
Original exception: SSL validation failed for
https://s3.flyte.test:9000/flyte-metadata/x/code.tar.gz Cannot connect to host
s3.flyte.test:9000 ssl:True [SSLCertVerificationError: (1, '[SSL:
CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get local issuer certificate
(_ssl.c:1006)')]
"""
NO_AUTHORITY = "An HTTP Client raised an unhandled exception: [Errno 2] No such file or directory\n"
NO_KEYS = "NoCredentialsError: Unable to locate credentials\n"
LISTED = """\
ClientError: An error occurred ({code}) when calling the
ListObjectsV2 operation: {words}

The above exception was the direct cause of the following exception:
ClientError: An error occurred (403) when calling the HeadObject operation:
Forbidden
"""
UPLOAD = """\
ClientError: An error occurred (AccessDenied) when calling the PutObject
operation: Access Denied.
FlyteUploadDataException: SYSTEM:UploadDataError: error=Failed to put data from
/tmp/flyte/local_flytekit/engine_dir to s3://flyte-data/y/outputs.pb (recursive=False).
Original exception: Access Denied.
"""
DELETED = "An error occurred (AccessDenied) when calling the DeleteObjects operation: no. s3://flyte-data/raw/word"
LATE = 'ConnectTimeoutError: Connect timeout on endpoint URL: "https://s3.flyte.test:9000/flyte-metadata"'

# what it is, log of the task, id, words of what was seen
TASKS = [
    ("name unknown", NAME + DOWNLOAD, "FLYTE-80", "s3.flyte.test"),
    ("port closed", REFUSED + DOWNLOAD, "FLYTE-81", "Connect call failed"),
    ("packets lost", LATE, "FLYTE-81", "in time"),
    ("authority unknown", DOWNLOAD + UNTRUSTED, "FLYTE-78", "unable to get local issuer certificate"),
    ("authority missing", DOWNLOAD + NO_AUTHORITY, "FLYTE-78", "AWS_CA_BUNDLE"),
    ("no credentials", NO_KEYS + DOWNLOAD, "S3-02", "Unable to locate credentials"),
    ("unknown access key", LISTED.format(code="InvalidAccessKeyId", words="no."), "FLYTE-76", "InvalidAccessKeyId"),
    ("wrong secret key", LISTED.format(code="SignatureDoesNotMatch", words="no."), "FLYTE-76", "SignatureDoesNotMatch"),
    ("no right to list", LISTED.format(code="AccessDenied", words="Access Denied.") + DOWNLOAD, "S3-11", "ListObjects"),
    ("no right to write", UPLOAD, "S3-12", "PutObject"),
    ("no right to read", DOWNLOAD + "Forbidden", "S3-13", "403"),
    ("no right to delete", DELETED, "S3-14", "DeleteObjects"),
    ("no bucket", LISTED.format(code="NoSuchBucket", words="It is not there."), "S3-04", "NoSuchBucket"),
    ("clock wrong", LISTED.format(code="RequestTimeTooSkewed", words="no."), "S3-08", "RequestTimeTooSkewed"),
]


@pytest.mark.parametrize(("what", "log", "id", "words"), TASKS, ids=[row[0] for row in TASKS])
def test_a_tasks_log_tells_why_it_failed(what: str, log: str, id: str, words: str) -> None:
    found = post_mortem(Evidence(task=[log], flyte=["RetriesExhausted|Unknown: [1/1] currentAttempt done."]))
    assert found.id == id
    assert words in found.observed


@pytest.mark.parametrize(("log", "bucket"), [(UPLOAD, "flyte-data"), (DOWNLOAD + "Forbidden", "flyte-metadata")])
def test_a_refusal_names_the_bucket(log: str, bucket: str) -> None:
    found = post_mortem(Evidence(task=[log]))
    assert found.bucket == bucket


def test_an_unresolved_name_is_named() -> None:
    found = post_mortem(Evidence(task=[NAME]))
    assert found.host == "s3.flyte.test"


WEBHOOK = (
    "failed to create resource, caused by: [InternalError] Internal error occurred: failed calling webhook "
    '"flyte-pod-webhook.flyte.org": failed to call webhook: Post "https://{name}.{namespace}.svc:443/mutate--v1-pod/'
    'strategic-merge?timeout=10s": {why}'
)
QUOTA = (
    'pods "v1-n0-0" is forbidden: exceeded quota: project-quota, requested: limits.cpu={asked}, '
    "used: limits.cpu={used}, limited: limits.cpu={all}"
)
S3_WRITE = (
    "failed to write marshaled workflow [x] to storage s3://flyte-metadata/metadata/admin/x with err Failed to write "
    "data [1234b] to path [metadata/admin/x]. {why} and base container: s3://flyte-metadata"
)

# what it is, what Flyte says, id, words of what was seen, whether waiting is in vain
FLYTE = [
    ("webhook's service gone", WEBHOOK.format(name="old", namespace="old", why='service "old" not found'), "FLYTE-87",
     'service "old" not found', True),
    ("webhook silent", WEBHOOK.format(name="w", namespace="flyte", why="connect: connection refused"), "FLYTE-87",
     "connection refused", True),
    ("webhook says no", 'admission webhook "policy.example.com" denied the request: no label team', "FLYTE-87",
     "no label team", True),
    ("quota full", QUOTA.format(asked="500m", used="2", all="2"), "FLYTE-82", "project-quota", False),
    ("quota too small", QUOTA.format(asked="2", used="0", all="1"), "FLYTE-82", "project-quota", True),
    ("quota wants limits", 'pods "x" is forbidden: failed quota: q: must specify limits.memory for: v1-n0-0',
     "FLYTE-82", "must specify limits.memory", True),
    ("limit range", 'pods "x" is forbidden: maximum cpu usage per Container is 200m, but limit is 500m', "FLYTE-82",
     "200m", True),
    ("over the site's limits", "Requested CPU default [8] is greater than current limit set in the platform "
     "configuration [2]. Please contact Flyte Admins to change these limits", "FLYTE-84", "[8]", True),
    ("Flyte does not trust the store", S3_WRITE.format(why="RequestError: send request failed caused by: Put "
     ": tls: failed to verify certificate: x509: certificate signed by unknown authority"), "FLYTE-79", "x509", True),
    ("Flyte does not know the name",
     S3_WRITE.format(why="dial tcp: lookup s3.flyte.test on 10.43.0.10:53: no such host"),
     "FLYTE-80", "s3.flyte.test", True),
    ("store does not run", S3_WRITE.format(why="dial tcp 10.0.0.4:9000: connect: connection refused"), "FLYTE-81",
     "10.0.0.4", True),
    ("Flyte's key is wrong", S3_WRITE.format(why="SignatureDoesNotMatch: The signatures do not match.\n\t"
     "status code: 403, request id: 1"), "FLYTE-77", "SignatureDoesNotMatch", True),
    ("Flyte may not write", S3_WRITE.format(why="AccessDenied: Access Denied.\n\tstatus code: 403, request id: 1"),
     "S3-12", "AccessDenied", True),
    ("no bucket", S3_WRITE.format(why="NoSuchBucket: It does not exist\n\tstatus code: 404, request id: 1"),
     "S3-04", "NoSuchBucket", True),
    ("no namespace", 'failed to create workflow in propeller namespaces "verify-development" not found', "FLYTE-32",
     "verify-development", True),
    ("killed for memory", "OOMKilled: Pod failed. No message received from kubernetes.", "FLYTE-86", "OOMKilled", True),
    ("image, seen without the cluster", "[ContainersNotReady|ImagePullBackOff]: containers with unready status: [x]|"
     'Back-off pulling image "flytekit:1": ErrImagePull: not found', "FLYTE-70", "flytekit:1", True),
    ("no room, seen without the cluster", "Unschedulable:0/1 nodes are available: 1 Insufficient cpu.", "FLYTE-83",
     "Insufficient cpu", False),
    ("credentials, in the task's error", "RetriesExhausted|USER:Unknown: Unable to locate credentials",
     "S3-02", "Unable", True),
]  # fmt: skip


@pytest.mark.parametrize(("what", "text", "id", "words", "hopeless"), FLYTE, ids=[row[0] for row in FLYTE])
def test_what_flyte_says_tells_why_it_failed(what: str, text: str, id: str, words: str, hopeless: bool) -> None:
    found = diagnose(Evidence(flyte=[text]))
    assert found is not None
    assert (found.id, found.hopeless) == (id, hopeless)
    assert words in found.observed


def test_a_webhook_of_an_uninstalled_release_is_named() -> None:
    gone = WEBHOOK.format(name="old", namespace="old", why='service "old" not found')
    found = diagnose(Evidence(flyte=[gone], leftovers=["old-webhook (service old/old is gone)"]))
    assert found is not None
    assert found.id == "FLYTE-34"
    assert "old-webhook" in found.observed


def task_pod(
    waiting: dict[str, str] | None = None,
    *,
    ended: dict[str, Any] | None = None,
    phase: str = "Pending",
    policy: str = "IfNotPresent",
    limits: dict[str, str] | None = None,
    **status: Any,
) -> dict[str, Any]:
    state: dict[str, Any] = {"waiting": waiting} if waiting else {"terminated": ended} if ended else {"running": {}}
    container = {"name": "v1-n0-0", "image": "docker.io/library/flytekit:1", "imagePullPolicy": policy}
    return {
        "metadata": {"name": "v1-n0-0"},
        "spec": {"containers": [{**container, "resources": {"limits": limits or {}}}]},
        "status": {"phase": phase, "containerStatuses": [{"name": "v1-n0-0", "state": state}], **status},
    }


def warning(reason: str, message: str, *, about: str = "v1-n0-0") -> dict[str, Any]:
    return {"reason": reason, "message": message, "involvedObject": {"name": about}}


PULL = (
    'Failed to pull image "docker.io/library/flytekit:1": failed to pull and unpack image '
    '"docker.io/library/flytekit:1": failed to resolve reference "docker.io/library/flytekit:1": {why}'
)
# what it is, what the container runtime says, id
PULLS = [
    ("no such tag", PULL.format(why="docker.io/library/flytekit:1: not found"), "FLYTE-70"),
    ("no such repository", "manifest unknown: manifest unknown", "FLYTE-70"),
    ("no name server", PULL.format(why='failed to do request: Head "https://registry-1.docker.io/v2/library/flytekit/'
     'manifests/1": dial tcp: lookup registry-1.docker.io on 10.89.0.1:53: no such host'), "FLYTE-71"),
    ("no network", PULL.format(why="dial tcp 10.0.0.9:443: connect: network is unreachable"), "FLYTE-71"),
    ("firewall", PULL.format(why="dial tcp 10.0.0.9:443: i/o timeout"), "FLYTE-71"),
    ("login wanted", PULL.format(why="pull access denied, repository does not exist or may require authorization: "
     "server message: insufficient_scope: authorization failed"), "FLYTE-73"),
    ("wrong password", PULL.format(why="unexpected status from HEAD request to https://r/v2: 401 Unauthorized"),
     "FLYTE-73"),
    ("unknown authority", PULL.format(why="tls: failed to verify certificate: x509: certificate signed by unknown "
     "authority"), "FLYTE-74"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "message", "id"), PULLS, ids=[row[0] for row in PULLS])
@pytest.mark.parametrize("place", ["the container's state", "an event"])
def test_a_pull_that_fails_tells_what_is_missing(what: str, message: str, id: str, place: str) -> None:
    if place == "an event":
        pod = task_pod({"reason": "ImagePullBackOff", "message": "Back-off pulling image"})
        found = diagnose(Evidence(pods=[pod], events=[warning("Failed", message)]))
    else:
        found = diagnose(Evidence(pods=[task_pod({"reason": "ErrImagePull", "message": message})]))
    assert found is not None
    assert found.id == id
    assert "docker.io/library/flytekit:1" in found.observed


NODE = {"status": {"images": [{"names": ["docker.io/library/flytekit@sha256:0", "docker.io/library/flytekit:1"]}]}}


@pytest.mark.parametrize(("policy", "id"), [("Always", "FLYTE-72"), ("IfNotPresent", "FLYTE-71")])
def test_an_image_that_is_there_is_pulled_only_because_of_the_policy(policy: str, id: str) -> None:
    pod = task_pod({"reason": "ErrImagePull", "message": "lookup r on 1.1.1.1:53: no such host"}, policy=policy)
    found = diagnose(Evidence(pods=[pod], nodes=[NODE]))
    assert found is not None
    assert found.id == id


def test_the_policy_is_no_cause_where_the_image_is_not_on_the_node() -> None:
    pod = task_pod({"reason": "ErrImagePull", "message": "no such host"}, policy="Always")
    found = diagnose(Evidence(pods=[pod], nodes=[{"status": {"images": [{"names": ["docker.io/library/other:1"]}]}}]))
    assert found is not None
    assert found.id == "FLYTE-71"


@pytest.mark.parametrize(
    ("image", "full"),
    [
        ("postgres", "docker.io/library/postgres:latest"),
        ("flyteorg/flytekit:1", "docker.io/flyteorg/flytekit:1"),
        ("registry:5000/x", "registry:5000/x:latest"),
        ("localhost/x:1", "localhost/x:1"),
        ("cr.flyte.org/flyteorg/flytekit@sha256:0", "cr.flyte.org/flyteorg/flytekit@sha256:0"),
    ],
)
def test_an_image_has_one_full_name(image: str, full: str) -> None:
    assert full_name(image) == full


UNSCHEDULABLE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "1 taint"}
# what it is, the pod, its events, id
PODS = [
    ("no ConfigMap", task_pod({"reason": "CreateContainerConfigError", "message": 'configmap "x" not found'}), [],
     "FLYTE-75"),
    ("no volume", task_pod({"reason": "ContainerCreating"}), [warning("FailedMount", 'configmap "x" not found')],
     "FLYTE-75"),
    ("no room", task_pod({"reason": "ContainerCreating"}, conditions=[UNSCHEDULABLE]), [], "FLYTE-83"),
    ("killed", task_pod(ended={"exitCode": 137, "reason": "OOMKilled"}, phase="Failed", limits={"memory": "64Mi"}), [],
     "FLYTE-86"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "pod", "events", "id"), PODS, ids=[row[0] for row in PODS])
def test_a_pods_state_tells_why_it_does_not_run(
    what: str, pod: dict[str, Any], events: list[dict[str, Any]], id: str
) -> None:
    found = diagnose(Evidence(pods=[pod], events=events))
    assert found is not None
    assert found.id == id
    assert "v1-n0-0" in found.observed


def test_the_events_of_another_pod_are_not_taken_for_this_ones() -> None:
    pod = task_pod({"reason": "ContainerCreating"})
    assert diagnose(Evidence(pods=[pod], events=[warning("FailedMount", "not found", about="v2-n0-0")])) is None


@pytest.mark.parametrize(("taken_up", "id"), [(False, "FLYTE-88"), (True, ""), (None, "")])
def test_an_object_that_nobody_takes_up_means_that_the_controller_is_gone(taken_up: bool | None, id: str) -> None:
    found = diagnose(Evidence(taken_up=taken_up))
    assert (found.id if found else "") == id


@pytest.mark.parametrize(("reasons", "id"), [(["Pulling"], "FLYTE-60"), (["Pulling", "Pulled"], ""), ([], "")])
def test_an_image_that_is_still_on_its_way_is_waited_for(reasons: list[str], id: str) -> None:
    events = [warning(reason, "") for reason in reasons]
    found = diagnose(Evidence(pods=[task_pod({"reason": "ContainerCreating"})], events=events, taken_up=True))
    assert (found.id if found else "") == id
    assert found is None or not found.hopeless


@pytest.mark.parametrize(("cpu", "id"), [("100m", "FLYTE-85"), ("500m", ""), ("1", "")])
def test_a_task_that_still_runs_is_slow_only_with_little_cpu(cpu: str, id: str) -> None:
    found = diagnose(Evidence(pods=[task_pod(phase="Running", limits={"cpu": cpu})], taken_up=True))
    assert (found.id if found else "") == id
    assert found is None or not found.hopeless


def test_a_healthy_run_has_no_cause() -> None:
    assert diagnose(Evidence(flyte=["task submitted to K8s"], pods=[task_pod(phase="Running")], taken_up=True)) is None


def test_what_is_not_known_is_shown_whole() -> None:
    found = post_mortem(Evidence(flyte=["USER: the answer is 43"], task=["│ ValueError: the answer\nis 43 │"]))
    assert found.id == OWN_ERROR
    assert "USER: the answer is 43" in found.observed
    assert "ValueError: the answer is 43" in found.observed


def test_a_long_text_keeps_its_end() -> None:
    found = post_mortem(Evidence(flyte=["a" * 2 * LONGEST + " the reason"]))
    assert found.observed.endswith("the reason")
    assert len(found.observed) < LONGEST + 20


def test_an_end_without_a_word_is_told() -> None:
    found = post_mortem(Evidence())
    assert found.observed


def test_a_log_is_read_without_its_frames() -> None:
    assert plain("╭── x ──╮\n│ ❱ 1 │ name s3 │\n│ .test │") == "x 1 name s3 .test"


@pytest.mark.parametrize(
    ("refusal", "never"),
    [
        ("requested: limits.cpu=2,limits.memory=1Gi, limited: limits.cpu=1,limits.memory=4Gi", True),
        ("requested: limits.cpu=500m, used: limits.cpu=1, limited: limits.cpu=1", False),
        ("requested: pods=1, used: pods=0, limited: pods=0", True),
        ("must specify limits.cpu", False),
    ],
)
def test_more_than_a_whole_quota_never_fits(refusal: str, never: bool) -> None:
    assert more_than_limited(refusal) is never


def test_every_cause_is_in_the_catalogue() -> None:
    for id in {row[2] for row in (*TASKS, *FLYTE, *PULLS)} | {row[3] for row in PODS}:
        assert id in CATALOGUE
