"""Series of one session: each has a task from its last chunk on, and one at a time is computed, in an order that may
change. A series that waits keeps its own deadline: its last word does not wait for the one before it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager


class Line:
    """Tasks by series. Belongs to one event loop."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []
        self._running: str | None = None

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """Of series without a last word."""
        return list(self._tasks.values())

    @property
    def waiting(self) -> list[str]:
        """Series that wait for their turn, in order."""
        return [series for series, _ in self._waiting]

    def start(
        self, series: str, work: Coroutine[object, object, None], over: Callable[[asyncio.Task[None]], None]
    ) -> None:
        """Begins a series; `over` is called when its task has ended, however it ended."""
        task = asyncio.get_running_loop().create_task(work, name=f"series {series}")
        self._tasks[series] = task

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.pop(series, None)
            over(task)

        task.add_done_callback(ended)

    @asynccontextmanager
    async def turn(self, series: str) -> AsyncIterator[None]:
        """Waits until it is this series's turn, and gives it on at the end."""
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((series, mine))
        self._next()
        try:
            await mine
            yield
        finally:
            self._waiting = [place for place in self._waiting if place[1] is not mine]
            if self._running == series:
                self._running = None
            self._next()

    def cancel(self, series: str) -> bool:
        """Cancels a series that has no last word; False when there is none of that name."""
        task = self._tasks.get(series)
        return task is not None and task.cancel()

    def cancel_all(self) -> None:
        """Cancels every series."""
        for task in self.tasks:
            task.cancel()

    def to_front(self, series: str) -> bool:
        """The series is next; False when it does not wait."""
        place = next((n for n, (name, _) in enumerate(self._waiting) if name == series), None)
        if place is None:
            return False
        self._waiting.insert(0, self._waiting.pop(place))
        return True

    def _next(self) -> None:
        while self._running is None and self._waiting:
            series, turn = self._waiting.pop(0)
            if not turn.done():  # a cancelled one is on its way out
                self._running = series
                turn.set_result(None)
