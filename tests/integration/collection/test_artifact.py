# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a host gets a file from a mirror that asks for a password, which nothing of the run may show."""

from __future__ import annotations

import base64
import hashlib
import http.server
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml
from support.leaks import shown

from .test_k3s_refusals import ansible

USER, PASSWORD = "builder@example.com", "p4ss:w/rd"
LOGIN = f"{quote(USER, safe='')}:{quote(PASSWORD, safe='')}"
CONTENT = b"a program\n"
FILES = {
    "/releases.example.com/program": CONTENT,
    "/releases.example.com/sums.txt": f"{hashlib.sha256(CONTENT).hexdigest()}  program\n".encode(),
}
SECRETS = {"password": PASSWORD, "in the address": quote(PASSWORD, safe="")}


class Mirror(http.server.BaseHTTPRequestHandler):
    """Gives its files to whoever has the password."""

    def do_GET(self) -> None:
        login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        known = self.headers.get("Authorization") == f"Basic {login}"
        self.send_response((200 if self.path in FILES else 404) if known else 401)
        if not known:
            self.send_header("WWW-Authenticate", 'Basic realm="mirror"')
        self.end_headers()
        if known:
            self.wfile.write(FILES.get(self.path, b""))

    def log_message(self, *_words: object) -> None:
        pass


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mirror) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def place(folder: Path, mirror: str, name: str = "program") -> str:
    """Have role common place the program; the output."""
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "site_bundle": "",
        "site_mirror": mirror,
        "common_artifact_name": "program",
        "common_artifact_url": f"https://releases.example.com/{name}",
        "common_artifact_checksum": "sha256:https://releases.example.com/sums.txt",
        "common_artifact_destination": str(folder / "placed"),
    }
    task = {"ansible.builtin.include_role": {"name": "flyte.onprem.common", "tasks_from": "artifact"}}
    play = {"hosts": "all", "gather_facts": False, "tasks": [task]}
    (folder / "playbook.yml").write_text(yaml.safe_dump([play]))
    (folder / "inventory.yml").write_text(yaml.safe_dump({"all": {"hosts": {"host": variables}}}))
    return ansible(folder, "-vv")


def test_a_mirror_with_a_password_gives_the_file(tmp_path: Path, port: int) -> None:
    output = place(tmp_path, f"http://{LOGIN}@127.0.0.1:{port}/")
    assert "failed=0" in output
    assert (tmp_path / "placed").read_bytes() == CONTENT
    assert shown(output, SECRETS) == {}


def test_a_download_that_fails_shows_no_password(tmp_path: Path, port: int) -> None:
    output = place(tmp_path, f"http://{LOGIN}@127.0.0.1:{port}", name="other")
    assert f"It was to come from http://127.0.0.1:{port}/releases.example.com/other." in " ".join(output.split())
    assert shown(output, SECRETS) == {}
