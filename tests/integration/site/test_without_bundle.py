# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A site without a bundle: everything is downloaded, from a mirror that serves the published paths; then removed.

The tests build on each other in their order.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from testbed.builder import hosts

from .conftest import BED, Box, fresh_box

# What a site leaves behind nowhere: files, units, processes, tables of the firewall, links of the network.
LEFTOVERS = r"""
ls -d /etc/rancher /etc/systemd/system/k3s* /etc/systemd/system/minio* /etc/systemd/system/flyte-* /etc/minio \
    /etc/default/minio /etc/flyte-* /usr/local/bin/* /var/lib/kubelet/* /run/k3s /var/lib/cni 2>/dev/null
ps -e -o comm= | grep -E '^(k3s|kube|minio|containerd|postgres)'
nft list tables | grep -i flyte
iptables-save 2>/dev/null | grep -E 'KUBE-|CNI-'
ip -brief link | grep -E 'cni0|veth.*cni|flannel'
ls -d /etc/postgresql/*/main/conf.d/flyte* 2>/dev/null
true
"""


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """A fresh host whose inventory names a mirror instead of a bundle."""
    command = [*BED, "mirror", "--address", hosts.gateway()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as mirror:
        assert mirror.stdout is not None
        address = mirror.stdout.readline().strip()
        chart = "https://flyteorg.github.io/flyte/flyte-binary-v1.16.8.tgz.sha256sum"
        release = "RELEASE.2025-09-07T16-13-09Z"
        minio = f"https://github.com/minio/minio/releases/download/{release}/minio.linux-amd64.{release}.sha256sum"
        helm = "https://get.helm.sh/helm-v4.2.3-linux-amd64.tar.gz.sha256sum"
        more = {
            "site_bundle": "",
            "site_mirror": address,
            # What stands in here has other checksums than the published files, so they are asked of the mirror too.
            "flyte_chart_checksum": f"sha256:{chart}",
            "flyte_helm_checksum": f"sha256:{helm}",
            "minio_checksum": f"sha256:{minio}",
            "k3s_airgap_images": True,
            "k3s_registries": {
                "mirrors": {"cr.flyte.org": {"endpoint": [address]}, "docker.io": {"endpoint": [address]}}
            },
        }
        try:
            with fresh_box("flyte-onprem-mirrored", tmp_path_factory.mktemp("mirrored"), **more) as box:
                yield box
        finally:
            mirror.terminate()


def test_a_site_comes_up_from_downloads(mirrored: Box) -> None:
    code, output = mirrored.run("site")
    assert code == 0, output[-4000:]
    assert mirrored.kubectl("get --raw /readyz") == "ok"


def test_verify_passes_and_writes_its_report(mirrored: Box) -> None:
    (mirrored.site_directory / "report.html").unlink(missing_ok=True)
    code, output = mirrored.run("verify")
    assert code == 0, output[-4000:]
    assert "changed=0" in output
    page = (mirrored.site_directory / "report.html").read_text()
    assert "<html" in page
    assert "http://" not in page.split("</style>")[0]  # no outside assets


def test_uninstall_refuses_without_the_typed_confirmation(mirrored: Box) -> None:
    code, output = mirrored.run("uninstall", variables={"uninstall_confirm": "yes"})
    assert code != 0
    assert "flyte.test" in output
    assert mirrored.kubectl("get --raw /readyz") == "ok"


def test_uninstall_leaves_nothing_but_the_data(mirrored: Box) -> None:
    code, output = mirrored.run("uninstall", variables={"uninstall_confirm": "flyte.test"})
    assert code == 0, output[-4000:]
    assert mirrored.shell(LEFTOVERS).strip() == ""
    kept = mirrored.shell("ls -d /var/lib/minio/flyte-data /var/lib/postgresql/*/main").split()
    assert len(kept) == 2
    assert (mirrored.site_directory / "secrets").is_dir()


def test_uninstall_deletes_the_data_that_is_named(mirrored: Box) -> None:
    named = ["k3s", "postgresql", "minio", "site"]
    code, output = mirrored.run(
        "uninstall", variables={"uninstall_confirm": "flyte.test", "uninstall_delete_data": named}
    )
    assert code == 0, output[-4000:]
    left = "ls -d /var/lib/minio /var/lib/postgresql/*/main /var/lib/rancher/k3s/* 2>/dev/null; true"
    assert mirrored.shell(left).strip() == ""
    assert not mirrored.site_directory.exists()
