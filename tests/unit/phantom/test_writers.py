"""What is written reads back to the same voxels in the same place, and belongs to a person who is clearly invented."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from services.core.contracts.enums import Modality
from services.core.imaging.volume import Volume
from services.phantom import (
    SMALL,
    InventedPatient,
    PhantomStudy,
    Vendor,
    after_resection,
    followup,
    generate,
    invented_patient,
    write_dicom,
    write_nifti,
)
from services.phantom.command import main

pytestmark = pytest.mark.unit

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def study() -> PhantomStudy:
    return generate(21, SMALL)


@pytest.fixture(scope="module")
def patient() -> InventedPatient:
    return invented_patient(21)


def read_series(folder: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Voxels (column, row, slice) and affine to RAS, from nothing but the headers (PS3.3 C.7.6.2.1.1)."""
    slices = [pydicom.dcmread(path) for path in folder.glob("*.dcm")]
    across, down = np.array(slices[0].ImageOrientationPatient, dtype=float).reshape(2, 3)
    normal = np.cross(across, down)
    slices.sort(key=lambda s: float(np.dot(normal, np.array(s.ImagePositionPatient, dtype=float))))
    first, last = (np.array(s.ImagePositionPatient, dtype=float) for s in (slices[0], slices[-1]))
    row_spacing, column_spacing = (float(value) for value in slices[0].PixelSpacing)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = across * column_spacing, down * row_spacing
    affine[:3, 2], affine[:3, 3] = (last - first) / (len(slices) - 1), first
    data = np.stack([s.pixel_array.T for s in slices], axis=2).astype(float)
    return data, LPS_TO_RAS @ affine


