# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is PRIVATE to the collection. It can change at any time.

"""What the short-lived pod of kubernetes_check runs: its text is handed to C(python3 -c) in the pod.

So it stands alone: Python 3.7's standard library and nothing else. It asks
each service by name, and writes one line of JSON for all. Its exit code is 0
when all answered as they should, and 1 when one did not.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import sys
import threading
import time
from typing import Any

# Before the line with the verdict; images may print other lines.
MARK = "flyte.onprem probe: "
SERVICES = "FLYTE_ONPREM_SERVICES"
AUTHORITY = "FLYTE_ONPREM_CA"
TIMEOUT = "FLYTE_ONPREM_TIMEOUT"

# PostgreSQL's SSLRequest: its length and 80877103 (manual, "Message Formats").
SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"

# Where a look at a service ended.
NAME, PORT, WAY, TLS, DONE = "name", "port", "way", "tls", "done"


def look(service: dict[str, Any], timeout: float, authority: str) -> dict[str, Any]:
    """Ask one service: C(step) is where it ended, C(seen) what was seen there, C(code) OpenSSL's for a certificate.

    C(service) has scheme, host, port, and C(verify), whether its certificate is judged.
    """
    deadline = time.monotonic() + timeout
    try:
        found = lookup(service["host"], service["port"], timeout)
    except socket.timeout:
        return {"step": NAME, "seen": f"no answer from DNS within {timeout:g} seconds"}
    except (OSError, UnicodeError) as exc:
        return {"step": NAME, "seen": words(exc)}
    try:
        connection = connect(found, deadline)
    except socket.timeout:
        return {"step": WAY, "seen": f"no answer within {timeout:g} seconds"}
    except ConnectionRefusedError as exc:
        return {"step": PORT, "seen": words(exc)}
    except OSError as exc:
        return {"step": WAY, "seen": words(exc)}
    with contextlib.closing(connection):
        where = connection.getpeername()[0]
        if not service["verify"]:
            return {"step": DONE, "seen": f"connected to {where}"}
        connection.settimeout(max(0.1, deadline - time.monotonic()))
        return shake_hands(service, connection, where, authority)


def shake_hands(service: dict[str, Any], connection: socket.socket, where: str, authority: str) -> dict[str, Any]:
    """Judge the service's certificate."""
    try:
        if service["scheme"] == "postgresql":
            connection.sendall(SSL_REQUEST)
            if connection.recv(1) != b"S":
                return {"step": TLS, "seen": "the server offers no TLS", "code": 0}
        trust = ssl.create_default_context()
        if authority:
            trust.load_verify_locations(cadata=authority)
        with trust.wrap_socket(connection, server_hostname=service["host"]) as encrypted:
            return {"step": DONE, "seen": f"connected to {where} with {encrypted.version()}"}
    except ssl.SSLCertVerificationError as exc:
        return {"step": TLS, "seen": exc.verify_message, "code": exc.verify_code}
    except socket.timeout:
        return {"step": TLS, "seen": "no answer to the handshake in time", "code": 0}
    except OSError as exc:
        return {"step": TLS, "seen": words(exc), "code": 0}


def words(exc: BaseException) -> str:
    return str(getattr(exc, "strerror", None) or exc)


def lookup(host: str, port: int, timeout: float) -> list[Any]:
    """The addresses of a name; the system's own resolver may take minutes."""
    result: list[Any] = []

    def ask() -> None:
        try:
            result.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as exc:
            result.append(exc)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(timeout)
    if not result:
        raise socket.timeout
    if isinstance(result[0], BaseException):
        raise result[0]
    return list(result[0])


def connect(addresses: list[Any], deadline: float) -> socket.socket:
    """Connect to the first address that accepts, each with its share of the time left."""
    last: OSError = socket.timeout()
    for index, (family, kind, protocol, _name, where) in enumerate(addresses):
        connection = socket.socket(family, kind, protocol)
        connection.settimeout(max(0.1, deadline - time.monotonic()) / (len(addresses) - index))
        try:
            connection.connect(where)
            return connection
        except OSError as exc:
            connection.close()
            last = exc
    raise last


def main() -> int:
    services = json.loads(os.environ[SERVICES])
    timeout = float(os.environ[TIMEOUT])
    found: list[dict[str, Any]] = [{} for _service in services]

    def ask(index: int) -> None:
        found[index] = look(services[index], timeout, os.environ.get(AUTHORITY, ""))

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(len(services))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.stdout.write(MARK + json.dumps(found) + "\n")
    return int(any(item.get("step") != DONE for item in found))


if __name__ == "__main__":
    sys.exit(main())
