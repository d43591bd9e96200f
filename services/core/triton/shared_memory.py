"""Named shared memory under /dev/shm, in which tensors reach a Triton on the same host without being copied by gRPC.

Why not multiprocessing.shared_memory: its resource tracker removes or warns about names on its own terms. Here an
advisory lock marks a region whose owner lives, and the kernel drops it when the owner dies, by whatever cause: so a
sweep tells leftovers from live regions, also between containers that share /dev/shm but not their process numbers.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

import numpy as np

from services.core.imaging.volume import Array
from services.core.triton.stubs import end_orphaned_stubs

SHM = Path("/dev/shm")  # noqa: S108 - the place itself is the contract with Triton
CLIENT_REGION = "-client-"
SERVER_REGION = "-triton-"
_ALIGNMENT = 64


class Region:
    """One region of a caller: created with its room reserved, locked while it lives, removed by `close`.

    Raises OSError when /dev/shm has no room or is not there: better here than as SIGBUS at the first write.
    """

    def __init__(self, prefix: str, size: int) -> None:
        self.name, self._handle = _create_locked(prefix)
        self.size = size
        try:
            os.posix_fallocate(self._handle, 0, size)
            self._map = mmap.mmap(self._handle, size)
        except OSError:
            self._remove()
            raise

    @property
    def key(self) -> str:
        """The name as shm_open wants it."""
        return f"/{self.name}"

    def write(self, offset: int, array: Array) -> None:
        """Copies an array's elements, C-order, to `offset`."""
        np.frombuffer(self._map, array.dtype, array.size, offset).reshape(array.shape)[...] = array

    def read(self, offset: int, dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> Array:
        """A copy of what lies at `offset`."""
        count = int(np.prod(shape))
        copy: Array = np.frombuffer(self._map, dtype, count, offset).reshape(shape).copy()
        return copy

    def close(self) -> None:
        """Removes the name and our mapping. A server that still has it registered keeps its own mapping."""
        self._map.close()
        self._remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _remove(self) -> None:
        (SHM / self.name).unlink(missing_ok=True)
        os.close(self._handle)


def lay_out(sizes: Mapping[str, int]) -> tuple[dict[str, int], int]:
    """An offset for every tensor, aligned for vector instructions, and the size of the whole."""
    offsets, end = {}, 0
    for name, size in sizes.items():
        offsets[name] = end
        end += -(-size // _ALIGNMENT) * _ALIGNMENT
    return offsets, max(end, _ALIGNMENT)


def sweep_client_regions(prefix: str) -> list[str]:
    """Removes regions of callers of this home that died. Live ones are locked and stay. Gives the removed names."""
    return [path.name for path in SHM.glob(f"{prefix}{CLIENT_REGION}*") if _remove_unlocked(path)]


def sweep_shared_memory(prefix: str) -> list[str]:
    """Removes all leftovers of this home: of dead callers, and what a killed tritonserver left, its stubs included.

    Only while no tritonserver of this home runs: its regions carry no lock. Other homes' names and processes are never
    touched, regions of living callers stay. Gives the removed names.
    """
    end_orphaned_stubs(f"{prefix}{SERVER_REGION}")
    removed = sweep_client_regions(prefix)
    for path in SHM.glob(f"{prefix}{SERVER_REGION}*"):
        path.unlink(missing_ok=True)
        removed.append(path.name)
    return removed


def _create_locked(prefix: str) -> tuple[str, int]:
    while True:
        name = f"{prefix}{CLIENT_REGION}{uuid4().hex}"
        handle = os.open(SHM / name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return name, handle
        os.close(handle)  # a sweep came between creation and lock


def _remove_unlocked(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True
