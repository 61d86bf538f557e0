# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.flyte.onprem.plugins.filter.mount_of import mount_of

MOUNTS = [{"mount": mount, "size_available": 1} for mount in ("/", "/var/lib/rancher", "/var", "/srv/fast")]


@pytest.mark.parametrize(
    ("path", "mount"),
    [
        ("/var/lib/rancher/k3s", "/var/lib/rancher"),
        ("/var/lib/rancher", "/var/lib/rancher"),
        ("/var/lib/minio", "/var"),
        ("/var/lib/rancher-of-others", "/var"),
        ("/srv/fast/a/b/c/d/e", "/srv/fast"),
        ("/opt", "/"),
    ],
)
def test_a_path_lies_on_the_deepest_mount_above_it(path: str, mount: str) -> None:
    assert mount_of(MOUNTS, path)["mount"] == mount


def test_a_mount_of_unknown_size_is_left_out() -> None:
    assert mount_of([*MOUNTS, {"mount": "/var/lib"}], "/var/lib/minio")["mount"] == "/var"


def test_where_no_mount_is_known_there_is_none() -> None:
    assert mount_of([], "/var/lib/minio") == {}
