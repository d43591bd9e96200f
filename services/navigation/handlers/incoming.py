"""A series that is coming in: its upload, the theatre's lock from its first chunk on, and a watch on silence.

A silent upload gives the lock up, so that the ward may go on; later its memory too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from services.core.contracts.ids import BlobDigest
from services.navigation.domain.upload import Upload
from services.navigation.ports import TheatreLock


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Seconds of silence after which the lock is given up, and after which the upload is."""

    lock_s: float
    upload_s: float


class Incoming:
    """One upload. `lost` is called when it was silent for too long."""

    def __init__(self, upload: Upload, lock: TheatreLock, patience: Patience, lost: Callable[[], None]) -> None:
        self.upload = upload
        self._theatre = lock
        self._patience = patience
        self._lost = lost
        self._lock = ExitStack()
        self._locked = False
        self._timers: list[asyncio.TimerHandle] = []
        self._listen()

    def add(self, sequence: int, data: bytes, crc32c: int) -> None:
        """The next chunk. Raises Fault."""
        self._listen()
        if not self._locked:
            self._lock.enter_context(self._theatre.held())
            self._locked = True
        self.upload.add(sequence, data, crc32c)

    def finish(self, sha256: bytes) -> tuple[BlobDigest, ExitStack]:
        """Digest of the whole series and the lock, which now is the caller's. Raises Fault."""
        digest = self.upload.finish(sha256)
        self._quiet()
        self._locked = False
        return digest, self._lock.pop_all()

    def drop(self) -> None:
        """Gives up the lock and the file; what was written is freed with the session's folder."""
        self._quiet()
        self._release()
        self.upload.discard()

    def _listen(self) -> None:
        self._quiet()
        loop = asyncio.get_running_loop()
        self._timers = [
            loop.call_later(self._patience.lock_s, self._release),
            loop.call_later(self._patience.upload_s, self._lost),
        ]

    def _quiet(self) -> None:
        for timer in self._timers:
            timer.cancel()

    def _release(self) -> None:
        self._lock.close()
        self._locked = False
