"""What a mask must obey, and the NIfTI file that it becomes."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from services.core.imaging.labels import LABEL_SCHEMA
from services.core.imaging.nifti import read_nifti
from services.core.imaging.volume import Volume
from services.fusion_segmentation.domain.evidence import lesion_belief
from services.fusion_segmentation.domain.nifti import encode_nifti
from services.fusion_segmentation.domain.postprocess import (
    cleaned,
    mean_vacuity,
    touches_edge,
    without_doubtful_enhancement,
    without_doubtful_lesions,
)

pytestmark = pytest.mark.unit

SHAPE = (12, 12, 12)


def test_enhancement_that_the_network_is_nowhere_sure_of_is_core() -> None:
    labels = np.array([0, 1, 2, 3, 4], np.uint8).reshape(5, 1, 1)
    assert without_doubtful_enhancement(labels, sure=False).reshape(-1).tolist() == [0, 1, 2, 1, 4]
    assert without_doubtful_enhancement(labels, sure=True) is labels


def _evidence_of_two_lesions() -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Labels at 1 mm with two lesions that lie oddly on the 2 mm grid; belief 0.9 in one voxel of the first, 0.5 in
    the second.
    """
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:4, 1:4, 1:4] = 2
    labels[7:10, 7:11, 7:10] = 1
    evidence = np.zeros((5, 6, 6, 6), np.float32)
    evidence[0] = 20.0
    evidence[:, 1, 1, 1] = (0.0, 15.0, 30.0, 0.0, 0.0)
    evidence[:, 3:5, 3:6, 3:5] = np.array((0.0, 5.0, 0.0, 0.0, 0.0)).reshape(5, 1, 1, 1)
    return labels, evidence


def test_a_lesion_that_the_network_is_nowhere_sure_of_is_dropped_and_a_sure_one_stays_whole() -> None:
    labels, evidence = _evidence_of_two_lesions()
    kept = without_doubtful_lesions(labels, evidence, 0.6)
    np.testing.assert_array_equal(kept == 2, labels == 2)
    assert not (kept == 1).any()
    assert (labels == 1).any()
    np.testing.assert_array_equal(without_doubtful_lesions(labels, evidence, 0.5), labels)
    assert not without_doubtful_lesions(labels, evidence, 0.95).any()


def test_a_healthy_mask_and_a_rule_that_is_off_change_nothing() -> None:
    labels, evidence = _evidence_of_two_lesions()
    assert without_doubtful_lesions(labels, evidence, 0.0) is labels
    nothing = np.zeros(SHAPE, np.uint8)
    assert without_doubtful_lesions(nothing, evidence, 0.9) is nothing


def test_belief_without_evidence_is_none() -> None:
    evidence = np.zeros((5, 1, 1, 2), np.float32)
    evidence[:, 0, 0, 1] = (1.0, 2.0, 1.0, 1.0, 0.0)
    assert lesion_belief(evidence).reshape(-1).tolist() == pytest.approx([0.0, 0.4])


def test_labels_outside_the_brain_are_background() -> None:
    labels = np.full(SHAPE, 2, np.uint8)
    brain = np.zeros(SHAPE, np.bool_)
    brain[2:10, 2:10, 2:10] = True
    np.testing.assert_array_equal(cleaned(labels, brain, 1) > 0, brain)


def test_stray_voxels_go_and_lesions_of_several_labels_stay() -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[1, 1, 1] = labels[1, 1, 2] = 3
    labels[6:8, 6:8, 6:8] = 2
    labels[8, 8, 8] = 1  # touches the others by a corner
    result = cleaned(labels, np.ones(SHAPE, np.bool_), 9)
    assert not result[1].any()
    assert np.count_nonzero(result) == 9
    assert result[8, 8, 8] == 1


def test_cleaning_leaves_its_input_as_it_was() -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[1, 1, 1] = 3
    cleaned(labels, np.ones(SHAPE, np.bool_), 9)
    assert labels[1, 1, 1] == 3


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("index", [0, -1])
def test_a_lesion_at_any_face_touches_the_edge(axis: int, index: int) -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[5, 5, 5] = 1
    assert not touches_edge(labels)
    at = [5, 5, 5]
    at[axis] = index
    labels[tuple(at)] = 1
    assert touches_edge(labels)


def test_mean_vacuity_is_taken_over_the_lesion_only() -> None:
    labels = np.zeros(SHAPE, np.uint8)
    vacuity = np.full(SHAPE, 255, np.uint8)
    assert mean_vacuity(labels, vacuity) is None
    labels[0, 0, :2] = 2
    vacuity[0, 0, :2] = (51, 0)
    assert mean_vacuity(labels, vacuity) == pytest.approx(0.1)


def _native_mask() -> Volume:
    affine = np.array([[0.0, -0.9, 0, 90], [0.9, 0, 0, -60], [0, 0, 5.5, -30], [0, 0, 0, 1]])
    data = np.random.default_rng(3).integers(0, 5, (20, 24, 9), dtype=np.uint8)
    return Volume(data=data, affine=affine, modality="mask", units="label")


def test_the_nifti_file_holds_the_mask_where_it_lies(tmp_path: Path) -> None:
    mask = _native_mask()
    path = tmp_path / "mask.nii.gz"
    path.write_bytes(encode_nifti(mask, LABEL_SCHEMA))
    image: Any = nib.load(path)
    assert image.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.asarray(image.dataobj), mask.data)
    for stated in (image.affine, image.get_sform(), image.get_qform()):
        np.testing.assert_allclose(stated, mask.affine, atol=1e-4)
    np.testing.assert_array_equal(read_nifti(path, "mask").data, mask.data)


def test_equal_masks_are_equal_bytes_and_name_their_schema() -> None:
    data = encode_nifti(_native_mask(), LABEL_SCHEMA)
    assert data == encode_nifti(_native_mask(), LABEL_SCHEMA)
    assert LABEL_SCHEMA.encode() in gzip.decompress(data)[:352]
