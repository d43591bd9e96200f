"""A study as a hospital sends it: classic single-frame MR Image Storage, one folder per series (PS3.3 A.4).

Geometry: RAS of the volume becomes DICOM's LPS; rows and columns run as a scanner's do. Stored values are 12-bit: of
structural sequences without rescale, of functional maps as each maker sends them, its own choice in its own scale. UIDs
lie under 2.25 and follow from the study: a second writing is the same object.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage

from services.core.contracts.enums import STRUCTURAL, Modality
from services.core.contracts.ids import derived_uid
from services.core.imaging.volume import Array, Volume
from services.phantom.patient import InventedPatient
from services.phantom.spec import PhantomStudy
from services.phantom.vendors import SCANNERS, MapWording, Scanner, Vendor

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])
_ORDER = (Modality.T1N, Modality.T2W, Modality.T2F, Modality.ADC, Modality.FA, Modality.RCBV, Modality.T1C)
"""As scanned: contrast comes last; perfusion is measured while it arrives."""
_UNITS = {Modality.ADC: ("mm2/s", "mm2/s", 1e-3), Modality.FA: ("1", "no units", 1.0)}
"""UCUM code, its meaning, and how many of it one unit of the contract is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plane:
    """How slices lie: volume axes of columns, rows and slices. Columns and rows run against their axis."""

    columns: int
    rows: int
    slices: int


_AXIAL = _Plane(columns=0, rows=1, slices=2)
_SAGITTAL = _Plane(columns=1, rows=2, slices=0)


def write_dicom(
    study: PhantomStudy,
    folder: Path,
    patient: InventedPatient,
    vendor: Vendor = Vendor.SIEMENS,
    sagittal: Collection[Modality] = (),
) -> tuple[Path, ...]:
    """Writes every series as axial slices, those in `sagittal` as sagittal ones, and the functional maps that the
    vendor's software sends. Returns the files. Raises OSError.
    """
    written: list[Path] = []
    sent = {*STRUCTURAL, *SCANNERS[vendor].maps}
    present = [modality for modality in _ORDER if modality in study.volumes and modality in sent]
    for number, modality in enumerate(present, start=2):
        plane = _SAGITTAL if modality in sagittal else _AXIAL
        header = _series_header(study, patient, vendor, modality, number)
        target = folder / f"{number:04d}-{modality}"
        target.mkdir(parents=True, exist_ok=True)
        written += _write_slices(header, _stored(study, modality, SCANNERS[vendor]), plane, target)
    return tuple(written)


def _key(study: PhantomStudy, patient: InventedPatient, vendor: Vendor) -> str:
    """What the UIDs follow from: everything that decides about the voxels and whose they are."""
    return derived_uid(study.seed, repr(study.spec), repr(study.visit), patient.issuer, patient.patient_id, str(vendor))


def _series_header(
    study: PhantomStudy, patient: InventedPatient, vendor: Vendor, modality: Modality, number: int
) -> Dataset:
    """Everything that is equal in all instances of a series."""
    scanner = SCANNERS[vendor]
    key = _key(study, patient, vendor)
    header = Dataset()
    _patient_and_study(header, study, patient, key)
    started = study.acquired_at + timedelta(minutes=6 * (number - 1))
    header.Modality = "MR"
    header.SeriesInstanceUID = derived_uid(key, "series", str(modality))
    header.SeriesNumber = number
    wording = scanner.maps[modality] if modality in scanner.maps else scanner.wording[modality]
    header.SeriesDescription, header.ProtocolName = wording.description, wording.protocol
    header.BodyPartExamined = "BRAIN" if vendor is not Vendor.GE else "HEAD"
    header.PatientPosition = "HFS"
    header.FrameOfReferenceUID = derived_uid(key, "frame")
    header.PositionReferenceIndicator = ""
    header.SeriesDate = header.AcquisitionDate = header.ContentDate = started.strftime("%Y%m%d")
    header.SeriesTime = header.AcquisitionTime = header.ContentTime = started.strftime("%H%M%S.000000")
    _equipment(header, scanner, patient, study.spec.field_tesla)
    if isinstance(wording, MapWording):
        _map_sequence(header, modality, wording, scanner)
    else:
        _sequence(header, study, modality, scanner)
    _pixels(header, _stored(study, modality, scanner))
    return header


