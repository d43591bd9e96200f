"""Evidence to labels and vacuity, and the rule by which overlapping crops are merged."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.core.contracts.errors import Permanent
from services.core.imaging.labels import Label
from services.fusion_segmentation.domain.box import Window, upsampled, whole
from services.fusion_segmentation.domain.evidence import (
    CropReading,
    Reading,
    checked_evidence,
    evidence_crop,
    highest_probability,
    merged,
    read_coarse,
)

pytestmark = pytest.mark.unit

SHAPE = (6, 5, 7)
FINE = (12, 10, 14)
seeds = st.integers(0, 2**32 - 1)


def _evidence(seed: int) -> NDArray[np.float32]:
    """Background wins in most places; a few voxels argue for something else."""
    rng = np.random.default_rng(seed)
    evidence = rng.exponential(1.0, size=(5, *SHAPE)).astype(np.float32)
    evidence[0] += 3 * (rng.random(SHAPE) < 0.8)
    return evidence


def _reading(rng: np.random.Generator, shape: tuple[int, ...]) -> Reading:
    return Reading(
        labels=rng.integers(0, 5, shape, dtype=np.uint8), vacuity=rng.integers(0, 256, shape, dtype=np.uint8)
    )


@given(seed=seeds)
@settings(deadline=None)
def test_labels_are_those_of_interpolating_every_class_everywhere(seed: int) -> None:
    evidence = _evidence(seed)
    plain = np.stack([upsampled(field, whole(SHAPE)) for field in evidence])
    np.testing.assert_array_equal(read_coarse(evidence).labels, plain.argmax(axis=0))


@given(seed=seeds)
@settings(deadline=None)
def test_vacuity_is_classes_over_total_strength(seed: int) -> None:
    evidence = _evidence(seed)
    alphas = np.stack([upsampled(field, whole(SHAPE)) for field in evidence]).astype(np.float64) + 1
    plain = 255 * 5 / alphas.sum(axis=0)
    assert np.abs(read_coarse(evidence).vacuity - plain).max() <= 0.51


def test_no_evidence_is_background_and_total_ignorance() -> None:
    reading = read_coarse(np.zeros((5, *SHAPE), np.float32))
    assert not reading.labels.any()
    assert (reading.vacuity == 255).all()


def test_the_crop_of_the_evidence_is_the_interpolated_evidence() -> None:
    evidence = _evidence(1)
    window = Window((1, 0, 2), (4, 3, 6))
    plain = np.stack([upsampled(field, whole(SHAPE))[window.fine] for field in evidence]).astype(np.float16)
    np.testing.assert_array_equal(evidence_crop(evidence, window), plain)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_what_cannot_be_evidence_is_refused(bad: float) -> None:
    evidence = np.zeros((5, *SHAPE), np.float16)
    evidence[2, 1, 1, 1] = bad
    with pytest.raises(Permanent) as caught:
        checked_evidence(evidence)
    assert caught.value.code == "MODEL_OUTPUT_INVALID"


@given(seed=seeds, data=st.data())
@settings(deadline=None)
def test_where_crops_overlap_the_lower_vacuity_wins_and_outside_coarse_stands(seed: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    coarse = _reading(rng, FINE)
    crops = []
    for _ in range(data.draw(st.integers(0, 3))):
        x, y, z = (data.draw(st.integers(0, edge - 3)) for edge in SHAPE)
        crops.append(CropReading(window=Window((x, y, z), (x + 3, y + 3, z + 3)), reading=_reading(rng, (6, 6, 6))))
    result = merged(coarse, crops)
    for at in np.ndindex(*FINE):
        answers = [(coarse.vacuity[at], coarse.labels[at])]
        inside = []
        for crop in crops:
            local = tuple(i - 2 * a for i, a in zip(at, crop.window.start, strict=True))
            if all(0 <= i < 6 for i in local):
                inside.append((crop.reading.vacuity[local], crop.reading.labels[local]))
        vacuity, label = min(inside or answers, key=lambda answer: int(answer[0]))
        assert (result.vacuity[at], result.labels[at]) == (vacuity, label)


def test_merging_leaves_its_inputs_as_they_were() -> None:
    coarse = _reading(np.random.default_rng(0), FINE)
    before = coarse.labels.copy()
    crop = CropReading(window=Window((0, 0, 0), (3, 3, 3)), reading=_reading(np.random.default_rng(1), (6, 6, 6)))
    merged(coarse, [crop])
    np.testing.assert_array_equal(coarse.labels, before)


def test_the_highest_probability_of_a_label_is_looked_for_where_it_wins() -> None:
    evidence = np.zeros((5, 2, 1, 1), np.float32)
    evidence[:, 0, 0, 0] = (0, 0, 0, 15, 0)
    evidence[:, 1, 0, 0] = (0, 0, 400, 300, 0)
    assert highest_probability(evidence, Label.ET) == pytest.approx(16 / 20)
    assert highest_probability(evidence, Label.NCR) == 0.0
