"""The DICOM segmentation, judged by highdicom, by the mask it was made of, and by dciodvfy."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from pydicom.uid import UID

from services.core.contracts.errors import Permanent
from services.core.contracts.ids import RunId
from services.core.imaging.labels import Label
from services.core.imaging.volume import Affine, Volume
from services.reporting.adapters.segment_codes import PROPERTIES
from services.reporting.adapters.segmentation import HighdicomWriter
from services.reporting.domain.outputs import SegmentationSource
from services.reporting.errors import OutputNotPossible
from tests.builders import LPS, MODELS, STUDY, Head, dicom_headers
from tests.servers.require import require

pytestmark = pytest.mark.integration

HASH = "c0ffee" + "0" * 58
PLANTED = {
    "PatientName": "Planted^Name",
    "PatientID": "PLANTED-ID-77",
    "PatientBirthDate": "19610102",
    "AccessionNumber": "PLANTED-ACC",
    "InstitutionName": "Planted Hospital",
    "StudyDescription": "Planted study",
    "StudyID": "PLANTED-STUDY",
    "ReferringPhysicianName": "Planted^Doctor",
    "PatientSex": "F",
}


def source(mask: Volume, headers: bytes | None = None, run: str = "run-1") -> SegmentationSource:
    return SegmentationSource(
        mask=mask,
        headers=headers or dicom_headers(mask.grid),
        patient=STUDY.patient,
        run_id=RunId(run),
        models=MODELS,
    )


def write(made_of: SegmentationSource, settings_hash: str = HASH) -> bytes:
    return HighdicomWriter(settings_hash=settings_hash, writer="1", series_number=9001).write(made_of)


def read(data: bytes) -> hd.seg.Segmentation:
    return hd.seg.segread(io.BytesIO(data))


def oblique() -> Volume:
    """An oblique native grid that starts on the patient's right: nothing is symmetric."""
    mask = Head().mask(Head().native)
    c, s = np.cos(0.2), np.sin(0.2)
    affine: Affine = mask.affine.copy()
    affine[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ affine[:3, :3]
    affine[:3, 3] += (3.0, -8.0, 11.0)
    return Volume(data=mask.data, affine=affine, modality="mask", units="label")


def test_voxels_and_places_read_back_are_those_of_the_native_mask() -> None:
    mask = oblique()
    seg = read(write(source(mask)))
    volume = seg.get_volume(combine_segments=True, relabel=False)
    names = {number: seg.get_segment_description(number).segment_label for number in seg.segment_numbers}
    number_of = {PROPERTIES[label].label: label for label in PROPERTIES}
    found = np.zeros(mask.data.shape, np.uint8)
    # highdicom gives LPS and its own axis order: place every voxel by its position in the patient
    filled = np.argwhere(volume.array > 0)
    positions = (volume.affine @ np.column_stack([filled, np.ones(len(filled))]).T)[:3]
    indices = np.linalg.inv(mask.affine) @ np.linalg.inv(LPS) @ np.vstack([positions, np.ones(len(filled))])
    rounded = np.rint(indices[:3]).astype(int)
    assert np.abs(indices[:3] - rounded).max() < 1e-3
    labels = [int(number_of[names[int(value)]]) for value in volume.array[tuple(filled.T)]]
    found[tuple(rounded)] = labels
    np.testing.assert_array_equal(found, mask.data)


def test_each_label_that_is_present_is_one_coded_segment() -> None:
    mask = oblique()
    only = mask.with_data(np.where(mask.data == Label.SNFH, 0, mask.data))
    seg = read(write(source(only)))
    assert [seg.get_segment_description(n).segment_label for n in seg.segment_numbers] == [
        "NCR, necrotic core", "ET, enhancing tumour",
    ]  # fmt: skip
    codes = [(item.value, item.scheme_designator) for item in seg.segmented_property_types]
    assert codes == [("6574001", "SCT"), ("C113842", "NCIt")]
    identification = seg.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    assert identification.AlgorithmVersion == "fusion_coarse 1, fusion_fine 1"


def test_it_refers_to_every_instance_and_keeps_the_frame_of_reference() -> None:
    mask = oblique()
    headers = dicom_headers(mask.grid)
    first = Dataset.from_json(json.loads(headers)[0])
    seg = read(write(source(mask, headers)))
    assert seg.FrameOfReferenceUID == first.FrameOfReferenceUID
    assert seg.StudyInstanceUID == first.StudyInstanceUID
    references = seg.ReferencedSeriesSequence[0]
    assert references.SeriesInstanceUID == first.SeriesInstanceUID
    assert {r.ReferencedSOPInstanceUID for r in references.ReferencedInstanceSequence} == {
        Dataset.from_json(h).SOPInstanceUID for h in json.loads(headers)
    }


def test_its_names_follow_from_run_and_settings_and_its_dates_from_the_study() -> None:
    mask = oblique()
    first, again = write(source(mask)), write(source(mask))
    assert first == again
    seg, other, changed = read(first), read(write(source(mask, run="run-2"))), read(write(source(mask), "d" * 64))
    assert len({seg.SOPInstanceUID, other.SOPInstanceUID, changed.SOPInstanceUID}) == 3
    assert len({seg.SeriesInstanceUID, other.SeriesInstanceUID, changed.SeriesInstanceUID}) == 3
    assert UID(seg.SOPInstanceUID).is_valid
    assert (str(seg.ContentDate), str(seg.ContentTime)) == ("20240305", "101500")
    dates = {str(e.value) for e in seg.iterall() if e.VR in {"DA", "DT"} and e.value}
    assert all(date.startswith("20240305") for date in dates)


def test_the_patient_is_the_pseudonym_whatever_the_headers_say() -> None:
    mask = oblique()
    data = write(source(mask, dicom_headers(mask.grid, **PLANTED)))
    seg = read(data)
    assert seg.PatientID == STUDY.patient
    assert str(seg.PatientName) == ""
    assert seg.PatientSex == "F"
    assert b"lanted" not in data
    assert b"PLANTED" not in data
    assert b"19610102" not in data


def multi_frame(headers: bytes) -> bytes:
    """The same series as one enhanced instance."""
    single = [Dataset.from_json(h) for h in json.loads(headers)]
    enhanced = Dataset.from_json(json.loads(headers)[0])
    enhanced.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4.1"
    enhanced.NumberOfFrames = len(single)
    frames, shared = [], Dataset()
    for item in single:
        position, orientation, frame = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = item.ImagePositionPatient
        orientation.ImageOrientationPatient = item.ImageOrientationPatient
        frame.PlanePositionSequence, frame.PlaneOrientationSequence = [position], [orientation]
        frames.append(frame)
    measures = Dataset()
    measures.PixelSpacing, measures.SliceThickness = single[0].PixelSpacing, single[0].SliceThickness
    shared.PixelMeasuresSequence = [measures]
    enhanced.SharedFunctionalGroupsSequence, enhanced.PerFrameFunctionalGroupsSequence = [shared], frames
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        delattr(enhanced, keyword)
    return json.dumps([enhanced.to_json_dict()]).encode()


def test_a_multi_frame_reference_gives_the_same_voxels_at_the_same_places() -> None:
    mask = oblique()
    headers = dicom_headers(mask.grid)
    classic, enhanced = read(write(source(mask, headers))), read(write(source(mask, multi_frame(headers))))
    one, other = (seg.get_volume(combine_segments=True) for seg in (classic, enhanced))
    np.testing.assert_array_equal(one.array, other.array)
    np.testing.assert_allclose(one.affine, other.affine, atol=1e-6)
    assert len(enhanced.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == 1


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        (b"[]", "SEG_NO_HEADERS"),
        (b"not json", "SEG_NO_HEADERS"),
        (b'[{"00080016": {"vr": "UI", "Value": ["1.2"]}}]', "SEG_NO_HEADERS"),
    ],
)
def test_headers_that_are_no_use_are_a_reason_and_not_a_crash(headers: bytes, code: str) -> None:
    with pytest.raises(OutputNotPossible) as caught:
        write(source(oblique(), headers))
    assert caught.value.code == code