def _stored(study: PhantomStudy, modality: Modality, scanner: Scanner) -> Volume:
    """The series in stored values, whole numbers from 0 to 4095."""
    volume = study.volumes[modality]
    if modality not in scanner.maps:
        return volume
    return replace(volume, data=np.clip(np.rint(volume.data * scanner.maps[modality].stored_per_unit), 0, 4095))


def _patient_and_study(header: Dataset, study: PhantomStudy, patient: InventedPatient, key: str) -> None:
    acquired = study.acquired_at
    header.SpecificCharacterSet = "ISO_IR 100"
    header.PatientName, header.PatientID = patient.name, patient.patient_id
    header.IssuerOfPatientID = patient.issuer
    header.PatientBirthDate, header.PatientSex = patient.birth_date.strftime("%Y%m%d"), patient.sex
    years = int((acquired.date() - patient.birth_date).days / 365.25)
    header.PatientAge = f"{years:03d}Y"
    header.StudyInstanceUID = derived_uid(key, "study")
    header.StudyDate, header.StudyTime = acquired.strftime("%Y%m%d"), acquired.strftime("%H%M%S.000000")
    header.StudyID, header.AccessionNumber = str(study.visit.number + 1), patient.accession
    header.StudyDescription = "MR Brain tumor (synthetic phantom)"
    header.ReferringPhysicianName = patient.physician


def _equipment(header: Dataset, scanner: Scanner, patient: InventedPatient, tesla: float) -> None:
    header.Manufacturer, header.ManufacturerModelName = scanner.manufacturer, scanner.model
    header.SoftwareVersions = scanner.software
    header.InstitutionName = patient.institution
    header.StationName = "PHANTOM1"
    header.MagneticFieldStrength = tesla
    header.ImagingFrequency = round(42.577 * tesla, 3)
    header.ImagedNucleus = "1H"


def _sequence(header: Dataset, study: PhantomStudy, modality: Modality, scanner: Scanner) -> None:
    protocol, wording = study.protocols[modality], scanner.wording[modality]
    three_d = protocol.gradient_echo
    header.SOPClassUID = MRImageStorage
    header.ImageType = list(wording.image_type)
    header.ScanningSequence, header.SequenceVariant = list(wording.scanning), list(wording.variant)
    header.ScanOptions = list(wording.options)
    header.SequenceName = wording.sequence_name
    header.MRAcquisitionType = "3D" if three_d else "2D"
    header.RepetitionTime, header.EchoTime = protocol.repetition_ms, protocol.echo_ms
    if protocol.inversion_ms is not None and "IR" in wording.scanning:  # type 2C, PS3.3 C.8.3.1
        header.InversionTime = protocol.inversion_ms
    header.EchoTrainLength, header.NumberOfAverages = wording.echo_train, 1
    header.FlipAngle = 9 if three_d else 150
    if protocol.contrast:
        header.ContrastBolusAgent = scanner.agent
        header.ContrastBolusRoute = "IV"


def _map_sequence(header: Dataset, modality: Modality, wording: MapWording, scanner: Scanner) -> None:
    """A map derived from an echo-planar series: diffusion, or the first pass of the contrast agent."""
    perfusion = modality is Modality.RCBV
    header.SOPClassUID = MRImageStorage
    header.ImageType = list(wording.image_type)
    header.ScanningSequence, header.SequenceVariant, header.ScanOptions = ["EP"], ["SK"], []
    header.MRAcquisitionType = "2D"
    header.RepetitionTime, header.EchoTime = (1500, 30) if perfusion else (4800, 88)
    header.EchoTrainLength, header.NumberOfAverages, header.FlipAngle = 1, 1, 60 if perfusion else 90
    if perfusion:
        header.ContrastBolusAgent, header.ContrastBolusRoute = scanner.agent, "IV"
    if wording.mapped:
        header.RescaleSlope, header.RescaleIntercept = _slope(1.0 / wording.stored_per_unit), "0"
        header.RescaleType = "normalized"
        header.RealWorldValueMappingSequence = [_real_world(modality, wording)]


