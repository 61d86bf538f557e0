# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is PRIVATE to the collection. It can change at any time.

"""When a certificate that lies in a file or Secret is valid.

Python's C(ssl) tells that only of a certificate that it has just verified in a
connection, and a control node need not have the cryptography library. The
validity stands near the front of a certificate, so a few steps through its DER
are enough (X.690; RFC 5280, section 4.1).
"""

from __future__ import annotations

import datetime
import ssl

_SEQUENCE = 0x30
_VERSION = 0xA0
_UTC_TIME = 0x17
_GENERALIZED_TIME = 0x18
_BEGIN = "-----BEGIN CERTIFICATE-----"
_END = "-----END CERTIFICATE-----"


def pem_certificates(text: str) -> list[bytes]:
    """The certificates of a PEM text as DER, in order; what is no certificate is left out.

    Raises C(ValueError) for one that is cut off or not base64.
    """
    found = []
    for part in text.split(_BEGIN)[1:]:
        body, end, _rest = part.partition(_END)
        if not end:
            raise ValueError("a certificate in it is cut off")
        found.append(ssl.PEM_cert_to_DER_cert(_BEGIN + body + _END))
    return found


def validity(certificate: bytes) -> tuple[datetime.datetime, datetime.datetime]:
    """First and last moment of a certificate in DER. Raises C(ValueError) for what is none."""
    try:
        outer, _rest = _take(certificate, _SEQUENCE)
        signed, _rest = _take(outer, _SEQUENCE)
        if signed[0] == _VERSION:
            _version, signed = _take(signed)
        for _skipped in ("serial number", "signature algorithm", "issuer"):
            _value, signed = _take(signed)
        times, _rest = _take(signed, _SEQUENCE)
        first_tag = times[0]
        first, times = _take(times)
        return _time(first_tag, first), _time(times[0], _take(times)[0])
    except IndexError as exc:
        raise ValueError("not a certificate: it is cut off") from exc


def days_left(certificate: bytes, *, now: datetime.datetime) -> float:
    """Days until a certificate ends. Raises C(ValueError) for what is none."""
    return (validity(certificate)[1] - now) / datetime.timedelta(days=1)


def _take(data: bytes, tag: int | None = None) -> tuple[bytes, bytes]:
    """The content of the first element of C(data), and what follows it."""
    if tag is not None and data[0] != tag:
        raise ValueError("not a certificate: another structure stands there")
    length, start = data[1], 2
    if length & 0x80:
        start = 2 + (length & 0x7F)
        length = int.from_bytes(data[2:start], "big")
    end = start + length
    if len(data) < end:
        raise ValueError("not a certificate: it is cut off")
    return data[start:end], data[end:]


def _time(tag: int, value: bytes) -> datetime.datetime:
    form = {_UTC_TIME: "%y%m%d%H%M%SZ", _GENERALIZED_TIME: "%Y%m%d%H%M%SZ"}.get(tag)
    if form is None:
        raise ValueError("not a certificate: no time stands where its validity should")
    found = datetime.datetime.strptime(value.decode("ascii"), form).replace(tzinfo=datetime.timezone.utc)
    # Two digits of a year are 1950 to 2049 here (RFC 5280); Python turns 50 to 68 into 2050 to 2068.
    return found.replace(year=found.year - 100) if tag == _UTC_TIME and found.year >= 2050 else found