def test_a_value_that_is_no_label_is_refused() -> None:
    mask = oblique()
    with pytest.raises(Permanent) as caught:
        write(source(mask.with_data(np.where(mask.data == Label.ET, 9, mask.data))))
    assert caught.value.code == "UNKNOWN_LABEL"


def test_a_study_without_any_date_gets_no_invented_one() -> None:
    mask = oblique()
    with pytest.raises(OutputNotPossible) as caught:
        write(source(mask, dicom_headers(mask.grid, StudyDate="", StudyTime="")))
    assert caught.value.code == "SEG_NO_DATE"


@pytest.mark.parametrize("kind", ["classic", "multi-frame"])
def test_dciodvfy_finds_no_error(tmp_path: Path, kind: str) -> None:
    missing = None if shutil.which("dciodvfy") else "dciodvfy is not installed"
    require("dicom3tools", missing)
    mask = oblique()
    mask = mask.with_data(np.where(mask.data == Label.NCR, Label.RC, mask.data))
    headers = dicom_headers(mask.grid)
    file = tmp_path / "segmentation.dcm"
    file.write_bytes(write(source(mask, multi_frame(headers) if kind == "multi-frame" else headers)))
    judged = subprocess.run(["dciodvfy", str(file)], capture_output=True, text=True, check=False)
    errors = [line for line in (judged.stdout + judged.stderr).splitlines() if line.startswith("Error")]
    assert errors == []
    assert judged.returncode == 0
    assert pydicom.dcmread(file).SegmentSequence[-1].SegmentedPropertyTypeCodeSequence[0].CodeValue == "RC"
