# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

from testbed.builder.client import Client

SITE = Path("/srv/site")


def command(*program: str) -> list[str]:
    client = Client(
        configuration=SITE / "client/config.yaml",
        authority=SITE / "ca.crt",
        folder=Path("/home/user"),
        names={"flyte.test": "10.0.0.2", "s3.flyte.test": "10.0.0.2"},
    )
    return client.command("localhost/image:1", *program, timeout=60)


def test_a_client_sees_what_users_are_given_and_none_of_the_secrets_beside_it() -> None:
    volumes = {word.removeprefix("--volume=") for word in command("pyflyte") if word.startswith("--volume=")}
    assert volumes == {
        "/srv/site/client/config.yaml:/srv/site/client/config.yaml:ro",
        "/srv/site/ca.crt:/srv/site/ca.crt:ro",
        "/home/user:/work:ro",
    }


def test_a_client_resolves_the_sites_names_and_finds_its_configuration() -> None:
    words = command("pyflyte")
    assert "--add-host=flyte.test:10.0.0.2" in words
    assert "--add-host=s3.flyte.test:10.0.0.2" in words
    assert "--env=FLYTECTL_CONFIG=/srv/site/client/config.yaml" in words


def test_the_program_comes_after_the_image_and_ends_itself() -> None:
    words = command("pyflyte", "run", "--remote")
    assert words[-4:] == ["localhost/image:1", "pyflyte", "run", "--remote"]
    assert "--timeout=60" in words


def test_the_image_is_this_machines_and_never_pulled() -> None:
    assert "--pull=never" in command("pyflyte")
