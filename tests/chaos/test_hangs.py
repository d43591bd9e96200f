"""A process that hangs: what waits for it goes on when it does, and nothing is lost or doubled."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.phantom import SMALL, generate, write_nifti
from tests.servers.triton import require_triton
from tests.system.invariants import assert_one_current_result
from tests.system.stack import ENDED, Stack, running, until

pytestmark = [pytest.mark.chaos]
STAGE_OF = {"triton": "segment", "fusion_segmentation": "segment", "reporting": "report", "preprocessing": "prepare"}
DEADLINE_S, HANG_S = 4, 12
"""Longer than a lease of the log, and than two calls to Triton that nobody answers."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    require_triton()
    deadline = {"GLIOSERVE_FUSION_SEGMENTATION__DEADLINES__ROUTINE": str(DEADLINE_S)}
    with running(tmp_path_factory.mktemp("stack"), deadline) as started:
        yield started


@contextmanager
def frozen(stack: Stack, service: str) -> Iterator[None]:
    process = stack.process(service)
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize(("seed", "service"), list(enumerate(STAGE_OF, start=40)))
def test_a_study_waits_for_a_process_that_hangs_and_then_ends(
    stack: Stack, tmp_path: Path, seed: int, service: str
) -> None:
    write_nifti(generate(seed, SMALL), tmp_path / "study")
    with frozen(stack, service):
        study = stack.submit(tmp_path / "study")
        until(lambda: STAGE_OF[service] in asked(stack, study), 60, lambda: f"not asked: {stack.study(study)}")
        stack.pause(HANG_S)
        assert stack.study(study)["state"] not in ENDED
    assert_one_current_result(stack, [study])


def asked(stack: Stack, study: str) -> set[str]:
    """Stages that wait for their outcome."""
    return {stage["stage"] for stage in stack.study(study)["stages"] if stage["status"] == "requested"}
