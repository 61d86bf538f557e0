# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real servers, started once for all tests of modules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.pki import Authority
from support.servers import Minio, minio

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CA that the site's users trust."""
    return Authority(tmp_path_factory.mktemp("pki") / "site")


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Minio]:
    """A MinIO with TLS and a region of its own."""
    leaf = authority.issue("s3.example.com", "127.0.0.1")
    directory = tmp_path_factory.mktemp("minio")
    with minio(directory, region="onprem-1", tls=leaf, ca_file=authority.certificate) as server:
        yield server
