"""Whole studies: deterministic, as large as asked, with the contrasts of real gliomas, and a truth that fits."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from services.core.contracts.enums import STRUCTURAL, Modality
from services.core.imaging.labels import Label
from services.phantom import SMALL, Kind, PhantomSpec, PhantomStudy, followup, generate
from services.phantom.scanner import inverse_rigid, resliced

pytestmark = pytest.mark.unit

COARSE = PhantomSpec(spacing_mm=3.0, volume_ml=60.0)


@functools.cache
def study(seed: int, kind: Kind = Kind.GLIOBLASTOMA) -> PhantomStudy:
    return generate(seed, replace(COARSE, kind=kind))


@functools.cache
def small(seed: int) -> PhantomStudy:
    return generate(seed, SMALL)


def z_in_brain(made: PhantomStudy, modality: Modality) -> NDArray[np.float64]:
    values = made.volumes[modality].data.astype(np.float64)
    brain = values[made.brain_mask.data > 0]
    scores: NDArray[np.float64] = (values - brain.mean()) / brain.std()
    return scores


def class_means(modality: Modality, label: Label, seeds: range) -> NDArray[np.float64]:
    return np.array(
        [
            z_in_brain(small(s), modality)[small(s).labels.data == label].mean()
            for s in seeds
            if (small(s).labels.data == label).any()
        ]
    )


def test_the_same_seed_and_spec_give_the_same_study_and_another_seed_another() -> None:
    first, again, other = generate(5, SMALL), generate(5, SMALL), generate(6, SMALL)
    for modality in STRUCTURAL:
        np.testing.assert_array_equal(first.volumes[modality].data, again.volumes[modality].data)
        assert not np.array_equal(first.volumes[modality].data, other.volumes[modality].data)
    np.testing.assert_array_equal(first.labels.data, again.labels.data)
    assert (first.genotype, first.acquired_at) == (again.genotype, again.acquired_at)


def test_a_small_study_has_the_small_matrix_and_every_sequence() -> None:
    made = generate(1, SMALL)
    assert {volume.data.shape for volume in made.volumes.values()} == {(48, 48, 48)}
    assert made.labels.grid.spacing == (4.0, 4.0, 4.0)
    assert tuple(made.volumes) == STRUCTURAL


@pytest.mark.parametrize("kind", [Kind.GLIOBLASTOMA, Kind.ASTROCYTOMA, Kind.OLIGODENDROGLIOMA])
def test_the_tumour_has_the_volume_that_was_asked_for(kind: Kind) -> None:
    made = study(2, kind)
    assert made.truth_ml["WT"] == pytest.approx(60.0, rel=0.06)
    assert not (made.labels.data[made.brain_mask.data == 0] > 0).sum() > 0.02 * (made.labels.data > 0).sum()


def test_only_the_glioblastoma_has_an_enhancing_ring_around_its_core() -> None:
    ring = study(3)
    assert ring.truth_ml["ET"] > 1.0
    core_and_rim = np.isin(ring.labels.data, [Label.NCR, Label.ET])
    outside = np.zeros_like(core_and_rim)
    for axis in range(3):
        for step in (-1, 1):
            outside |= np.roll(ring.labels.data == Label.NCR, step, axis) & ~core_and_rim
    assert outside.sum() < 0.05 * (ring.labels.data == Label.NCR).sum() + 5
    plain = study(3, Kind.ASTROCYTOMA)
    assert plain.truth_ml["ET"] == 0
    assert plain.truth_ml["NCR"] > 1.0


def test_a_healthy_brain_has_no_label_and_no_genotype() -> None:
    made = generate(4, replace(SMALL, kind=Kind.HEALTHY, volume_ml=None))
    assert not made.labels.data.any()
    assert made.genotype is None


def test_class_contrasts_lie_where_real_gliomas_have_them() -> None:
    """Ranges of eight real cases, widened by 0.3 because these studies are coarse."""
    seeds = range(10, 22)
    wanted = {
        (Modality.T1N, Label.SNFH): (-0.4, 0.1), (Modality.T1C, Label.SNFH): (-0.7, 0.4),
        (Modality.T2W, Label.SNFH): (0.7, 1.4), (Modality.T2F, Label.SNFH): (1.5, 2.3),
        (Modality.T1N, Label.ET): (-1.6, 0.2), (Modality.T1C, Label.ET): (1.2, 3.7),
        (Modality.T2W, Label.ET): (0.2, 2.0), (Modality.T2F, Label.ET): (1.1, 2.8),
        (Modality.T1N, Label.NCR): (-1.9, 0.3), (Modality.T1C, Label.NCR): (-1.0, 1.4),
        (Modality.T2W, Label.NCR): (0.9, 2.7), (Modality.T2F, Label.NCR): (-0.6, 2.6),
    }  # fmt: skip
    found = {key: float(np.median(class_means(*key, seeds))) for key in wanted}
    wrong = {key: found[key] for key, (low, high) in wanted.items() if not low - 0.3 <= found[key] <= high + 0.3}
    assert not wrong


def test_nothing_is_seen_outside_the_brain_without_a_head_and_much_with_one() -> None:
    bare = generate(7, SMALL)
    outside = bare.brain_mask.data == 0
    assert all(volume.data[outside].max() == 0 for volume in bare.volumes.values())
    head = generate(7, replace(SMALL, skull=True))
    beyond = head.brain_mask.data == 0
    assert (head.volumes[Modality.T1N].data[beyond] > 100).sum() > 1000


def test_stored_values_are_twelve_bit_integers() -> None:
    for volume in study(3).volumes.values():
        assert np.array_equal(volume.data, np.rint(volume.data))
        assert 0 <= volume.data.min() < volume.data.max() <= 4095


def test_the_known_motion_brings_a_moved_series_back() -> None:
    spec = PhantomSpec(spacing_mm=3.0, volume_ml=60.0, snr=200.0)
    still, moved = generate(9, spec), generate(9, replace(spec, misalignment_mm=6.0))
    np.testing.assert_array_equal(moved.to_reference[Modality.T1C], np.eye(4))
    series, truth = moved.volumes[Modality.T2W], still.volumes[Modality.T2W]
    inside = still.brain_mask.data > 0

    def likeness(shift_mm: tuple[float, float, float]) -> float:
        back = inverse_rigid(moved.to_reference[Modality.T2W])
        back[:3, 3] += shift_mm
        undone = resliced(series.data, series.grid, truth.grid, back)
        return float(np.corrcoef(undone[inside], truth.data[inside])[0, 1])

    at_truth = likeness((0.0, 0.0, 0.0))
    assert at_truth > 0.8
    for axis in range(3):
        for step in (-1.5, 1.5):
            shift = [0.0, 0.0, 0.0]
            shift[axis] = step
            assert likeness((shift[0], shift[1], shift[2])) < at_truth - 0.01


def test_two_dimensional_series_have_thick_slices_over_the_same_field_of_view() -> None:
    made = generate(8, replace(SMALL, thick_mm=6.0))
    thick, thin = made.volumes[Modality.T2F], made.volumes[Modality.T1C]
    assert thick.grid.spacing == (4.0, 4.0, 6.0)
    assert thick.data.shape[2] == 32
    top = [volume.affine[2, 3] + volume.grid.spacing[2] * (volume.data.shape[2] - 0.5) for volume in (thick, thin)]
    assert top[0] == pytest.approx(top[1])


def test_an_untreated_tumour_grows_and_a_treated_one_shrinks_in_the_same_person() -> None:
    first = generate(12, replace(COARSE, volume_ml=30.0))
    grown, shrunk = followup(first, 3, seed=1), followup(first, 3, seed=1, response=True)
    assert grown.truth_ml["WT"] > 1.1 * first.truth_ml["WT"]
    assert shrunk.truth_ml["WT"] < 0.9 * first.truth_ml["WT"]
    assert grown.genotype == first.genotype
    assert 85 <= (grown.acquired_at - first.acquired_at).days <= 98
    brains = [float((visit.brain_mask.data > 0).sum()) for visit in (first, grown)]
    assert brains[1] == pytest.approx(brains[0], rel=0.02)
    again = followup(first, 3, seed=1)
    np.testing.assert_array_equal(again.labels.data, grown.labels.data)
    assert followup(grown, 3, seed=2).truth_ml["WT"] > grown.truth_ml["WT"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"sequences": ()},
        {"sequences": (Modality.ADC,)},
        {"spacing_mm": 0.1},
        {"volume_ml": 900.0},
        {"thick_mm": 0.5},
        {"matrix": (4, 48, 48)},
        {"gamma": 3.0},
        {"motion": 1.5},
        {"cut_mm": 200.0},
    ],
)
def test_a_spec_that_cannot_be_made_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must"):
        PhantomSpec(**wrong)  # type: ignore[arg-type]
