"""Pages say what was measured and nothing else; objectives are open where nothing was measured."""

from __future__ import annotations

import pytest

from loadtests.capacity.page import SIMULATED
from loadtests.capacity.page import page as capacity_page
from loadtests.figures import Row
from loadtests.flood import objectives
from loadtests.page import page
from loadtests.theatre_memory import judged

pytestmark = pytest.mark.unit


def test_a_page_needs_nothing_from_outside_and_carries_the_notice() -> None:
    text = page(_document(), "A flood", "What was sent.")
    assert "not for diagnosis" in text
    assert "<svg" in text
    assert "src=" not in text
    assert "t2f-after" in text
    assert "<script" not in text


def test_objectives_name_what_was_reached_and_leave_open_what_was_not_measured() -> None:
    rows = objectives(_document())
    assert rows["P3 idle, final mask, median s"] == {"measured": 5.0, "bar": "at most 8", "reached": True}
    assert rows["P4 flooded, final mask, median s"] == {"measured": 9.0, "bar": "at most 8.5", "reached": False}
    assert rows["WT Dice of t2f-after"]["reached"] is True
    assert rows["TC Dice of t1c-after"]["reached"] is None
    assert rows["P5 pose in the flood, p99 ms"]["reached"] is None


def test_masks_that_never_came_count_as_not_reached_and_poses_without_a_mask_as_not_measured() -> None:
    document = _document()
    document["operations"]["idle"] = [{**_series("t1c-before", 2.0, 5.0), "final_s": None}]
    document["poses"] = {"poses": 5, "answered": 5, "answers": {"NO_MASK_YET": 5}, "p99_ms": 1.0}
    rows = objectives(document)
    assert rows["P3 idle, final mask, median s"] == {"measured": None, "bar": "at most 8", "reached": False}
    assert rows["P4 flooded, final mask, median s"]["reached"] is None
    assert rows["P5 pose in the flood, p99 ms"]["reached"] is None


def test_an_answer_that_does_not_name_its_series_is_never_counted_as_reached() -> None:
    document = _document()
    document["operations"]["flooded"][0]["names_its_series"] = False
    assert objectives(document)["answers that name the series that they answer"]["reached"] is False


def test_memory_grows_from_minute_two_to_the_last_one() -> None:
    rows = [{"at_s": 10.0 * n, "pss_mib": {"navigation": 100.0 + (20.0 if n < 10 else 0.01 * n)}} for n in range(60)]
    found = judged(rows, 600.0)
    assert found["growth_percent"]["measured"] < 1
    assert found["reached"]
    assert judged(rows, 120.0)["growth_percent"]["measured"] is None


def test_the_capacity_page_says_that_it_is_simulated() -> None:
    ward = {"stat": {"count": 0}, "routine": {"count": 1, "p50": 1.0, "p95": 2.0, "p99": 2.0}, "most_pods": {"a": 1}}
    text = capacity_page({
        "notice": "research use", "source": "steady.json", "service_s": {"prepare": 1.0, "theatre_final": []},
        "assumed": {
            "hospital": {"studies": 20, "urgent": 0.1, "operations": 1, "operation_h": 3, "series": 6},
            "pod_starts_s": {"stage": 30, "triton": 90, "theatre": 120},
        },
        "check": [], "picked": {"1": {"bus.partitions": 4}},
        "days": [
            {"hospitals": n, "studies_a_day": 20, "operations_a_day": 1, "ward": {"defaults": ward, "unbounded": ward}}
            for n in (1, 10)
        ],
    })  # fmt: skip
    assert SIMULATED in text
    assert "not available" in text


def _document() -> Row:
    sample = {"pss_mib": {"triton": 400.0}, "backlog": {"prepare routine": 3.0}}
    return {
        "notice": "research use; synthetic training data; not for diagnosis", "machine": {"cpus": 2, "memory_gib": 8},
        "load": {"studies": 2, "seconds": 60.0, "lateness_s": 0.01},
        "cpu": {"cores_of_others": 0.1},
        "account": {"accepted": 2, "finished": 2, "holds": True, "refused_at_the_door": {}, "problems": []},
        "lanes": {"routine": {"study_s": {"count": 0}, "upload_s": {"count": 0}, "stages_s": {}}},
        "handlers_s": {}, "triton_s": {},
        "peak_pss_mib": {"by_service": {"triton": 400.0}, "total": 400.0},
        "operations": {
            "idle": [_series("t1c-before", 2.0, 5.0)],
            "flooded": [{**_series("t2f-after", 3.0, 9.0), "dice": {"WT": 0.9, "TC": 0.5, "ET": 0.4}}],
        },
        "studies": [{"due_s": 0.0, "ended_s": 9.0, "lane": "routine"}, {"due_s": 1.0, "ended_s": None, "lane": "stat"}],
        "samples": [
            {**sample, "at_s": 2.0 * n, "cpu_s": {"triton": 1.0 * n}, "machine_cpu_s": 2.0 * n} for n in range(4)
        ],
    }  # fmt: skip


def _series(name: str, coarse_s: float, final_s: float) -> Row:
    return {
        "event": "series", "series": name, "coarse_s": coarse_s, "final_s": final_s, "word": "complete", "reasons": [],
        "last_byte_at": 0.0, "from_s": 1.0, "to_s": 3.0, "names_its_series": True,
    }  # fmt: skip
