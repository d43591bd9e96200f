"""How a process of the product ends: at a signal, and when what it needs is away."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from services.core.runtime.process import EXIT_CANNOT_START

pytestmark = pytest.mark.integration
PROCESS = """
import sys
from services.core.contracts.errors import Transient
from services.core.runtime.process import run_process
def body(process):
    print("up", flush=True)
    {body}
sys.exit(run_process("monitoring", body))
"""


def started(body: str, home: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROCESS.format(body=body)],
        env={"GLIOSERVE_HOME": str(home)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_even_while_its_main_thread_holds_the_lock_of_the_stop(
    tmp_path: Path, number: signal.Signals
) -> None:
    holding = "process.stop._cond.acquire(); print('held', flush=True); sys.stdin.read(); process.stop._cond.release()"
    with started(f"{holding}; process.stop.wait()", tmp_path) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["up\n", "held\n"]
        process.send_signal(number)
        _, said = process.communicate("go on", timeout=30)
    assert process.returncode == 0
    assert [json.loads(line)["event"] for line in said.splitlines()] == ["process.started", "process.stopped"]


def test_what_it_needs_and_does_not_find_is_logged_with_its_code(tmp_path: Path) -> None:
    with started("raise Transient('BUS_UNAVAILABLE', 'no broker', 'start one')", tmp_path) as process:
        _, said = process.communicate(timeout=30)
    assert process.returncode == EXIT_CANNOT_START
    last = json.loads(said.splitlines()[-1])
    assert (last["event"], last["code"], last["advice"]) == ("process.failed", "BUS_UNAVAILABLE", "start one")
