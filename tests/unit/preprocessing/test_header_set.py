"""The header set holds what a SEG needs and nothing that names a person."""

from __future__ import annotations

import json

import pytest
from pydicom.dataset import Dataset

from services.preprocessing.domain.header_set import ALLOWED, header_set
from tests.unit.imaging.images import instance

pytestmark = pytest.mark.unit

PLANTED = "Quorvexilholt"


def identified() -> Dataset:
    """An instance with an invented name in every kind of place, private and nested ones among them."""
    dataset = instance(
        PatientName=PLANTED,
        PatientID=PLANTED,
        PatientBirthDate="19620304",
        InstitutionName=PLANTED,
        OperatorsName=PLANTED,
        ReferringPhysicianName=PLANTED,
        SeriesDescription=f"t1 {PLANTED}",
        ImageComments=PLANTED,
        StudyID=PLANTED,
    )
    nested = Dataset()
    nested.PatientID = PLANTED
    dataset.OtherPatientIDsSequence = [nested]
    block = dataset.private_block(0x0011, PLANTED, create=True)
    block.add_new(0x01, "LO", PLANTED)
    return dataset


def test_no_planted_name_and_no_birth_date_passes_the_allow_list() -> None:
    text = header_set([identified()]).decode()
    assert PLANTED not in text
    assert "19620304" not in text


@pytest.mark.parametrize(
    "keyword", ["PositionReferenceIndicator", "PatientSex", "PatientAge", "PatientPosition", "SeriesTime", "StudyDate"]
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_a_name_in_a_place_that_is_kept_does_not_pass(keyword: str) -> None:
    dataset = identified()
    setattr(dataset, keyword, PLANTED)
    assert PLANTED not in header_set([dataset]).decode()


def test_geometry_uids_dates_and_sex_are_kept_exactly() -> None:
    (document,) = json.loads(header_set([identified()]))
    kept = Dataset.from_json(document)
    for keyword in (
        "SOPInstanceUID",
        "FrameOfReferenceUID",
        "ImagePositionPatient",
        "PixelSpacing",
        "Rows",
        "StudyDate",
    ):
        assert kept.get(keyword) == identified().get(keyword)
    assert {element.keyword for element in kept} <= set(ALLOWED)


def test_an_enhanced_instance_keeps_the_geometry_of_its_frames_only() -> None:
    dataset = identified()
    position, frame = Dataset(), Dataset()
    position.ImagePositionPatient = [1.0, 2.0, 3.0]
    frame.PlanePositionSequence = [position]
    comments = Dataset()
    comments.FrameComments = comments.StackID = PLANTED
    frame.FrameContentSequence = [comments]
    dataset.PerFrameFunctionalGroupsSequence = [frame]
    text = header_set([dataset]).decode()
    assert PLANTED not in text
    kept = Dataset.from_json(json.loads(text)[0])
    assert kept.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient == [1, 2, 3]
