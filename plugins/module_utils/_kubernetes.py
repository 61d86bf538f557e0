# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is PRIVATE to the collection. It can change at any time.

"""Whether a Kubernetes cluster meets Flyte's needs, row by row.

The kubernetes library reads the kubeconfig and sends the requests. What comes
back stays plain JSON: its typed models differ between the library's releases.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import json
import os
import re
import ssl
import typing as t
from dataclasses import dataclass

from ansible_collections.flyte.onprem.plugins.module_utils import _reach
from ansible_collections.flyte.onprem.plugins.module_utils._certificates import pem_certificates, validity
from ansible_collections.flyte.onprem.plugins.module_utils._checks import (
    FAILED,
    Check,
    Failed,
    Report,
    Skipped,
    Warned,
)
from ansible_collections.flyte.onprem.plugins.module_utils._imports import KUBERNETES, load
from ansible_collections.flyte.onprem.plugins.module_utils._kubernetes_plugin import NoCredentials, credentials_within
from ansible_collections.flyte.onprem.plugins.module_utils._kubernetes_rights import Rights, rights_verdict
from ansible_collections.flyte.onprem.plugins.module_utils._limits import exchanged
from ansible_collections.flyte.onprem.plugins.module_utils._reach import EXPIRY_WARNING_DAYS, ReachIds
from ansible_collections.flyte.onprem.plugins.module_utils._resolve import pinned

KUBECONFIG = "K8S-01"
CLIENT_CERTIFICATE = "K8S-02"
VERIFIED = "K8S-03"
PLUGIN = "K8S-04"
CREDENTIALS = "K8S-13"
READY = "K8S-14"
ANSWERS = "K8S-15"
_REACH = ReachIds(name="K8S-10", port="K8S-12", way="K8S-11")

# Flyte's charts name no version. Flyte 1.16.8 and 2.0.43 were both run on this one.
NEWEST_TRIED = "1.36"

# How the charts of known controllers label their pods (app.kubernetes.io/name), by what their class says.
CONTROLLERS = {
    "traefik.io/ingress-controller": ("traefik",),
    "nginx.org/ingress-controller": ("nginx-ingress", "kubernetes-ingress"),
    "k8s.io/ingress-nginx": ("ingress-nginx",),
}

OTHER_SHAPE = "the answer has another shape than Kubernetes': something other than an API server answered"

DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"

_DONE = "Succeeded"
_FAILED = "Failed"

_LONGEST_ANSWER = 64 << 20  # the list of the Pods of a large cluster is a tenth of it

Json = dict[str, t.Any]
Network = t.Union[ipaddress.IPv4Network, ipaddress.IPv6Network]


class ApiError(Exception):
    """The API server refused a request. C(status) is HTTP's; C(str(error)) is the server's own message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Unanswered(Exception):
    """A request got no answer. C(proxy) is the address of the proxy that it went through; empty if through none."""

    def __init__(self, message: str, *, proxy: str = "") -> None:
        super().__init__(message)
        self.proxy = proxy

    def outcome(self) -> Failed:
        if not self.proxy:
            return Failed(str(self), id=ANSWERS)
        return Failed(
            f"{self} (asked through the proxy {self.proxy})",
            id=ANSWERS,
            fix=(
                "Name the API server's host in the environment variable NO_PROXY of the module, or let the proxy pass "
                "requests on to it."
            ),
        )


