"""An upload after examination: one patient, one study, images with their digests; and the rules that make it one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from services.core.contracts.enums import Modality
from services.core.contracts.errors import Refused
from services.core.contracts.facts import Source
from services.gateway.domain.identity import Identity, StudyModule
from services.gateway.domain.intake import content_digest

NOBODYS = "glioserve:"
"""Start of the issuers that stand in for a patient id; no sender can state one."""
DICOM_MEDIA_TYPE = "application/dicom"
NIFTI_MEDIA_TYPE = "application/x-nifti"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """An image in staging that is to be stored."""

    instance: str
    series: str
    slot: Modality | None
    fingerprint: str
    path: Path
    media_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """`own_identity`: the StudyInstanceUID, or the content set's digest. `ignored`: reason to number of files."""

    source: Source
    identity: Identity = field(repr=False)
    own_identity: str
    study_uid: str | None
    acquired_at: str | None
    items: Sequence[Item]
    ignored: Mapping[str, int]
    module: StudyModule = field(default_factory=StudyModule, repr=False)

    @property
    def has_identity(self) -> bool:
        """False when the pseudonym stands for nobody that anyone named."""
        return bool(self.identity.name) or not self.identity.issuer.startswith(NOBODYS)


def nifti_submission(
    items: Sequence[Item], patient: str | None, acquired_at: str | None, ignored: Mapping[str, int]
) -> Submission:
    """NIfTI files have no patient: the sender says it, else the pseudonym is of the content itself."""
    content = content_digest((str(item.slot), item.fingerprint) for item in items)
    nobody = Identity(patient_id=content, issuer=f"{NOBODYS}upload")
    return Submission(
        source=Source.NIFTI,
        identity=Identity(patient_id=patient) if patient else nobody,
        own_identity=content,
        study_uid=None,
        acquired_at=acquired_at,
        items=items,
        ignored=ignored,
    )


def one_patient(identities: Sequence[Identity], stated: str | None, study_uid: str) -> Identity:
    """The one patient of all instances. Without any PatientID: the one stated beside the files, else one of the study.

    Raises Refused (TWO_PATIENTS, PATIENT_CONTRADICTS).
    """
    if len({_person(i) for i in identities}) > 1:
        raise Refused(
            "TWO_PATIENTS",
            "the instances name more than one patient, or one patient in contradicting ways",
            "Send one study of one patient at a time.",
        )
    first = identities[0]
    if not first.patient_id:
        spare = Identity(patient_id=stated) if stated else Identity(patient_id=study_uid, issuer=f"{NOBODYS}study")
        return Identity(patient_id=spare.patient_id, issuer=spare.issuer, name=first.name, birth_date=first.birth_date)
    if stated and stated != first.patient_id:
        raise Refused(
            "PATIENT_CONTRADICTS",
            "the instances name another patient than the upload states",
            "Leave the statement out: the headers say whose study it is.",
        )
    return Identity(  # a header must not claim the issuers that stand for nobody
        patient_id=first.patient_id,
        issuer=_claimable(first.issuer),
        name=first.name,
        birth_date=first.birth_date,
    )


def _claimable(issuer: str) -> str:
    while issuer.startswith(NOBODYS):
        issuer = issuer.removeprefix(NOBODYS)
    return issuer


def earliest(moments: Sequence[str | None], stated: str | None) -> str | None:
    """When the study began, by its headers; by the sender where they do not say. Raises Refused (DATE_CONTRADICTS)."""
    known = min((m for m in moments if m), default=None)
    if known and stated and known[:10] != stated[:10]:
        raise Refused(
            "DATE_CONTRADICTS",
            "the instances state another day of acquisition than the upload",
            "Leave the statement out: the headers say when it was acquired.",
        )
    return known or stated


def _person(identity: Identity) -> tuple[str, str, str, str]:
    name = "".join(letter for letter in identity.name.casefold() if letter.isalnum())
    return identity.issuer, identity.patient_id, name, identity.birth_date
