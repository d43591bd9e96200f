"""Places where a test may break a process, by name and exactly once.

Each line of `<home>/run/failpoints/<name>` is an action that the next passage takes and removes: `kill` (SIGKILL to
itself) or `transient` (raises Transient). Without that folder a failpoint costs nothing; production never has it.
"""

from __future__ import annotations

import os
import signal
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


class Failpoints:
    """Armed by files under a home; every process of that home sees them."""

    def __init__(self, home: Path) -> None:
        folder = home / "run" / "failpoints"
        self._folder = folder if folder.is_dir() else None

    def hit(self, name: Failpoint) -> None:
        """Passes, unless this failpoint is armed: then it takes one action. Raises Transient for `transient`."""
        if self._folder is None:
            return
        armed = self._folder / name
        taken = armed.with_name(f"{name}.taken.{os.getpid()}")
        try:
            armed.rename(taken)  # atomic: of several processes exactly one takes it
        except FileNotFoundError:
            return
        actions = taken.read_text().split()
        if len(actions) > 1:
            taken.write_text("\n".join(actions[1:]))
            taken.rename(armed)
        if actions and actions[0] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if actions and actions[0] == "transient":
            raise Transient("FAILPOINT", f"failpoint {name} was armed to fail once")


def arm(home: Path, name: Failpoint, actions: list[Literal["kill", "transient"]]) -> None:
    """Arms a failpoint before the processes of this home start."""
    folder = home / "run" / "failpoints"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join(actions))
