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

# A refusal that no table has; it is shown whole.
UNKNOWN = "S3-39"

# The policy says no. Which right is missing, the caller knows.
DENIED = frozenset(("AccessDenied", "AllAccessDisabled", "Forbidden", "UnauthorizedAccess", "403"))

NO_BUCKET = frozenset(("NoSuchBucket", "404", "NotFound"))
NO_OBJECT = frozenset(("NoSuchKey", "NoSuchVersion", "404", "NotFound"))
# Where a code that stands for any of both, the answer to HEAD having no body, does not mean the bucket.
OF_AN_OBJECT = ("HeadObject", "GetObject")

# Worth another try: the store or a proxy before it is busy or has just started.
TRANSIENT = frozenset(
    (
        "429", "500", "502", "503", "504", "BadGateway", "Busy", "ConnectionClosed", "ErrRequestBytesExceed",
        "ErrTooManyRequest", "GatewayTimeout", "InternalError", "OperationAborted", "RequestTimeout", "ServerBusy",
        "ServiceUnavailable", "SlowDown", "SlowDownRead", "SlowDownWrite", "Throttling", "ThrottlingException",
        "TooManyRequests", "XMinioServerNotInitialized",
    )
)  # fmt: skip

# What stores may answer to what this collection asks, by the check whose remedy it needs. The lists of codes of
# MinIO and SeaweedFS have more: for administration, SELECT, replication, tags and copies, none of which is asked for.
FAULTS: dict[str, str] = {
    code: id
    for id, codes in {
        "S3-04": NO_BUCKET,
        "S3-06": ("InvalidAddressingHeader", "InvalidHostHeader", "InvalidHostname"),
        "S3-08": ("ExpiredPresignRequest", "RequestExpired", "RequestNotReadyYet", "RequestTimeTooSkewed"),
        "S3-10": ("InvalidBucketName",),
        "S3-16": ("InvalidObjectState", "ObjectLocked"),
        "S3-25": (
            "AccountProblem", "InvalidAccessKeyId", "InvalidAccessKeyID", "NotSignedUp", "XMinioAdminNoSuchAccessKey",
            "XMinioAdminNoSuchUser", "XMinioInvalidIAMCredentials",
        ),
        "S3-26": ("InvalidSecurity", "SignatureDoesNotMatch"),
        "S3-27": (
            "ExpiredToken", "ExpiredTokenException", "InvalidToken", "InvalidTokenId", "TokenRefreshRequired",
        ),
        "S3-28": (
            "AuthorizationHeaderMalformed", "AuthorizationParametersError", "AuthorizationQueryParametersError",
            "IllegalLocationConstraintException", "IncorrectEndpoint", "InvalidLocationConstraint", "InvalidRegion",
            "MovedPermanently", "PermanentRedirect", "Redirect", "TemporaryRedirect", "301", "302", "307", "308",
        ),
        "S3-30": (
            *TRANSIENT, "XMinioBackendDown", "XMinioBucketMetadataNotInitialized", "XMinioIAMNotInitialized",
            "XMinioReadQuorum", "XMinioWriteQuorum", "InsufficientReadQuorum", "InsufficientWriteQuorum",
        ),
        "S3-31": (
            "BucketQuotaExceeded", "QuotaExceeded", "TooManyBuckets", "XMinioAdminBucketQuotaExceeded",
            "XMinioStorageFull", "507",
        ),
        "S3-32": (
            "InvalidStorageClass", "MethodNotAllowed", "NotImplemented", "NotImplementedError",
            "SignatureVersionNotSupported", "UnsupportedOperation", "UnsupportedSignature", "405", "501",
        ),
        "S3-33": ("MaxVersionsExceeded",),
        "S3-34": ("EntityTooLarge", "MaxMessageLengthExceeded", "413"),
        "S3-36": (
            "InvalidEncryptionAlgorithmError", "KMSAuthFailure", "KMSNotConfigured", "XMinioEncryptionError",
            "XMinioKMSDefaultKeyAlreadyConfigured", "XMinioKMSNotConfigured",
        ),
        "S3-40": (
            "BadDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch", "XMinioObjectTampered",
        ),
        "S3-43": (
            "BadRequest", "EntityTooSmall", "ExcessData", "IncompleteBody", "InvalidArgument", "InvalidDigest",
            "InvalidPart", "InvalidPartNumber", "InvalidPartOrder", "InvalidRange", "InvalidRequest", "MalformedDate",
            "MalformedXML", "MetadataTooLarge", "MissingContentLength", "MissingContentMD5", "MissingFields",
            "MissingHeaders", "MissingRequestBodyError", "MissingSecurityHeader", "PreconditionFailed",
            "RequestHeaderSectionTooLarge", "UnexpectedContent", "400", "411", "412",
        ),
        "S3-44": (
            "ExistingObjectIsDirectory", "ExistingObjectIsFile", "InvalidURI", "KeyTooLongError",
            "XMinioInvalidObjectName", "XMinioInvalidResourceName", "XMinioInvalidUTF",
            "XMinioObjectExistsAsDirectory", "XMinioParentIsObject",
        ),
        # Nothing is asked for that was not written before.
        "S3-47": ("NoSuchKey", "NoSuchUpload", "NoSuchVersion"),
        "TLS-14": ("XMinioInsecureClientRequest",),
    }.items()
    for code in codes
}  # fmt: skip

