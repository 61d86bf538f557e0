# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A mirror of the published addresses, served from the bundle.

With ``site_mirror`` set to its address the roles ask it for
``<mirror>/github.com/...`` instead of ``https://github.com/...``: the same code
as a download from the Internet, with the same paths and checksum files.
"""

from __future__ import annotations

import io
import os
import ssl
import tarfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

from . import oci
from .bundle import bundle_key, lay_out
from .cache import Cache, file_digest, key_of
from .console import say
from .recipes import Recipes


def tree(cache: Cache, recipes: Recipes) -> Path:
    """Lay out the published paths, below one directory, and return it."""
    lay_out(cache, recipes)
    key = key_of({"bundle": bundle_key(recipes), "layout": file_digest(Path(__file__))})
    target = cache.root / "mirror" / key
    with cache.lock("mirror"):
        if not target.exists():
            with cache.workspace() as work:
                _fill(work, cache, recipes)
                target.parent.mkdir(exist_ok=True)
                work.chmod(0o755)
                work.rename(target)
    return target


def serve(
    directory: Path, address: str, port: int, *, certificate: Path | None, key: Path | None
) -> None:
    """Serve the tree until interrupted; over TLS if a certificate is given."""
    handler = partial(_Handler, directory=str(directory))
    with ThreadingHTTPServer((address, port), handler) as server:
        scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            scheme = "https"
        say(f"[mirror] {directory}")
        print(f"{scheme}://{address}:{server.server_address[1]}", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            say("[mirror] stopped")


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        say("[mirror] " + format % args)


def _fill(directory: Path, cache: Cache, recipes: Recipes) -> None:
    for item in recipes.pins["bundle"].values():
        if "official" not in item:
            continue
        source, target = recipes.file(item["file"]), directory / unquote(item["official"])
        target.parent.mkdir(parents=True, exist_ok=True)
        if "archive" in item:
            target.write_bytes(_archive(source, item["archive"]))
        else:
            os.link(source, target)
        digest = file_digest(target)
        for suffix in (".sha256", ".sha256sum"):
            target.with_name(target.name + suffix).write_text(f"{digest}  {target.name}\n")
        for name in item.get("airgap_images", {}):
            members = item["airgap_images"][name]
            with cache.workspace() as layers:
                images = []
                for number, member in enumerate(members):
                    room = layers / str(number)
                    room.mkdir()
                    images.append(recipes.image(member, room))
                oci.write_archive(target.parent / name, images, workspace=layers)
        if "checksums" in item:
            names = sorted(path for path in target.parent.iterdir() if not path.name.startswith(target.name + "."))
            listed = "".join(f"{file_digest(path)}  {path.name}\n" for path in names)
            (target.parent / item["checksums"]).write_text(listed)


def _archive(source: Path, member_name: str) -> bytes:
    """Pack one program as its project publishes it."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as archive:
        member = tarfile.TarInfo(member_name)
        member.size, member.mode = source.stat().st_size, 0o755
        with source.open("rb") as stream:
            archive.addfile(member, stream)
    return packed.getvalue()
