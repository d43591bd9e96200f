"""What every blob store promises.

Durability: when `put*` returns, the bytes survive a power cut (local: file fsynced, then its directory; rule 1).
Integrity: what `read` and `fetch` give back has the digest that was asked for, or they raise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol

from services.core.contracts.enums import BlobClass
from services.core.contracts.events import BlobRef


class BlobStore(Protocol):
    """Blobs by digest, and small documents by name."""

    def put(self, data: bytes, media_type: str, blob_class: BlobClass = BlobClass.DERIVED) -> BlobRef:
        """Stores bytes. Storing the same bytes twice is one blob. Raises Transient (also when the disk is full)."""

    def put_file(self, source: Path, media_type: str, blob_class: BlobClass = BlobClass.DERIVED) -> BlobRef:
        """Stores a file's content; `source` stays where it is. Raises Transient."""

    def put_files(
        self, sources: Sequence[Path], media_type: str, blob_class: BlobClass = BlobClass.DERIVED
    ) -> list[BlobRef]:
        """Stores many files' contents, all durable when it returns; cheaper than one by one. Raises Transient."""

    def read(self, ref: BlobRef) -> bytes:
        """The bytes. Raises Transient when it is not there (yet) or the store does not answer, Permanent when it does
        not match its digest.
        """

    def open(self, ref: BlobRef) -> BinaryIO:
        """A stream of the bytes, for large blobs; the caller closes it. Raises Transient when it is not there."""

    def local_path(self, ref: BlobRef) -> AbstractContextManager[Path]:
        """A read-only path to the bytes while the context lasts (a remote store fetches them). Raises as `read`."""

    def exists(self, ref: BlobRef) -> bool:
        """True when the blob is stored."""

    def put_named(self, name: str, data: bytes) -> bytes:
        """Stores a document under a name if there is none, durably; returns the document that stands there now.

        Names are relative paths of `[A-Za-z0-9._-]` parts, such as `runs/<run_id>`. Two writers racing see one winner.
        """

    def read_named(self, name: str) -> bytes | None:
        """The document under a name, or None."""

    def list_named(self, prefix: str) -> Iterator[str]:
        """Names that start with the prefix, in order."""

    def delete_named(self, name: str) -> None:
        """Removes a named document; none there is no error."""

    def free_bytes(self) -> int | None:
        """Room left for new blobs, or None where that is not known."""


class SessionStore(BlobStore, Protocol):
    """A store whose blobs belong to sessions and go with them: the theatre's. The ward's stores never forget a blob."""

    def begin(self, session: str) -> None:
        """Opens a session."""

    def within(self, session: str) -> AbstractContextManager[None]:
        """All reads and writes of this context (of a thread or of an asyncio task) are those of the session.

        Outside of it they are common: readable by all, never released.
        """

    def release(self, session: str) -> None:
        """Frees all that a session holds, whoever wrote it. Writers that still work for it are refused."""

    def keep_only(self, session: str, refs: Iterable[BlobRef]) -> None:
        """Frees all blobs of a session but these, and its named documents. A run that has not told its result yet may
        lose it: its next request computes again.
        """

    def sessions(self) -> list[str]:
        """Names of the open sessions."""

    def used_bytes(self, session: str | None = None) -> int:
        """Memory that a session, or all of the store, takes."""
