"""What a session has said, numbered, until its memory is used up: the source of every stream that takes it up.

A slow reader costs no memory: progress that was overtaken goes first, then coarse masks whose final one is there, then
the oldest answers. A reader sees gaps in the numbers there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from services.navigation.domain.answers import Answer, Degraded, MaskAnswer, MaskKind, Progress


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Numbered:
    """An answer and its number, from 1 on."""

    sequence: int
    answer: Answer


MAX_KEPT = 256
"""Answers of a session at most, whatever their size."""


class AnswerLog:
    """Answers of one session. Belongs to one event loop."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept: list[Numbered] = []
        self._last = 0
        self._more = asyncio.Event()

    @property
    def size(self) -> int:
        """Bytes of the masks that are kept."""
        return sum(_bytes(kept.answer) for kept in self._kept)

    @property
    def kept(self) -> int:
        """How many answers are kept."""
        return len(self._kept)

    @property
    def last(self) -> int:
        """Number of the newest answer; 0 before the first."""
        return self._last

    def add(self, answer: Answer) -> None:
        """Keeps an answer and wakes its readers."""
        self._last += 1
        if isinstance(answer, Progress):
            self._drop(lambda old: isinstance(old, Progress) and old.series == answer.series)
        self._kept.append(Numbered(sequence=self._last, answer=answer))
        if self.size > self._max_bytes:
            finished = {a.series for a in self._masks(MaskKind.FINAL)}
            self._drop(lambda old: isinstance(old, MaskAnswer) and _coarse(old) and old.series in finished)
        while len(self._kept) > MAX_KEPT or (self.size > self._max_bytes and len(self._kept) > 1):
            del self._kept[0]
        self._more.set()

    def wake(self) -> None:
        """Lets every reader look again: the session was taken up or has ended."""
        self._more.set()

    async def after(self, sequence: int) -> list[Numbered]:
        """The answers behind that number; waits for the next one, or for `wake`: then there may be none."""
        found = [kept for kept in self._kept if kept.sequence > sequence]
        if found:
            return found
        self._more.clear()
        await self._more.wait()
        return [kept for kept in self._kept if kept.sequence > sequence]

    def _masks(self, kind: MaskKind) -> list[MaskAnswer]:
        return [k.answer for k in self._kept if isinstance(k.answer, MaskAnswer) and k.answer.kind is kind]

    def _drop(self, gone: Callable[[Answer], bool]) -> None:
        self._kept = [kept for kept in self._kept if not gone(kept.answer)]


def _coarse(answer: MaskAnswer) -> bool:
    return answer.kind is MaskKind.COARSE


def _bytes(answer: Answer) -> int:
    if isinstance(answer, Degraded):
        return 0 if answer.best is None else _bytes(answer.best)
    if isinstance(answer, MaskAnswer):
        return len(answer.mask.labels_zlib) + len(answer.mask.vacuity_zlib)
    return 0
