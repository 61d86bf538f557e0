# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.flyte.onprem.plugins.filter.stale_files import stale_files

FILE = {
    "path": "/etc/a.conf",
    "content": "a = ü\n",
    "owner": "root",
    "group": "root",
    "mode": "0644",
    "effect": "reload",
}
FOLDER = {"path": "/etc/b", "owner": "root", "group": "root", "mode": "0755"}


def seen(wanted, **different):
    """What find reports for *wanted*, but for what is *different*."""
    entry = {
        "path": wanted["path"],
        "pw_name": wanted["owner"],
        "gr_name": wanted["group"],
        "mode": wanted["mode"],
        "isdir": "content" not in wanted,
        "isreg": "content" in wanted,
    }
    if "content" in wanted:
        entry["checksum"] = hashlib.sha1(wanted["content"].encode()).hexdigest()
    return entry | different


def test_what_is_as_wanted_is_not_stale():
    assert stale_files([FILE, FOLDER], {"files": [seen(FOLDER), seen(FILE)]}) == []


def test_what_is_missing_is_stale_and_keeps_its_keys():
    assert stale_files([FILE, FOLDER], {"files": []}) == [FILE, FOLDER]


@pytest.mark.parametrize(
    "different",
    [
        {"checksum": "0" * 40},
        {"mode": "0600"},
        {"pw_name": "nobody"},
        {"gr_name": "nogroup"},
        {"isreg": False, "checksum": None},  # a directory or a link in its place
    ],
)
def test_a_file_that_differs_is_stale(different):
    assert stale_files([FILE], {"files": [seen(FILE, **different)]}) == [FILE]


def test_a_file_in_the_place_of_a_directory_is_stale():
    assert stale_files([FOLDER], {"files": [seen(FOLDER, isdir=False, isreg=True)]}) == [FOLDER]


def test_the_result_of_another_module_is_refused():
    with pytest.raises(AnsibleFilterError, match="find"):
        stale_files([FILE], {"stat": {}})
