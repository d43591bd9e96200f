"""Connection to an object store, its keys, and what its errors mean. The only place with boto3's own types.

A failed call says something about the request only where its code says so; all else (wrong keys, no bucket, no room)
is about the store: transient, or a bad secret would send every study to the dead letters.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
from boto3.exceptions import Boto3Error
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from services.core.contracts.enums import BlobClass
from services.core.contracts.errors import GlioServeError, Permanent, Transient
from services.core.contracts.events import BlobRef
from services.core.storage.settings import S3Settings

S3Client = Any
CONNECTIONS = 16
EXISTS_ALREADY = frozenset({"PreconditionFailed", "412"})
RACED = frozenset({"ConditionalRequestConflict", "409", "OperationAborted"})
MISSING = frozenset({"NoSuchKey", "404", "NotFound"})
_DENIED = frozenset(
    {"AccessDenied", "403", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"}
)
_FULL = frozenset({"InsufficientStorage", "507", "QuotaExceeded", "XMinioStorageFull", "StorageFull"})
_HOPELESS = frozenset({"EntityTooLarge", "KeyTooLongError", "InvalidArgument", "InvalidRequest", "NotImplemented"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where in a bucket the blobs lie: `<prefix>/<class>/<aa>/<digest>` and `<prefix>/named/<name>`."""

    bucket: str
    prefix: str = ""

    def of_blob(self, ref: BlobRef) -> str:
        """The key of a blob."""
        digits = ref.digest.removeprefix("sha256:")
        return self._key(f"{BlobClass(ref.blob_class)}/{digits[:2]}/{digits}")

    def of_name(self, name: str) -> str:
        """The key of a document; also of the start of a name."""
        return self._key(f"named/{name}")

    def _key(self, path: str) -> str:
        return f"{self.prefix}/{path}" if self.prefix else path


def connect(settings: S3Settings) -> S3Client:
    """A client; threads may share it. Raises OSError and ValueError on keys that cannot be read."""
    key = settings.key()
    session = boto3.session.Session()
    return session.client(
        "s3",
        endpoint_url=settings.endpoint,
        region_name=settings.region,
        verify=str(settings.ca) if settings.ca else None,
        aws_access_key_id=key[0] if key else None,
        aws_secret_access_key=key[1] if key else None,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            connect_timeout=settings.connect_s,
            read_timeout=settings.read_s,
            retries={"mode": "standard", "total_max_attempts": settings.attempts},
            max_pool_connections=CONNECTIONS,
            tcp_keepalive=True,
            request_checksum_calculation="when_required",  # we give our own: SHA-256, the blob's name
            response_checksum_validation="when_required",  # and compare what comes back with it
        ),
    )


def code_of(error: ClientError) -> str:
    """The store's own word for what went wrong."""
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def store_errors() -> Iterator[None]:
    """Turns errors of the store into the project's."""
    try:
        yield
    except ClientError as error:
        raise _classed(code_of(error)) from error
    except (BotoCoreError, Boto3Error) as error:
        raise Transient(
            "STORE_UNAVAILABLE",
            f"the object store does not answer ({type(error).__name__})",
            "Look at the object store and the way to it.",
        ) from error


def _classed(code: str) -> GlioServeError:
    if code in MISSING:
        return Transient("BLOB_MISSING", "the blob is not in the object store")
    if code in _DENIED:
        return Transient("STORE_DENIED", f"the object store refuses our key ({code})", "Look at its key and policy.")
    if code in _FULL:
        return Transient("DISK_FULL", "the object store has no room", "Free space in the object store.")
    if code in _HOPELESS:
        return Permanent("STORE_REFUSED", f"the object store does not take this ({code})")
    return Transient("STORE_UNAVAILABLE", f"the object store cannot serve now ({code or 'no code'})", "Try again.")
