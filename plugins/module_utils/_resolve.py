# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is PRIVATE to the collection. It can change at any time.

"""Pin names to addresses for the length of a block, as C(curl --resolve) does.

The name stays in TLS and in the Host header; only where the connection goes
changes. It works for everything that asks Python's C(socket.getaddrinfo):
http.client, urllib3, boto3, kubernetes. It does not reach libraries that
resolve names in C: give grpc and libpq the address by their own options.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import typing as t


def addresses_of(names: t.Mapping[t.Any, t.Any]) -> dict[str, str]:
    """The option C(resolve) with its names in one form. Raises C(ValueError) for a value that is no IP address."""
    for name, address in names.items():
        try:
            ipaddress.ip_address(address if isinstance(address, str) else "")  # a number would count as an address
        except ValueError:
            raise ValueError(f"resolve: {name}: its value is no IP address, such as 192.0.2.10") from None
    return {str(name).lower().rstrip("."): address for name, address in names.items()}


@contextlib.contextmanager
def pinned(names: t.Mapping[t.Any, t.Any]) -> t.Iterator[None]:
    """Let each name in C(names) resolve to its address, and to nothing else. Raises what C(addresses_of) does."""
    original = socket.getaddrinfo
    addresses = addresses_of(names)

    def getaddrinfo(host: t.Any, *args: t.Any, **kwargs: t.Any) -> t.Any:
        name = host.decode() if isinstance(host, bytes) else host
        if isinstance(name, str):
            name = addresses.get(name.lower().rstrip("."), name)
        return original(name, *args, **kwargs)

    socket.getaddrinfo = getaddrinfo
    try:
        yield
    finally:
        socket.getaddrinfo = original
