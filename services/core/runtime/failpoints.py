"""Places where a test may break a process, by name and exactly once.

Each line of `<home>/run/failpoints/<name>` is an action that the next passage takes and removes: `kill` (SIGKILL to
itself), `transient` (raises Transient) or `pass`. Without that folder a failpoint costs nothing; production never has
it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from services.core.contracts.errors import Transient

Failpoint = Literal[
    "gateway.before_blob",
    "gateway.after_blob",
    "gateway.before_row",
    "gateway.after_row",
    "gateway.before_outbox_send",
    "gateway.after_outbox_send",
    "gateway.before_outcome_commit",
    "gateway.after_outcome_commit",
    "stage.before_attempt",
    "stage.before_blob",
    "stage.after_blob",
    "stage.before_manifest",
    "stage.after_manifest",
    "stage.before_outcome",
    "stage.after_outcome",
    "stage.after_commit",
]
NAMES: tuple[str, ...] = get_args(Failpoint)


Action = Literal["kill", "transient", "pass"]
_EACH = "transient-each"


class Failpoints:
    """Armed by files under a home; every process of that home sees them."""

    def __init__(self, home: Path) -> None:
        folder = home / "run" / "failpoints"
        self._folder = folder if folder.is_dir() else None

    def hit(self, name: Failpoint, key: str = "") -> None:
        """Passes, unless this failpoint is armed: then it acts. `key` says what passes, such as a study's key.

        Raises Transient for `transient`, and for `transient-each` at the first passage of every key.
        """
        if self._folder is None:
            return
        armed = self._folder / name
        action = self._first_of(armed, key) if _reads(armed) == _EACH else _taken(armed)
        if action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if action == "transient":
            raise Transient("FAILPOINT", f"failpoint {name} was armed to fail")

    def _first_of(self, armed: Path, key: str) -> str | None:
        try:
            armed.with_name(f"{armed.name}.passed.{key}").touch(exist_ok=False)
        except FileExistsError:
            return None
        return "transient"


def arm(home: Path, name: Failpoint, actions: Sequence[Action]) -> None:
    """Arms a failpoint: each passage takes one action, whatever passes."""
    _armed(home, name, "\n".join(actions))


def arm_each(home: Path, name: Failpoint) -> None:
    """Arms a failpoint to fail transiently once for every key that passes it."""
    _armed(home, name, _EACH)


def _armed(home: Path, name: Failpoint, text: str) -> None:
    folder = home / "run" / "failpoints"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def _reads(armed: Path) -> str | None:
    try:
        return armed.read_text()
    except FileNotFoundError:
        return None


def _taken(armed: Path) -> str | None:
    taken = armed.with_name(f"{armed.name}.taken.{os.getpid()}")
    try:
        armed.rename(taken)  # atomic: of several processes exactly one takes it
    except FileNotFoundError:
        return None
    actions = taken.read_text().split()
    if len(actions) > 1:
        taken.write_text("\n".join(actions[1:]))
        taken.rename(armed)
    return actions[0] if actions else None
