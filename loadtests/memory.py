"""Memory of processes as PSS (proportional set size, proc(5) smaps_rollup): shared pages count once in a sum."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

INTERVAL_S = 0.25
TRITON = "triton"


class PeakPss:
    """Samples groups of processes while it is entered; `peaks` in bytes by group, `total` of all at one moment."""

    def __init__(self, groups: Callable[[], Mapping[str, list[psutil.Process]]]) -> None:
        self._groups = groups
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.peaks: dict[str, int] = {}
        self.total = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(INTERVAL_S):
            now = {name: sum(map(pss_bytes, members)) for name, members in self._groups().items()}
            self.peaks = {name: max(size, self.peaks.get(name, 0)) for name, size in now.items()}
            self.total = max(self.total, sum(now.values()))


def pss_bytes(process: psutil.Process) -> int:
    """PSS of one process; 0 when it has gone."""
    try:
        lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def services_of(supervisor: psutil.Process) -> dict[str, list[psutil.Process]]:
    """Each child of the supervisor with its own children, by service; the supervisor itself beside them."""
    groups = {"supervisor": [supervisor]}
    for child in supervisor.children():
        try:
            members = [child, *child.children(recursive=True)]
            groups.setdefault(_service(child), []).extend(members)
        except psutil.NoSuchProcess:
            continue
    return groups


def _service(process: psutil.Process) -> str:
    """The module that runs, `theatre_` before it where the theatre has a process of its own; else Triton."""
    named = next((part.removeprefix("services.") for part in process.cmdline() if part.startswith("services.")), TRITON)
    try:
        theatre = process.environ().get("GLIOSERVE_STAGE__LANE") == "theatre"
    except psutil.AccessDenied:  # between fork and exec
        theatre = False
    return f"theatre_{named}" if theatre else named
