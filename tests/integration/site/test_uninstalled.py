# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A site's report, and its end: first the data stay, then they go by name.

Runs on the site that test_interrupted.py leaves behind. The tests build on each other in their order.
"""

from __future__ import annotations

import json

from support.leftovers import LEFTOVERS, unseen
from support.pages import Page

from .conftest import Box, changes

PROJECT = "kept"

# What k3s has stored, running or not: kine keeps each object under its name in SQLite, every version of it. What names
# Flyte, itself or in its content, is Flyte's; the host's own name, which k3s puts into what it makes, does not count.
CLUSTER_WIDE = r"""
python3 - <<'END'
import platform, sqlite3
stored = sqlite3.connect("file:/var/lib/rancher/k3s/server/db/state.db?mode=ro", uri=True)
latest = "id IN (SELECT max(id) FROM kine GROUP BY name) AND deleted = 0"
for name, value in stored.execute(
    f"SELECT name, CAST(coalesce(value, '') AS BLOB) FROM kine WHERE {latest} ORDER BY name"
):
    if b"flyte" in (name.encode() + value).replace(platform.node().encode(), b""):
        print(name)
END
"""
CLUSTER_WIDE_KINDS = {
    "clusterroles", "clusterrolebindings", "customresourcedefinitions", "mutatingwebhookconfigurations",
    "validatingwebhookconfigurations", "namespaces",
}  # fmt: skip


def cluster_wide_objects(box: Box) -> list[tuple[str, str]]:
    """Kind and name of Flyte's objects that belong to no namespace, and the namespaces themselves."""
    found = [tuple(name.split("/")[-2:]) for name in box.shell(CLUSTER_WIDE).split()]
    return [(kind, name) for kind, name in found if kind in CLUSTER_WIDE_KINDS]


def ask_flyte(box: Box, *options: str) -> str:
    """What Flyte answers on the host to a call about its projects."""
    url = "https://flyte.test/api/v1/projects"
    resolve = f"--resolve flyte.test:443:{box.address}"
    return box.shell(f"curl -sS --fail --cacert /etc/flyte-onprem-ca.crt {resolve} {' '.join(options)} {url}")


def test_verify_passes_and_writes_its_report(box: Box) -> None:
    (box.site_directory / "report.html").unlink(missing_ok=True)
    code, output = box.run("verify")
    assert code == 0, output[-4000:]
    assert changes(output) == 0
    page = Page((box.site_directory / "report.html").read_text())
    assert "Everything works" in " ".join(page.words)
    assert page.fetched == []


def test_uninstall_refuses_without_the_typed_confirmation(box: Box) -> None:
    code, output = box.run("uninstall", variables={"uninstall_confirm": "yes"})
    assert code != 0
    assert "Nothing was removed: what was typed is not the site's domain." in output
    assert changes(output) == 0
    assert box.kubectl("get --raw /readyz") == "ok"


def test_uninstall_leaves_nothing_but_the_data(box: Box) -> None:
    body = json.dumps({"project": {"id": PROJECT, "name": PROJECT}})
    ask_flyte(box, "-H 'Content-Type: application/json'", f"-d '{body}'")
    # Seen while they are there, so that their absence means something.
    there = {kind for kind, _name in cluster_wide_objects(box)}
    assert there == CLUSTER_WIDE_KINDS - {"validatingwebhookconfigurations"}
    look = box.shell(LEFTOVERS)
    assert unseen(look) == set()
    assert "CNI-" in look  # of the ports that Traefik has on the host
    code, output = box.run("uninstall", variables={"uninstall_confirm": "flyte.test"})
    assert code == 0, output[-4000:]
    assert box.shell(LEFTOVERS).strip() == ""
    assert cluster_wide_objects(box) == []
    kept = box.shell("ls -d /var/lib/minio/flyte-data /var/lib/postgresql/*/main").split()
    assert len(kept) == 2
    assert (box.site_directory / "secrets").is_dir()


def test_a_site_comes_back_on_the_data_that_were_kept(box: Box) -> None:
    code, output = box.run("site")
    assert code == 0, output[-4000:]
    assert PROJECT in [project["id"] for project in json.loads(ask_flyte(box))["projects"]]


def test_check_mode_of_an_uninstallation_removes_nothing(box: Box) -> None:
    code, output = box.run("uninstall", "--check", variables={"uninstall_confirm": "flyte.test"})
    assert code == 0, output[-4000:]
    assert PROJECT in ask_flyte(box)


def test_uninstall_deletes_the_data_that_is_named_though_the_cluster_is_dead(box: Box) -> None:
    # As on a host whose cluster is broken for good.
    box.shell("systemctl stop k3s && k3s-killall.sh >/dev/null 2>&1; rm -rf /var/lib/rancher/k3s/server/tls")
    named = ["k3s", "postgresql", "minio", "site"]
    code, output = box.run("uninstall", variables={"uninstall_confirm": "flyte.test", "uninstall_delete_data": named})
    assert code == 0, output[-4000:]
    left = "ls -d /etc/rancher/* /var/lib/minio /var/lib/postgresql/*/main /var/lib/rancher/k3s/* 2>/dev/null; true"
    assert box.shell(left).strip() == ""
    assert [path.name for path in box.inventory.iterdir()] == ["hosts.yml"]
