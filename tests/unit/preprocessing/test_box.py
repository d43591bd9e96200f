"""A series that shows only part of the brain is used for that part, and the result says so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from services.core.contracts.enums import Modality
from services.core.imaging.volume import Affine, Volume
from services.preprocessing.domain.box import covered, prepare_in_box
from services.preprocessing.domain.placing import Placing
from services.preprocessing.domain.series import Found, Placed
from services.preprocessing.domain.traits import Extent

pytestmark = pytest.mark.unit
SHAPE = (80, 96, 72)
SPACING = 2.0


def brain(modality: Modality) -> Volume:
    """An egg of 1.3 l with a gradient and some noise, zero outside, 2 mm."""
    axes = np.meshgrid(*((np.arange(edge) - (edge - 1) / 2) * SPACING for edge in SHAPE), indexing="ij")
    inside = sum((axis / half) ** 2 for axis, half in zip(axes, (65.0, 80.0, 60.0), strict=True)) < 1
    noise = np.random.default_rng(7).normal(0, 5, SHAPE)
    data = np.where(inside, 300 + axes[2] + noise, 0).astype(np.float32)
    affine: Affine = np.diag([SPACING, SPACING, SPACING, 1.0])
    return Volume(data=data, affine=affine, modality=modality, units="a.u.")


def placed(volume: Volume, modality: Modality) -> Placed:
    found = Found(
        series=f"series of {modality}",
        modality=modality,
        reason="named",
        grid=volume.grid,
        extent=Extent(slices=SHAPE[2], across_mm=SPACING, within_mm=SPACING),
        slice_thickness_mm=SPACING,
        load=lambda _: volume,
    )
    return Placed(found=found, modality=modality, volume=volume, from_reference=np.eye(4), placing="aligned")


def upper_half(volume: Volume) -> Volume:
    cut = SHAPE[2] // 2
    affine = volume.affine.copy()
    affine[2, 3] += cut * SPACING
    return replace(volume, data=volume.data[:, :, cut:], affine=affine)


def passes() -> None:
    return None


def test_what_a_slab_does_not_show_is_no_part_of_its_brain() -> None:
    whole = placed(brain(Modality.T1C), Modality.T1C)
    slab = placed(upper_half(brain(Modality.T2F)), Modality.T2F)
    both = Placing(reference=whole, others=(slab,), problems=(), dropped={})

    prepared = prepare_in_box(both, None, passes)

    assert [problem.code for problem in prepared.problems] == ["T2F_PARTIAL_COVERAGE"]
    seen = covered(slab, prepared.mask).data > 0
    share = seen.sum() / prepared.mask.data.sum()
    assert 0.45 < share < 0.6
    values = prepared.volumes[Modality.T2F].data.astype(np.float32)
    assert np.all(values[~seen] == 0)
    assert abs(values[seen].mean()) < 0.02, "the zeros beyond the slab do not shift its own scale"
    assert values[seen].std() == pytest.approx(1.0, abs=0.05)


def test_a_series_that_shows_the_whole_brain_is_not_called_partial() -> None:
    reference = placed(brain(Modality.T1C), Modality.T1C)
    other = placed(brain(Modality.T2F), Modality.T2F)
    prepared = prepare_in_box(Placing(reference=reference, others=(other,), problems=(), dropped={}), None, passes)
    assert prepared.problems == ()
    assert covered(other, prepared.mask) is prepared.mask
