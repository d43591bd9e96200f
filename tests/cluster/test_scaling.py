"""A stage scaled by KEDA on the real lag of a real topic: the lag falls because real processes prepare real studies."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.core.contracts.enums import Stage
from tests.cluster.api import wait
from tests.cluster.release import Release
from tests.cluster.runner import StageRunner
from tests.cluster.ward import STAGE, has_ended, manifest_of, starts_of_runs, submit_phantoms
from tests.system.invariants import assert_one_current_result
from tests.system.stack import Stack

pytestmark = pytest.mark.cluster

LONG_S = 1200.0  # a machine with other work


def test_a_backlog_brings_a_second_process_and_its_end_takes_it_away(
    runner: StageRunner, release: Release, ward: Stack, tmp_path: Path
) -> None:
    _settle(runner, release)
    studies = submit_phantoms(ward, tmp_path, range(100, 106))
    runner.tell(f"{len(studies)} studies are accepted, lag {release.lag(STAGE)}")
    wait(lambda: runner.step() and len(runner.running) == 2, "KEDA asks for a second pod")
    runner.tell(f"two processes, lag {release.lag(STAGE)}")
    wait(lambda: runner.step() and has_ended(ward, studies), "all studies have ended", LONG_S)
    wait(lambda: runner.step() and release.lag(STAGE) == 0, "the lag is gone")
    runner.tell("all studies have ended, lag 0")
    _settle(runner, release)
    assert [program.wait() for program in runner.ended] == [0]
    assert_one_current_result(ward, studies)


def test_a_study_whose_process_is_stopped_by_a_scale_down_is_finished_once_by_another(
    runner: StageRunner, release: Release, ward: Stack, tmp_path: Path
) -> None:
    _settle(runner, release)
    before = starts_of_runs(ward.home)
    studies = submit_phantoms(ward, tmp_path, range(200, 206))
    wait(lambda: runner.step() and runner.all_at_work(2), "two processes are at work")
    runner.tell(f"two processes are in the middle of a study, lag {release.lag(STAGE)}; the most is set to 1")
    release.set_most(STAGE, 1)
    try:
        wait(lambda: runner.step() and runner.ended, "one process is stopped")
        wait(lambda: runner.step() and has_ended(ward, studies), "all studies have ended", LONG_S)
    finally:
        release.set_most(STAGE, 2)
    assert [program.wait() for program in runner.ended] == [0]
    drained = {
        run: starts for run, starts in starts_of_runs(ward.home).items() if run not in before and "DRAINED" in starts
    }
    runner.tell(f"all studies have ended; starts of the run that was left: {list(drained.values())}")
    assert drained, "the stopped process had a study in hand"
    for run, starts in drained.items():
        manifest = manifest_of(ward.home, run)
        assert manifest is not None
        assert manifest.stage is Stage.PREPARE
        # When the second process joined, its partitions may have come with a study that the first was still preparing.
        assert sorted(starts) == ["DRAINED", "no end noted"]
    assert_one_current_result(ward, studies)


def _settle(runner: StageRunner, release: Release) -> None:
    """Waits until there is no backlog and one process that reads."""
    wait(lambda: release.scaling(STAGE), "KEDA serves the metric of the stage")
    wait(lambda: runner.step() and len(runner.running) == 1 and not runner.leaving, "one process runs")
