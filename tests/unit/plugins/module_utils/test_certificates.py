# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from support.pki import Authority

from ansible_collections.flyte.onprem.plugins.module_utils._certificates import days_left, pem_certificates, validity


def certificate(first: datetime.datetime, last: datetime.datetime) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x" * 60)])
    built = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(first)
        .not_valid_after(last)
        .sign(key, hashes.SHA256())
    )
    return built.public_bytes(serialization.Encoding.DER)


def utc(year: int, month: int = 1, day: int = 2) -> datetime.datetime:
    return datetime.datetime(year, month, day, 3, 4, 5, tzinfo=datetime.timezone.utc)


# Up to 2049 a year has two digits, from 2050 on four.
@pytest.mark.parametrize(("first", "last"), [(1951, 1999), (2000, 2027), (2026, 2049), (2049, 2050), (2050, 2100)])
def test_the_validity_is_what_the_certificate_says(first: int, last: int) -> None:
    assert validity(certificate(utc(first), utc(last))) == (utc(first), utc(last))


def test_each_certificate_of_a_chain_is_found(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    chain = "leaf\n" + authority.issue("a.example.com").certificate.read_text() + authority.certificate.read_text()
    assert len(pem_certificates(chain)) == 2
    assert pem_certificates("no certificate here") == []


def test_days_are_counted_to_the_end() -> None:
    assert days_left(certificate(utc(2026), utc(2026, 3, 2)), now=utc(2026, 2, 2)) == pytest.approx(28)


@pytest.mark.parametrize("length", [0, 1, 5, 40, 90])
def test_what_is_cut_off_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="not a certificate"):
        validity(certificate(utc(2026), utc(2027))[:length])


@pytest.mark.parametrize("text", ["-----BEGIN CERTIFICATE-----\nabc", "-----BEGIN CERTIFICATE-----\n"])
def test_pem_that_is_cut_off_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="cut off"):
        pem_certificates(text)


def test_another_structure_is_refused() -> None:
    with pytest.raises(ValueError, match="not a certificate"):
        validity(b"\x04\x03abc")
