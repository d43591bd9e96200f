"""A process that is tied to another one ends with it, however that one ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import psutil
import pytest

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
