# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is PRIVATE to the collection. It can change at any time.

"""Why a workflow did not run, from what Flyte, the tasks and Kubernetes said about it.

Pure: evidence in, one finding out. The same words mean another remedy by who said them, and programs are told apart
by their language: Flyte and the kubelet are written in Go (C(x509: ...)), tasks in Python
(C(CERTIFICATE_VERIFY_FAILED)).

Sources: flytepropeller's C(nodes/task/k8s/plugin_manager.go) and flyteplugins' C(flytek8s/pod_helper.go) at v1.16.8,
flyteadmin's C(manager/impl/validation), kubelet's container states and events, and the logs of flytekit 1.16.31 with
s3fs against each fault.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ansible_collections.flyte.onprem.plugins.module_utils._kubernetes import parse_quantity
from ansible_collections.flyte.onprem.plugins.module_utils._s3_errors import DENIED, FAULTS

Json = dict[str, t.Any]

OWN_ERROR = "FLYTE-89"
# A task says a lot about itself; the end of it says why it failed.
LONGEST = 3000
# Less than this makes the start of Python and flytekit take a minute.
ENOUGH_CPU = 0.5

_REFUSED_KEYS = frozenset(("InvalidAccessKeyId", "SignatureDoesNotMatch", "XMinioInvalidIAMCredentials"))
# What the store was asked for, in the words of botocore and of the AWS SDK for Go.
_RIGHTS = {
    "ListObjectsV2": "S3-11",
    "ListObjects": "S3-11",
    "HeadBucket": "S3-11",
    "PutObject": "S3-12",
    "CreateMultipartUpload": "S3-12",
    "UploadPart": "S3-12",
    "HeadObject": "S3-13",
    "GetObject": "S3-13",
    "DeleteObject": "S3-14",
    "DeleteObjects": "S3-14",
}
_IMAGE_REASONS = frozenset(
    ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable")
)
_START_REASONS = frozenset(
    ("CreateContainerConfigError", "CreateContainerError", "RunContainerError", "FailedMount", "FailedCreatePodSandBox")
)
_NO_NAME = re.compile(r"lookup (\S+?)(?: on \S+)?: (?:no such host|server misbehaving|Temporary failure)")
_NO_WAY = r"i/o timeout|connection refused|network is unreachable|no route to host|connection reset|context deadline"


@dataclass(frozen=True)
class Evidence:
    """What is known of a run. Empty where nobody could be asked.

    C(flyte): errors and reasons of the execution, its nodes and tasks, and the message in its FlyteWorkflow object.
    C(task): logs of the tasks' containers. C(taken_up): whether the controller has touched the FlyteWorkflow object;
    None where that cannot be seen. C(leftovers): webhook configurations whose Service is gone.
    """

    flyte: t.Sequence[str] = ()
    task: t.Sequence[str] = ()
    pods: t.Sequence[Json] = ()
    events: t.Sequence[Json] = ()
    nodes: t.Sequence[Json] = ()
    leftovers: t.Sequence[str] = ()
    taken_up: bool | None = None


@dataclass(frozen=True)
class Finding:
    """One cause. C(hopeless) says that waiting alone does not mend it; C(context) fills the catalogue's fields."""

    id: str
    observed: str
    hopeless: bool = True
    bucket: str = ""
    host: str = ""
    cause: str = ""
    fix: str = ""


def diagnose(evidence: Evidence) -> Finding | None:
    """What keeps a run from its end; None where nothing seems to."""
    return _first(evidence, _refused, _unusable, _unstarted, _controller, _pulling, _slow)


def post_mortem(evidence: Evidence) -> Finding:
    """Why a run failed that has ended. If nobody knows, it was the task's own fault, and its words are the answer."""
    found = _first(evidence, _refused, _unusable, _unstarted)
    if found:
        return found
    words = "\n".join(part for part in (*evidence.flyte, *map(plain, evidence.task)) if part)
    return Finding(OWN_ERROR, shortened(words) or "it failed without a word")


