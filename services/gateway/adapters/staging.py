"""Uploads before acceptance: one folder an upload, numbered files, every byte counted as it arrives.

The sender's names never become paths. A refusal deletes the folder; what a crash leaves is deleted at the next start.
"""

from __future__ import annotations

import errno
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from services.core.contracts.enums import Modality
from services.gateway.adapters.archives import unpack
from services.gateway.domain.names import checked_name
from services.gateway.domain.upload import Limits, StagedFile
from services.gateway.errors import NoSpace, TooLarge

_CHECK_SPACE_EVERY = 64 << 20


class StagingFolder:
    """The folder of all uploads. `watermark` bytes stay free for studies that are running."""

    def __init__(self, root: Path, limits: Limits, watermark: int) -> None:
        self._root = root
        self._limits = limits
        self._watermark = watermark

    def clean(self) -> None:
        """Removes what a crash left. Call before the first upload."""
        self._root.mkdir(parents=True, exist_ok=True)
        for leftover in self._root.iterdir():
            shutil.rmtree(leftover, ignore_errors=True)

    def require_space(self, announced: int = 0) -> None:
        """Raises NoSpace when an upload of this size would go below the watermark."""
        if shutil.disk_usage(self._root).free - announced < self._watermark:
            raise NoSpace("NO_SPACE", "there is too little room for uploads now", "Try again later.")

    def receive(self, announced: int = 0) -> FolderUpload:
        """Begins an upload. Raises NoSpace, TooLarge when the announced length exceeds the limit."""
        if announced > self._limits.total_bytes:
            raise _too_large(self._limits.total_bytes)
        self.require_space(announced)
        folder = self._root / uuid.uuid4().hex
        folder.mkdir(mode=0o700)
        return FolderUpload(folder, self._limits, self)


class FolderUpload:
    """One upload: `begin`, `write`, ..., `end` for each file, then `files`. Leaving the context deletes it all."""

    def __init__(self, folder: Path, limits: Limits, staging: StagingFolder) -> None:
        self._folder = folder
        self._limits = limits
        self._staging = staging
        self._stream: BinaryIO | None = None
        self._open: tuple[str, Modality | None, Path] | None = None
        self._files: list[StagedFile] = []
        self._size = 0
        self.received = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            with suppress(OSError):  # it may be the full disk that ended the upload
                self._stream.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def begin(self, name: str, slot: Modality | None = None) -> None:
        """A new file. Raises Refused on an unsafe name, TooLarge on too many or too deep ones."""
        if len(self._files) >= self._limits.files:
            raise TooLarge("TOO_MANY_FILES", f"an upload holds at most {self._limits.files} files")
        safe = checked_name(name, self._limits.depth)
        path = self._folder / f"{len(self._files):06}"
        with _full_disk():
            self._stream = path.open("wb")
        self._open, self._size = (safe, slot, path), 0

    def write(self, chunk: bytes) -> None:
        """More bytes of the open file. Raises TooLarge, NoSpace."""
        if self._stream is None:
            raise ValueError("no file is open")
        before = self.received // _CHECK_SPACE_EVERY
        self.received += len(chunk)
        self._size += len(chunk)
        if self.received > self._limits.total_bytes:
            raise _too_large(self._limits.total_bytes)
        if self._size > self._limits.file_bytes:
            raise TooLarge("FILE_TOO_LARGE", f"one file holds at most {self._limits.file_bytes} bytes")
        if self.received // _CHECK_SPACE_EVERY != before:
            self._staging.require_space()
        with _full_disk():
            self._stream.write(chunk)

    def end(self) -> None:
        """The open file is whole."""
        if self._stream is None or self._open is None:
            raise ValueError("no file is open")
        with _full_disk():
            self._stream.close()
        name, slot, path = self._open
        self._files.append(StagedFile(path=path, size=self._size, name=name, slot=slot))
        self._stream = self._open = None

    @property
    def files(self) -> tuple[StagedFile, ...]:
        """All files that are whole."""
        return tuple(self._files)

    def unpack(self, archive: StagedFile) -> tuple[StagedFile, ...]:
        """The files of a ZIP. Raises Refused, TooLarge, NoSpace."""
        with _full_disk():
            return unpack(archive.path, self._folder / "unpacked", self._limits, self._staging.require_space)


def _too_large(limit: int) -> TooLarge:
    return TooLarge("UPLOAD_TOO_LARGE", f"an upload holds at most {limit} bytes")


@contextmanager
def _full_disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise NoSpace("NO_SPACE", "the disk is full", "Try again later.") from error
        raise
