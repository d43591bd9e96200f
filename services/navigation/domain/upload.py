"""A series on its way in: chunks in order, each with its checksum, the whole with its digest; files in a folder."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import BinaryIO

import google_crc32c

from services.core.contracts.ids import BlobDigest
from services.navigation.domain.answers import Fault, Reason
from services.navigation.domain.orders import SeriesOrder

MAX_CHUNK = 1 << 20


class Upload:
    """Writes the files of one series below `folder` (in memory-backed storage). Any fault ends the series."""

    def __init__(self, order: SeriesOrder, folder: Path) -> None:
        self.order = order
        self._folder = folder
        self._hash = hashlib.sha256()
        self._next = 0
        self._received = 0
        self._ends = _ends(order.file_sizes)
        self._file = 0
        self._handle: BinaryIO | None = None
        folder.mkdir(parents=True)

    @property
    def next_chunk(self) -> int:
        """Sequence of the chunk that is expected."""
        return self._next

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file of the series, in order."""
        return tuple(self._path(number) for number in range(len(self.order.file_sizes)))

    def add(self, sequence: int, data: bytes, crc32c: int) -> None:
        """The next chunk. Raises Fault."""
        if sequence != self._next:
            raise Fault(
                Reason.SEQUENCE_BROKEN,
                f"chunk {sequence} came where {self._next} was expected",
                "Send the series again under a new name.",
            )
        if not 0 < len(data) <= MAX_CHUNK:
            raise Fault(Reason.CHUNK_TOO_LARGE, f"a chunk has 1 to {MAX_CHUNK} bytes, not {len(data)}")
        if google_crc32c.value(data) != crc32c:
            raise Fault(Reason.CHUNK_CORRUPT, f"chunk {sequence} does not have its checksum", "Check the connection.")
        if self._received + len(data) > self.order.total_bytes:
            raise Fault(Reason.SIZE_INVALID, "more bytes came than the header names")
        self._hash.update(data)
        self._write(memoryview(data))
        self._next += 1

    def finish(self, sha256: bytes) -> BlobDigest:
        """The digest of the series, after the last chunk. Raises Fault."""
        self.close()
        if self._received != self.order.total_bytes:
            raise Fault(Reason.SIZE_INVALID, f"{self._received} of {self.order.total_bytes} bytes came")
        if self._hash.digest() != sha256:
            raise Fault(Reason.DIGEST_WRONG, "the series does not have its digest", "Send it again under a new name.")
        return BlobDigest(f"sha256:{sha256.hex()}")

    def discard(self) -> None:
        """Removes what came so far."""
        self.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def close(self) -> None:
        """Closes the file that is being written."""
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    def _write(self, data: memoryview) -> None:
        while data:
            if self._handle is None:
                self._handle = self._path(self._file).open("xb")
            room = self._ends[self._file] - self._received
            part = data[:room]
            self._handle.write(part)
            self._received += len(part)
            data = data[room:]
            if self._received == self._ends[self._file]:
                self.close()
                self._file += 1

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:05d}"


def _ends(sizes: tuple[int, ...]) -> list[int]:
    ends, total = [], 0
    for size in sizes:
        total += size
        ends.append(total)
    return ends