Rule = t.Callable[[Evidence], t.Optional[Finding]]


def _first(evidence: Evidence, *rules: Rule) -> Finding | None:
    for rule in rules:
        found = rule(evidence)
        if found:
            return found
    return None


def _refused(evidence: Evidence) -> Finding | None:
    """Kubernetes or Flyte did not let the pod in."""
    return _first(evidence, _webhook, _quota, _task_limits)


def _unusable(evidence: Evidence) -> Finding | None:
    """What ran could not go on."""
    return _first(evidence, _memory, _task_words, _flyte_words)


def _unstarted(evidence: Evidence) -> Finding | None:
    """The pod is there and does not run."""
    return _first(evidence, _image, _start, _node)


def plain(log: str) -> str:
    """A log without the frames that flytekit draws around its tracebacks and without their line breaks."""
    return re.sub(r"\s+", " ", re.sub("[│╭╮╰╯─❱]", " ", log)).strip()


def shortened(text: str) -> str:
    """The end of a long text."""
    return text if len(text) <= LONGEST else f"[...] {text[-LONGEST:]}"


# Kubernetes refuses the pod


def _said(evidence: Evidence) -> str:
    """All that Flyte and Kubernetes said, on one line."""
    events = [str(event.get("message") or "") for event in evidence.events]
    return re.sub(r"\s+", " ", " ; ".join([*evidence.flyte, *events]))


def _webhook(evidence: Evidence) -> Finding | None:
    said = _said(evidence)
    called = re.search(r'failed calling webhook "[^"]+":? .*?(?=; |$)', said)
    if called:
        gone = re.search(r'service "[^"]+" not found', called.group())
        if gone and evidence.leftovers:
            return Finding("FLYTE-34", f"{', '.join(evidence.leftovers)}: {called.group()}")
        return Finding("FLYTE-87", called.group())
    denied = re.search(r'admission webhook "[^"]+" denied the request.*?(?=; |$)', said)
    return Finding("FLYTE-87", denied.group()) if denied else None


def _quota(evidence: Evidence) -> Finding | None:
    said = _said(evidence)
    refused = re.search(r"(?:exceeded quota|failed quota): .*?(?=; |$)", said)
    if refused:
        # What others use now may be given back; what is more than the whole quota never fits.
        hopeless = "failed quota" in refused.group() or more_than_limited(refused.group())
        return Finding("FLYTE-82", refused.group(), hopeless=hopeless)
    ranged = re.search(r"(?:maximum|minimum) \w+ usage per \w+ is .*?(?=; |$)", said)
    return Finding("FLYTE-82", ranged.group()) if ranged else None


def more_than_limited(refusal: str) -> bool:
    """Whether a quota's refusal asks for more than the quota holds: C(requested: a=2, used: a=0, limited: a=1)."""
    amounts = []
    for word in ("requested", "limited"):
        found = re.search(rf"{word}: (\S+=[^ ,]+(?:,\S+?=[^ ,]+)*)", refusal)
        pairs = (pair.partition("=") for pair in (found.group(1).split(",") if found else ()))
        amounts.append({name: parse_quantity(value) for name, _, value in pairs if re.match(r"\d", value)})
    requested, limited = amounts
    return any(requested[name] > limited[name] for name in requested.keys() & limited.keys())


def _task_limits(evidence: Evidence) -> Finding | None:
    refused = re.search(
        r"Requested \w+ (?:default|limit) \[[^]]*\] is greater than (?:current limit|the limit)[^.]*", _said(evidence)
    )
    return Finding("FLYTE-84", refused.group()) if refused else None


# The pod does not start


def _memory(evidence: Evidence) -> Finding | None:
    for pod in evidence.pods:
        for status in _containers(pod):
            for state in (status.get("state"), status.get("lastState")):
                if ((state or {}).get("terminated") or {}).get("reason") == "OOMKilled":
                    limit = _resource(pod, str(status["name"]), "limits", "memory") or "the node's memory"
                    return Finding("FLYTE-86", f"{_name(pod)} was killed at {limit}: OOMKilled")
    if re.search(r"\bOOMKilled\b", _said(evidence)):
        return Finding("FLYTE-86", shortened(_said(evidence)))
    return None


