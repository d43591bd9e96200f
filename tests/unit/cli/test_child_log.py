"""A supervised process: its log stays short while it runs."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from services.cli import child as child_module
from services.cli.child import Child, ChildSpec

pytestmark = pytest.mark.unit
TALKER = "import time\nwhile True:\n    print('x' * 99, flush=True)\n    time.sleep(0.001)\n"


def test_a_log_is_put_aside_under_the_hands_of_the_process_that_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_module, "MAX_LOG_BYTES", 5_000)
    log = tmp_path / "logs" / "talker.jsonl"
    spec = ChildSpec(name="talker", argv=[sys.executable, "-c", TALKER], environ=dict(os.environ), log=log)
    child = Child(spec)
    child.start()
    try:
        wait_for_bytes(log, 5_001)
        child.shorten_log()
        assert log.with_name("talker.jsonl.1").stat().st_size > 5_000
        wait_for_bytes(log, 100)
        assert log.read_bytes().startswith(b"x"), "the writer left a hole"
    finally:
        child.terminate()
        assert child.wait(time.monotonic() + 10)


def wait_for_bytes(log: Path, size: int) -> None:
    deadline = time.monotonic() + 20
    while not log.exists() or log.stat().st_size < size:
        assert time.monotonic() < deadline
        time.sleep(0.01)
