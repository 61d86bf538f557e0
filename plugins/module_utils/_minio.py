# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is PRIVATE to the collection. It can change at any time.

"""One user of a MinIO and its one policy: look, plan, act.

Needs the library minio. Its admin client encrypts what holds a secret; no
secret is an argument of a process or part of a message.
"""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.flyte.onprem.plugins.module_utils._limits import exchanged
from ansible_collections.flyte.onprem.plugins.module_utils._reach import Address, parse_option


class AdminError(Exception):
    """What an administrator has to see to. C(reason) is a word for it; the text says what to do."""

    reason = "refused"


class Unreachable(AdminError):
    """No connection, or a certificate that is not trusted."""

    reason = "unreachable"


class WrongCredentials(AdminError):
    """The administrator's own keys are not accepted."""

    reason = "wrong_credentials"


class Denied(AdminError):
    """The keys are good, and may not administer."""

    reason = "denied"


WRONG_CREDENTIALS = frozenset(("InvalidAccessKeyId", "SignatureDoesNotMatch", "XMinioInvalidIAMCredentials"))
NOT_THERE = frozenset(("XMinioAdminNoSuchUser", "XMinioAdminNoSuchPolicy"))


@dataclass(frozen=True)
class Server:
    """A MinIO and whoever administers it."""

    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    ca_file: str | None = None
    timeout: float = 10


@dataclass(frozen=True)
class Access:
    """The user and policy that are wanted; C(document) and C(secret_key) matter only where they are to be present.

    An empty C(policy) leaves all policies alone.
    """

    access_key: str
    policy: str
    document: t.Mapping[str, t.Any]
    secret_key: str = field(default="", repr=False)


@dataclass(frozen=True)
class Found:
    """What is there. C(secret_matches) is None where it can't be told: no user, or a disabled one."""

    document: t.Mapping[str, t.Any] | None = None
    status: str | None = None
    policies: tuple[str, ...] = ()
    secret_matches: bool | None = None

    def as_diff(self, access: Access) -> dict[str, t.Any]:
        """The state as a person compares it. The secret itself is not known here, only whether it differs."""
        shown: dict[str, t.Any] = {}
        if self.document is not None:
            shown["policy"] = {"name": access.policy, "document": normalise(self.document)}
        if self.status is not None:
            secrets = {True: "as given", False: "another than given", None: "not known while disabled"}
            shown["user"] = {
                "access_key": access.access_key,
                "status": self.status,
                "policies": sorted(self.policies),
                "secret_key": secrets[self.secret_matches],
            }
        return shown


class Admin:
    """The few calls needed of MinIO's admin API, with errors that say what to do."""

    def __init__(self, server: Server) -> None:
        import urllib3  # noqa: PLC0415  comes with minio, see _imports.py
        from minio import MinioAdmin  # noqa: PLC0415
        from minio.credentials import StaticProvider  # noqa: PLC0415

        self._server = server
        self._address: Address = parse_option("endpoint", server.endpoint)
        self._pool = urllib3.PoolManager(
            cert_reqs="CERT_REQUIRED",
            ca_certs=server.ca_file,
            timeout=urllib3.Timeout(connect=server.timeout, read=server.timeout),
            retries=False,
        )
        self._admin = MinioAdmin(
            endpoint=self._host,
            credentials=StaticProvider(server.access_key, server.secret_key),
            secure=self._address.tls,
            http_client=self._pool,
        )

    @property
    def _host(self) -> str:
        return self._address.endpoint.partition("://")[2]

    def policy(self, name: str) -> t.Mapping[str, t.Any] | None:
        """The document of a policy, or None."""
        answer = self._ask(f"read policy {name}", lambda: self._admin.policy_info(name))
        return None if answer is None else t.cast("t.Mapping[str, t.Any]", json.loads(answer))

    def user(self, access_key: str) -> t.Mapping[str, t.Any] | None:
        """C(status) and C(policyName) of a user, or None."""
        answer = self._ask(f"read user {access_key}", lambda: self._admin.user_info(access_key))
        return None if answer is None else t.cast("t.Mapping[str, t.Any]", json.loads(answer))

    def secret_matches(self, access: Access) -> bool:
        """MinIO never tells a secret; a request signed with it is accepted or is not."""
        from minio import Minio, S3Error  # noqa: PLC0415  see _imports.py

        client = Minio(
            endpoint=self._host,
            access_key=access.access_key,
            secret_key=access.secret_key,
            # Told, so that the library does not ask for it; the server looks at it in requests for a bucket only.
            region="us-east-1",
            secure=self._address.tls,
            http_client=self._pool,
        )

        what = f"try the secret key of {access.access_key}"

        def ask() -> bool:
            try:
                # Whether it may list anything does not matter: the signature is looked at first.
                client.list_buckets()
            except S3Error as exc:
                if exc.code in WRONG_CREDENTIALS:
                    return False
                if exc.code != "AccessDenied":
                    raise explain(what, self._server, code=str(exc.code), words=str(exc.message)) from exc
            return True

        return bool(self._ask(what, ask))

    def set_policy(self, name: str, document: t.Mapping[str, t.Any]) -> None:
        self._ask(f"write policy {name}", lambda: self._admin.policy_add(name, policy=dict(document)))

    def set_user(self, access: Access) -> None:
        """Make the user, or give it this secret key; enabled either way."""
        self._ask(f"write user {access.access_key}", lambda: self._admin.user_add(access.access_key, access.secret_key))

    def attach(self, access_key: str, policies: t.Iterable[str]) -> None:
        names = sorted(policies)
        self._ask(f"attach {names} to {access_key}", lambda: self._admin.attach_policy(names, user=access_key))

    def detach(self, access_key: str, policies: t.Iterable[str]) -> None:
        names = sorted(policies)
        self._ask(f"detach {names} from {access_key}", lambda: self._admin.detach_policy(names, user=access_key))

    def remove_user(self, access_key: str) -> None:
        self._ask(f"remove user {access_key}", lambda: self._admin.user_remove(access_key))

    def remove_policy(self, name: str) -> None:
        self._ask(f"remove policy {name}", lambda: self._admin.policy_remove(name))

    def _ask(self, what: str, call: t.Callable[[], t.Any]) -> t.Any:
        """Run a call; None where the thing asked for is not there. Raises C(AdminError)."""
        import urllib3  # noqa: PLC0415  see _imports.py
        from minio.error import MinioAdminException  # noqa: PLC0415

        try:
            return exchanged(self._server.timeout, call)
        except MinioAdminException as exc:
            code, words = parse_refusal(str(exc))
            if code in NOT_THERE:
                return None
            raise explain(what, self._server, code=code, words=words) from exc
        except (urllib3.exceptions.HTTPError, TimeoutError) as exc:
            raise Unreachable(
                f"Cannot {what} at {self._address.endpoint}: {unreachable_words(exc)}. Check the endpoint, that MinIO"
                " runs (systemctl status minio), the firewall, and that ca_file holds the CA of its certificate."
            ) from exc


