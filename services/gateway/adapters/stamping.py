"""Puts the patient's own identity into a result at the moment it leaves (rule 10). Nothing stamped is ever stored.

DICOM: the identifying attributes of the patient and study modules (PS3.3 C.7.1.1, C.7.2.1). PDF: the name into the
header band that every page keeps empty. An output without an identity in the vault leaves under its pseudonym.
"""

from __future__ import annotations

import io
from collections.abc import Callable

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from services.core.contracts.errors import Permanent
from services.gateway.domain.identity import Identity, StudyModule
from services.gateway.ports import IdentityVault, StudyView

Stamp = Callable[[bytes, Identity, StudyModule], bytes]


class IdentityStamper:
    """`ports.Stamper` over the vault, by the ending of the output's name."""

    def __init__(self, vault: IdentityVault) -> None:
        self._vault = vault
        self._stamps: dict[str, Stamp] = {".dcm": stamped_dicom, ".pdf": _stamped_pdf}

    def applies(self, name: str) -> bool:
        """DICOM and PDF carry an identity."""
        return any(name.endswith(ending) for ending in self._stamps)

    def stamp(self, view: StudyView, name: str, stored: bytes) -> bytes:
        """The output with the identity in it, or as it is stored for a study that never had one. Raises Permanent."""
        identity = self._vault.identity(view.row.patient)
        if identity is None:
            return stored
        stamp = next(stamp for ending, stamp in self._stamps.items() if name.endswith(ending))
        try:
            return stamp(stored, identity, self._vault.study_module(view.row.study))
        except (InvalidDicomError, ValueError) as error:
            raise Permanent("NOT_STAMPED", f"{name} cannot be given its patient's identity") from error


def stamped_dicom(stored: bytes, identity: Identity, module: StudyModule) -> bytes:
    """The object with its patient (name, id, issuer, birth date) and its order; pixels, UIDs and dates stay."""
    dataset = dcmread(io.BytesIO(stored))
    dataset.PatientID = identity.patient_id
    dataset.PatientName = identity.name
    dataset.PatientBirthDate = identity.birth_date
    if identity.issuer:
        dataset.IssuerOfPatientID = identity.issuer
    dataset.AccessionNumber = module.accession_number
    dataset.StudyID = module.study_id
    dataset.ReferringPhysicianName = module.referring_physician
    target = io.BytesIO()
    dataset.save_as(target, enforce_file_format=True)
    return target.getvalue()


def _stamped_pdf(stored: bytes, identity: Identity, _: StudyModule) -> bytes:
    from services.gateway.adapters.stamping_pdf import stamped_pdf  # with the first PDF, not at every start

    return stamped_pdf(stored, identity)
