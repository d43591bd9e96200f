"""A process that hangs: what waits for it goes on when it does, and nothing is lost or doubled."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.phantom import SMALL, generate, write_nifti
from tests.system.invariants import assert_one_current_result
from tests.system.stack import ENDED, Stack, until

pytestmark = [pytest.mark.chaos]
STAGE_OF = {"triton": "segment", "fusion_segmentation": "segment", "reporting": "report", "preprocessing": "prepare"}


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
        stack.pause(12)  # longer than a lease of the log, or a call to Triton that nobody answers
        assert stack.study(study)["state"] not in ENDED
    assert_one_current_result(stack, [study])


def asked(stack: Stack, study: str) -> set[str]:
    """Stages that wait for their outcome."""
    return {stage["stage"] for stage in stack.study(study)["stages"] if stage["status"] == "requested"}
