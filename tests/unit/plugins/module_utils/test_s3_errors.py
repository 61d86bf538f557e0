# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.flyte.onprem.plugins.module_utils._catalogue import CATALOGUE
from ansible_collections.flyte.onprem.plugins.module_utils._s3_errors import (
    FAULTS,
    S3Error,
    Unanswered,
    from_client_error,
    parse_error,
)


@pytest.mark.parametrize(
    ("code", "status", "id"),
    [
        # the store's code, its HTTP status, the check whose fault that is
        ("AccessDenied", 403, "S3-12"),
        ("403", 403, "S3-12"),
        ("AllAccessDisabled", 403, "S3-12"),
        ("NoSuchBucket", 404, "S3-04"),
        ("InvalidBucketName", 400, "S3-10"),
        ("InvalidAccessKeyId", 403, "S3-25"),
        ("SignatureDoesNotMatch", 403, "S3-26"),
        ("ExpiredToken", 400, "S3-27"),
        ("InvalidTokenId", 403, "S3-27"),
        ("AuthorizationHeaderMalformed", 400, "S3-28"),
        ("PermanentRedirect", 301, "S3-28"),
        ("RequestTimeTooSkewed", 403, "S3-08"),
        ("SlowDown", 503, "S3-30"),
        ("InternalError", 500, "S3-30"),
        ("SomethingNew", 500, "S3-30"),
        ("SomethingNew", 503, "S3-30"),
        ("XMinioServerNotInitialized", 503, "S3-30"),
        ("XMinioStorageFull", 507, "S3-31"),
        ("XMinioAdminBucketQuotaExceeded", 400, "S3-31"),
        ("NotImplemented", 501, "S3-32"),
        ("MethodNotAllowed", 405, "S3-32"),
        ("EntityTooLarge", 400, "S3-34"),
        ("413", 413, "S3-34"),
        ("KMS.NotFoundException", 400, "S3-36"),
        ("NoSuchKey", 404, "S3-47"),
        ("NoSuchUpload", 404, "S3-47"),
        ("NobodyKnows", 400, "S3-39"),
    ],
)
def test_each_code_is_the_fault_of_one_check(code: str, status: int, id: str) -> None:
    error = S3Error(operation="PutObject", code=code, status=status, words="as the store says")
    outcome = error.outcome(denied="S3-12")
    assert outcome.id == id
    assert code in outcome.observed
    assert "as the store says" in outcome.observed


# What each store's own list has for the requests that the check sends: reads, writes, deletions, uploads in parts, a
# policy, by header and by signed URL.
CODES = {
    "MinIO": """
        AccessDenied AllAccessDisabled AuthorizationHeaderMalformed AuthorizationParametersError
        AuthorizationQueryParametersError BadDigest BadRequest EntityTooLarge EntityTooSmall ExcessData IncompleteBody
        InternalError InvalidAccessKeyId InvalidArgument InvalidBucketName InvalidDigest InvalidObjectState InvalidPart
        InvalidPartNumber InvalidPartOrder InvalidRegion InvalidRequest InvalidStorageClass InvalidTokenId
        KMS.DefaultKeyAlreadyConfiguredException KMS.NotFoundException KeyTooLongError MalformedDate MalformedXML
        MaxVersionsExceeded MetadataTooLarge MethodNotAllowed MissingContentLength MissingContentMD5 MissingFields
        MissingHeaders MissingRequestBodyError MissingSecurityHeader NoSuchBucket NoSuchKey NoSuchUpload NoSuchVersion
        NotImplemented PreconditionFailed RequestTimeTooSkewed RequestTimeout ServerBusy SignatureDoesNotMatch
        SlowDownRead SlowDownWrite TooManyRequests UnauthorizedAccess XAmzContentChecksumMismatch
        XAmzContentSHA256Mismatch
        XMinioAdminBucketQuotaExceeded XMinioBackendDown XMinioBucketMetadataNotInitialized XMinioEncryptionError
        XMinioIAMNotInitialized XMinioInsecureClientRequest XMinioInvalidIAMCredentials XMinioInvalidObjectName
        XMinioInvalidResourceName XMinioInvalidUTF XMinioObjectExistsAsDirectory XMinioObjectTampered
        XMinioServerNotInitialized XMinioStorageFull
    """,
    "SeaweedFS": """
        AccessDenied AuthorizationHeaderMalformed AuthorizationQueryParametersError BadDigest EntityTooLarge
        EntityTooSmall ErrRequestBytesExceed ErrTooManyRequest ExistingObjectIsDirectory ExistingObjectIsFile
        IncompleteBody InternalError InvalidAccessKeyId InvalidArgument InvalidBucketName InvalidDigest InvalidPart
        InvalidPartOrder InvalidRequest InvalidStorageClass KeyTooLongError MalformedDate MalformedXML MethodNotAllowed
        MissingFields NoSuchBucket NoSuchKey NoSuchUpload NotImplemented PreconditionFailed QuotaExceeded
        RequestTimeTooSkewed ServiceUnavailable SignatureDoesNotMatch SlowDown XAmzContentSHA256Mismatch
    """,
    "AWS": """
        AccessDenied AccountProblem AllAccessDisabled AuthorizationHeaderMalformed AuthorizationQueryParametersError
        BadDigest EntityTooLarge EntityTooSmall ExpiredToken IllegalLocationConstraintException IncompleteBody
        InternalError InvalidAccessKeyId InvalidAddressingHeader InvalidArgument InvalidBucketName InvalidDigest
        InvalidEncryptionAlgorithmError InvalidLocationConstraint InvalidObjectState InvalidPart InvalidPartOrder
        InvalidRequest InvalidSecurity InvalidStorageClass InvalidToken InvalidURI KMS.DisabledException
        KMS.InvalidKeyUsageException KMS.KMSInvalidStateException KMS.NotFoundException KeyTooLongError MalformedXML
        MaxMessageLengthExceeded MetadataTooLarge MethodNotAllowed MissingContentLength MissingRequestBodyError
        MissingSecurityHeader NoSuchBucket NoSuchKey NoSuchUpload NoSuchVersion
        NotImplemented NotSignedUp OperationAborted PermanentRedirect
        PreconditionFailed Redirect RequestHeaderSectionTooLarge RequestTimeTooSkewed RequestTimeout
        ServiceUnavailable SignatureDoesNotMatch SlowDown TemporaryRedirect TokenRefreshRequired UnexpectedContent
    """,
}


