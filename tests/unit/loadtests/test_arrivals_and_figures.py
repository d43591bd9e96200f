"""When studies arrive, what percentiles say, and the sum that must hold."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from loadtests.accounts import account, all_ended, latencies
from loadtests.arrivals import Arrival, morning, poisson, read_plan, write_plan
from loadtests.figures import Row, histograms, percentile, samples, summary, total
from loadtests.watch import cpu_between
from services.core.telemetry.metrics import Metrics

pytestmark = pytest.mark.unit


def test_arrivals_of_one_seed_are_the_same_and_keep_the_mean_rate() -> None:
    first = poisson(lambda _: 0.5, 0.5, 4000.0, seed=3)
    assert first == poisson(lambda _: 0.5, 0.5, 4000.0, seed=3)
    assert len(first) == pytest.approx(2000, rel=0.1)
    assert all(a < b for a, b in pairwise(first))


def test_a_morning_has_its_crowd_around_the_peak() -> None:
    moments = poisson(morning(0.05, 1.0, at_s=1000.0, width_s=100.0), 1.0, 3000.0, seed=1)
    near = sum(800 <= moment <= 1200 for moment in moments)
    assert near > 0.6 * len(moments)


def test_a_rate_above_its_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="above the highest"):
        poisson(lambda _: 2.0, 1.0, 100.0, seed=1)


def test_a_plan_survives_its_file(tmp_path: Path) -> None:
    plan = [Arrival(at_s=1.5, file="a.zip", kind="nifti", patient="p", bytes_per_s=10.0)]
    write_plan(plan, tmp_path / "plan.json")
    assert read_plan(tmp_path / "plan.json") == plan


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(number) for number in range(1, 101)]
    assert (percentile(values, 0.5), percentile(values, 0.95), percentile(values, 0.99)) == (50, 95, 99)
    assert summary([]) == {"count": 0}
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_histograms_of_several_processes_add_up() -> None:
    pages = []
    for seconds in (0.3, 4.0):
        metrics = Metrics(CollectorRegistry())
        metrics.stage_seconds.labels("prepare", "routine").observe(seconds)
        metrics.backlog.labels("prepare", "stat").set(3)
        pages.append(generate_latest(metrics.registry).decode())
    found = histograms(pages, "glioserve_stage_seconds", ("stage", "lane"))["prepare routine"]
    assert (found["count"], found["mean"], found["p50_below"], found["p95_below"]) == (2, 2.15, 0.5, 5.0)
    assert total(samples(pages[0], "glioserve_backlog"), stage="prepare") == 3


def test_what_was_accepted_is_finished_explained_or_open_and_a_refusal_is_none_of_them() -> None:
    uploads = [_upload("a"), _upload("b"), _upload("c"), _upload(None, status=422, code="NO_IMAGES")]
    known = {"a": _document("done"), "b": _document("failed", code="UNREADABLE"), "c": _document("running")}
    found = account(uploads, known)
    assert (found["sent"], found["accepted"], found["finished"], found["explained"], found["open"]) == (4, 3, 1, 1, 1)
    assert found["refused_at_the_door"] == {"NO_IMAGES": 1}
    assert not found["holds"]
    assert not all_ended(uploads, known)
    known["c"] = _document("done")
    assert account(uploads, known)["holds"]
    assert all_ended(uploads, known)


def test_a_study_that_the_gateway_forgot_is_lost() -> None:
    found = account([_upload("a")], {})
    assert (found["lost"], found["holds"]) == (1, False)


def test_a_latency_counts_from_the_moment_at_which_the_upload_was_due() -> None:
    row = _upload("a")
    row["scheduled"], row["began"], row["ended"] = 1_900_000_000.0, 1_900_000_003.0, 1_900_000_004.0
    found = latencies([row], {"a": _document("done")})["routine"]
    assert found["study_s"]["p50"] == 20.0
    assert found["upload_s"]["p50"] == 4.0


def test_processor_time_between_two_moments_counts_services_that_came_later() -> None:
    rows: list[Row] = [
        {"at_s": 0.0, "cpu_s": {"gateway": 1.0}, "machine_cpu_s": 10.0},
        {"at_s": 10.0, "cpu_s": {"gateway": 3.0, "triton": 4.0}, "machine_cpu_s": 30.0},
    ]
    assert cpu_between(rows, 0.0, 10.0) == {"gateway": 2.0, "triton": 4.0, "machine": 20.0, "seconds": 10.0}
    assert cpu_between(rows, 50.0, 60.0) == {}


def _upload(study: str | None, status: int = 201, code: str | None = None) -> Row:
    return {
        "event": "upload", "scheduled": 0.0, "began": 0.0, "ended": 1.0, "lane": "routine", "kind": "nifti",
        "status": status, "study": study, "code": code,
    }  # fmt: skip


def _document(state: str, code: str | None = None) -> Row:
    problem = None if code is None else {"code": code}
    finished = "2030-03-17T17:47:00+00:00"  # 1 900 000 020 s after 1970
    stage = {"stage": "prepare", "seconds": 5.0, "finished_at": finished, "problem": problem}
    return {"state": state, "stages": [stage], "completeness": "complete", "verdict": "trusted"}
