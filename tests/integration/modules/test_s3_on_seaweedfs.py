# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""s3_bucket_check against a real SeaweedFS: no false alarm, and the faults that show in its own words.

Faults of the way to a store are the same for every store: test_s3_bucket_check.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.admin import contents, s3_client
from support.modules import Result, run_module
from support.servers import Hooks, SeaweedFS, proxy, seaweedfs, secret_of, traefik

from ansible_collections.flyte.onprem.plugins.modules import s3_bucket_check

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.pki import Authority

NAME = "s3.example.com"
BUCKETS = ("flyte-data", "flyte-versions", "flyte-suspended", "flyte-locked")
DATA, VERSIONS, SUSPENDED, LOCKED = BUCKETS
# Who may do what, in SeaweedFS's own words; Write has deletion and uploads in parts in it.
USERS = {
    **{bucket: [f"{action}:{bucket}" for action in ("Read", "Write", "List")] for bucket in BUCKETS},
    "owner": [f"Admin:{DATA}"],
    "no-list": [f"Read:{DATA}", f"Write:{DATA}"],
    "no-write": [f"Read:{DATA}", f"List:{DATA}"],
    "no-such-bucket": ["Read:flyte-absent", "Write:flyte-absent", "List:flyte-absent"],
    "no-read": [f"Write:{DATA}", f"List:{DATA}"],
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[SeaweedFS]:
    hosts = [f"{bucket}.{NAME}" for bucket in BUCKETS]
    with seaweedfs(
        tmp_path_factory.mktemp("seaweedfs"),
        users=USERS,
        domain=NAME,
        tls=authority.issue(NAME, "127.0.0.1", *hosts),
        ca_file=authority.certificate,
    ) as server:
        client = s3_client(server)
        client.create_bucket(Bucket=DATA)
        for bucket, statuses in ((VERSIONS, ("Enabled",)), (SUSPENDED, ("Enabled", "Suspended"))):
            client.create_bucket(Bucket=bucket)
            for status in statuses:
                client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})
        client.create_bucket(Bucket=LOCKED, ObjectLockEnabledForBucket=True)
        rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}}
        client.put_object_lock_configuration(
            Bucket=LOCKED, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
        )
        yield server


def check(store: SeaweedFS, *, user: str = DATA, check_mode: bool = False, **changes: Any) -> Result:
    arguments = {
        "endpoint": store.endpoint,
        "access_key": user,
        "secret_key": secret_of(user),
        "ca_file": str(store.ca_file),
        "buckets": [DATA],
        "timeout": 5,
        "retries": 1,
        **changes,
    }
    result = run_module(s3_bucket_check.main, arguments, check=check_mode)
    assert arguments["secret_key"] not in str(result.values)
    return result


@pytest.mark.parametrize("bucket", [DATA, VERSIONS, SUSPENDED])
def test_a_healthy_store_is_all_green_and_left_as_it_was(store: SeaweedFS, bucket: str) -> None:
    result = check(store, buckets=[bucket], user=bucket)
    assert {row["status"] for row in result["checks"]} == {"passed"}, result["msg"]
    assert "SeaweedFS" in result["server"]
    assert result["leftovers"] == []
    assert contents(store, bucket) == []


def test_the_bucket_may_be_part_of_the_host_name(store: SeaweedFS) -> None:
    names = dict.fromkeys((NAME, f"{DATA}.{NAME}"), "127.0.0.1")
    result = check(store, endpoint=f"https://{NAME}:{store.port}", addressing_style="virtual", resolve=names)
    assert {row["status"] for row in result["checks"]} == {"passed"}, result["msg"]


# SeaweedFS takes the name that was signed from X-Forwarded-Host where Host is another; MinIO does not.
@pytest.mark.parametrize("passes_host", [True, False])
def test_a_traefik_before_it_is_no_fault(store: SeaweedFS, tmp_path: Path, passes_host: bool) -> None:
    with traefik(tmp_path, store, passHostHeader=passes_host) as address:
        result = check(store, public_endpoint=address)
    assert {row["status"] for row in result["checks"]} == {"passed"}, result["msg"]


def test_check_mode_writes_nothing_and_raises_no_alarm(store: SeaweedFS) -> None:
    result = check(store, check_mode=True)
    assert not result.failed, result["msg"]
    assert result.statuses("warning") == []
    assert contents(store, DATA) == []


# what is wrong, the check that must tell it, how, what is asked otherwise
FAULTS = [
    ("unknown access key", "S3-25", "failed", {"access_key": "nobody"}),
    ("wrong secret key", "S3-26", "failed", {"secret_key": "not-the-secret-key"}),
    ("missing bucket", "S3-04", "failed", {"buckets": ["flyte-absent"], "user": "no-such-bucket"}),
    ("all rights on the bucket", "S3-41", "warning", {"user": "owner"}),
    ("prefix that is too long", "S3-44", "failed", {"buckets": [{"name": DATA, "prefix": "p" * 1000}]}),
    ("no right to list", "S3-11", "failed", {"user": "no-list"}),
    ("no right to read", "S3-13", "failed", {"user": "no-read"}),
    ("objects that are locked", "S3-45", "warning", {"buckets": [LOCKED], "user": LOCKED}),
]


PUBLIC = "public.example.com"


@pytest.mark.parametrize("address", ["", "127.0.0.44"], ids=["unknown", "closed port"])
def test_the_public_name_of_a_bucket_that_leads_nowhere_is_told_from_a_store_without_an_answer(
    store: SeaweedFS, address: str
) -> None:
    names = {**dict.fromkeys((NAME, f"{DATA}.{NAME}", PUBLIC), "127.0.0.1"), f"{DATA}.{PUBLIC}": address}
    with proxy(store, Hooks()) as public:
        result = check(
            store,
            endpoint=f"https://{NAME}:{store.port}",
            public_endpoint=public.replace("127.0.0.1", PUBLIC),
            addressing_style="virtual",
            resolve={name: to for name, to in names.items() if to},
        )
    assert result.statuses("failed") == ["S3-06"], result["msg"]
    assert f"{DATA}.{PUBLIC}" in result.row("S3-06")["observed"]
    assert result["leftovers"] == []
    assert contents(store, DATA) == []


@pytest.mark.parametrize(
    ("id", "status", "changes"), [row[1:] for row in FAULTS], ids=[f"{row[0]}: {row[1]} {row[2]}" for row in FAULTS]
)
def test_each_fault_has_its_own_row_and_no_other(
    store: SeaweedFS, id: str, status: str, changes: dict[str, Any]
) -> None:
    result = check(store, **changes)
    found = {kind: result.statuses(kind) for kind in ("failed", "warning")}
    assert found == {"failed": [], "warning": [], status: [id]}, result["msg"]
    assert contents(store, DATA) == []


def test_a_user_who_may_only_read_is_told_both_rights_that_are_missing(store: SeaweedFS) -> None:
    assert check(store, user="no-write").statuses("failed") == ["S3-12", "S3-14"]
