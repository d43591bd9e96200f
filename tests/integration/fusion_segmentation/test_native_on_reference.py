"""The way into the canonical box and back, on a real clinical mask: geometry only, no network."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from services.core.imaging.canonical import canonical_grid
from services.core.imaging.labels import Label, region_mask, volumes_ml
from services.core.imaging.nifti import read_nifti
from services.core.imaging.volume import Grid, Volume
from services.fusion_segmentation.domain.native import to_native

pytestmark = pytest.mark.integration

_FOLDER = os.environ.get("GLIOSERVE_REFERENCE_DATA")


@pytest.fixture
def reference() -> Volume:
    if _FOLDER is None:
        pytest.skip("needs the reference data: set GLIOSERVE_REFERENCE_DATA to its folder")
    return read_nifti(Path(_FOLDER) / "glioma_case" / "outputs_segmentation.nii.gz", "mask")


def _into_the_box(labels: Volume) -> Volume:
    """Each label interpolated linearly onto the 1 mm box around the mask, then argmax: what a perfect network gives."""
    middle = labels.affine[:3, :3] @ np.argwhere(labels.data > 0).mean(axis=0) + labels.affine[:3, 3]
    grid = canonical_grid(middle)
    to_labels = np.linalg.inv(labels.affine) @ grid.affine
    weights = [
        ndimage.affine_transform(
            (labels.data == label).astype(np.float32),
            to_labels[:3, :3],
            to_labels[:3, 3],
            output_shape=grid.shape,
            order=1,
            mode="grid-constant",
            cval=float(label == 0),
        )
        for label in Label
    ]
    return Volume(data=np.argmax(weights, axis=0).astype(np.uint8), affine=grid.affine, modality="mask", units="label")


def test_a_perfect_mask_survives_the_way_through_the_box(reference: Volume) -> None:
    labels = reference.with_data(reference.data.astype(np.uint8))
    native = Grid(shape=labels.grid.shape, affine=labels.affine)
    back = to_native(_into_the_box(labels), native)
    before, after = volumes_ml(labels.data, native), volumes_ml(back.data, native)
    for region, overlap in (("WT", 0.95), ("TC", 0.92), ("ET", 0.85)):
        a, b = region_mask(labels.data, region), region_mask(back.data, region)
        assert 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b)) >= overlap
        assert after[region] == pytest.approx(before[region], rel=0.1)