class Api:
    """A cluster's API as one user of it, asked in plain JSON."""

    def __init__(self, client: t.Any, *, timeout: float) -> None:
        self._client = client
        self._timeout = timeout
        # Whether a request got no answer: each further one would wait as long again.
        self.silent = False
        self.proxy_ignored = False

    @property
    def address(self) -> _reach.Address:
        """Where the API server is. Raises C(ValueError), with a text that is not for people, for what is no address."""
        return _reach.parse_url(str(self._client.configuration.host))

    @property
    def proxy(self) -> str:
        """The proxy that requests go through, without a user's name or password; empty if through none."""
        found = getattr(self._client.rest_client.pool_manager, "proxy", None)
        return f"{found.scheme}://{found.host}:{found.port}" if found else ""

    @property
    def ca_file(self) -> str | None:
        found = self._client.configuration.ssl_ca_cert
        return str(found) if found else None

    @property
    def server_name(self) -> str:
        """The name that the server's certificate must hold, where it is not the host's; empty if it is."""
        return str(getattr(self._client.configuration, "tls_server_name", None) or "")

    @property
    def verifies(self) -> bool:
        return bool(self._client.configuration.verify_ssl)

    @property
    def client_certificate(self) -> str:
        """The client's certificate as PEM; empty if the user has another kind of credential."""
        path = self._client.configuration.cert_file
        if not path:
            return ""
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()

    def get(self, path: str, **query: str) -> Json:
        """The document at C(path). Raises C(ApiError) and C(Unanswered)."""
        return self._json("GET", path, query=query)

    def items(self, path: str, **query: str) -> list[Json]:
        return list(self.get(path, **query).get("items") or [])

    def post(self, path: str, body: Json, **query: str) -> Json:
        return self._json("POST", path, query=query, body=body)

    def merge(self, path: str, changes: Json) -> Json:
        """Change the fields of an object that stand in C(changes); None removes one."""
        return self._json("PATCH", path, body=changes, kind="application/merge-patch+json")

    def delete(self, path: str, **query: str) -> Json:
        return self._json("DELETE", path, query=query)

    def text(self, path: str, **query: str) -> str:
        return self._ask("GET", path, query=query).decode("utf-8", "replace")

    def close(self) -> None:
        self._client.close()

    def _json(
        self,
        method: str,
        path: str,
        *,
        query: t.Mapping[str, str] | None = None,
        body: Json | None = None,
        kind: str = "application/json",
    ) -> Json:
        answer = self._ask(method, path, query=query or {}, body=body, kind=kind)
        try:
            return dict(json.loads(answer))
        except (ValueError, TypeError, RecursionError) as exc:
            raise Unanswered(f"the answer to {path} is not a JSON object") from exc

    def _ask(
        self,
        method: str,
        path: str,
        *,
        query: t.Mapping[str, str],
        body: Json | None = None,
        kind: str = "application/json",
    ) -> bytes:
        load(KUBERNETES)
        # Parts of the library, there once it is loaded.
        from kubernetes.client.exceptions import ApiException  # noqa: PLC0415
        from urllib3.exceptions import HTTPError  # noqa: PLC0415

        def send() -> bytes:
            answer = self._client.call_api(
                path,
                method,
                query_params=list(query.items()),
                header_params={"Accept": "application/json", "Content-Type": kind},
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _return_http_data_only=True,
                # Releases before 35 ignore a number that is no int.
                _request_timeout=(self._timeout, self._timeout),
            )
            data = bytes(answer.read(_LONGEST_ANSWER + 1, decode_content=True))
            if len(data) > _LONGEST_ANSWER:
                answer.close()
                self.silent = True
                raise Unanswered(f"{method} {path}: an answer of more than {_LONGEST_ANSWER >> 20} MiB")
            answer.release_conn()
            return data

        try:
            return exchanged(self._timeout, send)  # with the time of a connection for a plugin, which is asked first
        except ApiException as exc:
            raise ApiError(exc.status, _message(exc)) from exc
        except (HTTPError, OSError) as exc:
            self.silent = True
            raise Unanswered(f"{method} {path}: {exc}", proxy=self.proxy) from exc
        except NoCredentials as exc:  # the first ones have expired meanwhile
            self.silent = True
            raise Unanswered(f"{method} {path}: {exc}") from exc
        except ValueError as exc:
            # A header that cannot be sent stands in its words, and that may be the token.
            raise Unanswered(
                f"{method} {path}: the request cannot be sent, or its answer not be read ({type(exc).__name__})"
            ) from None


def _message(exc: t.Any) -> str:
    """What the API server says in words, rather than the document around it."""
    # Bytes in older releases.
    body = exc.body.decode("utf-8", "replace") if isinstance(exc.body, bytes) else exc.body
    try:
        return str(json.loads(body)["message"])
    except (TypeError, ValueError, KeyError):
        return str(body or exc.reason or exc.status)


