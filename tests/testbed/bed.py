#!/usr/bin/env python3
# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The test bed: builds what a site needs, and runs hosts to put it on.

Results are on standard output (the last line is the one to use), progress is on
standard error. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import sys
from pathlib import Path

from builder import bundle, client, cluster, golang, hostimage, hosts, mirror, tools
from builder.cache import Cache, cache_root
from builder.console import BedError, duration, say
from builder.recipes import Recipes, load_pins

MINIMUM_PYTHON = (3, 11)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; errors that a person can put right are one sentence."""
    options = _parser().parse_args(arguments)
    cache = Cache(cache_root())
    try:
        options.command(cache, Recipes(cache, load_pins()), options)
    except BedError as exc:
        say(f"bed.py: {exc}")
        return 1
    except KeyboardInterrupt:
        say("bed.py: interrupted; what was finished is in the cache")
        return 130
    return 0


def _tools(cache: Cache, recipes: Recipes, options: argparse.Namespace) -> None:
    tools.ensure(recipes.pins["go"])


def _host_image(cache: Cache, recipes: Recipes, options: argparse.Namespace) -> None:
    print(hostimage.ensure(cache, recipes.pins["host"]))


def _bundle(cache: Cache, recipes: Recipes, options: argparse.Namespace) -> None:
    print(bundle.lay_out(cache, Recipes(cache, load_pins(before=options.before, cluster=options.cluster))))


def _status(cache: Cache, recipes: Recipes, options: argparse.Namespace) -> None:
    print(f"cache      {cache.root}")
    image = hostimage.reference(recipes.pins["host"])
    print(f"host image {image} ({'there' if hostimage.exists(image) else 'missing'})")
    go = golang.machine_go(recipes.pins["go"]["minimum"])
    print(f"go         {go or 'PyPI ' + recipes.pins['go']['package']}")
    absent = tools.missing_packages()
    print(f"packages   {'missing: ' + ' '.join(absent) if absent else 'all there'}")
    for name in sorted(recipes.specs):
        entry = recipes.find(name)
        usual = duration(recipes.specs[name].get("usual", 1))
        state = f"built in {duration(entry.seconds)}" if entry else "missing"
        print(f"  {name:32} {recipes.key(name)}  {state} (usually {usual} with empty caches)")
    laid_out = bundle.directory(cache, recipes)
    print(f"bundle     {laid_out} ({'there' if laid_out.exists() else 'missing'})")
    marked = {**recipes.pins["bundle"], **recipes.pins["images"]}
    names = [spec.get("name", name) for name, spec in marked.items() if spec["stand_in"]]
    print(f"stand-ins  {', '.join(names)}")


def _mirror(cache: Cache, recipes: Recipes, options: argparse.Namespace) -> None:
    directory = mirror.tree(cache, recipes)
    mirror.serve(directory, options.address, options.port, certificate=options.certificate, key=options.key)


def _host_up(cache: Cache, recipes: Recipes, options: argparse.Namespace) -> None:
    host = hosts.Host(
        name=options.name,
        image=hostimage.ensure(cache, recipes.pins["host"]),
        hostname=options.hostname or options.name,
        publish=options.publish,
        volumes=[*hosts.VOLUMES, *options.volume],
        memory=options.memory,
    )
    with cache.lock("host-up"):  # or two at once would choose the same address
        print(hosts.up(host))


def _host_down(cache: Cache, recipes: Recipes, options: argparse.Namespace) -> None:
    hosts.down(options.name)


def _kubernetes_up(cache: Cache, recipes: Recipes, options: argparse.Namespace) -> None:
    cluster.up(recipes, options.name, hosts.address(options.name), options.kubeconfig)
    cluster.resolve(options.name, dict(entry.split("=", 1) for entry in options.resolve))


def _clean_cache(cache: Cache, recipes: Recipes, options: argparse.Namespace) -> None:
    if options.old:
        current = {cache.directory(name, recipes.key(name)) for name in recipes.specs}
        for before, cluster in itertools.product((False, True), repeat=2):
            current.add(bundle.directory(cache, Recipes(cache, load_pins(before=before, cluster=cluster))))
        current.add(mirror.directory(cache, recipes))
        for path in {sibling for kept in current for sibling in kept.parent.glob("*")} - current:
            shutil.rmtree(path)
        return
    for part in ("artefacts", "bundle", "mirror", "tmp"):
        shutil.rmtree(cache.root / part, ignore_errors=True)
    hostimage.remove_all()
    client.remove_images()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="command")
    for name, command, text in (
        ("tools", _tools, "install the Debian packages that the bed needs"),
        ("host-image", _host_image, "build the image of a host, print its name"),
        ("bundle", _bundle, "build everything, print the bundle's path"),
        ("status", _status, "say what is built, what is missing, what are stand-ins"),
        ("mirror", _mirror, "serve the published addresses from the bundle"),
        ("host-up", _host_up, "start a host, print its address"),
        ("host-down", _host_down, "remove a host and its volumes"),
        ("kubernetes-up", _kubernetes_up, "make a host a Kubernetes that somebody else runs, without k3s"),
        ("clean-cache", _clean_cache, "remove everything built, and the host image"),
    ):
        commands.add_parser(name, help=text, description=text).set_defaults(command=command)
    commands.choices["bundle"].add_argument(
        "--before", action="store_true", help="with the minor version of Kubernetes before, for tests of upgrades"
    )
    commands.choices["bundle"].add_argument(
        "--cluster", action="store_true", help="with what a cluster needs without Flyte and an ingress controller"
    )
    _mirror_options(commands.choices["mirror"])
    _host_options(commands.choices["host-up"])
    commands.choices["host-down"].add_argument("name")
    _kubernetes_options(commands.choices["kubernetes-up"])
    commands.choices["clean-cache"].add_argument(
        "--old", action="store_true", help="only what the present versions and build files do not name"
    )
    return parser


def _mirror_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--address", default="127.0.0.1", help="where to listen (%(default)s)")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one, and prints it")
    parser.add_argument("--certificate", type=Path, help="PEM file; serves HTTPS")
    parser.add_argument("--key", type=Path, help="PEM file of the certificate's key")


def _host_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="the container's name")
    parser.add_argument("--hostname", help="the host's own name (default: its container's)")
    parser.add_argument(
        "--publish",
        action="append",
        default=[],
        metavar="[ADDRESS:]PORT:PORT",
        help="a port of the machine, on loopback unless an address is given; repeatable",
    )
    parser.add_argument(
        "--volume",
        action="append",
        default=[],
        metavar="DIRECTORY",
        help="one more directory of the host on a volume of its own; repeatable",
    )
    parser.add_argument("--memory", help="limit, as podman takes it: 4g")


def _kubernetes_options(parser: argparse.ArgumentParser) -> None:
    volumes = " and ".join(f"--volume={path}" for path in cluster.VOLUMES)
    parser.add_argument("name", help=f"the container's name; its host was started with {volumes}")
    parser.add_argument("kubeconfig", type=Path, help="where to write its administrator's kubeconfig")
    parser.add_argument(
        "--resolve", action="append", default=[], metavar="NAME=ADDRESS", help="a name its pods know; repeatable"
    )


if __name__ == "__main__":
    if sys.version_info < MINIMUM_PYTHON:
        sys.exit("bed.py: this needs Python 3.11 or newer.")
    sys.exit(main())
