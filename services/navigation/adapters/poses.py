"""What the pose process sees: a folder a session, written by a process of its own, so that no stream waits for it."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import multiprocessing
import os
import shutil
import signal
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from services.core.runtime.clock import Clock
from services.navigation.domain.answers import MaskAnswer
from services.navigation.domain.pose_state import PoseState, Surroundings
from services.navigation.domain.token import folder_name
from services.navigation.poses.folder import forget, mark_outdated, open_folder, prepare_writer, publish

_PR_SET_PDEATHSIG = 1
log = logging.getLogger(__name__)


class PoseFolders:
    """The port `Poses` below `root` (memory-backed)."""

    def __init__(self, root: Path, clock: Clock) -> None:
        self._root = root
        self._clock = clock
        self._writer = _writer()

    def opened(self, token: str) -> None:
        """The session exists; it has no mask yet."""
        open_folder(self._folder(token))

    def outdated(self, token: str) -> None:
        """The anatomy has changed and its mask is not there yet."""
        mark_outdated(self._folder(token), self._clock.monotonic())

    async def show(self, token: str, answer: MaskAnswer, around: Surroundings) -> None:
        """Distance fields of a mask; returns when they are there."""
        state = PoseState(
            mask=answer.mask,
            series_digest=answer.series_digest,
            arrived_at=answer.arrived,
            registered_at=answer.arrived,
            brain=around.brain,
            tumour=around.tumour,
        )
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._writer, publish, self._folder(token), state)
        except BrokenProcessPool:  # it was killed: the next mask gets a fresh one, this one too
            log.warning("theatre.pose_writer_lost")
            self._writer = _writer()
            await loop.run_in_executor(self._writer, publish, self._folder(token), state)

    def forget(self, token: str) -> None:
        """The session is over."""
        forget(self._folder(token))

    def clear(self) -> None:
        """Removes what is there: of an earlier start, or at the end."""
        shutil.rmtree(self._root, ignore_errors=True)

    def close(self) -> None:
        """Ends the writer."""
        self._writer.shutdown(cancel_futures=True)

    def _folder(self, token: str) -> Path:
        return self._root / folder_name(token)


def _writer() -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(1, mp_context=context, initializer=_end_with, initargs=(os.getpid(),))
    pool.submit(prepare_writer)  # its imports now, not with the first mask
    return pool


def _end_with(parent: int) -> None:
    """The kernel ends this process when the one that asked for it dies; it must not outlive its sessions."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        os.kill(os.getpid(), signal.SIGKILL)
