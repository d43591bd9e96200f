"""NIfTI from outside: right files give right voxels in the right place, wrong ones a clear refusal."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from services.core.contracts.errors import Refused
from services.core.imaging.nifti import inspect_nifti, read_nifti
from tests.unit.imaging.images import oblique_affine, ramp, reference_data, write_nifti

pytestmark = pytest.mark.unit


def refusal(path: Path) -> str:
    with pytest.raises(Refused) as caught:
        read_nifti(path, "x")
    return caught.value.code


@pytest.mark.parametrize("name", ["image.nii", "image.nii.gz"])
def test_voxels_and_affine_are_those_that_were_written(tmp_path: Path, name: str) -> None:
    path = write_nifti(tmp_path / name, affine=oblique_affine())
    header = inspect_nifti(path)
    volume = read_nifti(path, "x")
    assert header.shape == (11, 12, 13)
    assert header.affine_from == "sform"
    np.testing.assert_allclose(volume.affine, oblique_affine(), atol=1e-5)
    np.testing.assert_array_equal(volume.data, ramp())


def test_nifti_2_big_endian_and_scaled_integers_are_read(tmp_path: Path) -> None:
    image = nib.Nifti2Image(ramp().astype(">i2"), np.eye(4))
    image.header.set_slope_inter(0.5, 3.0)
    raw = image.to_bytes()
    (tmp_path / "two.nii").write_bytes(raw)
    np.testing.assert_array_equal(read_nifti(tmp_path / "two.nii", "x").data, ramp() * 0.5 + 3.0)


def test_the_qform_places_the_image_when_there_is_no_sform(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "q.nii", affine=oblique_affine(), sform_code=0, qform_code=1)
    header = inspect_nifti(path)
    assert header.affine_from == "qform"
    np.testing.assert_allclose(header.affine, oblique_affine(), atol=1e-4)


def test_a_slope_of_zero_means_values_as_stored(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "s.nii", scl_slope=0.0, scl_inter=7.0)
    np.testing.assert_array_equal(read_nifti(path, "x").data, ramp())


@pytest.mark.parametrize(
    ("code", "header"),
    [
        ("NO_ORIENTATION", {"sform_code": 0, "qform_code": 0}),
        ("SINGULAR_AFFINE", {"srow_x": [0, 0, 0, 0]}),
        ("SINGULAR_AFFINE", {"srow_x": [np.nan, 0, 0, 0]}),
        ("SHEARED_GRID", {"srow_x": [1, 0.2, 0, 0]}),
        ("IMPLAUSIBLE_SPACING", {"srow_x": [90, 0, 0, 0]}),
        ("CONTRADICTORY_HEADER", {"pixdim": [1, 3, 1, 1, 0, 0, 0, 0]}),
        ("CONTRADICTORY_HEADER", {"bitpix": 8}),
        ("CONTRADICTORY_HEADER", {"vox_offset": 7}),
        ("CONTRADICTORY_HEADER", {"vox_offset": np.nan}),
        ("CONTRADICTORY_HEADER", {"scl_slope": np.inf}),
        ("CONTRADICTORY_HEADER", {"xyzt_units": 7}),
        ("NOT_THREE_DIMENSIONAL", {"dim": [4, 11, 12, 1, 13, 1, 1, 1]}),
        ("NOT_THREE_DIMENSIONAL", {"dim": [2, 132, 13, 1, 1, 1, 1, 1]}),
        ("ONE_SLICE", {"dim": [3, 132, 13, 1, 1, 1, 1, 1]}),
        ("NIFTI_TOO_LARGE", {"dim": [3, 32767, 32767, 32767, 1, 1, 1, 1]}),
        ("NIFTI_TOO_LARGE", {"dim": [3, 2000, 2000, 2000, 1, 1, 1, 1]}),
        ("NIFTI_TOO_LARGE", {"dim": [3, -5, 12, 13, 1, 1, 1, 1]}),
        ("NIFTI_TRUNCATED", {"dim": [3, 110, 12, 13, 1, 1, 1, 1]}),
        ("NOT_NIFTI", {"dim": [9, 1, 1, 1, 1, 1, 1, 1]}),
        ("NOT_NIFTI", {"magic": b"ni1\0"}),
        ("UNSUPPORTED_VOXELS", {"datatype": 128}),
        ("UNSUPPORTED_VOXELS", {"datatype": 32}),
        ("UNSUPPORTED_VOXELS", {"datatype": 3}),
    ],
)
def test_a_header_that_cannot_be_true_is_refused(tmp_path: Path, code: str, header: dict[str, Any]) -> None:
    path = write_nifti(tmp_path / "wrong.nii", **header)
    assert refusal(path) == code
    with pytest.raises(Refused):
        inspect_nifti(path)


def test_two_orientations_that_mirror_each_other_are_refused(tmp_path: Path) -> None:
    flipped: dict[str, Any] = {"sform_code": 1, "srow_x": [-1, 0, 0, 0], "qform_code": 1}
    assert refusal(write_nifti(tmp_path / "mirrored.nii", **flipped)) == "CONTRADICTORY_HEADER"
    turned: dict[str, Any] = {"srow_x": [-1, 0, 0, 0], "srow_y": [0, -1, 0, 0], "qform_code": 1}
    assert inspect_nifti(write_nifti(tmp_path / "turned.nii", **turned)).affine_from == "sform"


def test_voxels_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    data = ramp()
    data[3, 4, 5] = np.nan
    assert refusal(write_nifti(tmp_path / "nan.nii.gz", data)) == "NOT_FINITE"
    data[3, 4, 5] = np.inf
    assert refusal(write_nifti(tmp_path / "inf.nii.gz", data)) == "NOT_FINITE"
    assert refusal(write_nifti(tmp_path / "big.nii.gz", np.full((4, 4, 4), 1e300))) == "NOT_FINITE"


@pytest.mark.parametrize("keep", [0, 1, 20, 200, -30, -5])
def test_a_truncated_compressed_file_is_refused(tmp_path: Path, keep: int) -> None:
    whole = write_nifti(tmp_path / "whole.nii.gz", np.random.default_rng(1).random((20, 20, 20))).read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(whole[:keep])
    with pytest.raises(Refused) as caught:
        inspect_nifti(tmp_path / "cut.nii.gz")
    assert caught.value.code in {"NIFTI_TRUNCATED", "NOT_NIFTI"}


def test_a_damaged_compressed_file_is_refused(tmp_path: Path) -> None:
    whole = bytearray(write_nifti(tmp_path / "w.nii.gz", np.random.default_rng(1).random((20, 20, 20))).read_bytes())
    whole[-6] ^= 0xFF  # in the check sum
    (tmp_path / "d.nii.gz").write_bytes(whole)
    assert refusal(tmp_path / "d.nii.gz") == "NIFTI_TRUNCATED"


def test_a_decompression_bomb_is_refused_before_it_unfolds(tmp_path: Path) -> None:
    bomb = write_nifti(tmp_path / "small.nii", np.zeros((4, 4, 4), np.float32), dim=[3, 600, 600, 600, 1, 1, 1, 1])
    packed = tmp_path / "bomb.nii.gz"
    packed.write_bytes(gzip.compress(bomb.read_bytes() + bytes(1 << 20)))
    assert refusal(packed) == "NIFTI_TOO_LARGE"


def test_a_tail_that_no_header_announced_is_refused(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "tail.nii")
    packed = tmp_path / "tail.nii.gz"
    packed.write_bytes(gzip.compress(path.read_bytes() + bytes(3 << 20)))
    assert refusal(packed) == "CONTRADICTORY_HEADER"


@pytest.mark.parametrize("content", [b"", b"x", b"\x1f\x8b", b"DICM" * 200, bytes(400)])
def test_what_is_no_nifti_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.nii.gz"
    path.write_bytes(content)
    assert refusal(path) in {"NOT_NIFTI", "NIFTI_TRUNCATED"}


def test_the_header_alone_can_be_asked_for(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "whole.nii.gz", np.random.default_rng(1).random((20, 20, 20)))
    path.write_bytes(path.read_bytes()[:-100])
    assert inspect_nifti(path, whole=False).shape == (20, 20, 20)


def test_the_reference_case_is_read_as_nibabel_reads_it() -> None:
    path = reference_data("glioma_case", "t1c.nii.gz")
    volume = read_nifti(path, "t1c")
    image: Any = nib.load(path)
    np.testing.assert_allclose(volume.affine, image.affine)
    np.testing.assert_allclose(volume.data, image.get_fdata(), rtol=1e-6)
    assert volume.provenance["orientation"] == "LPS"
