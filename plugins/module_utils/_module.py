# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is PRIVATE to the collection. It can change at any time.

"""C(AnsibleModule) that shows no password in an address, also where it refuses the arguments itself.

It shows them then as they were given, before any code of a module has run.
"""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import AnsibleModule


class Module(AnsibleModule):  # type: ignore[misc]
    """A module of this collection; C(addresses) names the options of which each text is an address or a host.

    In them whatever holds an C(@) is masked. In others it may stand for something else: an image by its digest, a user
    of a hosted database. There only what looks like an address is.
    """

    def __init__(self, *, addresses: t.Collection[str], **options: t.Any) -> None:
        self._addresses = addresses
        super().__init__(**options)

    def fail_json(self, msg: str, **result: t.Any) -> t.NoReturn:
        self._mask_addresses()
        super().fail_json(msg=msg, **result)
        raise AssertionError  # it has ended the module

    def exit_json(self, **result: t.Any) -> t.NoReturn:
        self._mask_addresses()
        super().exit_json(**result)
        raise AssertionError  # it has ended the module

    def refuse_passwords(self, *options: str) -> None:
        """Raise C(ValueError) with the option's name where one of these holds a user, and with it a secret."""
        for name in options:
            if any("@" in text for text in texts_in(self.params[name])):
                raise ValueError(f"{name}: an address must not hold a user name or password")

    def _log_invocation(self) -> None:
        # The arguments go to the system's log before main() can mask anything.
        self._mask_addresses()
        super()._log_invocation()

    def _mask_addresses(self) -> None:
        # At each output anew: the arguments stand there as they were given at first, and in their types later.
        for name, value in self.params.items():
            for text in texts_in(value):
                if ("@" in text or "%40" in text) and (name in self._addresses or "://" in text):
                    self.no_log_values.add(text)


def texts_in(value: t.Any) -> t.Iterator[str]:
    """All texts in a value, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, t.Mapping):
        for inner in (*value, *value.values()):
            yield from texts_in(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from texts_in(inner)
