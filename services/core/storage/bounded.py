"""The theatre's store: a memory-backed directory that several processes share, with a budget for it and each session.

A session is a directory that is a store of its own, so that its end frees everything by one call, whoever wrote it and
however that ended. Nothing here is durable (rule 1 allows that to the theatre alone), nothing is ever synced.

    navigation    store.begin(s) ... store.release(s)
    every caller  with store.within(s): store.put(...)     # charged to s; a thread of its own needs its own `within`
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from services.core.contracts.enums import BlobClass
from services.core.contracts.errors import Refused, Transient
from services.core.contracts.events import BlobRef
from services.core.storage.local import NAMED, LocalBlobStore

COMMON = "common"
"""What is put outside of any session. It has no budget of its own, and every session may read its blobs."""

_SESSION = re.compile(r"[A-Za-z0-9_-]{1,80}")
_PAGE = 4096
_GONE = ".gone-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Bytes of the whole store and of one session, counted in pages of 4 KiB."""

    total: int
    session: int


class BoundedBlobStore:
    """Adapter of `port.BlobStore` and `port.SessionStore`. Raises OSError when the directory cannot be used."""

    def __init__(self, root: Path, budget: Budget) -> None:
        self._root = root
        self._budget = budget
        self._current: ContextVar[str] = ContextVar("session", default=COMMON)
        self._stores: dict[str, LocalBlobStore] = {}
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.begin(COMMON)

    def begin(self, session: str) -> None:
        """Opens a session; one that is open stays as it is."""
        if not _SESSION.fullmatch(session):
            raise ValueError(f"not a session's name: {session[:80]!r}")
        with self._locked():
            (self._root / session).mkdir(mode=0o700, exist_ok=True)

    def release(self, session: str) -> None:
        """Frees all that a session holds. Whoever still writes for it is refused; what is mapped stays readable."""
        with self._locked():
            if (folder := self._root / session).is_dir():
                folder.rename(self._root / f"{_GONE}{uuid.uuid4().hex}")
        self._stores.pop(session, None)
        for gone in self._root.glob(f"{_GONE}*"):
            shutil.rmtree(gone, ignore_errors=True)

    def keep_only(self, session: str, refs: Iterable[BlobRef]) -> None:
        """Frees all blobs of a session but these, and its named documents; what is mapped stays readable."""
        kept = {ref.digest.removeprefix("sha256:") for ref in refs}
        with self._locked():
            for part in (*BlobClass, NAMED):
                for path in (self._root / session / part).rglob("*"):
                    if path.is_file() and (part == NAMED or path.name not in kept):
                        path.unlink(missing_ok=True)

    def sessions(self) -> list[str]:
        """Names of the open sessions."""
        return sorted(path.name for path in self._root.iterdir() if _SESSION.fullmatch(path.name) and path.is_dir())

    def used_bytes(self, session: str | None = None) -> int:
        """Memory that a session, or all of the store, takes."""
        return _used(self._root if session is None else self._root / session)

    @contextmanager
    def within(self, session: str) -> Iterator[None]:
        """Reads and writes of this context (of a thread or of an asyncio task) are those of the session."""
        token = self._current.set(session)
        try:
            yield
        finally:
            self._current.reset(token)

    def put(self, data: bytes, media_type: str, blob_class: BlobClass = BlobClass.DERIVED) -> BlobRef:
        """Stores bytes in memory. Raises Refused (the session's part is used up, or it is over), Transient (full)."""
        with self._room(len(data)) as store:
            return store.put(data, media_type, blob_class)

    def put_file(self, source: Path, media_type: str, blob_class: BlobClass = BlobClass.DERIVED) -> BlobRef:
        """Stores a copy of a file. Raises as `put`."""
        return self.put_files([source], media_type, blob_class)[0]

    def put_files(
        self, sources: Sequence[Path], media_type: str, blob_class: BlobClass = BlobClass.DERIVED
    ) -> list[BlobRef]:
        """Stores copies of files: all of them, or none when there is no room. Raises as `put`."""
        sizes = [source.stat().st_size for source in sources]
        with self._room(*sizes) as store:
            return [store.put_file(source, media_type, blob_class) for source in sources]

    def read(self, ref: BlobRef) -> bytes:
        """The bytes, checked against their digest."""
        return self._holder(ref).read(ref)

    def open(self, ref: BlobRef) -> BinaryIO:
        """A stream of the bytes, unchecked."""
        return self._holder(ref).open(ref)

    def local_path(self, ref: BlobRef) -> AbstractContextManager[Path]:
        """The blob's own file, to be mapped; never write to it."""
        return self._holder(ref).local_path(ref)

    def exists(self, ref: BlobRef) -> bool:
        """True when the session or the common part holds it."""
        return self._holder(ref).exists(ref)

    def put_named(self, name: str, data: bytes) -> bytes:
        """Stores a document of the session if it has none of the name; gives the one that stands there now."""
        with self._room(len(data)) as store:
            return store.put_named(name, data)

    def read_named(self, name: str) -> bytes | None:
        """The session's document under a name, or None."""
        return self._store(self._current.get()).read_named(name)

    def list_named(self, prefix: str) -> Iterator[str]:
        """The session's names that start with the prefix, in order."""
        return self._store(self._current.get()).list_named(prefix)

    def delete_named(self, name: str) -> None:
        """Removes one of the session's documents if it is there."""
        self._store(self._current.get()).delete_named(name)

    def free_bytes(self) -> int:
        """What the current session may still put."""
        room = min(self._budget.total - self.used_bytes(), shutil.disk_usage(self._root).free)
        session = self._current.get()
        if session != COMMON:
            room = min(room, self._budget.session - self.used_bytes(session))
        return max(0, room)

    def _holder(self, ref: BlobRef) -> LocalBlobStore:
        mine = self._store(self._current.get())
        common = self._store(COMMON)
        return mine if mine is common or mine.exists(ref) or not common.exists(ref) else common

    @contextmanager
    def _room(self, *sizes: int) -> Iterator[LocalBlobStore]:
        """The current session's store, while no other process may write: budgets hold exactly, copies are quick."""
        session, wanted = self._current.get(), sum(map(_paged, sizes))
        with self._locked():
            store = self._opened(session)
            if session != COMMON and self.used_bytes(session) + wanted > self._budget.session:
                raise Refused(
                    "SESSION_STORE_FULL",
                    f"the session would hold more than its {self._budget.session >> 20} MiB of memory",
                    "Send fewer or smaller series in one session.",
                )
            if self.used_bytes() + wanted > self._budget.total:
                raise Transient(
                    "THEATRE_STORE_FULL",
                    f"the theatre's {self._budget.total >> 20} MiB of memory are in use",
                    "Try again when another session has ended.",
                )
            yield store

    def _store(self, session: str) -> LocalBlobStore:
        known = self._stores.get(session)
        if known is not None:
            return known
        with self._locked():
            return self._opened(session)

    def _opened(self, session: str) -> LocalBlobStore:
        """Under the lock: so no session that is over comes back as an empty one."""
        folder = self._root / session
        if not folder.is_dir():
            self._stores.pop(session, None)
            raise Refused("SESSION_OVER", "the session is over or was never opened", "Open a new session.")
        if session not in self._stores:
            self._stores[session] = LocalBlobStore(folder, durable=False)
        return self._stores[session]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        handle = os.open(self._root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def remove_bounded_store(root: Path) -> None:
    """Removes the directory with all sessions. Call while no process uses it: at the start and the end of a theatre."""
    shutil.rmtree(root, ignore_errors=True)


def _paged(size: int) -> int:
    return -(-size // _PAGE) * _PAGE


def _used(folder: Path) -> int:
    """Page-rounded sizes of all files below. One that goes while we look counts nothing."""
    total = 0
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return 0
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            total += _used(Path(entry.path))
        else:
            try:
                total += _paged(entry.stat(follow_symlinks=False).st_size)
            except FileNotFoundError:
                continue
    return total
