# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Container images without a container tool: OCI archives from plain files.

The same input gives the same bytes: no times, no owners, sorted names.
Sources: OCI image layout and image configuration, version 1.1.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_INDEX = "application/vnd.oci.image.index.v1+json"
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Image:
    """One image: its full name, what is in it, and what it starts.

    ``files`` maps absolute names to files of the machine, ``links`` to the
    targets of symbolic links. ``/tmp`` is always there. ``layers`` are tar files,
    compressed where their name ends in .gz, that lie below all this.
    """

    name: str
    files: Mapping[str, Path]
    layers: Sequence[Path] = ()
    links: Mapping[str, str] = field(default_factory=dict)
    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    user: str = ""
    working_directory: str = "/"
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Blob:
    """Content by digest: bytes, or a file of the machine."""

    digest: str
    size: int
    content: bytes | Path

    @classmethod
    def of_json(cls, document: Mapping[str, Any]) -> _Blob:
        data = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
        return cls(hashlib.sha256(data).hexdigest(), len(data), data)

    @classmethod
    def of_file(cls, path: Path) -> _Blob:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return cls(digest, path.stat().st_size, path)

    def descriptor(self, media_type: str) -> dict[str, Any]:
        return {"mediaType": media_type, "digest": f"sha256:{self.digest}", "size": self.size}


@dataclass(frozen=True)
class _Layer:
    """A layer as it is kept, and the digest of its tar file, by which the configuration knows it."""

    blob: _Blob
    media_type: str
    diff_id: str

    @classmethod
    def of_file(cls, path: Path) -> _Layer:
        blob = _Blob.of_file(path)
        if path.suffix != ".gz":
            return cls(blob, _LAYER, blob.digest)
        with gzip.open(path) as stream:
            return cls(blob, f"{_LAYER}+gzip", hashlib.file_digest(stream, "sha256").hexdigest())


def write_archive(target: Path, images: Iterable[Image], *, workspace: Path) -> None:
    """Write images as one OCI archive that ``ctr images import`` names as they are named.

    ``workspace`` holds the layers while they are needed.
    """
    blobs: dict[str, _Blob] = {}
    manifests = []
    for number, image in enumerate(images):
        layer_file = workspace / f"layer-{number}.tar"
        with layer_file.open("wb") as stream:
            _write_layer(stream, image)
        layers = [_Layer.of_file(file) for file in (*image.layers, layer_file)]
        config = _Blob.of_json(_configuration(image, [layer.diff_id for layer in layers]))
        manifest = _Blob.of_json(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": config.descriptor(_CONFIG),
                "layers": [layer.blob.descriptor(layer.media_type) for layer in layers],
            }
        )
        blobs.update({blob.digest: blob for blob in (*(layer.blob for layer in layers), config, manifest)})
        manifests.append({**manifest.descriptor(MANIFEST), "annotations": _names(image.name)})
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
        _add_bytes(archive, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": manifests}
        _add_bytes(archive, "index.json", json.dumps(index, sort_keys=True).encode())
        for digest in sorted(blobs):
            content = blobs[digest].content
            name = f"blobs/sha256/{digest}"
            if isinstance(content, Path):
                _add_file(archive, name, content, mode=0o644)
            else:
                _add_bytes(archive, name, content)


def _names(name: str) -> dict[str, str]:
    # containerd reads the first, podman and skopeo the second.
    return {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}


def _configuration(image: Image, diff_ids: Sequence[str]) -> dict[str, Any]:
    environment = [_PATH, *(f"{name}={value}" for name, value in image.environment.items())]
    config: dict[str, Any] = {"Env": environment, "WorkingDir": image.working_directory}
    if image.entrypoint:
        config["Entrypoint"] = list(image.entrypoint)
    if image.command:
        config["Cmd"] = list(image.command)
    if image.user:
        config["User"] = image.user
    return {
        "architecture": "amd64",
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in diff_ids]},
    }


def _write_layer(stream: BinaryIO, image: Image) -> None:
    names = [*image.files, *image.links, "/tmp/x"]
    parents = {str(parent) for name in names for parent in PurePosixPath(name).parents}
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as layer:
        for directory in sorted(parents - {"/"}):
            mode = 0o1777 if directory == "/tmp" else 0o755
            _add(layer, directory, tarfile.DIRTYPE, mode=mode)
        for name, path in sorted(image.files.items()):
            executable = path.stat().st_mode & 0o111
            _add_file(layer, name.lstrip("/"), path, mode=0o755 if executable else 0o644)
        for name, destination in sorted(image.links.items()):
            _add(layer, name, tarfile.SYMTYPE, mode=0o777, linkname=destination)


def _add(archive: tarfile.TarFile, name: str, kind: bytes, *, mode: int, linkname: str = "") -> None:
    member = tarfile.TarInfo(name.lstrip("/"))
    member.type, member.mode, member.linkname = kind, mode, linkname
    archive.addfile(member)


def _add_bytes(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), 0o644
    archive.addfile(member, io.BytesIO(data))


def _add_file(archive: tarfile.TarFile, name: str, path: Path, *, mode: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = path.stat().st_size, mode
    with path.open("rb") as stream:
        archive.addfile(member, stream)
