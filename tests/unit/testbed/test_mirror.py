# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from testbed.builder import mirror, oci

DIGEST = "a" * 64
TAGS = {"docker.io/rancher/pause:3.10": f"sha256:{DIGEST}"}


@pytest.mark.parametrize(
    "path",
    [
        "/v2/rancher/pause/manifests/3.10?ns=docker.io",
        "/v2/rancher/pause/manifests/3.10",
        f"/v2/rancher/pause/manifests/sha256:{DIGEST}?ns=docker.io",
        f"/v2/rancher/pause/blobs/sha256:{DIGEST}",
    ],
)
def test_registry_finds_manifests_by_tag_and_digest_and_blobs(path: str) -> None:
    assert mirror.registry_place(path, TAGS) == f"v2/blobs/{DIGEST}"


@pytest.mark.parametrize(
    "path",
    ["/v2/rancher/pause/manifests/3.11", "/v2/rancher/pause/manifests/3.10?ns=ghcr.io", "/v2/x/tags/list", "/v2/x"],
)
def test_registry_does_not_know_other_tags_registries_and_requests(path: str) -> None:
    assert mirror.registry_place(path, TAGS) is None


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A mirror of one release file and one image, listening."""
    release = tmp_path / "github.com" / "v1.0+k3s1"
    release.mkdir(parents=True)
    (release / "k3s").write_text("program")
    (tmp_path / "v2" / "blobs").mkdir(parents=True)
    (tmp_path / "v2" / "blobs" / DIGEST).write_text("{}")
    (tmp_path / "v2" / "tags.json").write_text(json.dumps(TAGS))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(mirror._Handler, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_plus_sign_of_a_version_may_come_encoded_or_not(address: str) -> None:
    for version in ("v1.0%2Bk3s1", "v1.0+k3s1"):
        with urllib.request.urlopen(f"{address}/github.com/{version}/k3s") as answer:
            assert answer.read() == b"program"


def test_manifest_is_served_with_its_media_type(address: str) -> None:
    with urllib.request.urlopen(f"{address}/v2/rancher/pause/manifests/3.10?ns=docker.io") as answer:
        assert answer.headers["Content-Type"] == oci.MANIFEST
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{address}/v2/rancher/pause/manifests/9")
