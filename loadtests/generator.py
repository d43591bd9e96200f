"""Runs Locust in a process of its own: what sends is never slowed down by what measures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from loadtests.arrivals import Arrival, write_plan
from loadtests.figures import Row

USERS = Path(__file__).parent / "users.py"
ROOT = Path(__file__).parents[1]


class Generator:
    """One Locust user. `events` are the lines that it has written so far."""

    def __init__(self, folder: Path, user: str, arguments: Sequence[str], host: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._events = folder / f"{user}.jsonl"
        self._log = folder / f"{user}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable, "-m", "locust", "-f", str(USERS), "--headless", "-u", "1", "--only-summary",
                    "--exit-code-on-error", "0", "-H", host, "--events", str(self._events), *arguments, user,
                ],
                cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        """Of the Locust process."""
        return self._process.pid

    def events(self) -> list[Row]:
        """Everything that happened so far, in order."""
        return read_events(self._events)

    def running(self) -> bool:
        """True until everything was sent and answered. Raises RuntimeError when Locust failed."""
        code = self._process.poll()
        if code:
            raise RuntimeError(f"the generator ended with {code}: {self._log.read_text()[-2000:]}")
        return code is None

    def stop(self) -> None:
        """Ends it, whatever it waits for."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


@contextmanager
def hospital(folder: Path, gateway: str, plan: Sequence[Arrival]) -> Iterator[Generator]:
    """Sends a plan to a gateway."""
    folder.mkdir(parents=True, exist_ok=True)
    write_plan(plan, folder / "plan.json")
    generator = Generator(folder, "Hospital", ["--plan", str(folder / "plan.json")], gateway)
    try:
        yield generator
    finally:
        generator.stop()


def read_events(path: Path) -> list[Row]:
    """Whole lines of a file that is being written."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
