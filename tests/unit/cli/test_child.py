"""A process that is tied to another one ends with it, however that one ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from services.cli.child import Child, ChildSpec
from services.cli.supervisor import SERVICES, WARD, everything

pytestmark = pytest.mark.unit

PARENT = """
import os, signal, subprocess, sys, time
from services.cli.child import tied_to
inner = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); print('up', flush=True); time.sleep(60)"
child = subprocess.Popen([sys.executable, "-c", inner], stdout=subprocess.PIPE, start_new_session=True,
    preexec_fn=tied_to(os.getpid(), end=signal.Signals(int(sys.argv[1]))))
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""  # noqa: E501


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_parent_takes_its_child_along(end: signal.Signals) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(int(end))], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the child outlived its parent"
        time.sleep(0.02)


def test_a_child_is_in_a_group_of_its_own_but_in_our_session_where_its_niceness_counts(tmp_path: Path) -> None:
    child = Child(ChildSpec(name="sleeper", argv=["sleep", "60"], environ={}, log=tmp_path / "log", nice=3))
    child.start()
    assert child.process is not None
    pid = child.process.pid
    try:
        assert os.getsid(pid) == os.getsid(0)
        assert os.getpgid(pid) == pid
        assert os.getpriority(os.PRIO_PROCESS, pid) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 3)
    finally:
        child.terminate()
        assert child.wait(time.monotonic() + 20)


@pytest.mark.parametrize(("theatre", "expected"), [(True, SERVICES), (False, WARD)])
def test_a_large_machine_runs_the_theatre_unless_it_is_told_not_to(theatre: bool, expected: tuple[str, ...]) -> None:
    assert everything(theatre=theatre, memory=8 << 30) == expected
    assert everything(theatre=theatre, memory=5 << 30) == WARD
