"""Small images and instances for tests, right by default and wrong on demand."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage

from services.core.imaging.volume import Affine


def reference_data(*parts: str) -> Path:
    """A file or folder of the reference data; skips the test where it is not."""
    root = os.environ.get("GLIOSERVE_REFERENCE_DATA")
    if not root:
        pytest.skip("GLIOSERVE_REFERENCE_DATA is not set: point it to the folder of the reference data")
    path = Path(root).joinpath(*parts)
    if not path.exists():
        pytest.skip(f"the reference data lack {'/'.join(parts)}")
    return path


def rotation(degrees: float, axis: tuple[float, float, float] = (0.5, 0.3, 0.81)) -> NDArray[np.float64]:
    """3x3 rotation about an axis (Rodrigues)."""
    unit = np.array(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -unit[2], unit[1]], [unit[2], 0, -unit[0]], [-unit[1], unit[0], 0]])
    angle = np.radians(degrees)
    turned: NDArray[np.float64] = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return turned


def oblique_affine(spacing: tuple[float, float, float] = (0.9, 1.1, 2.5), degrees: float = 17.0) -> Affine:
    affine = np.eye(4)
    affine[:3, :3] = rotation(degrees) * np.array(spacing)
    affine[:3, 3] = (-31.0, 12.5, 40.0)
    return affine


def ramp(shape: tuple[int, int, int] = (11, 12, 13)) -> NDArray[np.float32]:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def write_nifti(path: Path, data: NDArray[Any] | None = None, affine: Affine | None = None, **header: Any) -> Path:
    """A NIfTI-1 file; keyword arguments overwrite raw header fields afterwards, also to nonsense."""
    voxels = ramp() if data is None else data
    image = nib.Nifti1Image(voxels, np.eye(4) if affine is None else affine)
    raw = bytearray(image.to_bytes())
    if header:
        changed = nib.Nifti1Header(bytes(raw[:348]), check=False)
        for name, value in header.items():
            changed[name] = value
        raw[:348] = changed.binaryblock
    path.write_bytes(gzip.compress(bytes(raw)) if path.suffix == ".gz" else bytes(raw))
    return path


def instance(slice_number: int = 0, syntax: UID = ExplicitVRLittleEndian, **changes: Any) -> FileDataset:
    """A classic axial MR slice of 20 x 16 pixels; None removes an attribute."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = UID(f"1.2.3.4.{slice_number + 1}")
    dataset = FileDataset(
        "",
        Dataset(),
        file_meta=meta,
        preamble=b"\0" * 128,
        is_implicit_VR=syntax.is_implicit_VR,
        is_little_endian=syntax.is_little_endian,
    )
    values: dict[str, Any] = {
        "SOPClassUID": MRImageStorage,
        "SOPInstanceUID": f"1.2.3.4.{slice_number + 1}",
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.4",
        "FrameOfReferenceUID": "1.2.3.9",
        "Modality": "MR",
        "SeriesDescription": "t1 mprage",
        "PatientName": "Zymbrant^Quorvexil",
        "PatientID": "PHX-1",
        "PatientSex": "F",
        "StudyDate": "20310203",
        "StudyTime": "101112",
        "ImageType": ["ORIGINAL", "PRIMARY", "M"],
        "RepetitionTime": 600.0,
        "EchoTime": 10.0,
        "Rows": 16,
        "Columns": 20,
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "PixelSpacing": [1.5, 1.25],
        "SliceThickness": 3.0,
        "ImageOrientationPatient": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
        "ImagePositionPatient": [-10.0, -20.0, 5.0 + 3.0 * slice_number],
        "PixelData": pixels(slice_number).tobytes(),
    }
    for keyword, value in {**values, **changes}.items():
        if value is not None:
            setattr(dataset, keyword, value)
    return dataset


def pixels(slice_number: int) -> NDArray[np.uint16]:
    """Rows x columns; every pixel of a series has another value."""
    return (np.arange(16 * 20, dtype=np.uint16) + 320 * slice_number).reshape(16, 20)


def save(dataset: FileDataset, path: Path) -> Path:
    dataset.save_as(path, enforce_file_format=True)
    return path


def save_series(folder: Path, count: int = 12, **changes: Any) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    return [save(instance(number, **changes), folder / f"{number:03d}.dcm") for number in range(count)]
