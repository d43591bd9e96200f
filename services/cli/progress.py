"""Progress of a study on standard error: a live table on a terminal, one plain line per change elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from services.cli.gateway_client import Document

SYMBOLS = {
    "completed": ("●", "green"),
    "degraded": ("●", "yellow"),
    "refused": ("✕", "red"),
    "failed": ("✕", "red"),
    "requested": ("◐", "cyan"),
}


class View(Protocol):
    """Shows a study document."""

    def show(self, study: Document) -> None:
        """Called at each change."""


class Lines:
    """One line per stage that ended."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._seen: set[tuple[str, str, int, int]] = set()

    def show(self, study: Document) -> None:
        """Prints what is new."""
        for stage in study["stages"]:
            key = (stage["stage"], stage["status"], stage["replay"], stage["revision"])
            if stage["finished_at"] is not None and key not in self._seen:
                self._seen.add(key)
                self._console.print(_line(stage), highlight=False, markup=False, soft_wrap=True)


class LiveTable:
    """All stages at once, redrawn in place."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, study: Document) -> None:
        """Redraws."""
        table = Table.grid(padding=(0, 2))
        for stage in study["stages"]:
            symbol, colour = SYMBOLS.get(stage["status"], ("○", "dim"))
            table.add_row(
                Text(symbol, style=colour),
                stage["stage"],
                Text(stage["status"], style=colour),
                seconds_of(stage),
                _why(stage),
            )
        self._live.update(table)


@contextmanager
def progress(*, quiet: bool = False) -> Iterator[View]:
    """The view that fits standard error."""
    console = Console(stderr=True, quiet=quiet)
    if not console.is_terminal or quiet:
        yield Lines(console)
        return
    with Live(console=console, refresh_per_second=8, transient=False) as live:
        yield LiveTable(live)


def _line(stage: Document) -> str:
    return f"{stage['stage']:<10} {stage['status']:<10} {seconds_of(stage):>8}  {_why(stage)}".rstrip()


def seconds_of(stage: Document) -> str:
    """How long a stage took, or nothing while that is not known."""
    seconds = stage.get("seconds")
    return "" if seconds is None else f"{seconds:.1f} s"


def _why(stage: Document) -> str:
    problem = stage.get("problem")
    return said(problem) if problem else ""


def said(problem: Document) -> str:
    """What went wrong, and what the reader can do."""
    return f"{problem['message']}. {problem.get('advice') or ''}".strip()
