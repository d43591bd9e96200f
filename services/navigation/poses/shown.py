"""The newest mask of a session, mapped from its folder. Looks at most ten times a second; never waits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from services.core.imaging.volume import Array
from services.navigation.domain.answers import Fault, Reason
from services.navigation.domain.pose_answer import Field, ShownMask

STATE, OUTDATED = "state.json", "outdated.json"
TRIES = 20
"""Every try that fails has met a newer mask: so many in a row do not happen."""


class Watched:
    """What a session shows now."""

    def __init__(self, folder: Path, look_s: float, now: Callable[[], float]) -> None:
        """`now`: monotonic seconds."""
        self._folder = folder
        self._look_s = look_s
        self._now = now
        self._looked: float | None = None
        self._seen: object = None
        self._shown: ShownMask | None = None

    def mask(self) -> ShownMask | None:
        """The mask, or None as long as there is none. Raises Fault SESSION_LOST when the session is not there."""
        now = self._now()
        if self._looked is None or now - self._looked >= self._look_s:
            self._looked = now
            seen = (_stamp(self._folder / STATE), _stamp(self._folder / OUTDATED))
            if seen != self._seen:
                self._shown = _read(self._folder)
                self._seen = seen
        return self._shown


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def _read(folder: Path) -> ShownMask | None:
    """The state and its files; read again when it was replaced meanwhile."""
    for _ in range(TRIES):
        try:
            mask = json.loads((folder / STATE).read_text())["mask"]
        except FileNotFoundError:
            break
        try:
            return None if mask is None else _mapped(folder, mask)
        except FileNotFoundError:
            continue
    raise Fault(Reason.SESSION_LOST, "no session has this token", "Open a new session.")


def _mapped(folder: Path, mask: dict[str, Any]) -> ShownMask:
    x, _, _ = mask["shape"]
    files = {role: _array(folder / name) for role, name in mask["files"].items()}
    tumour = files.get("tumour")
    distances: dict[str, list[Field]] = {}
    for level in mask["levels"]:
        i, j, k = level["corner"]
        field = Field(values=_array(folder / level["file"]), corner=(i, j, k), factor=level["factor"])
        distances.setdefault(level["region"], []).append(field)
    return ShownMask(
        to_index=np.linalg.inv(np.array(mask["affine"], dtype=np.float64)),
        tissue=files["tissue"],
        vacuity=Field(values=files["vacuity"]),
        tumour=None if tumour is None else Field(values=tumour, factor=x / tumour.shape[0]),
        distances=distances,
        series_digest=mask["series_digest"],
        arrived_at=mask["arrived_at"],
        registered_at=mask["registered_at"],
        outdated_since=_outdated(folder),
    )


def _outdated(folder: Path) -> float | None:
    try:
        return float(json.loads((folder / OUTDATED).read_text())["since"])
    except FileNotFoundError:
        return None


def _array(path: Path) -> Array:
    """Mapped read-only; the plain array type, since indexing numpy's memmap type is slow."""
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False)).view(np.ndarray)
