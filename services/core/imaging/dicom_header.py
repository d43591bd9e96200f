"""What intake must know of a DICOM instance before it accepts it: identity of the objects, contradictions, a digest.

The patient's data stand in `DicomIdentity`, which never prints itself. Who keeps it is the caller's business (rule 10).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.dataset import Dataset

from services.core.contracts.errors import Refused
from services.core.contracts.ids import BlobDigest, JsonValue, canonical_json, digest_of
from services.core.imaging.dicom_file import DicomFile, guarded, is_uid, open_dicom, pixel_bytes_digest

MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4.1"
LEGACY_ENHANCED_MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4.4"
MR_IMAGES = frozenset({MR_IMAGE, ENHANCED_MR_IMAGE, LEGACY_ENHANCED_MR_IMAGE})

_MAX_EDGE = 4096
_MAX_FRAMES = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DicomIdentity:
    """Attributes of the patient and study modules that name a person or a visit. Never shown by `repr`."""

    patient_id: str = field(repr=False)
    issuer_of_patient_id: str = field(repr=False)
    patient_name: str = field(repr=False)
    patient_birth_date: str = field(repr=False)
    accession_number: str = field(repr=False)
    study_id: str = field(repr=False)
    study_description: str = field(repr=False)
    referring_physician_name: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DicomHeader:
    """One instance. Dates as DICOM writes them (YYYYMMDD, HHMMSS.FFFFFF), empty where the header has none.

    `pixel_digest` covers the stored pixels and the geometry: equal digests are the same image. Instances in different
    compressed transfer syntaxes have different digests even when they would decode to the same pixels.
    """

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    modality: str
    study_date: str
    study_time: str
    series_date: str
    series_time: str
    acquired_at: str
    patient_sex: str
    patient_age: str
    rows: int
    columns: int
    frames: int
    bits_allocated: int
    pixel_digest: BlobDigest
    identity: DicomIdentity = field(repr=False)


def inspect_dicom(path: Path) -> DicomHeader:
    """Reads and checks one instance; pixels are hashed, not decoded.

    Raises Refused: as `open_dicom`, and NOT_MR, NO_PIXELS, BAD_UID, CONTRADICTORY_HEADER, UNSUPPORTED_PIXELS.
    """
    file = open_dicom(path)
    with guarded():
        dataset = file.dataset
        check_instance(file)
        return DicomHeader(
            sop_class_uid=text(dataset, "SOPClassUID"),
            sop_instance_uid=uid(dataset, "SOPInstanceUID"),
            study_instance_uid=uid(dataset, "StudyInstanceUID"),
            series_instance_uid=uid(dataset, "SeriesInstanceUID"),
            transfer_syntax_uid=file.transfer_syntax,
            modality=text(dataset, "Modality"),
            study_date=text(dataset, "StudyDate"),
            study_time=text(dataset, "StudyTime"),
            series_date=text(dataset, "SeriesDate"),
            series_time=text(dataset, "SeriesTime"),
            acquired_at=acquired_at(dataset),
            patient_sex=text(dataset, "PatientSex"),
            patient_age=text(dataset, "PatientAge"),
            rows=int(dataset.Rows),
            columns=int(dataset.Columns),
            frames=frames_of(dataset),
            bits_allocated=int(dataset.BitsAllocated),
            pixel_digest=_pixel_digest(file),
            identity=_identity(dataset),
        )


def check_instance(file: DicomFile) -> None:
    """Refuses what is no MR image or contradicts itself: object class, pixel description, length of the pixel data."""
    dataset = file.dataset
    if text(dataset, "SOPClassUID") not in MR_IMAGES:
        raise Refused("NOT_MR", "the instance is not an MR image", "Send MR images only.")
    if text(dataset, "Modality") != "MR":
        raise Refused("NOT_MR", "the instance is stored as an MR image but its modality says otherwise")
    if file.pixels.length == 0:
        raise Refused("NO_PIXELS", "the instance holds no pixel data")
    rows, columns, frames = int(dataset.get("Rows", 0)), int(dataset.get("Columns", 0)), frames_of(dataset)
    bits = int(dataset.get("BitsAllocated", 0))
    if not (0 < rows <= _MAX_EDGE and 0 < columns <= _MAX_EDGE and 0 < frames <= _MAX_FRAMES):
        raise Refused("CONTRADICTORY_HEADER", f"the header states {rows} x {columns} pixels and {frames} frames")
    if int(dataset.get("SamplesPerPixel", 1)) != 1 or bits not in (8, 16, 32):
        raise Refused("UNSUPPORTED_PIXELS", f"pixels with {bits} bits, or in colour, are not supported")
    if not 0 < int(dataset.get("BitsStored", bits)) <= bits:
        raise Refused("CONTRADICTORY_HEADER", "more bits stored than allocated")
    announced = rows * columns * frames * bits // 8
    if not file.pixels.encapsulated and file.pixels.length != announced + announced % 2:
        raise Refused(
            "CONTRADICTORY_HEADER",
            f"{rows} x {columns} x {frames} pixels of {bits} bits do not fit {file.pixels.length} bytes of pixel data",
        )


def frames_of(dataset: Dataset) -> int:
    """Number of frames; 1 for classic instances."""
    return int(dataset.get("NumberOfFrames", 1) or 1)


def text(dataset: Dataset, keyword: str) -> str:
    """An attribute as text, empty where it is absent."""
    value = dataset.get(keyword, "")
    return "" if value is None else str(value).strip("\0 ")


def uid(dataset: Dataset, keyword: str) -> str:
    """A UID. Raises Refused (BAD_UID)."""
    value = text(dataset, keyword)
    if not is_uid(value):
        raise Refused("BAD_UID", f"{keyword} is missing or no UID", "Send instances that follow DICOM PS3.5.")
    return value


def acquired_at(dataset: Dataset) -> str:
    """When the study was acquired: `YYYY-MM-DD` or `YYYY-MM-DDTHH:MM:SS`, local time of the site; empty: not stated.

    The first of acquisition, content, series and study date that is well formed.
    """
    moment = text(dataset, "AcquisitionDateTime")
    candidates = [(moment[:8], moment[8:])] if moment else []
    names = ("Acquisition", "Content", "Series", "Study")
    candidates += [(text(dataset, f"{name}Date"), text(dataset, f"{name}Time")) for name in names]
    for date, time in candidates:
        if re.fullmatch(r"\d{8}", date):
            day = f"{date[:4]}-{date[4:6]}-{date[6:]}"
            clock = re.match(r"([01]\d|2[0-3])([0-5]\d)([0-5]\d)", time)
            return f"{day}T{':'.join(clock.groups())}" if clock else day
    return ""


def functional_groups(dataset: Dataset) -> Iterator[Dataset]:
    """The shared group, then one group a frame, of a multi-frame instance; nothing for classic ones."""
    for keyword in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        yield from dataset.get(keyword, None) or ()


def _pixel_digest(file: DicomFile) -> BlobDigest:
    dataset = file.dataset
    geometry: list[JsonValue] = [_geometry(dataset)]
    names = ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
    for group in functional_groups(dataset):
        geometry.extend(_geometry(item) for name in names for item in group.get(name, None) or ())
    return digest_of(canonical_json(geometry) + pixel_bytes_digest(file))


def _geometry(dataset: Dataset) -> JsonValue:
    names = (
        "Rows",
        "Columns",
        "NumberOfFrames",
        "BitsAllocated",
        "BitsStored",
        "PixelRepresentation",
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "FrameOfReferenceUID",
    )
    return {name: text(dataset, name) for name in names if name in dataset}


def _identity(dataset: Dataset) -> DicomIdentity:
    return DicomIdentity(
        patient_id=text(dataset, "PatientID"),
        issuer_of_patient_id=text(dataset, "IssuerOfPatientID"),
        patient_name=text(dataset, "PatientName"),
        patient_birth_date=text(dataset, "PatientBirthDate"),
        accession_number=text(dataset, "AccessionNumber"),
        study_id=text(dataset, "StudyID"),
        study_description=text(dataset, "StudyDescription"),
        referring_physician_name=text(dataset, "ReferringPhysicianName"),
    )