@contextlib.contextmanager
def cluster(
    report: Report, *, kubeconfig: str | None, context: str | None, timeout: float
) -> t.Iterator[tuple[Api | None, Check]]:
    """Add the rows from the kubeconfig to an API that is ready; yields the API and the row that all else depends on."""
    found: list[Api] = []

    def read() -> str:
        api = open_api(kubeconfig, context, timeout=timeout)
        found.append(api)
        if api.proxy_ignored:
            raise Warned(
                f"the proxy-url of the API at {api.address.endpoint} is not used",
                cause="kubectl and Helm go through it. This check does not, nor do the modules of kubernetes.core: "
                "their library knows no proxy-url.",
                fix="If the API cannot be reached without it, put the address of an HTTP proxy (http://host:port) into "
                "the environment variable HTTPS_PROXY of the play, and leave the API's host out of NO_PROXY.",
            )
        return f"for the API at {api.address.endpoint}"

    row = report.check(KUBECONFIG, read)
    api = found[0] if found else None
    try:
        with contextlib.ExitStack() as way:
            yield api, api_rows(report, api, timeout=timeout, after=row, way=way)
    finally:
        if api:
            api.close()


def open_api(kubeconfig: str | None, context: str | None, *, timeout: float) -> Api:
    """A client for one context of a kubeconfig. Raises C(Failed) if there is none to be had."""
    kubernetes = load(KUBERNETES)
    from kubernetes.config import ConfigException, load_kube_config  # noqa: PLC0415

    path = kubeconfig or os.environ.get("KUBECONFIG") or os.path.expanduser("~/.kube/config")
    # As kubectl does, which takes of several files those that are there.
    files = [part for part in path.split(os.pathsep) if os.path.isfile(part)]
    if not files:
        raise Failed(f"there is no file {path}")
    path = os.pathsep.join(files)
    configuration = kubernetes.client.Configuration()
    # A retry would cost a dead address its timeout once more.
    configuration.retries = 0
    # What the library takes where the file names no server is not what anybody meant.
    configuration.host = ""
    try:
        user = _user(path, context)
        with credentials_within(timeout):
            load_kube_config(
                config_file=path, context=context or None, client_configuration=configuration, persist_config=False
            )
        _use_credentials(configuration, user, timeout=timeout)
        asks_for_proxy = _asks_for_proxy(path, context)
        client = _client(configuration)
    except NoCredentials as exc:
        raise Failed(str(exc), id=PLUGIN) from exc
    except ConfigException as exc:
        raise Failed(f"{path}: {exc}") from exc
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as exc:
        if exc.__traceback__ and exc.__traceback__.tb_next is None:
            raise  # by one of the calls above and not by what they read: a fault of this program
        # Whatever is not YAML of the right shape ends in one of these; a parser's message may quote the file.
        raise Failed(f"{path} is not a kubeconfig ({type(exc).__name__})") from exc
    except Exception as exc:
        if type(exc).__module__.partition(".")[0] != "yaml":
            raise
        raise Failed(f"{path} is not YAML") from exc
    api = Api(client, timeout=timeout)
    api.proxy_ignored = not api.proxy and asks_for_proxy
    try:
        tls = api.address.tls
    except ValueError:
        # Not its words, nor the address: there may be a password in it.
        raise Failed(
            f"{path}: the cluster's server is no address of the form https://host:port without a user name"
        ) from None
    if tls and api.verifies and api.ca_file:
        try:
            ssl.create_default_context(cafile=api.ca_file)
        except OSError as exc:
            raise Failed(f"{path}: the cluster's certificate-authority holds no certificate that can be read") from exc
    return api


def _client(configuration: t.Any) -> t.Any:
    """Raises C(Failed) where the environment names a proxy that is none."""
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    try:
        return load(KUBERNETES).client.ApiClient(configuration=configuration)
    except (HTTPError, ValueError) as exc:
        if not configuration.proxy:
            raise
        # Not its words, nor the address: there may be a password in it.
        raise Failed(
            f"the environment names a proxy whose address is not of the form http://host:port ({type(exc).__name__})",
            cause="The library takes the proxy from HTTPS_PROXY or HTTP_PROXY, and knows http:// and https:// only.",
            fix="Correct or unset HTTPS_PROXY and HTTP_PROXY, or name the API server's host in NO_PROXY.",
        ) from exc


def _part(config: t.Any, context: str | None, kind: str) -> t.Any:
    """The C(cluster) or C(user) of a context, or None."""
    name = config["contexts"].get_with_name(context or config["current-context"])["context"].safe_get(kind)
    parts = config[f"{kind}s"] if name and config.safe_get(f"{kind}s") else None
    return parts.get_with_name(name, safe=True) if parts else None


