"""Looks into received files through `core.imaging`: what they are, and what identifies the images in them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from services.core.contracts.ids import canonical_json
from services.core.imaging.dicom_file import stated_instance
from services.core.imaging.dicom_header import inspect_dicom
from services.core.imaging.nifti import NiftiHeader, inspect_nifti
from services.gateway.domain.identity import Identity, StudyModule
from services.gateway.domain.upload import FileKind
from services.gateway.ports import DicomImage, InstanceName

_ARCHIVES = (b"7z\xbc\xaf", b"Rar!", b"\xfd7zXZ", b"BZh", b"\x28\xb5\x2f\xfd")
_NIFTI_SIZES = (348, 540)


class ImagingInspector:
    """Adapter of `ports.Inspector`."""

    def kind(self, path: Path) -> FileKind:
        """By the first bytes, never by the name."""
        with path.open("rb") as stream:
            start = stream.read(512)
        if not start:
            return FileKind.EMPTY
        if start[128:132] == b"DICM":
            return FileKind.DICOM
        if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            return FileKind.ZIP
        if start.startswith(b"\x1f\x8b"):
            return FileKind.GZIP
        if start.startswith(_ARCHIVES) or start[257:262] == b"ustar":
            return FileKind.ARCHIVE
        sizes = {int.from_bytes(start[:4], order) for order in ("little", "big")}
        return FileKind.NIFTI if sizes & set(_NIFTI_SIZES) else FileKind.OTHER

    def nifti(self, path: Path) -> str:
        """Digest of voxels and geometry. Raises Refused on a file that cannot be used."""
        voxels = hashlib.sha256()
        header = inspect_nifti(path, digest=voxels)
        return f"sha256:{hashlib.sha256(_geometry(header) + voxels.digest()).hexdigest()}"

    def dicom(self, path: Path) -> DicomImage:
        """What identifies one instance. Raises Refused, NOT_MR for what is no MR image."""
        header = inspect_dicom(path)
        who = header.identity
        return DicomImage(
            sop_class=header.sop_class_uid,
            instance=header.sop_instance_uid,
            series=header.series_instance_uid,
            study=header.study_instance_uid,
            fingerprint=header.pixel_digest,
            acquired_at=header.acquired_at or None,
            identity=Identity(
                patient_id=who.patient_id,
                issuer=who.issuer_of_patient_id,
                name=who.patient_name,
                birth_date=who.patient_birth_date,
            ),
            module=StudyModule(
                accession_number=who.accession_number,
                study_id=who.study_id,
                referring_physician=who.referring_physician_name,
            ),
        )

    def stated(self, path: Path) -> InstanceName | None:
        """What a DICOM file says that it holds; None where it does not say it."""
        found = stated_instance(path)
        return InstanceName(sop_class=found[0], instance=found[1]) if found else None


def _geometry(header: NiftiHeader) -> bytes:
    return canonical_json(
        {
            "shape": list(header.shape),
            "affine": header.affine.tolist(),
            "dtype": header.dtype.str,
            "scaling": [header.slope, header.intercept],
        }
    )
