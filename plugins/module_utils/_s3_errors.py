# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is PRIVATE to the collection. It can change at any time.

"""What an S3 store's refusal means: each error code is the fault of one check of the catalogue.

Sources: the error lists of AWS ("Error responses", S3 API reference), MinIO
(cmd/api-errors.go) and SeaweedFS (weed/s3api/s3err).
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass
from xml.etree import ElementTree

from ansible_collections.flyte.onprem.plugins.module_utils._checks import Failed

# The policy says no. Which right is missing, the caller knows.
DENIED = frozenset(("AccessDenied", "AccountProblem", "AllAccessDisabled", "Forbidden", "UnauthorizedAccess", "403"))

NO_BUCKET = frozenset(("NoSuchBucket", "404", "NotFound"))
NO_OBJECT = frozenset(("NoSuchKey", "NoSuchVersion", "404", "NotFound"))

# Worth another try: the store or a proxy before it is busy or has just started.
TRANSIENT = frozenset(
    (
        "500", "502", "503", "504", "BadGateway", "Busy", "ConnectionClosed", "GatewayTimeout", "InternalError",
        "OperationAborted", "RequestTimeout", "ServerBusy", "ServiceUnavailable", "SlowDown", "SlowDownRead",
        "SlowDownWrite", "Throttling", "ThrottlingException", "TooManyRequests", "XMinioServerNotInitialized",
    )
)  # fmt: skip

FAULTS = {
    **dict.fromkeys(TRANSIENT, "S3-30"),
    **dict.fromkeys(NO_BUCKET, "S3-04"),
    "AuthorizationHeaderMalformed": "S3-28",
    "AuthorizationQueryParametersError": "S3-28",
    "BadDigest": "S3-40",
    "BucketQuotaExceeded": "S3-31",
    "EntityTooLarge": "S3-34",
    "ExpiredToken": "S3-27",
    "ExpiredTokenException": "S3-27",
    "IllegalLocationConstraintException": "S3-28",
    "IncorrectEndpoint": "S3-28",
    "InvalidAccessKeyId": "S3-25",
    "InvalidBucketName": "S3-10",
    "InvalidObjectState": "S3-16",
    "InvalidRegion": "S3-28",
    "KMS.DefaultKeyAlreadyConfiguredException": "S3-36",
    "InvalidToken": "S3-27",
    "InvalidTokenId": "S3-27",
    "KMS.DisabledException": "S3-36",
    "KMS.NotFoundException": "S3-36",
    "KMSNotConfigured": "S3-36",
    "MaxMessageLengthExceeded": "S3-34",
    "MethodNotAllowed": "S3-32",
    "MovedPermanently": "S3-28",
    "NotImplemented": "S3-32",
    "NotSignedUp": "S3-25",
    "PermanentRedirect": "S3-28",
    "QuotaExceeded": "S3-31",
    "Redirect": "S3-28",
    "RequestExpired": "S3-08",
    "RequestNotReadyYet": "S3-08",
    "RequestTimeTooSkewed": "S3-08",
    "SignatureDoesNotMatch": "S3-26",
    "TemporaryRedirect": "S3-28",
    "TokenRefreshRequired": "S3-27",
    "XMinioAdminBucketQuotaExceeded": "S3-31",
    "XMinioBackendDown": "S3-30",
    "XMinioBucketMetadataNotInitialized": "S3-30",
    "XMinioEncryptionError": "S3-36",
    "XMinioIAMNotInitialized": "S3-30",
    "XMinioInvalidIAMCredentials": "S3-25",
    "XMinioReadQuorum": "S3-30",
    "XAmzContentChecksumMismatch": "S3-40",
    "XAmzContentSHA256Mismatch": "S3-40",
    "XMinioObjectTampered": "S3-40",
    "XMinioStorageFull": "S3-31",
    "XMinioWriteQuorum": "S3-30",
    "301": "S3-28",
    "307": "S3-28",
    "405": "S3-32",
    "413": "S3-34",
    "501": "S3-32",
    "507": "S3-31",
}


@dataclass
class S3Error(Exception):
    """A refusal: what was asked (C(PutObject)), and the store's own code, status and words."""

    operation: str
    code: str
    status: int = 0
    words: str = ""

    def __str__(self) -> str:
        status = f" (HTTP {self.status})" if self.status and str(self.status) != self.code else ""
        words = f": {self.words}" if self.words else ""
        return f"{self.operation} gave {self.code}{status}{words}"

    @property
    def denied(self) -> bool:
        return self.code in DENIED

    @property
    def fault(self) -> str:
        """The id of the check whose fault this is; C(S3-39) where no table has it."""
        if self.code in FAULTS:
            return FAULTS[self.code]
        return FAULTS.get(str(self.status), "S3-39") if self.status >= 500 else "S3-39"

    def outcome(self, *, denied: str = "S3-39") -> Failed:
        """The refusal as a probe's outcome; C(denied) is the check of the right that was asked for."""
        return Failed(str(self), id=denied if self.denied else self.fault)


class Unanswered(S3Error):
    """No answer in time, or the connection broke."""

    @property
    def fault(self) -> str:
        return "S3-23"


class Unroutable(S3Error):
    """The bucket's own host name cannot be reached though the store's can: virtual-host addressing."""

    @property
    def fault(self) -> str:
        return "S3-06"


def parse_error(body: bytes) -> tuple[str, str] | None:
    """Code and message of an S3 error document, or None where the body is none."""
    if b"<!" in body:
        return None  # HTML, or a document type: nothing that S3 sends, and nothing to hand to an XML parser
    try:
        root = ElementTree.fromstring(body)  # noqa: S314  entities need a document type, refused above
    except ElementTree.ParseError:
        return None
    if local_name(root) != "Error":
        return None
    fields = {local_name(child): child.text or "" for child in root}
    return fields.get("Code", ""), fields.get("Message", "")


def local_name(element: ElementTree.Element) -> str:
    return re.sub(r"^\{.*\}", "", element.tag)


def from_client_error(operation: str, response: t.Mapping[str, t.Any]) -> S3Error:
    """The refusal in C(botocore.exceptions.ClientError.response)."""
    error = response.get("Error", {})
    meta = response.get("ResponseMetadata", {})
    # An answer to HEAD has no body; MinIO says the code in a header.
    headers = meta.get("HTTPHeaders", {})
    status = int(meta.get("HTTPStatusCode", 0))
    code = headers.get("x-minio-error-code") or str(error.get("Code") or status)
    words = headers.get("x-minio-error-desc", "").strip('"') or str(error.get("Message", ""))
    region = error.get("Region") or headers.get("x-amz-bucket-region")
    if region and FAULTS.get(code) == "S3-28":
        words = f"{words} (the store names region {region})"
    return S3Error(operation=operation, code=code, status=status, words=words)