@pytest.mark.parametrize(("store", "code"), [(store, code) for store in CODES for code in CODES[store].split()])
def test_no_code_that_a_store_may_answer_with_is_unknown(store: str, code: str) -> None:
    outcome = S3Error(operation="PutObject", code=code, status=400).outcome(denied="S3-12")
    assert outcome.id in CATALOGUE
    assert outcome.id != "S3-39", store


@pytest.mark.parametrize(
    ("code", "words", "id"),
    [
        # MinIO and AWS have no code of their own for these; what the words say is no missing right
        ("AccessDenied", "Request has expired", "S3-08"),
        ("AccessDenied", "Request is not valid yet", "S3-08"),
        ("AccessDenied", "AWS authentication requires a valid Date or x-amz-date header", "S3-26"),
        ("AccessDenied", "There were headers present in the request which were not signed", "S3-26"),
        ("AccessDenied", "Access Denied because object protected by object lock.", "S3-45"),
        ("InvalidRequest", "Object is WORM protected and cannot be overwritten", "S3-45"),
        ("AccessDenied", "Access Denied.", "S3-12"),
    ],
)
def test_words_tell_what_a_code_leaves_open(code: str, words: str, id: str) -> None:
    assert S3Error(operation="PutObject", code=code, words=words).outcome(denied="S3-12").id == id


@pytest.mark.parametrize(
    ("operation", "code", "id"),
    [
        ("HeadBucket", "404", "S3-04"),
        ("HeadObject", "404", "S3-47"),
        ("GetObject", "404", "S3-47"),
        ("HeadObject", "NoSuchBucket", "S3-04"),
    ],
)
def test_an_object_that_is_missing_is_no_missing_bucket(operation: str, code: str, id: str) -> None:
    assert S3Error(operation=operation, code=code, status=404).fault == id


def test_every_fault_is_in_the_catalogue() -> None:
    assert set(FAULTS.values()) <= set(CATALOGUE)


def test_no_answer_is_a_fault_of_its_own() -> None:
    assert Unanswered(operation="PutObject", code="no answer in time").outcome().id == "S3-23"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"<Error><Code>A</Code><Message>b</Message></Error>", ("A", "b")),
        (b'<?xml version="1.0"?><Error xmlns="http://s3.example.com/"><Code>A</Code></Error>', ("A", "")),
        (b"<html><body>no</body></html>", None),
        (b'<!DOCTYPE e [<!ENTITY a "aaaa">]><Error><Code>&a;</Code></Error>', None),
        (b"<Error><Code>A</Code>", None),
        (b"", None),
    ],
)
def test_an_error_document_is_told_from_other_answers(body: bytes, expected: tuple[str, str] | None) -> None:
    assert parse_error(body) == expected


def test_an_answer_to_head_gives_its_code_in_a_header() -> None:
    response = {
        "Error": {"Code": "403", "Message": "Forbidden"},
        "ResponseMetadata": {
            "HTTPStatusCode": 403,
            "HTTPHeaders": {"x-minio-error-code": "InvalidAccessKeyId", "x-minio-error-desc": '"No such key."'},
        },
    }
    assert (
        str(from_client_error("HeadBucket", response)) == "HeadBucket gave InvalidAccessKeyId (HTTP 403): No such key."
    )


def test_an_answer_without_any_code_has_its_status_for_one() -> None:
    response = {"Error": {"Code": ""}, "ResponseMetadata": {"HTTPStatusCode": 405}}
    assert from_client_error("DeleteObject", response).code == "405"


def test_the_region_that_the_store_names_is_shown() -> None:
    response = {
        "Error": {"Code": "AuthorizationHeaderMalformed", "Message": "wrong", "Region": "onprem-1"},
        "ResponseMetadata": {"HTTPStatusCode": 400},
    }
    assert "the store names region onprem-1" in str(from_client_error("ListBuckets", response))
