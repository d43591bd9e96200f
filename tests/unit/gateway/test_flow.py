"""The state machine: which request follows, whatever the order of arrival."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.core.contracts.enums import OutcomeStatus, Stage
from services.core.contracts.errors import Permanent
from services.core.contracts.events import StageRequest
from services.core.contracts.ids import RequestId
from services.gateway.domain import flow
from services.gateway.domain.standing import segmentation
from tests.unit.gateway.flow_world import World, answered

pytestmark = pytest.mark.unit
FAILED = OutcomeStatus.FAILED


def failing(*stages: Stage) -> World:
    return World(answer=lambda r: FAILED if r.stage in stages else OutcomeStatus.COMPLETED)


def test_a_study_runs_its_five_stages_one_after_the_other() -> None:
    world = World()
    world.open("a", "2024-01-01")
    seen = []
    while world.waiting:
        assert len(world.waiting) == 1
        seen.append(world.waiting[0].stage)
        world.deliver(world.waiting[0])
    assert seen == list(Stage)
    report = world.current("a")
    assert report.revision == 1
    assert [ref.role for ref in report.inputs] == ["segment", "prepare", "subtype", "compare", "intake"]


@pytest.mark.parametrize("stage", [Stage.PREPARE, Stage.SEGMENT])
def test_without_a_mask_the_report_follows_at_once_and_names_the_problem(stage: Stage) -> None:
    world = failing(stage)
    world.open("a", "2024-01-01")
    world.run_dry()
    report = world.current("a")
    assert [p.stage for p in report.problems] == [stage]
    assert not world.requests("a", Stage.SUBTYPE)
    assert report.inputs[-1].role == "intake"


def test_without_markers_and_comparison_the_study_goes_on() -> None:
    world = failing(Stage.SUBTYPE, Stage.COMPARE)
    world.open("a", "2024-01-01")
    world.run_dry()
    report = world.current("a")
    assert [p.stage for p in report.problems] == [Stage.SUBTYPE, Stage.COMPARE]
    assert [ref.role for ref in report.inputs] == ["segment", "prepare", "intake"]


def test_a_comparison_names_earlier_studies_oldest_first_and_never_an_undated_one() -> None:
    world = World()
    for key, acquired in [("b", "2024-02-01"), ("undated", None), ("a", "2024-01-01"), ("c", "2024-03-01")]:
        world.open(key, acquired)
        world.run_dry()
    compared = world.compared_by("c")
    assert compared is not None
    expected = [segmentation(world.study(key)).manifest for key in ("a", "b")]
    assert [p.run_id for p in compared.priors()] == [m.run_id for m in expected if m]
    undated = world.compared_by("undated")
    assert undated is not None
    assert not undated.priors()


def test_equal_times_are_ordered_by_the_key_of_the_study() -> None:
    world = World()
    world.open("b", "2024-01-01")
    world.open("a", "2024-01-01")
    world.run_dry()
    later, first = world.compared_by("b"), world.compared_by("a")
    assert later is not None
    assert first is not None
    assert len(later.priors()) == 1
    assert not first.priors()


def test_an_older_study_that_completes_later_gives_the_newer_one_a_revision_with_a_predecessor() -> None:
    world = World()
    world.open("new", "2024-06-01")
    world.run_dry()
    first = world.requests("new", Stage.REPORT)[0].manifest
    world.open("old", "2024-01-01")
    world.run_dry()
    report = world.current("new")
    predecessor = report.input("predecessor")
    assert report.revision == 2
    assert predecessor is not None
    assert first is not None
    assert predecessor.run_id == first.run_id


def test_a_new_version_of_an_older_study_is_compared_again_and_only_once_it_is_segmented() -> None:
    world = World()
    world.open("old", "2024-01-01")
    world.open("new", "2024-06-01")
    world.run_dry()
    before = world.current("new").revision
    world.new_version("old")
    assert {r.study.study for r in world.waiting} == {"old"}
    world.run_dry()
    assert world.current("new").revision == before + 1
    assert _names_latest_prior(world, "new")


def test_outcomes_of_a_superseded_version_are_recorded_and_start_nothing() -> None:
    world = World()
    world.open("a", "2024-01-01")
    late = world.waiting[0]
    world.new_version("a")
    pending = list(world.waiting)
    assert world.deliver(late)
    assert world.waiting == [r for r in pending if r != late]
    world.run_dry()
    assert world.current("a").study.version == 2


def test_the_first_outcome_of_a_request_wins() -> None:
    world = World()
    world.open("a", "2024-01-01")
    request = world.waiting[0]
    assert world.deliver(request)
    again, counted = flow.with_outcome(world.patient, answered(request, FAILED))
    assert not counted
    assert again == world.patient


def test_an_outcome_that_answers_nothing_is_refused_for_good() -> None:
    world = World()
    world.open("a", "2024-01-01")
    stray = replace(answered(world.waiting[0], FAILED), request_id=RequestId("unknown"))
    with pytest.raises(Permanent) as caught:
        flow.with_outcome(world.patient, stray)
    assert caught.value.code == "UNKNOWN_REQUEST"


@pytest.mark.parametrize("stage", list(Stage))
def test_a_replay_runs_the_stage_and_what_follows_and_ends_in_a_new_revision(stage: Stage) -> None:
    world = World()
    world.open("a", "2024-01-01")
    world.run_dry()
    assert world.replay("a", stage)
    world.run_dry()
    after = list(Stage)[list(Stage).index(stage) :]
    again = [s for s in Stage if len(world.requests("a", s)) == 2]
    assert set(again) == set(after) - ({Stage.COMPARE} if stage is Stage.SUBTYPE else set())
    assert world.current("a").revision == 2
    assert world.current("a").input("predecessor")


def test_a_replay_that_fails_takes_nothing_away() -> None:
    world = World(answer=lambda r: FAILED if r.replay else OutcomeStatus.COMPLETED)
    world.open("a", "2024-01-01")
    world.run_dry()
    before = world.current("a")
    world.replay("a", Stage.SEGMENT)
    world.run_dry()
    assert world.current("a") == before


def test_a_replay_that_succeeds_heals_a_failed_study() -> None:
    world = World(answer=lambda r: FAILED if r.stage is Stage.SEGMENT and not r.replay else OutcomeStatus.COMPLETED)
    world.open("a", "2024-01-01")
    world.run_dry()
    assert world.current("a").problems
    assert world.replay("a", None)
    world.run_dry()
    assert not world.current("a").problems
    assert world.current("a").revision == 2


def _names_latest_prior(world: World, key: str) -> bool:
    study = world.study(key)
    earlier = [s for s in world.patient.studies if s.order and study.order and s.order < study.order]
    masks = [m for s in sorted(earlier, key=lambda s: s.order or ("", "")) if (m := segmentation(s).manifest)]
    compared = world.compared_by(key)
    if compared is None:  # the comparison failed: the report says so
        return bool(world.current(key).problems)
    return [p.run_id for p in compared.priors()] == [m.run_id for m in masks]


def _answer_of(seed: int, failure_percent: int) -> World:
    def answer(request: StageRequest) -> OutcomeStatus:
        roll = hashlib.sha256(f"{seed}/{request.request_id}".encode()).digest()[0] * 100 // 256
        if request.stage is Stage.REPORT or roll >= failure_percent:
            return OutcomeStatus.COMPLETED
        return FAILED if roll % 2 else OutcomeStatus.REFUSED

    return World(answer=answer)


DATES = st.sampled_from(["2024-01-01", "2024-02-01", "2024-02-01", "2024-03-01T10:00:00", None])


@settings(max_examples=200, deadline=None)
@given(
    dates=st.lists(DATES, min_size=1, max_size=5),
    seed=st.integers(0, 100_000),
    failure_percent=st.sampled_from([0, 0, 20, 50]),
)
def test_any_order_of_arrival_ends_in_one_current_result_that_names_the_latest_prior(
    dates: list[str | None], seed: int, failure_percent: int
) -> None:
    world = _answer_of(seed, failure_percent)
    _shake(world, [(f"s{i}", date) for i, date in enumerate(dates)], Random(seed))
    assert not world.waiting
    for study in world.patient.studies:
        reports = world.requests(study.study, Stage.REPORT)
        revisions = [r.request.revision for r in reports]
        assert revisions == sorted(set(revisions))
        current = world.current(study.study)
        assert bool(current.input("predecessor")) == (len(revisions) > 1)
        if segmentation(study).manifest:
            assert _names_latest_prior(world, study.study)
        else:
            assert current.problems


def _shake(world: World, to_open: list[tuple[str, str | None]], chance: Random) -> None:
    """Opens the studies and delivers outcomes in random order, with new versions, replays and doubles in between."""
    delivered: list[StageRequest] = []
    extra = chance.choices(["version", "replay", "double"], k=chance.randrange(7))
    while to_open or world.waiting or extra:
        key = chance.choice(world.patient.studies).study if world.patient.studies else None
        steps = ["open"] * bool(to_open) + ["deliver"] * (3 * bool(world.waiting)) + extra[:1] * bool(key)
        step = chance.choice(steps)
        if step == "open":
            world.open(*to_open.pop())
        elif step == "deliver":
            delivered.append(chance.choice(world.waiting))
            world.deliver(delivered[-1])
        else:
            extra.pop(0)
            _disturb(world, step, str(key), (chance, delivered))


def _disturb(world: World, step: str, key: str, past: tuple[Random, list[StageRequest]]) -> None:
    chance, delivered = past
    if step == "version":
        world.new_version(key)
    elif step == "replay":
        world.replay(key, chance.choice([None, *Stage]))
    elif delivered:
        assert not world.deliver(chance.choice(delivered))
