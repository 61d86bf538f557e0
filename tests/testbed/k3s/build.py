# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the k3s stand-in: compile the program and pack its payload behind it."""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent

# What the stand-in says it is (K3S.md section 11). The commit is no commit of k3s.
VERSION = "v1.36.4+k3s1"
COMMIT = "0bed0bed"

# Programs that build() has to be given.
PROGRAMS = (
    "kubernetes",
    "containerd",
    "containerd-shim-runc-v2",
    "ctr",
    "runc",
    "kine",
    "kubectl",
    "helm",
    "bridge",
    "host-local",
    "loopback",
    "portmap",
)

# The components of the multi-call program "kubernetes".
COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet")


def build(payload: dict[str, Path], output: Path, version: str = VERSION) -> None:
    """Write the stand-in with these programs (one for each name in PROGRAMS) to output."""
    missing = sorted(set(PROGRAMS) - set(payload))
    unknown = sorted(set(payload) - set(PROGRAMS))
    if missing or unknown:
        raise ValueError(f"payload of the k3s stand-in: missing {missing}, unknown {unknown}")
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent) as directory:
        program = Path(directory) / "k3s"
        packer = Path(directory) / "pack"
        compile_program(".", program, f"-X main.version={version} -X main.commit={COMMIT}")
        compile_program("./pack", packer)
        entries = [f"{name}={payload[name]}" for name in PROGRAMS]
        entries += [f"{name}=->kubernetes" for name in COMPONENTS]
        packed = Path(directory) / "packed"
        subprocess.run([str(packer), str(packed), str(program), *entries], check=True)
        packed.replace(output)


def build_klipper_lb(output: Path) -> None:
    """Write the program of the image rancher/klipper-lb."""
    output.parent.mkdir(parents=True, exist_ok=True)
    compile_program("./klipper-lb", output)


def compile_program(package: str, output: Path, flags: str = "") -> None:
    """Compile one package of this module, without C."""
    subprocess.run(
        ["go", "build", "-trimpath", "-ldflags", f"-s -w {flags}".strip(), "-o", str(output), package],
        cwd=HERE,
        env={**os.environ, "CGO_ENABLED": "0"},
        check=True,
    )


def main() -> None:
    """Build from a directory that holds the programs by name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("programs", type=Path, help="directory with the programs of the payload")
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    build({name: arguments.programs / name for name in PROGRAMS}, arguments.output)


if __name__ == "__main__":
    main()
