"""Real-time priority: taken where it is permitted, done without elsewhere."""

from __future__ import annotations

import errno
import os

import pytest

from services.core.runtime.priority import take_real_time

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("reason", [errno.EPERM, errno.EINVAL, errno.ENOSYS])
def test_a_machine_that_does_not_permit_or_know_it_is_no_error(monkeypatch: pytest.MonkeyPatch, reason: int) -> None:
    def refused(*_: object) -> None:
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(os, "sched_setscheduler", refused)
    assert not take_real_time()


def test_every_thread_that_is_there_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(os, "sched_setscheduler", lambda thread, *_: asked.append(thread))
    assert take_real_time()
    assert os.getpid() in asked
