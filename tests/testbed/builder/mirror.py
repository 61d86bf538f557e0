# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A mirror of the published addresses, served from the bundle.

With ``site_mirror`` set to its address the roles ask it for
``<mirror>/github.com/...`` instead of ``https://github.com/...``: the same code
as a download from the Internet, with the same paths and checksum files. Images
are served below ``/v2/`` as a registry serves them, for k3s's registries.yaml.
"""

from __future__ import annotations

import io
import json
import os
import ssl
import struct
import tarfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from . import bundle, oci
from .cache import Cache, file_digest, key_of
from .console import say
from .recipes import Recipes

_ROOT_TAGS = "v2/tags.json"
_BLOBS = "v2/blobs"


def tree(cache: Cache, recipes: Recipes) -> Path:
    """Lay out the published paths, below one directory, and return it."""
    bundle.lay_out(cache, recipes)
    target = directory(cache, recipes)
    with cache.lock("mirror"):
        if not target.exists():
            with cache.workspace() as work:
                _fill(work, cache, recipes)
                target.parent.mkdir(exist_ok=True)
                work.chmod(0o755)
                work.rename(target)
    return target


def directory(cache: Cache, recipes: Recipes) -> Path:
    """Where the tree of the present bundle lies, or will lie."""
    laid_out = bundle.directory(cache, recipes)
    key = key_of({"bundle": laid_out.name, "layout": file_digest(Path(__file__))})
    return cache.root / "mirror" / key


def serve(top: Path, address: str, port: int, *, certificate: Path | None, key: Path | None) -> None:
    """Serve the tree until interrupted; over TLS if a certificate is given."""
    handler = partial(_Handler, directory=str(top))
    with ThreadingHTTPServer((address, port), handler) as server:
        scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            scheme = "https"
        print(f"{scheme}://{address}:{server.server_address[1]}", flush=True)
        say(f"[mirror] serving {top}")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            say("[mirror] stopped")


def registry_place(path: str, tags: dict[str, str]) -> str | None:
    """Find what a request to the registry wants, as a path below the mirror.

    ``tags`` maps full image names to the digests of their manifests. containerd
    names the registry it stands in for in ``?ns=``.
    Source: OCI distribution specification 1.1, "Pull".
    """
    url = urlsplit(path)
    words = unquote(url.path).removeprefix("/v2/").rsplit("/", 2)
    if len(words) != 3 or words[1] not in {"manifests", "blobs"}:
        return None
    repository, kind, reference = words
    registry = parse_qs(url.query).get("ns", [""])[0]
    if kind == "manifests" and not reference.startswith("sha256:"):
        wanted = f"{registry}/{repository}:{reference}"
        found = [digest for name, digest in tags.items() if name.endswith(wanted)]
        if not found:
            return None
        reference = found[0]
    return f"{_BLOBS}/{reference.removeprefix('sha256:')}"


class _Handler(SimpleHTTPRequestHandler):
    def send_head(self) -> Any:
        if self.path.startswith("/v2/"):
            if self.path == "/v2/":
                self.path = f"/{_ROOT_TAGS}"
            else:
                tags = json.loads((Path(self.directory) / _ROOT_TAGS).read_text())
                place = registry_place(self.path, tags)
                self.is_manifest = "/manifests/" in self.path
                self.path = f"/{place}" if place else "/v2/unknown"
        return super().send_head()

    def guess_type(self, path: str | os.PathLike[str]) -> str:
        if getattr(self, "is_manifest", False):
            return oci.MANIFEST
        return "application/octet-stream"

    def log_message(self, format: str, *args: object) -> None:
        say("[mirror] " + format % args)


def _fill(top: Path, cache: Cache, recipes: Recipes) -> None:
    for item in recipes.pins["bundle"].values():
        if "official" not in item:
            continue
        source, target = recipes.file(item["file"]), top / unquote(item["official"])
        target.parent.mkdir(parents=True, exist_ok=True)
        if "archive" in item:
            target.write_bytes(_archive(source, item["archive"]))
        else:
            os.link(source, target)
        beside = [target]
        if "airgap_images" in item:
            beside += _airgap_images(target.parent, item["airgap_images"], cache, recipes)
        for path in beside:
            path.with_name(path.name + ".sha256sum").write_text(_sum_line(path))
        if "checksums" in item:
            (target.parent / item["checksums"]).write_text("".join(map(_sum_line, beside)))
    _registry(top, recipes)


def _sum_line(path: Path) -> str:
    return f"{file_digest(path)}  {path.name}\n"


def _archive(source: Path, member_name: str) -> bytes:
    """Pack one program as its project publishes it."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as archive:
        member = tarfile.TarInfo(member_name)
        member.size, member.mode = source.stat().st_size, 0o755
        with source.open("rb") as stream:
            archive.addfile(member, stream)
    return packed.getvalue()


def _airgap_images(beside: Path, spec: dict[str, Any], cache: Cache, recipes: Recipes) -> list[Path]:
    """Write several images as one archive, plain and as .zst, as k3s publishes its own."""
    plain = beside / spec["name"]
    with cache.workspace() as layers:
        images = []
        for name in spec["images"]:
            room = layers / name
            room.mkdir()
            images.append(recipes.image(name, room))
        oci.write_archive(plain, images, workspace=layers)
    compressed = beside / f"{spec['name']}.zst"
    with plain.open("rb") as source, compressed.open("wb") as target:
        target.write(_ZSTD_START)
        block = source.read(_ZSTD_BLOCK)
        while block:
            following = source.read(_ZSTD_BLOCK)
            target.write(struct.pack("<I", len(block) << 3 | (not following))[:3] + block)
            block = following
    return [plain, compressed]


# Zstandard with stored blocks only: the format without a compressor, which
# Python has not before 3.14. Source: RFC 8878, sections 3.1.1.1 and 3.1.1.2:
# magic number, no flags, a window of 1 MiB; each block's header has the length,
# type 0 (raw), and in bit 0 whether it is the last.
_ZSTD_START = bytes.fromhex("28b52ffd0050")
_ZSTD_BLOCK = 128 * 1024


def _registry(top: Path, recipes: Recipes) -> None:
    """Unpack the images' blobs and note which manifest each name has."""
    blobs = top / _BLOBS
    blobs.mkdir(parents=True)
    tags = {}
    for name, spec in recipes.pins["images"].items():
        with tarfile.open(recipes.image_file(name)) as archive:
            for member in archive:
                stream = archive.extractfile(member)
                if stream is None:
                    continue
                if member.name == "index.json":
                    (manifest,) = json.load(stream)["manifests"]
                    tags[spec["name"]] = manifest["digest"]
                elif member.name.startswith("blobs/"):
                    (blobs / Path(member.name).name).write_bytes(stream.read())
    (top / _ROOT_TAGS).write_text(json.dumps(tags))
