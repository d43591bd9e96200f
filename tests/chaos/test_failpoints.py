"""Every process is killed at every named place, once: the study still ends with one result."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.core.runtime.failpoints import NAMES, Action, Failpoint, arm
from services.phantom import SMALL, generate, write_nifti
from tests.system.invariants import assert_one_current_result
from tests.system.stack import Stack, until

pytestmark = [pytest.mark.chaos]
KILL: tuple[Action, ...] = ("kill",)
IN_THE_MIDDLE: dict[str, tuple[Action, ...]] = {
    "gateway.before_blob": ("pass", "kill"),  # between the instances and the manifest of the intake
    "gateway.after_blob": ("pass", "kill"),
    "stage.before_blob": ("pass", "pass", "pass", "kill"),  # among the outputs: the start of the attempt is one too
    "stage.after_blob": ("pass", "pass", "pass", "kill"),
}


@pytest.mark.parametrize(("seed", "name"), list(enumerate(NAMES)))
def test_a_kill_at_a_failpoint_loses_nothing_and_doubles_nothing(
    stack: Stack, tmp_path: Path, seed: int, name: Failpoint
) -> None:
    write_nifti(generate(seed, SMALL), tmp_path / "study")
    before = stack.studies()
    arm(stack.home.root, name, IN_THE_MIDDLE.get(name, KILL))
    study = stack.submit(tmp_path / "study")
    stack.wait_done(study)
    armed = stack.home.run / "failpoints" / name
    until(lambda: not armed.exists(), 30, lambda: f"{name} was never passed")
    stack.wait_ready()
    assert_one_current_result(stack, [study])
    assert stack.studies() == {*before, study}
