"""Finds out what an upload is: looks into every file, names what is ignored, refuses what is no single study."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from services.core.contracts.enums import Modality
from services.core.contracts.errors import Refused
from services.core.contracts.facts import Source
from services.gateway.domain.names import is_junk, is_label_name, is_nifti_name, slot_of
from services.gateway.domain.submission import (
    DICOM_MEDIA_TYPE,
    NIFTI_MEDIA_TYPE,
    Item,
    Submission,
    earliest,
    nifti_submission,
    one_patient,
)
from services.gateway.domain.upload import FileKind, StagedFile, Statements
from services.gateway.errors import Conflict
from services.gateway.ports import DicomImage, Inspector

INFLATED_AT_ONCE = 2
_IMAGES = "Send a folder or ZIP of DICOM instances, or of .nii and .nii.gz files."
_IMAGE_ENDINGS = (".nii", ".nii.gz", ".dcm", ".ima")


class UnknownNames(Refused):
    """NIfTI files whose names state no sequence. `names` is for the sender's eyes only: never logged or stored."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(
            "UNKNOWN_SEQUENCE_NAMES",
            f"{len(names)} file names do not say which sequence they are",
            "Name them t1n, t1c, t2w or t2f (BraTS and BIDS names are known), or say it: sequence=t1c=FILE"
            " (glioserve submit: --sequence t1c=FILE).",
        )
        self.names = tuple(names)


@dataclass
class _Sorted:
    """Files by what they are."""

    dicom: list[tuple[DicomImage, StagedFile]] = field(default_factory=list)
    not_mr: int = 0
    nifti: list[StagedFile] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)


def examine(files: Sequence[StagedFile], statements: Statements, inspector: Inspector) -> Submission:
    """One study out of the files of an upload. Raises Refused with the reason."""
    found = _sort(files, inspector)
    if (found.dicom or found.not_mr) and found.nifti:
        raise Refused("MIXED_UPLOAD", "the upload holds DICOM and NIfTI files", "Send one kind at a time.")
    if found.dicom or found.not_mr:
        return _dicom(found, statements)
    if found.nifti:
        return _nifti(found, statements, inspector)
    raise Refused("NO_IMAGES", "the upload holds no DICOM instance and no NIfTI file", _IMAGES)


def _sort(files: Sequence[StagedFile], inspector: Inspector) -> _Sorted:
    found = _Sorted()
    for file in files:
        if is_junk(file.name):
            found.ignored["not an image"] += 1
            continue
        kind, name = inspector.kind(file.path), file.name.lower()
        if kind is FileKind.EMPTY and name.endswith(_IMAGE_ENDINGS):
            raise Refused("EMPTY_FILE", "an image file of the upload is empty", "Send it again.")
        if kind in (FileKind.ZIP, FileKind.ARCHIVE) or (kind is FileKind.GZIP and not is_nifti_name(name)):
            raise Refused("NESTED_ARCHIVE", "the upload holds an archive among its files", "Send its content.")
        if kind is FileKind.DICOM or name.endswith(".dcm"):
            _look_into(file, found, inspector)
        elif kind in (FileKind.NIFTI, FileKind.GZIP) or is_nifti_name(name):
            found.nifti.append(file)
        else:
            found.ignored["not an image"] += 1
    return found


def _nifti(found: _Sorted, statements: Statements, inspector: Inspector) -> Submission:
    slots = sorted(_slots(found, statements).items())
    with ThreadPoolExecutor(INFLATED_AT_ONCE) as pool:  # inflating and hashing let go of the interpreter
        fingerprints = list(pool.map(lambda chosen: _digest(chosen[0], chosen[1], inspector), slots))
    items = [
        Item(
            instance=slot,
            series=f"nifti-{slot}",
            slot=slot,
            fingerprint=fingerprint,
            path=file.path,
            media_type=f"{NIFTI_MEDIA_TYPE}+gzip" if file.name.lower().endswith(".gz") else NIFTI_MEDIA_TYPE,
        )
        for (slot, file), fingerprint in zip(slots, fingerprints, strict=True)
    ]
    return nifti_submission(items, statements.patient, statements.acquired_at, found.ignored)


