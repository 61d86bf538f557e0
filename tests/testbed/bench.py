#!/usr/bin/env python3
# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure a first run, a second run, and a plain script that takes the same steps without Ansible: ``make bench-site``.

And a workflow through Flyte beside its pods started by hand, and the check modules by themselves.

The script is given everything ready made (the files, units, manifests and values that Ansible wrote on the other host),
so it is the least that these steps can cost: copy, install packages, start, apply, wait.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import bench_checks
import bench_modules
import bench_workflow
from builder import hosts, inventory

ROOT = Path(__file__).resolve().parents[2]
BED = [sys.executable, str(ROOT / "tests/testbed/bed.py")]
BIN = Path(sys.executable).parent
RELEASE, DOMAIN = "flyte-binary", "flyte.test"
ANSIBLE, SCRIPT = "flyte-onprem-bench-ansible", "flyte-onprem-bench-script"
# What Ansible places that is not from a package and not made by the services themselves.
PLACED = (
    "etc/rancher",
    "etc/systemd/system",
    "etc/postgresql",
    "etc/default/minio",
    "etc/minio",
    "etc/flyte-onprem-ca.crt",
    "etc/flyte-guard-k3s.nft",
    "etc/flyte-guard-postgresql.nft",
    "usr/local/bin/k3s-killall.sh",
    "usr/local/bin/k3s-uninstall.sh",
    "var/lib/rancher/k3s/agent/etc/kubelet.conf.d",
    "var/lib/rancher/k3s/server/manifests/coredns-custom.yaml",
)


def say(text: str) -> None:
    """Tell the person who waits."""
    print(text, flush=True)


def host(name: str, script: str, **options: Any) -> str:
    """Run a shell script on a host of the bench."""
    command = ["podman", "exec", "-i", name, "bash", "-euo", "pipefail", "-c", script]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, **options).stdout


def copy(source: str, target: str, paths: list[str], name: str) -> None:
    """Copy files into a host by one stream of tar."""
    with subprocess.Popen(["tar", "-C", source, "-cf", "-", *paths], stdout=subprocess.PIPE) as packed:
        subprocess.run(["podman", "exec", "-i", name, "tar", "-C", target, "-xf", "-"], stdin=packed.stdout, check=True)


def play(folder: Path) -> tuple[float, dict[str, Any]]:
    """Run the site playbook; its seconds and what was counted."""
    counted = folder / "counted.json"
    environment = dict(
        os.environ,
        ANSIBLE_CONFIG=str(ROOT / "ansible.cfg"),
        ANSIBLE_CALLBACK_PLUGINS=str(ROOT / "tests/testbed/callbacks"),
        ANSIBLE_CALLBACKS_ENABLED="count_modules",
        COUNT_MODULES=str(counted),
    )
    command = [str(BIN / "ansible-playbook"), "flyte.onprem.site", "-i", str(folder / "hosts.yml")]
    started = time.monotonic()
    with (folder / "ansible.log").open("a") as log:
        subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=log, stderr=subprocess.STDOUT)
    return time.monotonic() - started, json.loads(counted.read_text())


