"""Wrong input: one bad series degrades a study with its reason, nothing usable is refused with a clear code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.core.contracts.enums import Modality
from services.core.contracts.errors import Permanent, Refused, Transient
from services.phantom import PhantomStudy
from services.phantom.nifti import write_nifti as write_study
from tests.integration.preprocessing.studies import Site, of_slot
from tests.unit.imaging.images import instance, ramp, save, save_series, write_nifti

pytestmark = pytest.mark.integration


def nan(path: Path) -> Path:
    data = ramp((30, 30, 30))
    data[4, 4, 4] = np.nan
    return write_nifti(path, data)


def truncated(path: Path) -> Path:
    whole = write_nifti(path, np.random.default_rng(1).random((30, 30, 30))).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return path


WRONG: dict[str, Callable[[Path], Path]] = {
    "NOT_FINITE": nan,
    "NIFTI_TRUNCATED": truncated,
    "SINGULAR_AFFINE": lambda path: write_nifti(path, srow_z=[0, 0, 0, 0]),
    "NOT_THREE_DIMENSIONAL": lambda path: write_nifti(path, np.zeros((9, 9, 9, 4), np.float32)),
    "ONE_SLICE": lambda path: write_nifti(path, np.zeros((90, 90, 1), np.float32)),
    "TOO_FEW_SLICES": lambda path: write_nifti(path, ramp((30, 30, 6)), np.diag([1.0, 1.0, 5.0, 1.0])),
    "SLICES_TOO_THICK": lambda path: write_nifti(path, ramp((30, 30, 12)), np.diag([1.0, 1.0, 15.0, 1.0])),
    "NIFTI_TOO_LARGE": lambda path: write_nifti(path, dim=[3, 9999, 9999, 9999, 1, 1, 1, 1]),
    "EMPTY_IMAGE": lambda path: write_nifti(path, np.zeros((30, 30, 30), np.float32)),
    "NO_ORIENTATION": lambda path: write_nifti(path, sform_code=0, qform_code=0),
    "EMPTY_BRAIN": lambda path: write_nifti(path, ramp((30, 30, 30))),
}


@pytest.mark.parametrize("code", sorted(WRONG))
def test_a_study_of_one_wrong_file_is_refused_with_its_code(site: Site, tmp_path: Path, code: str) -> None:
    request = site.nifti({Modality.T1C: WRONG[code](tmp_path / "t1c.nii.gz")})
    with pytest.raises(Refused) as caught:
        site.prepare(request)
    assert caught.value.code == code
    assert caught.value.message


def test_one_wrong_file_among_good_ones_is_left_out(site: Site, stripped: PhantomStudy, tmp_path: Path) -> None:
    write_study(stripped, tmp_path)
    files = {slot: tmp_path / f"{slot}.nii.gz" for slot in (Modality.T1C, Modality.T2F)}
    result = site.prepare(site.nifti({**files, Modality.T1N: nan(tmp_path / "nan.nii.gz")}))
    assert {reason.code for reason in result.reasons} == {"NOT_FINITE", "T1N_MISSING", "T2W_MISSING"}
    assert "not numbers" in of_slot(result, Modality.T1N).reason


def test_a_study_of_localizers_and_maps_is_refused(site: Site, tmp_path: Path) -> None:
    localizer = save_series(
        tmp_path / "loc", SeriesDescription="localizer", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]
    )
    maps = save_series(tmp_path / "adc", SeriesDescription="adc", ImageType=["DERIVED", "PRIMARY", "ADC"])
    with pytest.raises(Refused) as caught:
        site.prepare(site.dicom([localizer, maps]))
    assert caught.value.code == "NO_USABLE_SEQUENCE"
    assert "localizer" in caught.value.message
    assert "derived map" in caught.value.message


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("NOT_MR", {"Modality": "CT"}),
        ("CONTRADICTORY_HEADER", {"Rows": 99}),
        ("CONTRADICTORY_HEADER", {"ImagePositionPatient": None}),
    ],
)
def test_a_dicom_study_that_contradicts_itself_is_refused(
    site: Site, tmp_path: Path, code: str, changes: dict[str, Any]
) -> None:
    paths = [save(instance(number, **changes), tmp_path / f"{number}.dcm") for number in range(12)]
    with pytest.raises(Refused) as caught:
        site.prepare(site.dicom([paths]))
    assert caught.value.code == code
    assert "Zymbrant" not in caught.value.message


def test_a_missing_blob_is_transient_and_a_missing_output_permanent(site: Site, tmp_path: Path) -> None:
    request = site.nifti({Modality.T1C: write_nifti(tmp_path / "a.nii.gz")})
    for blob in (tmp_path / "blobs").rglob("*"):
        if blob.is_file() and blob.stat().st_size == (tmp_path / "a.nii.gz").stat().st_size:
            blob.unlink()
    with pytest.raises(Transient):
        site.prepare(request)
    with pytest.raises(Permanent):
        site.prepare(replace(request, inputs=()))