def _asks_for_proxy(path: str, context: str | None) -> bool:
    """Whether a kubeconfig names a proxy for the cluster of a context."""
    from kubernetes.config.kube_config import KubeConfigMerger  # noqa: PLC0415

    found = _part(KubeConfigMerger(path).config, context, "cluster")
    return bool(found and found["cluster"].value.get("proxy-url"))


def _user(path: str, context: str | None) -> Json:
    """What a kubeconfig says about the user of a context. Raises C(Failed) for what the library may wait for."""
    from kubernetes.config.kube_config import KubeConfigMerger  # noqa: PLC0415

    config = KubeConfigMerger(path).config
    found = _part(config, context, "user")
    user = dict(found["user"].value) if found else {}
    if "auth-provider" in user:
        provider = user["auth-provider"]
        name = provider.get("name") if isinstance(provider, dict) else None
        raise Failed(
            f"the user's credentials are to come from the auth-provider {name or 'without a name'}",
            id=PLUGIN,
            cause="Kubernetes has replaced auth-providers by credential plugins, and this check asks none: "
            "the library waits for one without an end.",
            fix="Give the user a credential plugin (exec), such as kubelogin for OpenID Connect, or a token.",
        )
    if found and "token" not in user and "tokenFile" in user:
        file = os.path.join(os.path.dirname(found.path), user["tokenFile"])
        if not os.path.isfile(file):  # a pipe, say, which is read until somebody writes to it
            raise Failed(f"the user's tokenFile {file} is no file")
    return user


def _use_credentials(configuration: t.Any, user: Json, *, timeout: float) -> None:
    """Refuse credentials that no request can hold. Raises C(Failed), without any of them."""
    refresh = configuration.refresh_api_key_hook

    def tidy(configuration: t.Any) -> None:
        # As kubectl does, which leaves a token that stands in the kubeconfig itself as it is.
        if "token" not in user:
            configuration.api_key = {name: value.strip() for name, value in configuration.api_key.items()}

    def refreshed(configuration: t.Any) -> None:
        with credentials_within(timeout):
            refresh(configuration)
        configuration.refresh_api_key_hook = refreshed  # the library has put its own there again
        tidy(configuration)

    if refresh:
        configuration.refresh_api_key_hook = refreshed
    tidy(configuration)
    for value in configuration.api_key.values():
        if not re.fullmatch(r"\w+ [\x21-\xff]+", value):
            raise Failed(
                "the user's token holds white space, such as a line break, or a character that is not Latin-1",
                fix="Write the token anew, as it was given and without anything around it.",
            )


def api_rows(report: Report, api: Api | None, *, timeout: float, after: Check, way: contextlib.ExitStack) -> Check:
    """Add rows for the client's certificate, the way to the API, its certificate, and its answers.

    Until C(way) is left, the API is asked at the address that accepted, of perhaps several.
    """

    def client_certificate() -> str:
        if api is None:  # `after` passed
            raise AssertionError
        pem = api.client_certificate
        if not pem:
            raise Skipped("the user of this context has no certificate")
        return certificate_verdict(pem, now=datetime.datetime.now(datetime.timezone.utc))

    def verified() -> str:
        if api is None:
            raise AssertionError
        if not api.verifies:
            raise Warned("insecure-skip-tls-verify is set")
        return "by the kubeconfig's CA"

    certificate = report.check(CLIENT_CERTIFICATE, client_certificate, after=[after])
    report.check(VERIFIED, verified, after=[after])
    address = api.address if api else _reach.Address("https", "the API server", 0, "")
    context = {"endpoint": address.endpoint if api else "the API server", "host": address.host}
    row = after
    if api and api.proxy:
        for id in (_REACH.name, _REACH.port):
            report.conclude(id, Skipped(f"the way leads through the proxy {api.proxy}"), **context)
    elif api:
        accepted: dict[str, str] = {}
        row = _reach.reach(
            report,
            # What is not verified by the kubeconfig's own word is not judged here either.
            address if api.verifies else _reach.Address("http", address.host, address.port, address.path),
            ids=_REACH,
            ca_file=api.ca_file,
            timeout=timeout,
            server_name=api.server_name,
            after=[after],
            accepted=accepted,
        )
        way.enter_context(pinned(accepted))

    def who() -> str:
        if api is None:
            raise AssertionError
        try:
            if "gitVersion" not in api.get("/version"):
                raise Failed(OTHER_SHAPE, id=ANSWERS)
        except ApiError as exc:
            if exc.status == 401:
                raise Failed(f"the API server said: {exc}") from exc
            # Even a user without any right may ask for the version, unless an administrator has changed that.
            return f"known to the API server ({exc})"
        except Unanswered as exc:
            raise exc.outcome() from exc
        return "known to the API server"

    def ready() -> str:
        if api is None:
            raise AssertionError
        try:
            api.text("/readyz")
        except ApiError as exc:
            if exc.status in (401, 403):
                raise Skipped(f"this user may not ask: {exc}") from exc
            raise Failed(not_ready(str(exc))) from exc
        except Unanswered as exc:
            raise exc.outcome() from exc
        return "/readyz says ok"

    # Nobody is let in by a certificate that is not valid. A user without one has a token, say.
    needed = [row, certificate] if certificate.status == FAILED else [row]
    known = report.check(CREDENTIALS, who, after=needed, **context)
    whole = report.check(READY, ready, after=[known], **context)
    # A user who may not ask for it may ask the rest all the same.
    return whole if whole.status == FAILED else known


