# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A Kubernetes that somebody else runs: upstream's own programs on a host of the bed, with nothing of k3s."""

from __future__ import annotations

import shlex
from pathlib import Path

from .bundle import build_all
from .console import run, stage
from .recipes import BED, Recipes

# containerd mounts overlays, which an overlay cannot carry.
VOLUMES = ("/var/lib/containerd",)
_TOP = "/opt/kubernetes"
_KUBERNETES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet")
_PROGRAMS = {
    "kubernetes": "kubernetes-upstream/kubernetes-upstream",
    **{name: f"containerd/{name}" for name in ("containerd", "containerd-shim-runc-v2", "ctr")},
    **{name: f"host-packages/{name}" for name in ("runc", "bridge", "host-local", "loopback", "portmap")},
    "kine": "kine/kine",
    "kubectl": "kubernetes-clients/kubectl",
}
_ONLY_K3S = {"klipper-lb", "local-path-provisioner", "busybox"}


def up(recipes: Recipes, host: str, address: str, kubeconfig: Path) -> None:
    """Make *host* a cluster, and write its administrator's kubeconfig. The host needs ``VOLUMES``."""
    build_all(recipes, {place.split("/")[0] for place in _PROGRAMS.values()})
    with stage(host, "making it a Kubernetes of one node", 60):
        run(["podman", "exec", host, "mkdir", "-p", f"{_TOP}/bin", f"{_TOP}/images"])
        for name, place in _PROGRAMS.items():
            run(["podman", "cp", recipes.file(place), f"{host}:{_TOP}/bin/{name}"])
        links = " && ".join(f"ln -sf kubernetes {_TOP}/bin/{name}" for name in _KUBERNETES)
        run(["podman", "exec", host, "sh", "-c", f"chmod 0755 {_TOP}/bin/* && {links}"])
        images = {name: spec for name, spec in recipes.pins["images"].items() if name not in _ONLY_K3S}
        for name in images:
            run(["podman", "cp", recipes.image_file(name), f"{host}:{_TOP}/images/{name}.tar"])
        run(["podman", "cp", BED / "cluster/manifests", f"{host}:{_TOP}/manifests"])
        run(["podman", "cp", BED / "cluster/up.sh", f"{host}:{_TOP}/up.sh"])
        run(["podman", "exec", host, f"{_TOP}/up.sh", address, images["pause"]["name"]], timeout=600)
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(run(["podman", "exec", host, "cat", "/etc/kubernetes/admin.conf"]))
    with stage(host, "installing Traefik by its chart", 20):
        helm = [recipes.file("kubernetes-clients/helm"), f"--kubeconfig={kubeconfig}", "--namespace=traefik"]
        chart = ["upgrade", "--install", "traefik", BED / "k3s/charts/traefik", "--create-namespace", "--wait"]
        run([*helm, *chart, f"--values={BED / 'cluster/traefik.yaml'}"], timeout=300)


def resolve(host: str, names: dict[str, str]) -> None:
    """Let the cluster's DNS know *names* with their addresses."""
    lines = "\n".join(f"{address} {name}" for name, address in names.items())
    made = f"create configmap coredns-hosts --namespace=kube-system --from-literal=hosts={shlex.quote(lines)}"
    script = (
        f"export KUBECONFIG=/etc/kubernetes/admin.conf; k={_TOP}/bin/kubectl; "
        f"$k {made} --dry-run=client -o yaml | $k apply -f - && "
        "$k -n kube-system rollout restart deployment/coredns && "
        "$k -n kube-system rollout status deployment/coredns --timeout=120s"
    )
    run(["podman", "exec", host, "sh", "-c", script], timeout=180)