def _image(evidence: Evidence) -> Finding | None:
    said = _said(evidence)
    for pod in evidence.pods:
        for status in _containers(pod):
            waiting = (status.get("state") or {}).get("waiting") or {}
            if waiting.get("reason") not in _IMAGE_REASONS:
                continue
            spec = _container(pod, str(status["name"]))
            image = str(spec.get("image") or status.get("image"))
            # The reason stands in an event; a container that backs off shows only that it does.
            words = " ".join(
                [str(waiting.get("reason")), str(waiting.get("message") or ""), *_events_of(evidence, _name(pod))]
            )
            return judge_image(image, words, always=_pulled_though_there(spec, image, evidence.nodes))
    reason = re.search(rf"\b({'|'.join(sorted(_IMAGE_REASONS))})\b.*", said)
    return judge_image("", reason.group(), always=False) if reason else None


def judge_image(image: str, words: str, *, always: bool) -> Finding:
    """Which remedy a pull needs that failed. C(always): the image is on a node, and pulled nevertheless."""
    seen = f"{image}: {shortened(words)}" if image else shortened(words)
    if always:
        return Finding("FLYTE-72", f"{image} is on the node, and its pod has imagePullPolicy Always")
    if "x509:" in words:
        return Finding("FLYTE-74", seen)
    if re.search(rf"no such host|server misbehaving|TLS handshake timeout|proxyconnect|\bEOF\b|{_NO_WAY}", words):
        return Finding("FLYTE-71", seen)
    if re.search(r"unauthorized|authorization failed|authentication required|insufficient_scope|pull access denied"
                 r"|no basic auth credentials|40[13] ", words, re.IGNORECASE):  # fmt: skip
        return Finding("FLYTE-73", seen)
    return Finding("FLYTE-70", seen)


def _pulled_though_there(spec: Json, image: str, nodes: t.Sequence[Json]) -> bool:
    there = {
        str(name) for node in nodes for item in (node.get("status") or {}).get("images") or [] for name in item["names"]
    }
    return spec.get("imagePullPolicy") == "Always" and full_name(image) in {full_name(name) for name in there}


def full_name(image: str) -> str:
    """An image as a node lists it: C(postgres) is C(docker.io/library/postgres:latest)."""
    first, slash, _ = image.partition("/")
    if not slash:
        image = f"docker.io/library/{image}"
    elif "." not in first and ":" not in first and first != "localhost":
        image = f"docker.io/{image}"
    return image if "@" in image or ":" in image.rpartition("/")[2] else f"{image}:latest"


def _start(evidence: Evidence) -> Finding | None:
    for pod in evidence.pods:
        for status in _containers(pod):
            waiting = (status.get("state") or {}).get("waiting") or {}
            if waiting.get("reason") in _START_REASONS:
                return Finding("FLYTE-75", f"{_name(pod)}: {waiting['reason']}: {waiting.get('message', '')}")
        if (pod.get("status") or {}).get("phase") == "Pending":
            for event in evidence.events:
                if event.get("reason") in _START_REASONS and _about(event) == _name(pod):
                    return Finding("FLYTE-75", f"{_name(pod)}: {event['reason']}: {event.get('message', '')}")
    return None


def _node(evidence: Evidence) -> Finding | None:
    for pod in evidence.pods:
        for condition in (pod.get("status") or {}).get("conditions") or []:
            if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
                # Room may come when other tasks end.
                seen = f"{_name(pod)}: {condition.get('message') or condition.get('reason')}"
                return Finding("FLYTE-83", seen, hopeless=False)
    found = re.search(r"\d+/\d+ nodes are available: .*?(?=; |$)", _said(evidence))
    return Finding("FLYTE-83", found.group(), hopeless=False) if found else None