def _real_world(modality: Modality, wording: MapWording) -> Dataset:
    """Stored values to physical ones (PS3.3 C.7.6.16.2.11)."""
    code, meaning, per_unit = _UNITS[modality]
    units = Dataset()
    units.CodeValue, units.CodingSchemeDesignator, units.CodeMeaning = code, "UCUM", meaning
    item = Dataset()
    item.add_new("RealWorldValueFirstValueMapped", "US", 0)
    item.add_new("RealWorldValueLastValueMapped", "US", 4095)
    item.RealWorldValueIntercept, item.RealWorldValueSlope = 0.0, per_unit / wording.stored_per_unit
    item.LUTExplanation, item.LUTLabel = f"{modality} of a synthetic phantom", str(modality).upper()
    item.MeasurementUnitsCodeSequence = [units]
    return item


def _slope(value: float) -> str:
    """A DS value of full precision: at most 16 characters."""
    return f"{value:.10g}"


def _pixels(header: Dataset, volume: Volume) -> None:
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 12, 11, 0
    high = float(np.percentile(volume.data, 99.8))
    header.WindowCenter, header.WindowWidth = round(high / 2), max(1, round(high))


def _write_slices(header: Dataset, volume: Volume, plane: _Plane, folder: Path) -> list[Path]:
    spacing = volume.grid.spacing
    header.SliceThickness = header.SpacingBetweenSlices = round(spacing[plane.slices], 6)
    header.PixelSpacing = [round(spacing[plane.rows], 6), round(spacing[plane.columns], 6)]
    along = [-(volume.affine[:3, axis] / spacing[axis]) for axis in (plane.columns, plane.rows)]
    header.ImageOrientationPatient = [_decimal(value) for part in along for value in _RAS_TO_LPS @ part]
    stored = np.moveaxis(volume.data, (plane.slices, plane.rows, plane.columns), (0, 1, 2))[:, ::-1, ::-1]
    written = []
    for index, pixels in enumerate(stored):
        corner = np.zeros(3)
        corner[[plane.columns, plane.rows, plane.slices]] = (
            volume.data.shape[plane.columns] - 1, volume.data.shape[plane.rows] - 1, index,
        )  # fmt: skip
        place = _RAS_TO_LPS @ (volume.affine[:3, :3] @ corner + volume.affine[:3, 3])
        written.append(_write_instance(header, pixels, place, index + 1, folder))
    return written


def _write_instance(header: Dataset, pixels: Array, place: Array, number: int, folder: Path) -> Path:
    instance_uid = UID(derived_uid(str(header.SeriesInstanceUID), number))
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MRImageStorage, instance_uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(derived_uid("phantom", "implementation"))
    path = folder / f"IM{number:04d}.dcm"
    file = FileDataset(str(path), header, preamble=b"\0" * 128, file_meta=meta)
    file.SOPInstanceUID, file.InstanceNumber = instance_uid, number
    file.ImagePositionPatient = [_decimal(value) for value in place]
    file.SliceLocation = _decimal(float(np.dot(np.cross(*_directions(header)), place)))
    file.Rows, file.Columns = pixels.shape
    file.PixelData = np.ascontiguousarray(pixels, dtype="<u2").tobytes()
    file["PixelData"].VR = "OW"
    file.save_as(path, enforce_file_format=True)
    return path


def _directions(header: Dataset) -> tuple[Array, Array]:
    values = np.array([float(value) for value in header.ImageOrientationPatient])
    return values[:3], values[3:]


def _decimal(value: float) -> str:
    """A DS value: at most 16 characters, no negative zero (PS3.5 6.2)."""
    return f"{float(value) + 0.0:.6f}"