def collect(folder: Path) -> tuple[list[str], str]:
    """Take what the script needs from the host that Ansible made: files, packages, objects, values."""
    present = host(ANSIBLE, f"cd /; for path in {' '.join(PLACED)}; do [ ! -e $path ] || echo $path; done").split()
    packed = subprocess.run(
        ["podman", "exec", ANSIBLE, "tar", "-C", "/", "-cf", "-", *present], check=True, stdout=subprocess.PIPE
    ).stdout
    (folder / "placed.tar").write_bytes(packed)
    objects = host(
        ANSIBLE,
        "k3s kubectl get namespace flyte -o yaml; echo ---; "
        "k3s kubectl get helmchartconfig traefik -n kube-system -o yaml; echo ---; "
        "k3s kubectl get secret,configmap -n flyte -l app.kubernetes.io/managed-by=flyte.onprem -o yaml",
    )
    objects = re.sub(r"^\s+(resourceVersion|uid|creationTimestamp): .*\n", "", objects, flags=re.M)
    (folder / "objects.yaml").write_text(objects)
    helm = str(next((folder / "site/bin").glob("helm*")))
    values = subprocess.run(
        [
            helm,
            "get",
            "values",
            RELEASE,
            "--namespace=flyte",
            "--kubeconfig",
            str(folder / "site/kubeconfig"),
            "-oyaml",
        ],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    (folder / "values.yaml").write_text(values)
    script = host(SCRIPT, "dpkg-query -f '${Package}\\n' -W | sort")
    ansible = host(ANSIBLE, "dpkg-query -f '${Package}\\n' -W | sort")
    return sorted(set(ansible.split()) - set(script.split())), helm


def run_script(folder: Path, bundle: str, packages: list[str], helm: str) -> float:
    """Take the same steps by hand on the other host; the seconds that it took."""
    manifest = json.loads((Path(bundle) / "manifest.json").read_text())
    k3s, minio = (manifest["artifacts"][name]["file"] for name in ("k3s", "minio"))
    chart = Path(bundle) / manifest["artifacts"]["flyte-binary"]["file"]
    images = [entry["file"] for entry in manifest["images"]]
    password = (folder / "site/secrets/database_password").read_text().strip()
    root_password = (folder / "site/secrets/minio_root_password").read_text().strip()
    secret = (folder / "site/secrets/object_store_secret_key").read_text().strip()
    root_user = host(ANSIBLE, '. /etc/default/minio; printf %s "$MINIO_ROOT_USER"')
    old, address = hosts.address(ANSIBLE), hosts.address(SCRIPT)
    subprocess.run(["podman", "stop", "--time", "30", ANSIBLE], check=True, stdout=subprocess.DEVNULL)
    started = time.monotonic()
    host(SCRIPT, "mkdir -p /var/lib/rancher/k3s/agent/images /usr/local/bin")
    copy(f"{bundle}/{Path(k3s).parent}", "/usr/local/bin", ["k3s"], SCRIPT)
    copy(f"{bundle}/{Path(minio).parent}", "/usr/local/bin", [Path(minio).name], SCRIPT)
    copy(f"{bundle}/images", "/var/lib/rancher/k3s/agent/images", [Path(file).name for file in images], SCRIPT)
    host(
        SCRIPT,
        "export DEBIAN_FRONTEND=noninteractive; apt-get -qq update >/dev/null; "
        f"apt-get -qq install -y --no-install-recommends {' '.join(packages)} >/dev/null 2>&1; "
        "useradd --system --home-dir /var/lib/minio --create-home minio-user",
    )
    with (folder / "placed.tar").open("rb") as packed:
        subprocess.run(["podman", "exec", "-i", SCRIPT, "tar", "-C", "/", "-xf", "-"], stdin=packed, check=True)
    host(
        SCRIPT,
        f"grep -rlF {old} /etc /var/lib/rancher/k3s/server/manifests | xargs -r sed -i 's/{old}/{address}/g'; "
        "chown -R minio-user /etc/minio; systemctl daemon-reload; "
        "systemctl restart postgresql; systemctl enable --now minio; systemctl enable --now k3s; "
        "runuser -u postgres -- psql -q; "
        "until k3s kubectl get --raw /readyz >/dev/null 2>&1; do sleep 1; done; "
        "until k3s kubectl wait --for=condition=Ready node --all --timeout=60s >/dev/null 2>&1; do sleep 1; done",
        input=f"create role flyte login password '{password}'; create database flyte owner flyte;",
    )
    url = f"https://{address}:9000"
    environment = dict(os.environ, MC_HOST_bench=url.replace("//", f"//{root_user}:{root_password}@"))
    mc = [str(Path(bundle) / manifest["artifacts"]["mc"]["file"]), "--insecure", "--quiet"]
    steps = [
        ["mb", "bench/flyte-metadata", "bench/flyte-data"],
        ["admin", "user", "add", "bench", "flyte", secret],
        ["admin", "policy", "attach", "bench", "readwrite", "--user", "flyte"],
    ]
    for command in steps:
        subprocess.run([*mc, *command], check=True, env=environment, stdout=subprocess.DEVNULL)
    access = host(SCRIPT, "cat /etc/rancher/k3s/k3s.yaml").replace("127.0.0.1", address)
    kubeconfig = folder / "script.kubeconfig"
    kubeconfig.write_text(access)
    kubeconfig.chmod(0o600)
    host(SCRIPT, "k3s kubectl apply -f - >/dev/null", input=(folder / "objects.yaml").read_text())
    subprocess.run(
        [
            helm,
            "install",
            RELEASE,
            str(chart),
            "--namespace",
            "flyte",
            "--kubeconfig",
            str(kubeconfig),
            "-f",
            str(folder / "values.yaml"),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    host(
        SCRIPT,
        "k3s kubectl rollout status deployment -n flyte --timeout=180s >/dev/null; "
        "k3s kubectl rollout status deployment/traefik -n kube-system --timeout=180s >/dev/null",
    )
    return time.monotonic() - started


def main() -> int:
    """Measure and print."""
    say("the checks on services of this machine (usually 1 min)")
    checks = bench_modules.measure()
    with tempfile.TemporaryDirectory(prefix="flyte-onprem-bench-") as scratch:
        folder = Path(scratch)
        bundle = subprocess.run([*BED, "bundle"], check=True, stdout=subprocess.PIPE, text=True).stdout.split()[-1]
        for name in (ANSIBLE, SCRIPT):
            subprocess.run([*BED, "host-down", name], check=True, stdout=subprocess.DEVNULL)
        try:
            subprocess.run([*BED, "host-up", ANSIBLE], check=True, stdout=subprocess.DEVNULL)
            variables = {"site_domain": DOMAIN, "site_directory": str(folder / "site"), "site_bundle": bundle}
            inventory.write_one_host(folder / "hosts.yml", "bench", ANSIBLE, variables)
            say("first run (usually 5 min)")
            first, first_counted = play(folder)
            say("second run (usually 1 min)")
            second, second_counted = play(folder)
            say("the same workflow by Flyte and by hand, three times (usually 2 min)")
            workflow = bench_workflow.measure(ANSIBLE, folder / "site", DOMAIN)
            checks += bench_checks.measure(ANSIBLE, folder / "site", DOMAIN)
            subprocess.run([*BED, "host-up", SCRIPT], check=True, stdout=subprocess.DEVNULL)
            packages, helm = collect(folder)
            say("the plain script (usually 3 min)")
            script = run_script(folder, bundle, packages, helm)
        finally:
            for name in (ANSIBLE, SCRIPT):
                subprocess.run([*BED, "host-down", name], check=True, stdout=subprocess.DEVNULL)
    say("")
    say(f"{'':24}{'seconds':>10}{'module executions':>20}")
    say(f"{'plain script':24}{script:>10.0f}{'':>20}")
    say(f"{'first run':24}{first:>10.0f}{first_counted['executions']:>20}")
    say(f"{'second run (no change)':24}{second:>10.0f}{second_counted['executions']:>20}")
    say(f"first run / script       {first / script:.2f}   (aim: at most 1.5)")
    say(f"second run / first run   {second / first:.2f}   (aim: at most 0.2)")
    say("")
    for line in workflow.lines:
        say(line)
    say("")
    say(bench_modules.HEADER)
    for figure in checks:
        say(figure.line)
    say("")
    for title, counted in (("first", first_counted), ("second", second_counted)):
        say(f"slowest tasks of the {title} run:")
        for task, seconds in counted["slowest"]:
            say(f"  {seconds:6.1f} s  {task}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
