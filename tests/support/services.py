# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services that a test plays on loopback: HTTP that answers with JSON or a text, and gRPC."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from support.servers import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Reply = tuple[int, Any]


@contextlib.contextmanager
def web(answer: Callable[[str, str, Any, bytes], Reply]) -> Iterator[int]:
    """Serve what C(answer) gives for method, path, headers and body of a request; yields the port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # head and body are two writes; held back, each answer takes 40 ms

        def handle_any(self) -> None:
            data = self.rfile.read(int(self.headers.get("content-length") or 0))
            status, found = answer(self.command, self.path, self.headers, data)
            body = found.encode() if isinstance(found, str) else json.dumps(found).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815

        def log_message(self, *_arguments: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_arguments: object) -> None:
            """A client that did not wait is part of a test."""

    server = Server((LOOPBACK, 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def rpc(answer: Callable[[str], bytes | None]) -> Iterator[int]:
    """Serve by gRPC what C(answer) gives for a method, UNIMPLEMENTED where that is None; yields the port."""
    import grpc

    class Methods(grpc.GenericRpcHandler):
        def service(self, details: Any) -> Any:
            found = answer(details.method)
            return None if found is None else grpc.unary_unary_rpc_method_handler(lambda _request, _context: found)

    server = grpc.server(ThreadPoolExecutor(4), handlers=[Methods()])
    port = server.add_insecure_port(f"{LOOPBACK}:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None)