def lies_where(volume: Volume, data: NDArray[np.float64], affine: NDArray[np.float64]) -> bool:
    """True when every tried voxel of `volume` has its value at the same RAS point of the other image."""
    voxels = np.random.default_rng(0).integers(0, volume.data.shape, (500, 3))
    points = voxels @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    there = (points - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
    index = np.rint(there).astype(int)
    assert np.abs(there - index).max() < 1e-3
    return bool(np.array_equal(data[tuple(index.T)], volume.data[tuple(voxels.T)]))


@pytest.mark.parametrize("vendor", list(Vendor))
def test_dicom_reads_back_to_the_same_place(
    study: PhantomStudy, patient: InventedPatient, vendor: Vendor, tmp_path: Path
) -> None:
    files = write_dicom(study, tmp_path, patient, vendor, sagittal=[Modality.T1N])
    assert len(files) == 4 * 48
    for modality, volume in study.volumes.items():
        data, affine = read_series(next(tmp_path.glob(f"*-{modality}")))
        assert lies_where(volume, data, affine)
        expected = 0 if modality is Modality.T1N else 2
        assert int(np.argmax(np.abs(affine[:3, 2]))) == expected


def test_all_series_share_study_frame_and_patient_and_contrast_comes_last(
    study: PhantomStudy, patient: InventedPatient, tmp_path: Path
) -> None:
    heads = [pydicom.dcmread(p, stop_before_pixels=True) for p in write_dicom(study, tmp_path, patient)]
    for name in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName", "IssuerOfPatientID"):
        assert len({str(head[name].value) for head in heads}) == 1
    assert len({head.SOPInstanceUID for head in heads}) == len(heads)
    assert all(uid.startswith("2.25.") and len(uid) <= 64 for uid in {head.SOPInstanceUID for head in heads})
    assert {(head.BitsStored, head.get("RescaleSlope")) for head in heads} == {(12, None)}
    last = max(heads, key=lambda head: head.AcquisitionTime)
    assert last.ContrastBolusAgent
    assert [head for head in heads if "ContrastBolusAgent" in head and head.SeriesNumber != last.SeriesNumber] == []


def test_a_second_writing_is_the_same_object_and_a_later_visit_another(
    study: PhantomStudy, patient: InventedPatient, tmp_path: Path
) -> None:
    first, second = (write_dicom(study, tmp_path / name, patient) for name in ("a", "b"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    later = write_dicom(followup(study, 2, seed=1), tmp_path / "c", patient)
    one, other = (pydicom.dcmread(paths[0], stop_before_pixels=True) for paths in (first, later))
    assert one.StudyInstanceUID != other.StudyInstanceUID
    assert one.PatientID == other.PatientID
    assert one.StudyDate < other.StudyDate


def test_the_study_after_a_resection_is_written_as_a_later_one_of_the_same_person(
    study: PhantomStudy, patient: InventedPatient, tmp_path: Path
) -> None:
    after = after_resection(study, days=2, seed=1)
    files = {name: write_dicom(made, tmp_path / name, patient) for name, made in (("a", study), ("b", after))}
    one, other = (pydicom.dcmread(files[name][0], stop_before_pixels=True) for name in "ab")
    assert (one.PatientID, one.StudyDate < other.StudyDate) == (other.PatientID, True)
    assert (int(one.StudyID), int(other.StudyID)) == (1, 2)
    assert not {p.SOPInstanceUID for p in map(pydicom.dcmread, files["a"])} & {
        p.SOPInstanceUID for p in map(pydicom.dcmread, files["b"])
    }
    write_nifti(after, tmp_path / "nifti", truth=True)
    labels = np.asarray(nibabel.load(tmp_path / "nifti/truth/labels.nii.gz").dataobj)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(labels, after.labels.data)
    assert (labels == 4).any()


@pytest.fixture(scope="module")
def mapped() -> PhantomStudy:
    return generate(22, replace(SMALL, sequences=tuple(Modality)))


MAPS = {
    Vendor.SIEMENS: {Modality.ADC: 1e-3, Modality.FA: 1e-3, Modality.RCBV: 1 / 200},
    Vendor.GE: {Modality.ADC: 1e-3, Modality.FA: 1 / 4000, Modality.RCBV: 1 / 100},
    Vendor.PHILIPS: {Modality.ADC: 1 / 1023.75, Modality.FA: 1 / 4095},
}


@pytest.mark.parametrize("vendor", list(Vendor))
def test_a_vendor_sends_its_own_maps_in_its_own_scale(
    mapped: PhantomStudy, patient: InventedPatient, vendor: Vendor, tmp_path: Path
) -> None:
    write_dicom(mapped, tmp_path, patient, vendor)
    names = {folder.name[5:] for folder in tmp_path.iterdir()}
    assert names == {"t1n", "t1c", "t2w", "t2f", *(str(modality) for modality in MAPS[vendor])}
    for modality, step in MAPS[vendor].items():
        data, _ = read_series(next(tmp_path.glob(f"*-{modality}")))
        volume = mapped.volumes[modality].data
        assert np.abs(np.sort(data.ravel())[::-1] * step - np.sort(volume.ravel())[::-1]).max() <= 0.51 * step
        head = pydicom.dcmread(next(tmp_path.glob(f"*-{modality}/*.dcm")), stop_before_pixels=True)
        assert head.ImageType[0] == "DERIVED"
        assert ("RescaleSlope" in head) is ("RealWorldValueMappingSequence" in head) is (vendor is Vendor.PHILIPS)


def test_a_real_world_mapping_gives_the_physical_value_where_the_rescale_gives_another(
    mapped: PhantomStudy, patient: InventedPatient, tmp_path: Path
) -> None:
    write_dicom(mapped, tmp_path, patient, Vendor.PHILIPS)
    head = pydicom.dcmread(next(tmp_path.glob("*-adc/*.dcm")))
    item = head.RealWorldValueMappingSequence[0]
    assert item.MeasurementUnitsCodeSequence[0].CodeValue == "mm2/s"
    assert float(head.RescaleSlope) == pytest.approx(1000 * item.RealWorldValueSlope)
    highest = max(int(pydicom.dcmread(path).pixel_array.max()) for path in tmp_path.glob("*-adc/*.dcm"))
    assert 2e-3 < highest * item.RealWorldValueSlope < 4.1e-3  # fluid


def test_nifti_keeps_the_fractions_of_functional_maps(mapped: PhantomStudy, tmp_path: Path) -> None:
    write_nifti(mapped, tmp_path)
    image = nibabel.load(tmp_path / "fa.nii.gz")
    assert isinstance(image, nibabel.Nifti1Image)
    np.testing.assert_allclose(np.asarray(image.dataobj), mapped.volumes[Modality.FA].data)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy is missing: apt-get install dicom3tools")
@pytest.mark.parametrize("vendor", list(Vendor))
def test_the_standards_validator_finds_no_error(
    mapped: PhantomStudy, patient: InventedPatient, vendor: Vendor, tmp_path: Path
) -> None:
    for path in write_dicom(mapped, tmp_path, patient, vendor, sagittal=[Modality.T1C])[::47]:
        verdict = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
        assert "Error" not in verdict.stdout + verdict.stderr


def test_nifti_has_the_usual_names_and_keeps_voxels_and_affine(study: PhantomStudy, tmp_path: Path) -> None:
    files = write_nifti(study, tmp_path, truth=True)
    assert {path.name for path in tmp_path.glob("*.nii.gz")} == {f"{m}.nii.gz" for m in ("t1n", "t1c", "t2w", "t2f")}
    assert len(files) == 6
    for name, volume in (("t1c.nii.gz", study.volumes[Modality.T1C]), ("truth/labels.nii.gz", study.labels)):
        image = nibabel.load(tmp_path / name)
        assert isinstance(image, nibabel.Nifti1Image)
        np.testing.assert_array_equal(np.asarray(image.dataobj), volume.data)
        np.testing.assert_allclose(image.affine, volume.affine, atol=1e-4)


def test_an_invented_person_is_always_the_same_and_never_shares_identity() -> None:
    people = [invented_patient(seed) for seed in range(200)]
    assert people[3] == invented_patient(3)
    assert len({person.patient_id for person in people}) == 200
    assert all(len(text) >= 4 for person in people for text in person.identity)


def test_the_command_writes_a_study_and_says_that_it_is_synthetic(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["3", str(tmp_path / "out"), "--format", "nifti", "--spacing-mm", "5"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["synthetic"] is True
    assert said["files"] == 4
    assert main(["3", str(tmp_path / "none"), "--spacing-mm", "50"]) == 2
    assert not (tmp_path / "none").exists()
