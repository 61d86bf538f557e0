#!/usr/bin/env python3
# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compare what the stand-in chart renders with what the published chart renders.

For developers who have the published chart's rendering at hand; the tests do not need it:

    GOLDEN=<folder with values.yaml, example-values.yaml and rendered.yaml> python3 tests/testbed/flyte/compare.py
    python3 tests/testbed/flyte/compare.py --chart <folder of the published chart> VALUES.yaml...

Objects are equal when they mean the same to Kubernetes and to Flyte: order of keys, spelling of YAML, null
values and the checksums in the pod's annotations do not count. HELM names the program (default: helm).
"""

from __future__ import annotations

import argparse
import difflib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parent / "chart"


def rendered(chart: Path, values: Path | None) -> str:
    command = [os.environ.get("HELM", "helm"), "template", "flyte-binary", str(chart), "--namespace", "flyte"]
    if values:
        command += ["--values", str(values)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    return run.stdout if run.returncode == 0 else "kind: Failure\nmetadata: {name: rendering}\n"


def meaning(node: Any, path: tuple[str, ...] = ()) -> Any:
    """Reduce a rendered value to what counts."""
    if isinstance(node, dict):
        kept = {key: meaning(value, (*path, str(key))) for key, value in node.items() if value is not None}
        return {key: value for key, value in kept.items() if value not in ({}, None) or key == "emptyDir"}
    if isinstance(node, list):
        return [meaning(value, path) for value in node]
    if path[-1].startswith("checksum/"):
        return "<checksum>"
    if path[0] in ("data", "stringData") and path[-1].endswith(".yaml"):
        try:
            return meaning(yaml.safe_load(node), ("file",))
        except yaml.YAMLError:
            return node  # a cluster resource template, which only becomes YAML in the server
    return node


def objects(text: str) -> dict[str, Any]:
    found = {}
    for document in yaml.safe_load_all(text):
        if document:
            found[f"{document['kind']} {document['metadata']['name']}"] = meaning(document)
    return found


def differences(title: str, published: str, ours: str) -> list[str]:
    dumps = []
    for text in (published, ours):
        dumps.append(yaml.safe_dump(objects(text), sort_keys=True, width=200).splitlines())
    return list(difflib.unified_diff(*dumps, f"published, {title}", f"stand-in, {title}", lineterm=""))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chart", type=Path, help="render this chart too instead of reading GOLDEN")
    parser.add_argument("values", nargs="*", type=Path)
    options = parser.parse_args()
    lines: list[str] = []
    if options.chart:
        for values in [None, *options.values]:
            lines += differences(str(values or "defaults"), rendered(options.chart, values), rendered(CHART, values))
    elif golden := os.environ.get("GOLDEN"):
        folder = Path(golden)
        example = folder / "example-values.yaml"
        lines += differences(example.name, (folder / "rendered.yaml").read_text(), rendered(CHART, example))
        # The published defaults, given as values, must change nothing: every key is known, every default the same.
        lines += differences("defaults", rendered(CHART, folder / "values.yaml"), rendered(CHART, None))
    else:
        parser.error("neither GOLDEN nor --chart is given")
    print("\n".join(lines) or "equal")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