def _controller(evidence: Evidence) -> Finding | None:
    if evidence.taken_up is False:
        return Finding("FLYTE-88", "nobody has taken up the FlyteWorkflow object of the execution")
    return None


def _pulling(evidence: Evidence) -> Finding | None:
    """An image that is still on its way when the run is given up."""
    for pod in evidence.pods:
        reasons = [str(event.get("reason")) for event in evidence.events if _about(event) == _name(pod)]
        if (pod.get("status") or {}).get("phase") == "Pending" and "Pulling" in reasons and "Pulled" not in reasons:
            return Finding(
                "FLYTE-60",
                f"the node is still pulling the image of {_name(pod)}",
                hopeless=False,
                cause="The image is large for this node's way to its registry.",
                fix="Run it again when the image is there; it stays on the node. Or give it more time.",
            )
    return None


def _slow(evidence: Evidence) -> Finding | None:
    """Tasks that run with little CPU: said only of a run that was given up, since it may just need time."""
    for pod in evidence.pods:
        if (pod.get("status") or {}).get("phase") != "Running":
            continue
        for status in _containers(pod):
            cpu = _resource(pod, str(status["name"]), "limits", "cpu")
            if cpu and parse_quantity(cpu) < ENOUGH_CPU:
                return Finding("FLYTE-85", f"{_name(pod)} still runs, with at most {cpu} of a CPU", hopeless=False)
    return None


# The task, or Flyte, cannot use the object store


def _task_words(evidence: Evidence) -> Finding | None:
    for words in map(plain, [*evidence.task, *evidence.flyte]):
        found = judge_task(words)
        if found:
            return found
    return None


def judge_task(words: str) -> Finding | None:
    """What flytekit, s3fs and botocore say in a task's log, or in the error that Flyte passes on."""
    bucket = _bucket(words)
    if "CERTIFICATE_VERIFY_FAILED" in words:
        where = re.search(r"SSL validation failed for \S+|Cannot connect to host \S+", words)
        why = re.search(r"certificate verify failed: [^()]+", words)
        return Finding(
            "FLYTE-78", f"a task said: {where.group() if where else ''} {why.group() if why else ''}".strip()
        )
    # What botocore makes of an AWS_CA_BUNDLE that names no file: the volume is there, the authority in it is not.
    absent = re.search(r"HTTP Client raised an unhandled exception: \[Errno 2\] No such file or directory", words)
    if absent:
        return Finding("FLYTE-78", f"a task said: {absent.group()}: the file that AWS_CA_BUNDLE names")
    if re.search(r"Unable to locate credentials|NoCredentialsError|PartialCredentialsError", words):
        return Finding("S3-02", "a task said: Unable to locate credentials")
    unknown = re.search(r"Cannot connect to host ([^\s:]+)\S* ssl:\S+ \[(Name or service[^]]*|[^]]*name resolution[^]]*"
                        r"|No address[^]]*|Domain name not found|DNS[^]]*)\]", words)  # fmt: skip
    if unknown:
        return Finding("FLYTE-80", f"a task said: {unknown.group()}", host=unknown.group(1))
    # Before what merely follows from it: an object that may not be listed is then asked for by HEAD, without a reason.
    error = re.search(r"An error occurred \((\w+)\) when calling the (\w+) operation(?: \([^)]*\))?: ?([^.]*)", words)
    if error:
        code, operation, said = error.groups()
        seen = f"a task said: {code} for {operation}: {said.strip()}"
        return store_refusal(code, operation, seen, bucket, "FLYTE-76")
    connect = re.search(r'Could not connect to the endpoint URL: "?(https?://([^/":]+)\S*)', words)
    if connect:
        said_more = re.search(r"Cannot connect to host [^]]+\]", words)
        return Finding("FLYTE-81", f"a task said: {(said_more or connect).group()}", host=connect.group(2))
    if re.search(r"(?:Connect|Read) timeout on endpoint URL|ConnectTimeoutError|ReadTimeoutError", words):
        where = re.search(r'https?://([^/":\s]+)', words)
        return Finding("FLYTE-81", "a task got no answer in time", host=where.group(1) if where else "the object store")
    if re.search(r"Original exception: (?:Forbidden|Access Denied)", words):
        action = "S3-12" if re.search(r"Failed to put data", words) else "S3-13"
        return Finding(action, f"a task was refused (HTTP 403) in bucket {bucket}", bucket=bucket)
    return None


