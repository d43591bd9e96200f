"""The folder between the sessions' process and the pose process: what is shown, when, and what stays behind."""

from __future__ import annotations

import multiprocessing
import os
import time
import zlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.navigation.domain.answers import Fault, Mask, Reason
from services.navigation.domain.pose_answer import Moment, PoseAnswer, StaleRules, answer
from services.navigation.domain.pose_state import BoxField, PoseState, tumour_probability
from services.navigation.poses.folder import forget, mark_outdated, open_folder, prepare_writer, publish
from services.navigation.poses.shown import Watched
from tests.integration.navigation.pose_site import (
    BRAIN_MM,
    CAVITY_MM,
    CENTRE_MM,
    ENHANCING_MM,
    TUMOUR_MM,
    frame,
    state,
)

pytestmark = pytest.mark.unit

RULES = StaleRules(mask_s=600, registration_s=600, clock_s=1)
SESSION_BYTES = 60_000_000


class Ticking:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def said(watched: Watched, tip_mm: np.ndarray[tuple[int], np.dtype[np.float64]]) -> PoseAnswer:
    pose = np.eye(4)
    pose[:3, 3] = tip_mm
    moment = Moment(monotonic=time.monotonic(), pose_age_s=0.0)
    return answer(pose.reshape(-1).tolist(), watched.mask(), moment, RULES)


def watched(folder: Path) -> Watched:
    return Watched(folder, 0.0, time.monotonic)


@pytest.mark.parametrize(("spacing", "within"), [(1.0, 0.8), (2.0, 1.6)])
def test_a_tip_is_told_where_it_is_in_the_frame_of_the_newest_series(
    tmp_path: Path, spacing: float, within: float
) -> None:
    to_series = frame(degrees=30, shift_mm=5)
    open_folder(tmp_path / "s")
    publish(tmp_path / "s", state(spacing, to_series))
    shown = watched(tmp_path / "s")
    for reach, tissue in ((3.0, "RC"), (12.0, "ET"), (22.0, "SNFH"), (40.0, "BACKGROUND"), (75.0, "OUTSIDE")):
        place = CENTRE_MM + reach * np.array([0.6, 0.0, 0.8])
        found = said(shown, (to_series @ np.append(place, 1.0))[:3])
        assert found.tissue == tissue
        assert found.cavity_mm == pytest.approx(reach - CAVITY_MM, abs=within)
        enhancing = reach - ENHANCING_MM if reach > 12 else max(reach - ENHANCING_MM, CAVITY_MM - reach)
        assert found.enhancing_mm == pytest.approx(enhancing, abs=within)
        tumour = reach - TUMOUR_MM if reach > 12 else max(reach - TUMOUR_MM, CAVITY_MM - reach)
        assert found.tumour_mm == pytest.approx(tumour, abs=within)
        if reach < BRAIN_MM:
            assert found.uncertainty == pytest.approx(reach / 255, abs=0.008)
            assert found.infiltration == pytest.approx(1 - reach / 255, abs=0.008)


def test_a_session_without_a_mask_is_there_and_one_that_ended_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    open_folder(folder)
    shown = watched(folder)
    assert shown.mask() is None
    publish(folder, state(2.0))
    open_folder(folder)
    assert shown.mask() is not None
    forget(folder)
    for reader in (shown, watched(folder), watched(tmp_path / "never")):
        with pytest.raises(Fault) as caught:
            reader.mask()
        assert caught.value.reason is Reason.SESSION_LOST
    assert not list(tmp_path.iterdir())


def test_a_newer_mask_takes_over_while_the_former_one_is_still_in_use(tmp_path: Path) -> None:
    open_folder(tmp_path / "s")
    publish(tmp_path / "s", state(2.0, arrived_at=1.0))
    shown = watched(tmp_path / "s")
    former = shown.mask()
    assert former is not None
    for second in range(2, 6):
        publish(tmp_path / "s", state(1.0, arrived_at=float(second)))
        newest = shown.mask()
        assert newest is not None
        assert newest.arrived_at == second
    assert former.tissue.max() > 0
    held = sum(path.stat().st_size for path in (tmp_path / "s").iterdir())
    assert held < SESSION_BYTES
    assert len(list((tmp_path / "s").glob("*.npy"))) == 9


