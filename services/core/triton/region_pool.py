"""Registered regions that a process keeps for its next call: making one anew costs more than an inference's transport.

A region whose call failed is never used again: the server may still be writing there. Its name goes at once; its
registration goes with the next call that succeeds, for the server refuses while something of it still runs.
"""

from __future__ import annotations

import threading

from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from services.core.triton.shared_memory import Region, sweep_client_regions

MAX_IDLE = 2
UNREGISTER_TIMEOUT_S = 1.0
_STEP = 4 << 20  # sizes are rounded up, so that different models can share regions


class RegionPool:
    """Regions of one process at one server. Safe to share between threads; `close` removes them all."""

    def __init__(self, server: InferenceServerClient, prefix: str) -> None:
        self._server = server
        self._prefix = prefix
        self._lock = threading.Lock()
        self._idle: list[Region] = []
        self._retired = set(sweep_client_regions(prefix))  # what a caller of this home left when it was killed

    def take(self, size: int, timeout_s: float) -> Region:
        """A registered region of at least `size` bytes. Raises OSError without room, or InferenceServerException."""
        with self._lock:
            fitting = [region for region in self._idle if region.size >= size]
            if fitting:
                self._idle.remove(fitting[0])
                return fitting[0]
        region = Region(self._prefix, -(-size // _STEP) * _STEP)
        try:
            self._server.register_system_shared_memory(region.name, region.key, region.size, client_timeout=timeout_s)
        except BaseException:
            self.drop(region)
            raise
        return region

    def give(self, region: Region) -> None:
        """Takes a region back after a call that succeeded."""
        with self._lock:
            kept = len(self._idle) < MAX_IDLE
            if kept:
                self._idle.append(region)
        if not kept:
            self.drop(region)
        self._unregister_retired()

    def drop(self, region: Region) -> None:
        """Removes a region for good."""
        region.close()
        with self._lock:
            self._retired.add(region.name)

    def clear(self) -> None:
        """Drops what is idle: the server that had it registered is gone, or this process ends."""
        with self._lock:
            idle, self._idle = self._idle, []
        for region in idle:
            self.drop(region)

    def close(self) -> None:
        """Removes everything. A region in which the server still works stays registered there until it ends."""
        self.clear()
        self._unregister_retired()

    def _unregister_retired(self) -> None:
        with self._lock:
            names, self._retired = self._retired, set()
        for name in names:
            try:
                self._server.unregister_system_shared_memory(name, client_timeout=UNREGISTER_TIMEOUT_S)
            except InferenceServerException:
                with self._lock:
                    self._retired.add(name)