def _digest(slot: Modality, file: StagedFile, inspector: Inspector) -> str:
    try:
        return inspector.nifti(file.path)
    except Refused as error:
        raise Refused(error.code, f"{slot}: {error.message}", error.advice) from error


def _slots(found: _Sorted, statements: Statements) -> dict[Modality, StagedFile]:
    stated = _stated(found.nifti, statements)
    slots: dict[Modality, StagedFile] = {}
    unknown: list[str] = []
    for file in found.nifti:
        slot = stated.get(file.name) or file.slot or slot_of(file.name)
        if slot is None and is_label_name(file.name):
            found.ignored["a segmentation, not a sequence"] += 1
        elif slot is None:
            unknown.append(file.name)
        elif slot in slots:
            raise Refused("TWO_FILES_FOR_ONE_SEQUENCE", f"two files state the sequence {slot}", "Send one for each.")
        else:
            slots[slot] = file
    if unknown:
        raise UnknownNames(unknown)
    if not slots:
        raise Refused("NO_IMAGES", "the upload holds no sequence, only segmentations", _IMAGES)
    return slots


def _stated(files: Sequence[StagedFile], statements: Statements) -> dict[str, Modality]:
    """Explicit slots by full name; a bare file name does where it is the only one."""
    chosen: dict[str, Modality] = {}
    for name, slot in statements.sequences.items():
        meant = [f.name for f in files if name in (f.name, PurePosixPath(f.name).name)]
        if len(meant) != 1:
            raise Refused(
                "BAD_SEQUENCE",
                f"the file stated as {slot} is not in the upload, or more than once",
                "Name it as it lies in the folder that is sent.",
            )
        chosen[meant[0]] = slot
    return chosen


def _look_into(file: StagedFile, found: _Sorted, inspector: Inspector) -> None:
    try:
        found.dicom.append((inspector.dicom(file.path), file))
    except Refused as error:
        if error.code != "NOT_MR":
            raise
        found.not_mr += 1


def _dicom(found: _Sorted, statements: Statements) -> Submission:
    if statements.sequences:
        raise Refused("BAD_SEQUENCE", "sequences can be stated for NIfTI files only", "DICOM headers say it.")
    if found.not_mr:
        found.ignored["not an MR image"] = found.not_mr
    images: dict[str, tuple[DicomImage, StagedFile]] = {}
    for image, file in found.dicom:
        known = images.setdefault(image.instance, (image, file))[0]
        if known.fingerprint != image.fingerprint:
            raise Conflict(
                "INSTANCE_CONFLICT",
                "two instances of the upload have one UID and different images",
                "Send one study, as the scanner or archive gives it.",
            )
    if not images:
        raise Refused("NOT_MR", "the upload holds no MR image", "Send the MR series of the study.")
    return one_study(list(images.values()), found.ignored, statements)


def one_study(
    found: Sequence[tuple[DicomImage, StagedFile]], ignored: Mapping[str, int], statements: Statements
) -> Submission:
    """Instances, each once, as one study of one patient. Raises Refused when they are of two."""
    images = [image for image, _ in found]
    study_uid = images[0].study
    identity = one_patient([image.identity for image in images], statements.patient, study_uid)
    if any(image.study != study_uid for image in images):
        raise Refused("TWO_STUDIES", "the instances belong to more than one study", "Send one study at a time.")
    items = [
        Item(
            instance=image.instance,
            series=image.series,
            slot=None,
            fingerprint=image.fingerprint,
            path=file.path,
            media_type=DICOM_MEDIA_TYPE,
        )
        for image, file in found
    ]
    return Submission(
        source=Source.DICOM,
        identity=identity,
        own_identity=study_uid,
        study_uid=study_uid,
        acquired_at=earliest([image.acquired_at for image in images], statements.acquired_at),
        items=items,
        ignored=ignored,
        module=images[0].module,
    )
