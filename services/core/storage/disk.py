"""What a disk can do to a store, as the project's errors, and how its bytes are made durable (rule 1)."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.core.contracts.errors import Transient

_PASSING = frozenset({errno.EIO, errno.EROFS, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})
"""They say nothing about a request: a read-only disk or too many open files must not send it to the dead letters."""


@contextmanager
def unlinked_on_error(path: Path) -> Iterator[None]:
    """Leaves no half-written file behind."""
    try:
        yield
    except OSError:
        path.unlink(missing_ok=True)
        raise


@contextmanager
def disk_errors() -> Iterator[None]:
    """Turns what a disk does to a store into Transient; other errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise Transient(
                "DISK_FULL", "there is no room for new blobs", "Free space below GLIOSERVE_HOME."
            ) from error
        if error.errno in _PASSING:
            raise Transient(
                "STORE_UNAVAILABLE",
                f"the disk of the blobs cannot be used now ({errno.errorcode[error.errno]})",
                "Look at the disk and at the limit on open files.",
            ) from error
        raise


def sync(path: Path) -> None:
    """Waits until a file's bytes, or a directory's names, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def unsynced(_: Path) -> None:
    """For memory-backed directories."""