def certificate_verdict(pem: str, *, now: datetime.datetime) -> str:
    """When the first certificate of a PEM text ends. Raises C(Failed) if it is not valid, C(Warned) if it ends soon."""
    try:
        found = pem_certificates(pem)
        if not found:
            raise Failed("there is no certificate in it")
        first, last = validity(found[0])
    except ValueError as exc:
        raise Failed(str(exc)) from exc
    if now > last:
        raise Failed(f"it expired at {last:%Y-%m-%d %H:%M} UTC")
    if now < first:
        raise Failed(f"it is not valid before {first:%Y-%m-%d %H:%M} UTC")
    days = (last - now).days
    seen = f"valid until {last:%Y-%m-%d}, {days} more days"
    if days < EXPIRY_WARNING_DAYS:
        raise Warned(seen)
    return seen


def not_ready(text: str) -> str:
    """The parts that C(/readyz) says are not ready, from its lines of the form C([-]etcd failed: reason withheld)."""
    parts = re.findall(r"^\[-\](\S+)", text, re.MULTILINE)
    return f"not ready: {', '.join(parts)}" if parts else f"/readyz said: {text.strip()}"


def asked(request: t.Callable[[], t.Any]) -> t.Any:
    """Send a request of a probe; what is not the probe's own question becomes an outcome."""
    try:
        return request()
    except ApiError as exc:
        if exc.status == 403:
            raise Skipped(f"this user may not ask: {exc}") from exc
        raise Failed(f"the API server said: {exc} (HTTP {exc.status})", id=ANSWERS) from exc
    except Unanswered as exc:
        raise exc.outcome() from exc
    except (LookupError, TypeError, AttributeError, ValueError) as exc:
        raise Failed(f"{OTHER_SHAPE} ({type(exc).__name__})", id=ANSWERS) from exc


def silence(report: Report, api: Api | None) -> list[Check]:
    """The rows of requests without an answer, on which all others depend: one fault is one row, and one wait."""
    return report.failed(ANSWERS) if api and api.silent else []


@dataclass(frozen=True)
class Needs:
    """What is asked of the cluster. Sizes are cores and bytes; None and empty texts ask for nothing."""

    minimum_version: tuple[int, int]
    maximum_version: tuple[int, int] | None
    expected_nodes: int | None
    node_networks: t.Sequence[Network]
    minimum_cpu: float
    minimum_memory: float
    task_cpu: float
    task_memory: float
    storage_class: str
    ingress_class: str
    ingress_controller: str
    system_namespaces: t.Sequence[str]
    rights: Rights


