# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an uninstallation leaves behind nowhere."""

from __future__ import annotations

# A script that names what is there: files, units, processes, cgroups, mounts, tables and rules of the firewall, links
# and routes of the network. It fails where it cannot look.
LEFTOVERS = r"""
for tool in ip iptables-save nft ps; do
    command -v "$tool" >/dev/null || { echo "This host has no $tool to look with." >&2; exit 1; }
done
ls -d /etc/rancher/k3s /etc/systemd/system/k3s* /etc/systemd/system/minio* /etc/systemd/system/flyte-* /etc/minio \
    /etc/default/minio /etc/flyte-* /etc/sysctl.d/*flyte* /etc/yum.repos.d/*flyte* /etc/yum.repos.d/rancher-* \
    /usr/local/bin/* /root/.kube \
    /var/lib/kubelet/* /var/lib/cni /var/log/pods /var/log/containers /run/k3s /run/flannel /run/netns/cni-* \
    /sys/fs/cgroup/kubepods* /sys/fs/cgroup/*/kubepods 2>/dev/null
ps -e -o comm= | grep -E '^(k3s|kube|minio|containerd|postgres)'
grep -E ' /(run/k3s|run/netns/cni-|var/lib/kubelet/(pods|plugins))' /proc/self/mounts
nft list tables | grep -i -E 'flyte|kube|cni|flannel'
rules=$(iptables-save) || exit 1
echo "$rules" | grep -i -E 'KUBE-|CNI-|FLANNEL'
ip -brief link | grep -E 'cni0|veth.*cni|flannel|kube-ipvs0'
ip route | grep '^10[.]42[.]'
ls -d /etc/postgresql/*/main/conf.d/flyte* 2>/dev/null
true
"""
# Parts of what it names while k3s runs pods with its usual networks: a look that finds none of them proves nothing.
SIGNS = (
    "/etc/rancher/k3s",
    "/usr/local/bin/k3s",
    "/var/lib/cni",
    "/var/log/pods",
    "/var/log/containers",
    "/run/k3s",
    "/run/flannel",
    "/run/netns/cni-",
    "/kubepods",
    "containerd-shim",
    " /run/k3s/containerd/",
    " /run/netns/cni-",
    " /var/lib/kubelet/pods/",
    "KUBE-",
    "FLANNEL-",
    "cni0   ",
    "flannel.1   ",
    " dev cni0 ",
)


def unseen(*looks: str) -> set[str]:
    """What none of these looks at the nodes of a running cluster has found."""
    return {sign for sign in SIGNS if not any(sign in look for look in looks)}
