# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an uninstallation leaves behind nowhere."""

from __future__ import annotations

# A script that names what is there: files, units, processes, tables of the firewall, links of the network.
LEFTOVERS = r"""
ls -d /etc/rancher/k3s /etc/systemd/system/k3s* /etc/systemd/system/minio* /etc/systemd/system/flyte-* /etc/minio \
    /etc/default/minio /etc/flyte-* /usr/local/bin/* /var/lib/kubelet/* /run/k3s /var/lib/cni 2>/dev/null
ps -e -o comm= | grep -E '^(k3s|kube|minio|containerd|postgres)'
nft list tables | grep -i flyte
iptables-save 2>/dev/null | grep -E 'KUBE-|CNI-'
ip -brief link | grep -E 'cni0|veth.*cni|flannel'
ls -d /etc/postgresql/*/main/conf.d/flyte* 2>/dev/null
true
"""