def refuse_namespace(option: str, name: str) -> None:
    """Raise C(ValueError), with the option's name and a text for people, for what cannot be a namespace's name."""
    if not re.fullmatch("[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name):
        raise ValueError(
            f"{option}: {name!r} is no name of a namespace; one has up to 63 small letters, digits and dashes, "
            "and neither begins nor ends with a dash"
        )


def parse_version(text: str) -> tuple[int, int]:
    """Major and minor version of C(v1.36.4+k3s1) or C(1.36). Raises C(ValueError) for what has none."""
    found = re.fullmatch(r"v?(\d+)\.(\d+)(?:\.\d+)*(?:[-+].*)?", text)
    if found is None:
        raise ValueError(f"{text!r} is no version of the form 1.36")
    return int(found.group(1)), int(found.group(2))


_PARTS = {"m": 1e3, "u": 1e6, "n": 1e9}


def parse_quantity(text: str) -> float:
    """A Kubernetes quantity as a number: C(1930m) is 1.93, C(1e3) is 1000, C(4Gi) 4294967296. Raises C(ValueError)."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?(?:[eE][+-]?\d+(?=$))?)(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?", str(text))
    if found is None:
        raise ValueError(f"{text!r} is no quantity such as 500m, 4 or 8Gi")
    number, unit = float(found.group(1)), found.group(2) or ""
    if unit in _PARTS:
        return number / _PARTS[unit]
    base = 1024 if unit.endswith("i") else 1000
    return number * float(base ** ("kMGTPE".index("k" if unit[0] == "K" else unit[0]) + 1 if unit else 0))


def probe_cluster(report: Report, api: Api | None, needs: Needs, *, after: Check) -> None:
    """Add all rows about what is in the cluster. Reads only: asking for a right makes no object."""
    nodes: list[Json] = []

    def row(id: str, probe: t.Callable[[Api], str], *needed: Check, **context: str) -> Check:
        def asking() -> str:
            if api is None:  # `after` passed
                raise AssertionError
            return str(asked(lambda: probe(api)))

        return report.check(id, asking, after=[*silence(report, api), after, *needed], **context)

    def version(api: Api) -> str:
        found = str(api.get("/version")["gitVersion"])
        report.facts["kubernetes_version"] = found
        if parse_version(found) < needs.minimum_version:
            raise Failed(f"Kubernetes {found}")
        return f"Kubernetes {found}"

    def not_too_new(api: Api) -> str:
        found = str(api.get("/version")["gitVersion"])
        if needs.maximum_version and parse_version(found) > needs.maximum_version:
            raise Failed(f"Kubernetes {found}")
        if needs.maximum_version is None and parse_version(found) > parse_version(NEWEST_TRIED):
            raise Warned(f"Kubernetes {found}")
        return f"Kubernetes {found}"

    def all_nodes(api: Api) -> str:
        nodes.extend(api.items("/api/v1/nodes"))
        return nodes_verdict(nodes, needs.expected_nodes)

    row("K8S-20", version)
    row("K8S-21", not_too_new)
    ready = row("K8S-22", all_nodes)
    if needs.node_networks:
        row("K8S-35", lambda _api: addresses_verdict(nodes, needs.node_networks), ready)
    row("K8S-23", lambda _api: cpu_verdict(nodes, needs.minimum_cpu), ready)
    row("K8S-24", lambda _api: memory_verdict(nodes, needs.minimum_memory), ready)
    row("K8S-31", lambda _api: task_verdict(nodes, needs.task_cpu, needs.task_memory), ready)
    row(
        "K8S-25",
        lambda api: storage_verdict(api.items("/apis/storage.k8s.io/v1/storageclasses"), needs.storage_class),
    )
    ingress: list[Json] = []

    def ingress_class(api: Api) -> str:
        if not needs.ingress_class:
            raise Skipped("no ingress class was asked for")
        found = api.items("/apis/networking.k8s.io/v1/ingressclasses")
        ingress.append(named(found, needs.ingress_class, "ingress class"))
        return f"{needs.ingress_class} is there"

    def controller(_api: Api) -> str:
        found = str((ingress[0].get("spec") or {}).get("controller", ""))
        if needs.ingress_controller and found != needs.ingress_controller:
            raise Failed(f"its controller is {found}")
        return f"its controller is {found}"

    def running(api: Api) -> str:
        names = CONTROLLERS.get(str((ingress[0].get("spec") or {}).get("controller", "")))
        if names is None:
            raise Skipped("this check does not know how the pods of this controller are labelled")
        return controller_verdict(
            api.items("/api/v1/pods", labelSelector=f"app.kubernetes.io/name in ({','.join(names)})"), names
        )

    there = row("K8S-26", ingress_class)
    controls = row("K8S-34", running, row("K8S-27", controller, there))
    for namespace in needs.system_namespaces:

        def in_order(api: Api, namespace: str = namespace) -> str:
            pods = api.items(f"/api/v1/namespaces/{namespace}/pods")
            return pods_verdict(pods) if controls.status != FAILED else others_verdict(pods, controls)

        row("K8S-28", in_order, namespace=namespace)
    row("K8S-29", lambda api: rights_verdict(api, needs.rights))


def addresses_verdict(nodes: t.Sequence[Json], networks: t.Sequence[Network]) -> str:
    """The nodes with their addresses. Raises C(Failed) with those that have none in any of the networks."""
    inside: list[str] = []
    outside: list[str] = []
    for node in nodes:
        addresses = [
            entry["address"] for entry in node["status"].get("addresses") or [] if entry["type"] == "InternalIP"
        ]
        admitted = any(ipaddress.ip_address(address) in network for address in addresses for network in networks)
        (inside if admitted else outside).append(f"{node['metadata']['name']} ({', '.join(addresses) or 'no address'})")
    if outside:
        raise Failed(f"in none of them: {', '.join(outside)}")
    return ", ".join(inside)


def nodes_verdict(nodes: t.Sequence[Json], expected: int | None) -> str:
    """How many nodes are Ready. Raises C(Failed) with the names and reasons of those that are not."""
    waiting = []
    for node in nodes:
        conditions = {item["type"]: item for item in (node.get("status") or {}).get("conditions") or []}
        ready = conditions.get("Ready") or {"status": "Unknown", "reason": "NoStatus"}
        if ready["status"] != "True":
            reason = ready.get("message") or ready.get("reason") or ready["status"]
            waiting.append(f"{node['metadata']['name']}: {reason}")
    if waiting:
        raise Failed(f"not ready: {'; '.join(waiting)}")
    pressed = [
        f"{node['metadata']['name']}: {item['type']}"
        for node in nodes
        for item in (node.get("status") or {}).get("conditions") or []
        if item["type"].endswith("Pressure") and item["status"] == "True"
    ]
    if pressed:
        raise Failed(f"short of something, so that pods are evicted: {'; '.join(pressed)}")
    if len(nodes) < max(1, expected or 0):
        raise Failed(f"{len(nodes)} nodes: {', '.join(sorted(node['metadata']['name'] for node in nodes)) or 'none'}")
    return f"{len(nodes)} ready"


def _takes_pods(node: Json) -> bool:
    """Whether pods like Flyte's, which tolerate no taint, may be placed on a node."""
    spec = node.get("spec") or {}
    taints = [taint for taint in spec.get("taints") or [] if taint.get("effect") in ("NoSchedule", "NoExecute")]
    return not spec.get("unschedulable") and not taints


def _without(nodes: t.Sequence[Json]) -> str:
    """Names the nodes that were left out of a sum; empty if all count."""
    names = [str(node["metadata"]["name"]) for node in nodes if not _takes_pods(node)]
    return f", without the nodes that are cordoned or tainted: {', '.join(names)}" if names else ""


def _allocatable(nodes: t.Sequence[Json], resource: str) -> float:
    """What all nodes together give to pods; nodes that take none are left out."""
    return sum(
        parse_quantity(str(((node.get("status") or {}).get("allocatable") or {}).get(resource, "0")))
        for node in nodes
        if _takes_pods(node)
    )


def cpu_verdict(nodes: t.Sequence[Json], minimum: float) -> str:
    found = _allocatable(nodes, "cpu")
    seen = f"{found:g} cores{_without(nodes)}"
    if found < minimum:
        raise Failed(seen)
    return seen


def memory_verdict(nodes: t.Sequence[Json], minimum: float) -> str:
    found = _allocatable(nodes, "memory")
    seen = f"{found / 2**20:.0f} MiB{_without(nodes)}"
    if found < minimum:
        raise Failed(seen)
    return seen


def task_verdict(nodes: t.Sequence[Json], cpu: float, memory: float) -> str:
    """That one node alone can give what a task asks. Raises C(Failed) with the largest there is."""
    if not cpu and not memory:
        raise Skipped("neither task_cpu nor task_memory was given")
    sizes = [(_allocatable([node], "cpu"), _allocatable([node], "memory")) for node in nodes]
    if any(cores >= cpu and size >= memory for cores, size in sizes):
        fit = sum(cores >= cpu and size >= memory for cores, size in sizes)
        return f"{fit} of {len(sizes)} nodes{_without(nodes)}"
    largest = "; ".join(
        f"{cores:g} cores and {size / 2**20:.0f} MiB" for cores, size in sorted(sizes, reverse=True)[:3]
    )
    raise Failed(f"no node gives that much; the largest give {largest}{_without(nodes)}")


def storage_verdict(classes: t.Sequence[Json], wanted: str) -> str:
    if wanted:
        named(classes, wanted, "storage class")
        return f"{wanted} is there"
    defaults = [
        str(item["metadata"]["name"])
        for item in classes
        if (item["metadata"].get("annotations") or {}).get(DEFAULT_CLASS) == "true"
    ]
    if not defaults:
        raise Failed(f"no default among {', '.join(str(item['metadata']['name']) for item in classes) or 'none'}")
    return f"{', '.join(defaults)} is the default"


def named(items: t.Sequence[Json], name: str, kind: str) -> Json:
    """The object of this name. Raises C(Failed) with the names that there are."""
    for item in items:
        if item["metadata"]["name"] == name:
            return item
    raise Failed(f"no {kind} {name}; there are: {', '.join(str(item['metadata']['name']) for item in items) or 'none'}")


def controller_verdict(pods: t.Sequence[Json], names: t.Sequence[str]) -> str:
    """Which pods serve an ingress class. One outside the cluster, or with other labels, may serve it all the same."""
    if not pods:
        raise Warned(f"no pod is labelled app.kubernetes.io/name={' or '.join(names)}")
    running = [str(pod["metadata"]["name"]) for pod in pods if not pod_problem(pod)]
    if not running:
        raise Failed(f"not running: {'; '.join(map(_why, pods))}")
    return f"{', '.join(running)} runs"


def others_verdict(pods: t.Sequence[Json], controls: Check) -> str:
    """C(pods_verdict) where the pods of an ingress controller have failed a row of their own, which is enough."""
    said = [pod for pod in pods if pod_problem(pod) and _why(pod) in controls.observed]
    others = [pod for pod in pods if pod not in said]
    if others or not said:
        seen = pods_verdict(others)
    if not said:
        return seen
    raise Skipped(f"{controls.id} failed, and names the only pods here that do not run")


def pods_verdict(pods: t.Sequence[Json]) -> str:
    """How many pods run. Raises C(Failed) with the names and reasons of those that do not, and where there is none."""
    if not pods:
        raise Failed(
            "there is no pod in it",
            cause="Nothing has started in it yet, it has another name, or the cluster has its parts elsewhere.",
            fix=(
                "See with kubectl get pods -A where the cluster's DNS runs, and name that namespace in "
                "system_namespaces; if it runs nowhere, see why it was not installed (k3s: journalctl -u k3s)."
            ),
        )
    waiting = [_why(pod) for pod in pods if pod_problem(pod)]
    if waiting:
        raise Failed(f"not running: {'; '.join(waiting)}")
    return f"{len(pods)} in order"


def _why(pod: Json) -> str:
    return f"{pod['metadata']['name']}: {pod_problem(pod)}"


def pod_problem(pod: Json) -> str:
    """Why a pod does not run with all its containers ready; empty if it does, has done its work, or goes away."""
    status, metadata = pod.get("status") or {}, pod.get("metadata") or {}
    phase = str(status.get("phase", "Unknown"))
    # What failed for good and has an owner (evicted, say) was replaced by it, and lies about until it is collected.
    replaced = phase == _FAILED and metadata.get("ownerReferences")
    if phase == _DONE or replaced or metadata.get("deletionTimestamp"):
        return ""
    containers = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    for container in containers:
        state = container.get("state") or {}
        waiting = state.get("waiting") or {}
        if waiting and waiting.get("reason") not in (None, "PodInitializing", "ContainerCreating"):
            return _because(waiting)
        ended = state.get("terminated") or {}
        if ended and ended.get("exitCode"):
            # Of a container that was never started, the message is the runtime's; else it would be the program's own.
            why = _because(ended) if ended.get("reason") == "StartError" else f"({ended.get('reason', '')})"
            return f"container {container['name']} ended with {ended['exitCode']} {why}"
    for condition in status.get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return _because(condition)
    if phase != "Running":
        return str(status.get("reason") or phase)
    unready = [str(container["name"]) for container in status.get("containerStatuses") or [] if not container["ready"]]
    return f"container {', '.join(unready)} not ready" if unready else ""


def _because(state: Json) -> str:
    reason, message = str(state.get("reason", "")), str(state.get("message", ""))
    return f"{reason} ({message})" if message else reason
