"""The stage on a real glioma case, and registration against a transform that is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from services.core.contracts.enums import STRUCTURAL, Completeness, Modality
from services.core.imaging.nifti import read_nifti
from services.core.imaging.resample import resample
from services.core.imaging.volume import Affine, Grid, Volume
from services.preprocessing.adapters.registration import ElastixRegistration
from services.preprocessing.domain.similarity import agreement, lattice_of
from tests.integration.preprocessing.studies import Site, of_slot
from tests.unit.imaging.images import reference_data, rotation

pytestmark = pytest.mark.integration


def sequence(slot: str) -> Volume:
    return read_nifti(reference_data("glioma_case", f"{slot}.nii.gz"), slot)


def known_offset(centre: np.ndarray) -> Affine:
    """9 degrees about an oblique axis through the head's centre and 11 mm along another."""
    transform = np.eye(4)
    transform[:3, :3] = rotation(9.0)
    transform[:3, 3] = centre - transform[:3, :3] @ centre + 11.0 * np.array([0.6, -0.7, 0.39]) / 0.9997
    return transform


@pytest.mark.parametrize(
    ("slot", "spacing", "limit_mm"), [("t2w", (1.0, 1.0, 1.0), 0.3), ("t2f", (1.0, 1.0, 5.0), 0.6)]
)
def test_a_known_offset_is_found(
    tmp_path: Path, slot: str, spacing: tuple[float, float, float], limit_mm: float
) -> None:
    fixed, source = sequence("t1c"), sequence(slot)
    lattice = lattice_of(fixed)
    truth = known_offset(lattice.centre)
    affine = source.affine.copy()
    affine[:3, :3] = affine[:3, :3] * np.array(spacing)
    affine[:3, 3] += (0.37, -0.21, 0.43)
    x, y, z = (round(edge / step) for edge, step in zip(source.data.shape, spacing, strict=True))
    moving = resample(source, Grid(shape=(x, y, z), affine=affine), np.linalg.inv(truth).astype(np.float64))
    found = ElastixRegistration(2, tmp_path).align(fixed, moving, np.eye(4), lambda: None)
    assert not list(tmp_path.iterdir())
    index = np.argwhere(fixed.data > 0)[::997]
    points = fixed.affine @ np.vstack([index.T, np.ones(len(index))])
    error = np.linalg.norm(((found - truth) @ points)[:3], axis=0).mean()
    assert error < limit_mm
    assert agreement(lattice, moving, found).worst_mm < 0.5
    assert agreement(lattice, moving, np.eye(4)).worst_mm > 2.0


def test_the_reference_case_is_prepared_without_registration(site: Site) -> None:
    files = {slot: reference_data("glioma_case", f"{slot}.nii.gz") for slot in STRUCTURAL}
    result = site.prepare(site.nifti(files))
    assert result.completeness is Completeness.COMPLETE
    for slot in STRUCTURAL:
        assert slot is Modality.T1C or "already aligned" in of_slot(result, slot).reason
    truth = sequence("t1c")
    mask = site.volume(result, "brain_mask")
    brain = resample(truth.with_data((truth.data > 0).astype(np.uint8)), mask.grid, nearest=True)
    overlap = (brain.data > 0) & (mask.data > 0)
    assert 2 * overlap.sum() / (brain.data.sum() + mask.data.sum()) > 0.99