def test_looks_are_as_far_apart_as_asked(tmp_path: Path) -> None:
    clock = Ticking()
    open_folder(tmp_path / "s")
    shown = Watched(tmp_path / "s", 0.1, clock)
    assert shown.mask() is None
    publish(tmp_path / "s", state(2.0))
    clock.now = 0.09
    assert shown.mask() is None
    clock.now = 0.11
    assert shown.mask() is not None


def test_a_changed_anatomy_shows_at_once_and_until_a_series_from_after_it(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    open_folder(folder)
    mark_outdated(folder, 5.0)
    shown = watched(folder)
    assert shown.mask() is None
    for arrived in (4.0, 6.0):
        publish(folder, state(2.0, arrived_at=arrived))
        mask = shown.mask()
        assert mask is not None
        assert mask.outdated_since == 5.0
        assert (mask.outdated_since > mask.arrived_at) == (arrived < 5)
    mark_outdated(folder, 7.0)
    changed = shown.mask()
    assert changed is not None
    assert changed.outdated_since == 7.0


def test_a_mask_that_comes_after_the_end_of_its_session_leaves_nothing(tmp_path: Path) -> None:
    assert not publish(tmp_path / "s", state(2.0))
    assert not list(tmp_path.iterdir())


def test_without_brain_and_probability_less_is_said_and_nothing_is_made_up(tmp_path: Path) -> None:
    open_folder(tmp_path / "s")
    publish(tmp_path / "s", replace(state(2.0), brain=None, tumour=None))
    found = said(watched(tmp_path / "s"), CENTRE_MM + np.array([75, 0, 0]))
    assert found.tissue == "BACKGROUND"
    assert found.infiltration is None
    assert found.uncertainty is not None


def test_a_writer_that_was_prepared_publishes_and_gives_way(tmp_path: Path) -> None:
    open_folder(tmp_path / "s")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=prepare_writer) as writer:
        assert writer.submit(publish, tmp_path / "s", state(2.0)).result(timeout=60)
        assert writer.submit(os.nice, 0).result(timeout=60) >= min(os.nice(0) + 5, 19)
    assert watched(tmp_path / "s").mask() is not None


def test_an_empty_mask_has_no_distances(tmp_path: Path) -> None:
    open_folder(tmp_path / "s")
    whole = state(2.0)
    empty = Mask(
        shape=whole.mask.shape,
        affine=whole.mask.affine,
        label_schema=whole.mask.label_schema,
        labels_zlib=zlib.compress(bytes(80 * 96 * 80)),
        vacuity_zlib=whole.mask.vacuity_zlib,
        volumes_ml={},
        mean_vacuity=None,
    )
    publish(tmp_path / "s", replace(whole, mask=empty))
    found = said(watched(tmp_path / "s"), CENTRE_MM)
    assert (found.tissue, found.tumour_mm, found.enhancing_mm, found.cavity_mm) == ("BACKGROUND", None, None, None)


def test_parts_that_do_not_fit_the_mask_are_refused_and_the_former_mask_stays(tmp_path: Path) -> None:
    open_folder(tmp_path / "s")
    publish(tmp_path / "s", state(2.0, arrived_at=1.0))
    odd = BoxField.packed(np.zeros((79, 96, 80), np.uint8))
    for spoiled in (
        replace(state(2.0), brain=odd),
        replace(state(2.0), tumour=odd),
        PoseState(
            mask=replace(state(2.0).mask, labels_zlib=zlib.compress(b"short")),
            series_digest="",
            arrived_at=2.0,
            registered_at=2.0,
        ),
    ):
        with pytest.raises(ValueError, match="shape"):
            publish(tmp_path / "s", spoiled)
    mask = watched(tmp_path / "s").mask()
    assert mask is not None
    assert mask.arrived_at == 1.0


def test_tumour_probability_is_that_of_the_dirichlet_distribution() -> None:
    evidence = np.zeros((5, 1, 1, 3), np.float16)
    evidence[3, ..., 1] = 5  # enhancing
    evidence[0, ..., 2] = 15  # background
    found = tumour_probability(evidence)[0, 0] / 255
    assert found.tolist() == pytest.approx([3 / 5, 8 / 10, 3 / 20], abs=0.002)
    with pytest.raises(ValueError, match="labels"):
        tumour_probability(evidence[:4])