def parse_refusal(text: str) -> tuple[str, str]:
    """Code and words from the text of C(MinioAdminException), which has them nowhere else."""
    match = re.match(r"admin request failed; Status: (?P<status>\d+), Body: (?P<body>.*)", text, re.DOTALL)
    if not match:
        return "", text
    try:
        body = json.loads(match["body"])
    except ValueError:
        return f"HTTP {match['status']}", match["body"][:200]
    return str(body.get("Code") or f"HTTP {match['status']}"), str(body.get("Message") or "")


def explain(what: str, server: Server, *, code: str, words: str) -> AdminError:
    said = f"Cannot {what} at {server.endpoint}: {code}: {words}".rstrip(": ")
    if code in WRONG_CREDENTIALS:
        return WrongCredentials(
            f"{said}. MinIO does not accept the administrator's keys; give admin_access_key and admin_secret_key as in"
            " MINIO_ROOT_USER and MINIO_ROOT_PASSWORD of the server."
        )
    if code == "AccessDenied":
        return Denied(
            f"{said}. The user {server.access_key} may not administer; give the server's root user,"
            " or a user with policy consoleAdmin."
        )
    return AdminError(f"{said}.")


def unreachable_words(error: BaseException) -> str:
    """What urllib3 says, without the address of an object in it."""
    return re.sub(r"<[^>]*>:? ?", "", str(getattr(error, "reason", None) or error))


def look(admin: Admin, access: Access) -> Found:
    """What is there now; nothing is changed."""
    user = admin.user(access.access_key)
    document = admin.policy(access.policy) if access.policy else None
    if user is None:
        return Found(document=document)
    status = str(user.get("status"))
    return Found(
        document=document,
        status=status,
        policies=tuple(name for name in str(user.get("policyName") or "").split(",") if name),
        secret_matches=admin.secret_matches(access) if access.secret_key and status == "enabled" else None,
    )


def wanted(access: Access, *, present: bool) -> Found:
    if not present:
        return Found()
    return Found(document=access.document, status="enabled", policies=(access.policy,), secret_matches=True)


def differs(found: Found, goal: Found) -> bool:
    """Whether there is anything to do."""
    if goal.status is None:
        return found.status is not None or found.document is not None
    return not (
        same_document(found.document, goal.document)
        and found.status == goal.status
        and set(found.policies) == set(goal.policies)
        and found.secret_matches is True
    )


def apply(admin: Admin, access: Access, *, found: Found, goal: Found) -> None:
    """Do what differs, in an order in which the user at no time may do more than before and after."""
    if goal.status is None:
        if found.status is not None:
            admin.remove_user(access.access_key)
        if found.document is not None:
            admin.remove_policy(access.policy)
        return
    if not same_document(found.document, goal.document):
        admin.set_policy(access.policy, access.document)
    if found.status is not None and set(found.policies) - set(goal.policies):
        admin.detach(access.access_key, set(found.policies) - set(goal.policies))
    if found.status != goal.status or found.secret_matches is not True:
        admin.set_user(access)
    if set(goal.policies) - set(found.policies):
        admin.attach(access.access_key, set(goal.policies) - set(found.policies))


def same_document(first: t.Mapping[str, t.Any] | None, second: t.Mapping[str, t.Any] | None) -> bool:
    if first is None or second is None:
        return first is second
    return normalise(first) == normalise(second)


def normalise(document: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """A policy in one form: order, single values and empty fields mean nothing in it, and MinIO changes them."""
    statements: list[dict[str, t.Any]] = []
    given = document.get("Statement") or []
    for statement in [given] if isinstance(given, dict) else given:
        fields = {name: value for name, value in statement.items() if value not in (None, "", [], {})}
        for name in ("Action", "NotAction", "Resource", "NotResource"):
            if name in fields:
                values = fields[name]
                fields[name] = sorted({values} if isinstance(values, str) else set(values))
        if fields not in statements:
            statements.append(fields)
    rest = {name: value for name, value in document.items() if name != "Statement" and value not in (None, "")}
    return {**rest, "Statement": sorted(statements, key=lambda fields: json.dumps(fields, sort_keys=True))}
