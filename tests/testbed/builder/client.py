# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A user's machine: flytekit in a container, with what a site hands out to its users and nothing else of it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from . import bundle, hosts
from .cache import Cache, cache_root
from .console import run
from .recipes import Recipes, load_pins

NAME = "localhost/flyte-onprem-client"
_IMAGE = "flytekit"
_WORK = "/work"


@dataclass(frozen=True)
class Client:
    """Where the user's files are and how the site's names resolve.

    ``configuration`` and ``authority`` are seen under their own paths, since the
    first names the second; ``folder`` holds the user's workflows and scripts.
    """

    configuration: Path
    authority: Path
    folder: Path
    names: Mapping[str, str]

    def pyflyte(self, *arguments: str, timeout: int = 300) -> subprocess.CompletedProcess[str]:
        """Run pyflyte in the user's folder; a failure is the caller's to judge."""
        return self._run("pyflyte", *arguments, timeout=timeout)

    def python(self, script: str, *arguments: str, timeout: int = 300) -> subprocess.CompletedProcess[str]:
        """Run a script of the user's folder with flytekit's Python, which has grpc and flyteidl."""
        return self._run("python3", script, *arguments, timeout=timeout)

    def command(self, image: str, *program: str, timeout: int) -> list[str]:
        """The ``podman run`` line; the container ends itself after ``timeout`` seconds."""
        options = ["--rm", "--pull=never", f"--timeout={timeout}", *hosts.CONTAINER_OPTIONS]
        options += ["--network=host", "--user=root"]
        options += [f"--add-host={name}:{address}" for name, address in self.names.items()]
        options += [f"--volume={path}:{path}:ro" for path in (self.configuration, self.authority)]
        options += [f"--volume={self.folder}:{_WORK}:ro", f"--workdir={_WORK}"]
        options += [f"--env=FLYTECTL_CONFIG={self.configuration}", "--env=PYTHONDONTWRITEBYTECODE=1"]
        return ["podman", "run", *options, image, *program]

    def _run(self, *program: str, timeout: int) -> subprocess.CompletedProcess[str]:
        command = self.command(ensure_image(), *program, timeout=timeout)
        return subprocess.run(command, capture_output=True, text=True, check=False)


def ensure_image() -> str:
    """The task image under a name of the clients' own, loaded into podman the first time (about 10 s)."""
    recipes = Recipes(Cache(cache_root()), load_pins())
    bundle.build_all(recipes, {f"image-{_IMAGE}"})
    image = f"{NAME}:{recipes.key(f'image-{_IMAGE}')}"
    with recipes.cache.lock("client-image"):
        if subprocess.run(["podman", "image", "exists", image], check=False).returncode:
            published = recipes.pins["images"][_IMAGE]["name"]
            run(["podman", "load", "--quiet", f"--input={recipes.image_file(_IMAGE)}"], timeout=600)
            run(["podman", "tag", published, image])
            run(["podman", "untag", image, published])
    return image


def remove_images() -> None:
    """Remove every image that clients were run from."""
    for image in run(["podman", "images", "--quiet", NAME]).split():
        subprocess.run(["podman", "rmi", image], check=False, capture_output=True)
