"""Small invented MR instances as bytes."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from services.core.contracts.ids import derived_uid

MR = "1.2.840.10008.5.1.4.1.1.4"
CT = "1.2.840.10008.5.1.4.1.1.2"
STUDY = derived_uid("study", 1)


def mr_instance(number: int, series: int = 1, **changes: Any) -> bytes:
    """One slice; `changes` overwrite attributes by keyword, `edge` its size and `seed` its pixels."""
    edge, seed = changes.pop("edge", 16), changes.pop("seed", 0)
    sop_class = changes.pop("SOPClassUID", MR)
    study = changes.get("StudyInstanceUID", STUDY)
    header = Dataset()
    header.SOPClassUID = sop_class
    header.SOPInstanceUID = derived_uid("instance", study, series, number)
    header.StudyInstanceUID = study
    header.SeriesInstanceUID = derived_uid("series", study, series)
    header.FrameOfReferenceUID = derived_uid("frame", study)
    header.PatientID, header.PatientName = "ID-4711", "Sommerfeld^Adalbert"
    header.PatientBirthDate, header.IssuerOfPatientID = "19501224", "Hospital"
    header.Modality = "MR" if sop_class == MR else "CT"
    header.StudyDate, header.StudyTime = "20240501", "101112"
    header.SeriesNumber, header.InstanceNumber = series, number
    header.ImagePositionPatient, header.ImageOrientationPatient = [0, 0, number], [1, 0, 0, 0, 1, 0]
    header.PixelSpacing, header.SliceThickness = [1, 1], 1
    header.Rows = header.Columns = edge
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 12, 11, 0
    pixels = np.random.default_rng([seed, series, number]).integers(0, 4095, (edge, edge), dtype=np.uint16)
    header.PixelData = pixels.tobytes()
    for keyword, value in changes.items():
        setattr(header, keyword, value)
    return written(header)


def written(header: Dataset) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = header.SOPClassUID
    meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta = meta
    buffer = io.BytesIO()
    header.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def mr_study(slices: int = 4, series: int = 2, **changes: Any) -> dict[str, bytes]:
    """A study as a folder of files."""
    return {
        f"series{s}/slice{n:03}.dcm": mr_instance(n, s, **changes)
        for s in range(1, series + 1)
        for n in range(1, slices + 1)
    }