# What codes leave open and words tell: a denial that no policy mends, a request that only a lock forbids.
BY_WORDS = {
    "Request has expired": "S3-08",
    "Request is not valid yet": "S3-08",
    "Signature header": "S3-26",
    "requires a valid Date": "S3-26",
    "which were not signed": "S3-26",
    "protected by object lock": "S3-45",
    "WORM protected": "S3-45",
}


@dataclass
class S3Error(Exception):
    """A refusal: what was asked (C(PutObject)), and the store's own code, status and words."""

    operation: str
    code: str
    status: int = 0
    words: str = ""
    request: str = ""

    def __str__(self) -> str:
        status = f" (HTTP {self.status})" if self.status and str(self.status) != self.code else ""
        words = f": {self.words}" if self.words else ""
        # With its id a request is found in the store's log; for what this collection explains there is no need.
        request = f" (request {self.request})" if self.request and self.fault == UNKNOWN and not self.denied else ""
        return f"{self.operation} gave {self.code}{status}{words}{request}"

    @property
    def denied(self) -> bool:
        return self.code in DENIED and not self.told_by_words

    @property
    def told_by_words(self) -> str:
        """The check whose fault the store's words tell, whatever the code; empty where they tell nothing."""
        return next((id for words, id in BY_WORDS.items() if words in self.words), "")

    @property
    def fault(self) -> str:
        """The id of the check whose fault this is; C(S3-39) where no table has it."""
        if self.told_by_words:
            return self.told_by_words
        if self.operation in OF_AN_OBJECT and self.code in NO_OBJECT:
            return FAULTS["NoSuchKey"]
        if self.code in FAULTS:
            return FAULTS[self.code]
        if self.code.startswith("KMS."):
            return "S3-36"
        return FAULTS.get(str(self.status), UNKNOWN) if self.status >= 500 else UNKNOWN

    def outcome(self, *, denied: str = UNKNOWN) -> Failed:
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


class Unreadable(S3Error):
    """An answer that is not S3's: what is in it is unknown, an error or not."""

    def outcome(self, *, denied: str = UNKNOWN) -> Failed:
        return Failed(
            str(self),
            id=UNKNOWN,
            cause=(
                "This is not what S3 answers to this request: a proxy before the store has changed or cut the answer, "
                "or gives a page of its own, or the store does not speak S3 here."
            ),
            fix=(
                "Ask the store itself, past every proxy: give its own address as endpoint. If that passes, let the "
                "proxy pass headers and bodies unchanged; if not, look at the store's log for this request, and report "
                "the store's name and version together with what was seen."
            ),
        )


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
    request = str(meta.get("RequestId") or headers.get("x-amz-request-id", ""))
    return S3Error(operation=operation, code=code, status=status, words=words, request=request)
