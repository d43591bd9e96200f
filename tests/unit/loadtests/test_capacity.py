"""The capacity model: lanes, pods that start and end, spares, and rules that are the chart's own."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import yaml

from loadtests.capacity.chart import VALUES, Chart, Rule, read_chart
from loadtests.capacity.demand import DAY_S, Hospital, Session, Study, sessions, studies
from loadtests.capacity.measured import STAGES, Measured, Times, with_means
from loadtests.capacity.rooms import Rooms
from loadtests.capacity.study import check, day, one_machine, picked
from loadtests.capacity.ward import Ward
from loadtests.figures import Row

pytestmark = pytest.mark.unit


def test_drawn_times_have_the_mean_that_was_measured() -> None:
    times = Times.of([{"count": 4, "mean": 2.0, "buckets": {"1.0": 1.0, "3.0": 4.0, "+Inf": 4.0}}])
    rng = random.Random(1)
    drawn = [times.draw(rng) for _ in range(4000)]
    assert sum(drawn) / len(drawn) == pytest.approx(2.0, rel=0.05)
    with pytest.raises(ValueError, match="nothing was measured"):
        Times.of([])


def test_means_from_elsewhere_keep_the_shapes_and_name_their_source() -> None:
    found = with_means(_measured(), {"prepare": 5.0, "triton": 9.0}, "a quiet machine")
    assert (found.stages["prepare"].mean, found.stages["report"].mean) == (5.0, 1.0)
    assert found.triton_s == 1.0  # never more than the segmentation it is a part of
    assert found.source.startswith("a quiet machine")


def test_the_rules_are_those_of_the_chart() -> None:
    values = yaml.safe_load(VALUES.read_text())
    chart = read_chart()
    assert chart.stages["prepare"].per_pod == values["stages"]["preprocessing"]["scale"]["lag"]
    assert all(rule.most <= values["bus"]["partitions"] for rule in chart.stages.values())
    assert chart.theatre.least == values["theatre"]["scale"]["spare"]


def test_a_study_alone_takes_as_long_as_its_stages() -> None:
    ward = Ward(measured=_measured(), chart=one_machine())
    ward.run([Study(at_s=5.0, urgent=False)])
    assert ward.latencies["routine"] == [pytest.approx(5.0, rel=0.01)]


def test_an_urgent_study_overtakes_those_that_wait() -> None:
    ward = Ward(measured=_measured(), chart=one_machine())
    ward.run([Study(at_s=0.0, urgent=False) for _ in range(10)] + [Study(at_s=0.5, urgent=True)])
    assert ward.latencies["stat"][0] < sorted(ward.latencies["routine"])[2]


def test_stages_that_share_a_core_take_longer_together() -> None:
    asked = [Study(at_s=0.0, urgent=False) for _ in range(6)]
    alone, shared = (
        Ward(measured=_measured(), chart=one_machine()),
        Ward(measured=_measured(), chart=one_machine(), jobs=1.0),
    )
    alone.run(asked)
    shared.run(asked)
    assert max(shared.latencies["routine"]) == pytest.approx(30.0, rel=0.02)  # 6 studies of 5 s on one core
    assert max(alone.latencies["routine"]) == pytest.approx(10.0, rel=0.02)  # five stages beside each other


def test_pods_follow_the_lag_up_to_the_most_and_go_again() -> None:
    rule = Rule(least=1, most=3, per_pod=2.0, starts_s=30.0)
    chart = replace(one_machine(), stages=dict.fromkeys(STAGES, rule), poll_s=15.0, down_s=60.0)
    ward = Ward(measured=_measured(seconds=20.0), chart=chart)
    ward.run([Study(at_s=0.0, urgent=False) for _ in range(30)])
    assert ward.pools["prepare"].most_ready == 3
    assert ward.pools["prepare"].ready == 1  # the first stage was done long before the last one


def test_a_session_without_room_waits_until_a_pod_has_started() -> None:
    rooms = Rooms(measured=_measured(), chart=_rooms_chart(spare=1))
    rooms.run([Session(at_s=0.0, ends_s=7200.0, series_s=(600.0,)) for _ in range(4)])
    assert sorted(rooms.welcome_s)[:2] == [0.0, 0.0]
    assert rooms.welcome_s[-1] >= 120.0
    assert rooms.final_s == [pytest.approx(4.0), pytest.approx(4.0), pytest.approx(8.0), pytest.approx(8.0)]


def test_spares_are_the_fewest_with_which_sessions_find_room() -> None:
    row = day(_measured(), _rooms_chart(spare=1), 40, Hospital(), seed=2)
    found = row["theatre"]["picked"]
    assert found["found_no_room_at_once"] <= 0.01
    assert found["spare"] >= row["theatre"]["defaults"]["spare"]
    assert picked([row])["40"]["theatre.scale.spare"] == found["spare"]


def test_a_day_of_a_hospital_has_about_its_studies_and_operations() -> None:
    asked = studies(50, Hospital(), seed=1)
    assert len(asked) == pytest.approx(1000, rel=0.1)
    assert all(0 <= study.at_s < DAY_S for study in asked)
    assert len(sessions(50, Hospital(), seed=1)) == 50


def test_the_check_repeats_the_arrivals_of_a_real_run() -> None:
    document: Row = {
        "scenario": "steady", "machine": {"cpus": 2},
        "studies": [{"due_s": 10.0 * n, "ended_s": 10.0 * n + 6.0, "lane": "routine"} for n in range(5)],
    }  # fmt: skip
    found = check(_measured(), document, runs=3)
    assert (found["studies"], found["jobs_at_full_speed"]) == (5, 1.6)
    assert found["p50"] == {"real_s": 6.0, "simulated_s": 5.0, "ratio": 0.83}


def _measured(seconds: float = 1.0) -> Measured:
    """Every stage takes the same time, a series 4 s."""
    exact = Times((seconds * 0.999, seconds * 1.001), (0.0, 1.0), seconds)
    return Measured(
        stages=dict.fromkeys(STAGES, exact),
        triton_s=0.5 * seconds,
        coarse_s=(2.0,),
        final_s=(4.0,),
        demand=1.25,
        source="test",
    )


def _rooms_chart(spare: int) -> Chart:
    theatre = Rule(least=spare, most=100, per_pod=2.0, starts_s=120.0)
    return replace(one_machine(), theatre=theatre, sessions=2, spare=spare)
