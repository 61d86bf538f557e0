# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is PRIVATE to the collection. It can change at any time.

"""The one guard for Python libraries that a host may lack.

A module calls C(require(module, BOTO3)) before it touches a util that needs
boto3; such utils import the library inside their functions, so that they can
be imported, documented and tested without it.
"""

from __future__ import annotations

import importlib
import re
import traceback
import typing as t
from dataclasses import dataclass

from ansible.module_utils.basic import missing_required_lib

if t.TYPE_CHECKING:
    from types import ModuleType

    from ansible.module_utils.basic import AnsibleModule


@dataclass(frozen=True)
class Library:
    """A library by its import name; C(package) is what pip and people call it."""

    name: str
    package: str
    minimum: str = ""
    url: str = ""


BOTO3 = Library(name="boto3", package="boto3", minimum="1.26", url="https://github.com/boto/boto3")
GRPC = Library(name="grpc", package="grpcio", url="https://grpc.io/docs/languages/python/")
KUBERNETES = Library(
    name="kubernetes", package="kubernetes", minimum="29.0", url="https://github.com/kubernetes-client/python"
)
MINIO = Library(name="minio", package="minio", minimum="7.2", url="https://github.com/minio/minio-py")
PSYCOPG2 = Library(
    name="psycopg2",
    package="psycopg2 (Debian: python3-psycopg2)",
    minimum="2.8",
    url="https://www.psycopg.org/docs/",
)


class LibraryMissing(Exception):
    """The library is not there, or too old. C(details) is the traceback of the import."""

    def __init__(self, message: str, *, details: str = "") -> None:
        super().__init__(message)
        self.details = details


def load(library: Library) -> ModuleType:
    """Import a library or raise C(LibraryMissing) with a text for people."""
    try:
        found = importlib.import_module(library.name)
    except ImportError as exc:
        name = f"{library.package} >= {library.minimum}" if library.minimum else library.package
        raise LibraryMissing(
            missing_required_lib(name, url=library.url or None), details=traceback.format_exc()
        ) from exc
    version = str(getattr(found, "__version__", ""))
    if library.minimum and version and numbers(version) < numbers(library.minimum):
        raise LibraryMissing(
            f"{library.package} {version} at {found.__file__} is too old; {library.minimum} or newer is needed."
        )
    return found


def available(library: Library) -> bool:
    """Whether a library can be used, for checks that do without it and say so."""
    try:
        load(library)
    except LibraryMissing:
        return False
    return True


def require(module: AnsibleModule, *libraries: Library) -> None:
    """End the module with a helpful text unless every library can be used."""
    for library in libraries:
        try:
            load(library)
        except LibraryMissing as exc:
            module.fail_json(msg=str(exc), exception=exc.details)


def numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: C(2.9.5 (dt dec pq3 ext lo64)) is C((2, 9, 5))."""
    leading = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in leading.group().split(".")) if leading else ()
