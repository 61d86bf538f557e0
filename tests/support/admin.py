# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an administrator of a MinIO does before and after a test, by ways that the modules do not take."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
import urllib3
from minio import MinioAdmin
from minio.credentials import StaticProvider

if TYPE_CHECKING:
    from collections.abc import Iterable

    from support.servers import Minio, S3Server

OBJECT_RIGHTS = ("s3:PutObject", "s3:GetObject", "s3:DeleteObject")
BUCKET_RIGHTS = ("s3:ListBucket",)
ENOUGH = (*BUCKET_RIGHTS, *OBJECT_RIGHTS, "s3:AbortMultipartUpload")


@dataclass(frozen=True)
class User:
    """Keys."""

    access_key: str
    secret_key: str


def admin_client(server: Minio) -> MinioAdmin:
    return MinioAdmin(
        endpoint=server.endpoint.partition("://")[2],
        credentials=StaticProvider(server.root_user, server.root_password),
        region=server.region,
        secure=server.scheme == "https",
        http_client=urllib3.PoolManager(ca_certs=str(server.ca_file) if server.ca_file else None),
    )


def s3_client(server: S3Server, user: User | None = None) -> Any:
    """A client as root, or as a user."""
    return boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        region_name=server.region or "us-east-1",
        verify=str(server.ca_file) if server.ca_file else None,
        aws_access_key_id=user.access_key if user else server.root_user,
        aws_secret_access_key=user.secret_key if user else server.root_password,
    )


def policy_document(buckets: Iterable[str], rights: Iterable[str]) -> dict[str, Any]:
    """Each right on the buckets or on their objects, wherever it belongs."""
    buckets, rights = list(buckets), list(rights)
    on_bucket = [right for right in rights if re.search(r"List(?!MultipartUploadParts)|Bucket|\*", right)]
    on_objects = [right for right in rights if right not in on_bucket or right == "s3:*"]
    statements = [
        {"Effect": "Allow", "Action": actions, "Resource": [f"arn:aws:s3:::{bucket}{suffix}" for bucket in buckets]}
        for actions, suffix in ((on_bucket, ""), (on_objects, "/*"))
        if actions
    ]
    return {"Version": "2012-10-17", "Statement": statements}


def make_user(
    server: Minio,
    buckets: Iterable[str],
    rights: Iterable[str] = ENOUGH,
    *,
    denied: Iterable[str] = (),
    user: User | None = None,
) -> User:
    """A new user, with these keys or any, with exactly these rights.

    MinIO takes some rights along with others unless they are denied.
    """
    buckets = list(buckets)
    document = policy_document(buckets, rights)
    if denied:
        document["Statement"].append({"Effect": "Deny", "Action": list(denied), "Resource": ["arn:aws:s3:::*"]})
    user = user or User(access_key="user-" + os.urandom(4).hex(), secret_key=os.urandom(12).hex())
    admin = admin_client(server)
    admin.user_add(user.access_key, user.secret_key)
    admin.policy_add(user.access_key, policy=document)
    admin.attach_policy([user.access_key], user=user.access_key)
    return user


def contents(server: S3Server, bucket: str) -> list[str]:
    """All that is in a bucket: objects, versions, delete markers, unfinished uploads."""
    client = s3_client(server)
    answer = client.list_object_versions(Bucket=bucket)
    found = [item["Key"] for kind in ("Versions", "DeleteMarkers") for item in answer.get(kind, [])]
    # MinIO lists unfinished uploads by their exact key only; here it is enough to know that there are none.
    uploads = client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    return sorted(found + [item["Key"] for item in uploads])