def _flyte_words(evidence: Evidence) -> Finding | None:
    for words in evidence.flyte:
        found = judge_flyte(re.sub(r"\s+", " ", words))
        if found:
            return found
    return None


def judge_flyte(words: str) -> Finding | None:
    """What Flyte's own pod says of the object store and of the cluster, in an answer or as an execution's error."""
    if re.search(r"ErrImagePull|ImagePullBackOff|[Ff]ailed to pull", words):
        return None  # the kubelet speaks, about a registry
    if "x509:" in words:
        return Finding("FLYTE-79", _around(words, r"x509:[^;]*"))
    unknown = _NO_NAME.search(words)
    if unknown:
        return Finding("FLYTE-80", f"Flyte said: {unknown.group()}", host=unknown.group(1))
    code = re.search(rf"\b({'|'.join(sorted((*_REFUSED_KEYS, *DENIED, *FAULTS), key=len, reverse=True))}): [^;]*?"
                     r"status code: \d+", words)  # fmt: skip
    if code:
        operation = "PutObject" if re.search(r"write|upload|Put", words, re.IGNORECASE) else "GetObject"
        return store_refusal(code.group(1), operation, f"Flyte said: {code.group()}", _bucket(words), "FLYTE-77")
    if re.search(r'namespaces? "[^"]+" not found', words):
        return Finding("FLYTE-32", _around(words, r'namespaces? "[^"]+" not found'))
    refused = re.search(rf"dial tcp ([\d.]+|\[[^]]+\]):\d+: [^;]*?(?:{_NO_WAY})", words)
    if refused:
        return Finding("FLYTE-81", f"Flyte said: {refused.group()}", host=refused.group(1))
    return None


def store_refusal(code: str, operation: str, observed: str, bucket: str, keys: str) -> Finding:
    """Whose fault the store's error code is; C(keys) is the check of the keys that were used."""
    if code in _REFUSED_KEYS:
        return Finding(keys, observed, bucket=bucket)
    if code in DENIED and operation in _RIGHTS:
        return Finding(_RIGHTS[operation], observed, bucket=bucket)
    return Finding(FAULTS.get(code, "S3-39"), observed, bucket=bucket)


def _bucket(words: str) -> str:
    """The bucket that a text is about: of its last address, since the first may be where the code came from."""
    found = re.findall(r"s3://([^/\s\"']+)", words)
    return str(found[-1]) if found else "of the site"


def _around(words: str, pattern: str) -> str:
    """A match with what leads to it."""
    found = re.search(rf"[^;]{{0,160}}{pattern}", words)
    return f"Flyte said: {found.group().strip() if found else words}"


# Pods as the API server shows them


def _name(pod: Json) -> str:
    return str((pod.get("metadata") or {}).get("name", "a pod"))


def _about(event: Json) -> str:
    return str((event.get("involvedObject") or {}).get("name", ""))


def _events_of(evidence: Evidence, pod: str) -> list[str]:
    return [str(event.get("message") or "") for event in evidence.events if _about(event) == pod]


def _containers(pod: Json) -> list[Json]:
    status = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def _container(pod: Json, name: str) -> Json:
    spec = pod.get("spec") or {}
    found = [c for c in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])] if c["name"] == name]
    return dict(found[0]) if found else {}


def _resource(pod: Json, container: str, kind: str, resource: str) -> str:
    return str(((_container(pod, container).get("resources") or {}).get(kind) or {}).get(resource, ""))
