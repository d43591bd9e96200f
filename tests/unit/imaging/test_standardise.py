from __future__ import annotations

import numpy as np
import pytest

from services.core.contracts.enums import STRUCTURAL, Modality
from services.core.contracts.errors import Refused
from services.core.imaging.standardise import LIMIT, Z_UNITS, scaled, standardise, z_score_in_brain
from services.core.imaging.volume import Volume

pytestmark = pytest.mark.unit

RNG = np.random.default_rng(0)
VOXELS = RNG.normal(300.0, 40.0, (20, 22, 18)).astype(np.float32)
BRAIN = np.zeros(VOXELS.shape, dtype=bool)
BRAIN[3:17, 3:18, 2:15] = True


def test_the_brain_has_mean_zero_and_spread_one_and_the_outside_is_zero() -> None:
    standard = z_score_in_brain(VOXELS, BRAIN)
    assert abs(float(standard[BRAIN].mean())) < 1e-4
    assert abs(float(standard[BRAIN].std()) - 1.0) < 1e-3
    assert not standard[~BRAIN].any()


def test_gain_and_offset_of_the_scanner_do_not_matter() -> None:
    np.testing.assert_allclose(z_score_in_brain(VOXELS * 7.5 + 90.0, BRAIN), z_score_in_brain(VOXELS, BRAIN), atol=2e-3)


def test_what_lies_outside_the_brain_does_not_matter() -> None:
    other = np.where(BRAIN, VOXELS, np.float32(1e6))
    np.testing.assert_array_equal(z_score_in_brain(other, BRAIN), z_score_in_brain(VOXELS, BRAIN))


def test_single_hot_voxels_are_clipped_and_broken_ones_do_not_spread() -> None:
    spoilt = VOXELS.copy()
    spoilt[5, 5, 5], spoilt[6, 6, 6] = 1e7, np.nan
    standard = z_score_in_brain(spoilt, BRAIN)
    assert np.isfinite(standard).all()
    assert np.abs(standard).max() <= 5.0
    assert standard[5, 5, 5] > 1.5


def test_an_empty_brain_and_a_flat_image_are_refused_by_name() -> None:
    with pytest.raises(Refused) as empty:
        z_score_in_brain(VOXELS, np.zeros_like(BRAIN))
    with pytest.raises(Refused) as flat:
        z_score_in_brain(np.full_like(VOXELS, 7.0), BRAIN)
    assert (empty.value.code, flat.value.code) == ("EMPTY_BRAIN", "FLAT_IMAGE")


def test_a_volume_keeps_its_place_and_says_that_it_was_standardised() -> None:
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    volume = Volume(data=VOXELS, affine=affine, modality=Modality.T2W, units="a.u.", provenance={"series": "3"})
    brain = Volume(data=BRAIN.astype(np.uint8), affine=affine, modality="brain_mask", units="1")
    standard = standardise(volume, brain)
    assert standard.grid.same_as(volume.grid)
    assert (standard.modality, standard.units) == (Modality.T2W, Z_UNITS)
    assert standard.provenance["series"] == "3"
    elsewhere = Volume(data=brain.data, affine=np.eye(4), modality="brain_mask", units="1")
    with pytest.raises(ValueError, match="another grid"):
        standardise(volume, elsewhere)


FUNCTIONAL = tuple(modality for modality in Modality if modality not in STRUCTURAL)


@pytest.mark.parametrize("modality", FUNCTIONAL)
def test_a_functional_map_keeps_its_units_whatever_else_is_in_the_image(modality: Modality) -> None:
    other = VOXELS / 1000
    other[4, 4, 4] = 0.5
    alone = np.full(VOXELS.shape, 0.5, dtype=np.float32)
    values = scaled(modality, other, BRAIN)
    assert values[4, 4, 4] == scaled(modality, alone, BRAIN)[4, 4, 4]
    assert values.dtype == np.float32
    assert not values[~BRAIN].any()


@pytest.mark.parametrize("modality", FUNCTIONAL)
def test_larger_values_scale_higher_up_to_the_limit_and_broken_ones_count_as_usual_brain(modality: Modality) -> None:
    voxels = np.zeros(VOXELS.shape, dtype=np.float32)
    voxels[5, 5, 5], voxels[6, 6, 6], voxels[7, 7, 7], voxels[8, 8, 8] = 0.02, 1e6, -1e6, np.nan
    values = scaled(modality, voxels, BRAIN)
    assert values[5, 5, 5] > values[9, 9, 9]
    assert (values[6, 6, 6], values[7, 7, 7], values[8, 8, 8]) == (LIMIT, -LIMIT, 0.0)


def test_usual_tissue_lies_well_inside_the_limit() -> None:
    usual = {
        Modality.ADC: (0.75, 3.0), Modality.RCBV: (0.1, 6.0), Modality.APT: (0.3, 3.0), Modality.QSM: (-0.03, 0.05),
        Modality.FA: (0.05, 0.75), Modality.CHO_NAA: (0.5, 2.5),
    }  # fmt: skip
    for modality, ends in usual.items():
        for value in ends:
            assert abs(scaled(modality, np.full(VOXELS.shape, value), BRAIN)[5, 5, 5]) < LIMIT
