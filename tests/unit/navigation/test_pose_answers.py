"""What is said of a pose: values against a scene whose values are known, and what makes an answer stale or none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.imaging.volume import Affine
from services.navigation.domain.pose_answer import (
    OUTSIDE,
    Field,
    Moment,
    PoseReason,
    ShownMask,
    StaleCause,
    StaleRules,
    answer,
    tip_of,
)

pytestmark = pytest.mark.unit

RULES = StaleRules(mask_s=60, registration_s=30, clock_s=0.25)
NOW = Moment(monotonic=1000.0, pose_age_s=0.01)
IDENTITY = tuple(np.eye(4).reshape(-1).tolist())


def at(x: float, y: float, z: float) -> tuple[float, ...]:
    pose = np.eye(4)
    pose[:3, 3] = x, y, z
    return tuple(pose.reshape(-1).tolist())


def scene(to_index: Affine | None = None) -> ShownMask:
    """Ten voxels each way; x is the distance to the tumour, y the vacuity, z the probability."""
    x, y, z = np.meshgrid(*[np.arange(10.0)] * 3, indexing="ij")
    tissue = np.zeros((10, 10, 10), np.uint8)
    tissue[:5] = 3
    tissue[9] = OUTSIDE
    return ShownMask(
        to_index=np.eye(4) if to_index is None else to_index,
        tissue=tissue,
        vacuity=Field(values=(y * 25.5).astype(np.float32)),
        tumour=Field(values=(z * 25.5).astype(np.float32)),
        distances={"wt": [Field(values=(x - 4.5).astype(np.float16))]},
        series_digest="sha256:1",
        arrived_at=990.0,
        registered_at=990.0,
    )


def test_values_lie_between_those_of_the_voxels_around_the_tip() -> None:
    said = answer(at(2.25, 4.5, 6.75), scene(), NOW, RULES)
    assert said.tissue == "ET"
    assert said.tumour_mm == pytest.approx(-2.25)
    assert said.uncertainty == pytest.approx(0.45)
    assert said.infiltration == pytest.approx(0.675)
    assert said.mask_age_s == pytest.approx(10)
    assert said.stale == ()
    assert said.series_digest == "sha256:1"


def test_a_surface_that_does_not_exist_has_no_distance() -> None:
    said = answer(at(2, 2, 2), scene(), NOW, RULES)
    assert said.enhancing_mm is None
    assert said.cavity_mm is None


def test_without_probabilities_there_is_no_infiltration() -> None:
    assert answer(at(2, 2, 2), replace(scene(), tumour=None), NOW, RULES).infiltration is None


def test_outside_the_brain_there_is_a_distance_but_no_probability() -> None:
    said = answer(at(9, 2, 2), scene(), NOW, RULES)
    assert said.tissue == "OUTSIDE"
    assert said.tumour_mm == pytest.approx(4.5)
    assert (said.infiltration, said.uncertainty) == (None, None)


def test_beyond_the_mask_nothing_is_said_but_that() -> None:
    said = answer(at(-40, 2, 2), scene(), NOW, RULES)
    assert (said.tissue, said.tumour_mm, said.infiltration, said.uncertainty) == ("OUTSIDE", None, None, None)
    assert said.reason is None


def test_the_tip_is_taken_to_the_frame_of_the_mask() -> None:
    to_index = np.linalg.inv(np.array([[0, -2.0, 0, 50], [2, 0, 0, -30], [0, 0, 2, 8], [0, 0, 0, 1]]))
    said = answer(at(50 - 2 * 4.5, -30 + 2 * 2.25, 8 + 2 * 6.75), scene(to_index), NOW, RULES)
    assert said.tumour_mm == pytest.approx(-2.25)
    assert said.uncertainty == pytest.approx(0.45)
    assert said.infiltration == pytest.approx(0.675)


def test_the_finer_field_answers_where_it_reaches() -> None:
    fine = Field(values=np.full((4, 4, 4), 1, np.float16), corner=(2.0, 2.0, 2.0))
    coarse = Field(values=np.full((5, 5, 5), 2, np.float16), factor=2)
    shown = replace(scene(), distances={"wt": [fine, coarse]})
    for place, wanted in ((2, 1), (5, 1), (5.2, 2), (1.9, 2), (-0.4, 2), (9.4, 2)):
        assert answer(at(place, 3, 3), shown, NOW, RULES).tumour_mm == wanted
    assert answer(at(9.6, 3, 3), shown, NOW, RULES).tumour_mm is None


@given(st.tuples(*[st.floats(-0.5, 9.4)] * 3))
def test_half_the_resolution_gives_the_same_linear_field(place: tuple[float, float, float]) -> None:
    x, y, z = np.meshgrid(*[np.arange(0.5, 10.5, 2)] * 3, indexing="ij")
    field = Field(values=(x + 2 * y + 4 * z).astype(np.float64), factor=2)
    inner = tuple(min(max(part, 0.5), 8.5) for part in place)
    assert field.at(place) == pytest.approx(inner[0] + 2 * inner[1] + 4 * inner[2])


@pytest.mark.parametrize(
    "spoiled",
    [
        (),
        IDENTITY[:15],
        (*IDENTITY, 0.0),
        (float("nan"), *IDENTITY[1:]),
        (*IDENTITY[:3], float("inf"), *IDENTITY[4:]),
        (*(2 * value for value in IDENTITY[:15]), 1.0),
        (-1.0, *IDENTITY[1:]),
        (1.0, 0.2, *IDENTITY[2:]),
        (*IDENTITY[:12], 1.0, 0.0, 0.0, 1.0),
        (*IDENTITY[:3], 1e9, *IDENTITY[4:]),
        (0.0,) * 16,
    ],
)
def test_what_is_no_rigid_pose_is_refused(spoiled: tuple[float, ...]) -> None:
    said = answer(spoiled, scene(), NOW, RULES)
    assert said.reason is PoseReason.POSE_INVALID
    assert (said.tissue, said.tumour_mm) == ("", None)


@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(-3, 3))
def test_every_rotation_is_rigid_also_when_it_came_as_float32(a: float, b: float, c: float) -> None:
    quaternion = np.array([1.0, a, b, c]) / np.linalg.norm([1.0, a, b, c])
    w, x, y, z = quaternion
    pose = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w), 1.5],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w), -2.5],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y), 3.5],
            [0, 0, 0, 1],
        ]
    )
    assert tip_of(pose.astype(np.float32).reshape(-1).tolist()) == (1.5, -2.5, 3.5)
    assert tip_of(np.round(pose, 3).reshape(-1).tolist()) == (1.5, -2.5, 3.5)


def test_without_a_mask_that_is_said_but_a_wrong_pose_is_still_refused() -> None:
    assert answer(IDENTITY, None, NOW, RULES).reason is PoseReason.NO_MASK_YET
    assert answer(IDENTITY[:3], None, NOW, RULES).reason is PoseReason.POSE_INVALID


@pytest.mark.parametrize(
    ("shown", "moment", "cause"),
    [
        (replace(scene(), arrived_at=930.0), NOW, StaleCause.MASK),
        (replace(scene(), registered_at=960.0), NOW, StaleCause.REGISTRATION),
        (scene(), replace(NOW, pose_age_s=0.3), StaleCause.CLOCK),
        (scene(), replace(NOW, pose_age_s=-0.3), StaleCause.CLOCK),
        (scene(), replace(NOW, pose_age_s=None), StaleCause.CLOCK),
        (replace(scene(), outdated_since=991.0), NOW, StaleCause.ANATOMY),
    ],
)
def test_each_cause_alone_makes_an_answer_stale_and_its_values_stay(
    shown: ShownMask, moment: Moment, cause: StaleCause
) -> None:
    said = answer(at(2, 2, 2), shown, moment, RULES)
    assert said.stale == (cause,)
    assert said.tumour_mm == -2.5


def test_a_series_that_came_after_the_change_is_not_stale() -> None:
    assert answer(at(2, 2, 2), replace(scene(), outdated_since=989.0), NOW, RULES).stale == ()
