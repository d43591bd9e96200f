"""Blobs in an S3 bucket, for processes on several machines.

An object is durable when its PUT has been answered (rule 1). Each small PUT names its SHA-256, so the store itself
refuses bytes that changed on the way; what comes back is compared with its digest. Documents are put with
`If-None-Match: *`: of two writers one wins (rule 3). A store that ignores this is refused at the start.
"""

from __future__ import annotations

import base64
import hashlib
import io
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, BinaryIO

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from services.core.contracts.enums import BlobClass
from services.core.contracts.errors import Permanent, Transient
from services.core.contracts.events import BlobRef
from services.core.contracts.ids import BlobDigest, digest_of
from services.core.storage.disk import disk_errors
from services.core.storage.names import checked_document_name
from services.core.storage.s3_client import EXISTS_ALREADY, MISSING, RACED, Place, S3Client, code_of, store_errors

PART_BYTES = 16 << 20
"""Above this size a blob goes up in parts, and is looked for before it does."""

_CHUNK = 1 << 20
_AT_ONCE = 8
_TRIES = 20
_PROBE = "store.probe"


def _nothing() -> None:
    return None


class S3BlobStore:
    """Adapter of `port.BlobStore`. `scratch` takes files while they are read; `before_put`, `after_put` as local."""

    def __init__(
        self,
        client: S3Client,
        place: Place,
        scratch: Path,
        before_put: Callable[[], None] = _nothing,
        after_put: Callable[[], None] = _nothing,
    ) -> None:
        self._client = client
        self._place = place
        self._scratch = scratch
        self._before_put = before_put
        self._after_put = after_put
        self._parts = TransferConfig(multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=4)
        scratch.mkdir(parents=True, exist_ok=True)

    def check(self) -> None:
        """Raises Transient while the bucket cannot be used, Permanent when the store ignores `If-None-Match`."""
        with store_errors():
            self._put_if_absent(_PROBE, b"1")
            if self._put_if_absent(_PROBE, b"2"):
                raise Permanent(
                    "STORE_UNFIT",
                    "the object store overwrites what was put with If-None-Match: runs could have two results",
                    "Use a store that honours it: AWS, VersityGW, Ceph from Tentacle, MinIO.",
                )

    def put(self, data: bytes, media_type: str, blob_class: BlobClass = BlobClass.DERIVED) -> BlobRef:
        """Stores bytes durably. Raises Transient, Permanent when the store does not take them."""
        ref = BlobRef(digest=digest_of(data), size=len(data), media_type=media_type, blob_class=blob_class)
        self._before_put()
        self._send(ref, io.BytesIO(data))
        self._after_put()
        return ref

    def put_file(self, source: Path, media_type: str, blob_class: BlobClass = BlobClass.DERIVED) -> BlobRef:
        """Stores a file's content durably. Raises as `put`."""
        return self.put_files([source], media_type, blob_class)[0]

    def put_files(
        self, sources: Sequence[Path], media_type: str, blob_class: BlobClass = BlobClass.DERIVED
    ) -> list[BlobRef]:
        """Stores files' contents durably, several at once. Raises as `put`."""

        def stored(source: Path) -> BlobRef:
            with source.open("rb") as stream:
                digest, size = _digest(stream)
                ref = BlobRef(digest=digest, size=size, media_type=media_type, blob_class=blob_class)
                stream.seek(0)
                self._send(ref, stream)
            return ref

        self._before_put()
        if len(sources) == 1:
            refs = [stored(sources[0])]
        else:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                refs = list(pool.map(stored, sources))
        self._after_put()
        return refs

    def read(self, ref: BlobRef) -> bytes:
        """The bytes, checked against their digest."""
        data = self._object(self._place.of_blob(ref))
        if data is None:
            raise _missing(ref)
        if digest_of(data) != ref.digest:
            raise _damaged(ref)
        return data

    def open(self, ref: BlobRef) -> BinaryIO:
        """A stream of the bytes, checked: they are fetched to the scratch folder first, and gone at its end."""
        with disk_errors():
            stream = tempfile.TemporaryFile(dir=self._scratch)  # noqa: SIM115 - the caller closes it
        try:
            self._fetch(ref, stream)
        except BaseException:
            stream.close()
            raise
        stream.seek(0)
        return stream

    @contextmanager
    def local_path(self, ref: BlobRef) -> Iterator[Path]:
        """A fetched and checked copy, gone at the end of the context."""
        with disk_errors():
            stream = tempfile.NamedTemporaryFile(dir=self._scratch)  # noqa: SIM115 - `with` follows
        with stream:
            self._fetch(ref, stream)
            yield Path(stream.name)

    def exists(self, ref: BlobRef) -> bool:
        """True when an object of that digest and size stands there."""
        with store_errors():
            try:
                head = self._client.head_object(Bucket=self._place.bucket, Key=self._place.of_blob(ref))
            except ClientError as error:
                if code_of(error) in MISSING:
                    return False
                raise
        return int(head["ContentLength"]) == ref.size

    def put_named(self, name: str, data: bytes) -> bytes:
        """Stores a document if none stands under the name; gives the one that stands there now."""
        checked_document_name(name)
        self._before_put()
        for _ in range(_TRIES):
            with store_errors():
                mine = self._put_if_absent(name, data)
            found = data if mine else self._object(self._place.of_name(name))
            if found is not None:
                self._after_put()
                return found
        raise Transient("STORE_UNAVAILABLE", f"the document {name} is put and removed all the time", "Try again.")

    def read_named(self, name: str) -> bytes | None:
        """The document under a name, or None."""
        return self._object(self._place.of_name(checked_document_name(name)))

    def list_named(self, prefix: str) -> Iterator[str]:
        """Names that start with the prefix, in order."""
        cut = len(self._place.of_name(""))
        with store_errors():
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._place.bucket, Prefix=self._place.of_name(prefix)
            )
            return iter(sorted(item["Key"][cut:] for page in pages for item in page.get("Contents", ())))

    def delete_named(self, name: str) -> None:
        """Removes a named document if it is there."""
        key = self._place.of_name(checked_document_name(name))
        with store_errors():
            self._client.delete_object(Bucket=self._place.bucket, Key=key)

    def free_bytes(self) -> None:
        """A bucket does not say."""
        return

    def _send(self, ref: BlobRef, stream: BinaryIO) -> None:
        where = {"Bucket": self._place.bucket, "Key": self._place.of_blob(ref)}
        with store_errors():
            if ref.size <= PART_BYTES:
                self._client.put_object(
                    **where, Body=stream.read(), ContentType=ref.media_type, ChecksumSHA256=_base64(ref.digest)
                )
            elif not self.exists(ref):
                extra = {"ContentType": ref.media_type, "ChecksumAlgorithm": "SHA256"}
                self._client.upload_fileobj(stream, **where, ExtraArgs=extra, Config=self._parts)

    def _put_if_absent(self, name: str, data: bytes) -> bool:
        """False when a document stands there. Two that come at once may both be sent back: again."""
        for _ in range(_TRIES):
            try:
                self._client.put_object(
                    Bucket=self._place.bucket,
                    Key=self._place.of_name(name),
                    Body=data,
                    IfNoneMatch="*",
                    ChecksumSHA256=_base64(digest_of(data)),
                )
            except ClientError as error:
                if code_of(error) in EXISTS_ALREADY:
                    return False
                if code_of(error) not in RACED:
                    raise
            else:
                return True
        raise Transient("STORE_UNAVAILABLE", f"too many writers of the document {name}", "Try again.")

    def _object(self, key: str) -> bytes | None:
        with store_errors():
            try:
                answer = self._client.get_object(Bucket=self._place.bucket, Key=key)
            except ClientError as error:
                if code_of(error) in MISSING:
                    return None
                raise
            with closing(answer["Body"]) as body:
                return bytes(body.read())

    def _fetch(self, ref: BlobRef, target: IO[bytes]) -> None:
        hasher = hashlib.sha256()
        with disk_errors(), store_errors():
            try:
                answer = self._client.get_object(Bucket=self._place.bucket, Key=self._place.of_blob(ref))
            except ClientError as error:
                raise (_missing(ref) if code_of(error) in MISSING else error) from None
            with closing(answer["Body"]) as body:
                for chunk in body.iter_chunks(_CHUNK):
                    hasher.update(chunk)
                    target.write(chunk)
            target.flush()
        if f"sha256:{hasher.hexdigest()}" != ref.digest:
            raise _damaged(ref)


def _digest(stream: BinaryIO) -> tuple[BlobDigest, int]:
    hasher, size = hashlib.sha256(), 0
    while chunk := stream.read(_CHUNK):
        hasher.update(chunk)
        size += len(chunk)
    return BlobDigest(f"sha256:{hasher.hexdigest()}"), size


def _base64(digest: BlobDigest) -> str:
    return base64.b64encode(bytes.fromhex(digest.removeprefix("sha256:"))).decode()


def _missing(ref: BlobRef) -> Transient:
    return Transient("BLOB_MISSING", f"blob {ref.digest} is not here")


def _damaged(ref: BlobRef) -> Permanent:
    return Permanent("BLOB_DAMAGED", f"blob {ref.digest} does not match its digest", "Restore it from backup.")
