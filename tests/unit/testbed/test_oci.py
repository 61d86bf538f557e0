# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

from testbed.builder import oci


def make(directory: Path, **fields: Any) -> dict[str, bytes]:
    """Write an archive of one image; return its members."""
    program = directory / "program"
    program.write_bytes(b"#!/bin/true\n")
    program.chmod(0o700)
    fields = {"name": "docker.io/library/thing:1", "files": {"/usr/bin/thing": program}, **fields}
    target = directory / "image.tar"
    oci.write_archive(target, [oci.Image(**fields)], workspace=directory)
    return members(target.read_bytes())


def members(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return {member.name: stream.read() for member in opened if (stream := opened.extractfile(member)) is not None}


def blob(archive: dict[str, bytes], descriptor: dict[str, Any]) -> bytes:
    """The content of a descriptor, after checking its size and digest."""
    content = archive["blobs/" + descriptor["digest"].replace(":", "/")]
    assert descriptor["size"] == len(content)
    assert descriptor["digest"] == "sha256:" + hashlib.sha256(content).hexdigest()
    return content


def test_archive_is_a_chain_of_digests_from_index_to_layer(tmp_path: Path) -> None:
    archive = make(tmp_path, entrypoint=["/usr/bin/thing"], user="1000:1000")
    assert json.loads(archive["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    (manifest_entry,) = json.loads(archive["index.json"])["manifests"]
    manifest = json.loads(blob(archive, manifest_entry))
    config = json.loads(blob(archive, manifest["config"]))
    (layer,) = manifest["layers"]
    assert config["rootfs"]["diff_ids"] == [layer["digest"]]
    assert config["config"]["Entrypoint"] == ["/usr/bin/thing"]
    assert config["config"]["User"] == "1000:1000"
    assert members(blob(archive, layer)) == {"usr/bin/thing": b"#!/bin/true\n"}


def test_image_carries_its_full_name_for_containerd_and_podman(tmp_path: Path) -> None:
    (entry,) = json.loads(make(tmp_path)["index.json"])["manifests"]
    assert entry["annotations"] == {
        "io.containerd.image.name": "docker.io/library/thing:1",
        "org.opencontainers.image.ref.name": "docker.io/library/thing:1",
    }


def test_same_content_gives_same_bytes_whatever_the_time(tmp_path: Path) -> None:
    archives = []
    for name in ("one", "two"):
        directory = tmp_path / name
        directory.mkdir()
        make(directory, links={"/bin/sh": "thing"})
        archives.append((directory / "image.tar").read_bytes())
    assert archives[0] == archives[1]


def test_layer_has_directories_links_and_a_tmp_for_everyone(tmp_path: Path) -> None:
    archive = make(tmp_path, links={"/bin/sh": "busybox"})
    manifest = json.loads(blob(archive, json.loads(archive["index.json"])["manifests"][0]))
    with tarfile.open(fileobj=io.BytesIO(blob(archive, manifest["layers"][0]))) as layer:
        found = {member.name: member for member in layer}
    assert found["tmp"].isdir() and found["tmp"].mode == 0o1777
    assert found["usr/bin"].isdir() and found["usr/bin"].mode == 0o755
    assert found["bin/sh"].issym() and found["bin/sh"].linkname == "busybox"
    assert found["usr/bin/thing"].mode == 0o755
    assert {member.uid for member in found.values()} == {0}


def test_ready_layers_lie_below_the_files(tmp_path: Path) -> None:
    ready = tmp_path / "root.tar"
    ready.write_bytes(b"\0" * 10240)  # an empty tar file
    archive = make(tmp_path, layers=[ready])
    manifest = json.loads(blob(archive, json.loads(archive["index.json"])["manifests"][0]))
    below, above = manifest["layers"]
    assert blob(archive, below) == ready.read_bytes()
    assert members(blob(archive, above)) == {"usr/bin/thing": b"#!/bin/true\n"}
    config = json.loads(blob(archive, manifest["config"]))
    assert config["rootfs"]["diff_ids"] == [below["digest"], above["digest"]]


def test_a_compressed_layer_is_known_by_its_content_too(tmp_path: Path) -> None:
    ready = tmp_path / "root.tar.gz"
    ready.write_bytes(gzip.compress(b"\0" * 10240))
    archive = make(tmp_path, layers=[ready])
    manifest = json.loads(blob(archive, json.loads(archive["index.json"])["manifests"][0]))
    assert manifest["layers"][0]["mediaType"] == "application/vnd.oci.image.layer.v1.tar+gzip"
    assert blob(archive, manifest["layers"][0]) == ready.read_bytes()
    config = json.loads(blob(archive, manifest["config"]))
    assert config["rootfs"]["diff_ids"][0] == "sha256:" + hashlib.sha256(b"\0" * 10240).hexdigest()


def test_image_says_where_its_program_starts_and_with_what_environment(tmp_path: Path) -> None:
    archive = make(tmp_path, working_directory="/root", environment={"PYTHONPATH": "/root"})
    manifest = json.loads(blob(archive, json.loads(archive["index.json"])["manifests"][0]))
    config = json.loads(blob(archive, manifest["config"]))["config"]
    assert config["WorkingDir"] == "/root"
    assert config["Env"][0].startswith("PATH=")
    assert config["Env"][1:] == ["PYTHONPATH=/root"]


def test_images_of_one_archive_share_equal_layers(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"x")
    images = [oci.Image(name=f"localhost/{name}:1", files={"/x": program}) for name in "ab"]
    target = tmp_path / "images.tar"
    oci.write_archive(target, images, workspace=tmp_path)
    archive = members(target.read_bytes())
    assert len(json.loads(archive["index.json"])["manifests"]) == 2
    assert len([name for name in archive if name.startswith("blobs/")]) == 3
