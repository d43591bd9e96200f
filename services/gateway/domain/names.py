"""File names of an upload: what they may look like, and which sequence they name. They are read and forgotten.

Known names (last word before `.nii`/`.nii.gz`): t1n, t1, T1w; t1c, t1ce, t1gd, and T1w with a `ce-` entity; t2w, t2;
t2f, flair. So BraTS (`BraTS-GLI-00001-000-t1c.nii.gz`) and BIDS (`sub-01_ce-gadolinium_T1w.nii.gz`) names are known.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from services.core.contracts.enums import Modality
from services.core.contracts.errors import Refused
from services.gateway.errors import TooLarge

MAX_NAME = 1024
_DRIVE = re.compile(r"[A-Za-z]:")
_SLOT_WORDS = {
    "t1n": Modality.T1N,
    "t1": Modality.T1N,
    "t1w": Modality.T1N,
    "t1c": Modality.T1C,
    "t1ce": Modality.T1C,
    "t1gd": Modality.T1C,
    "t2w": Modality.T2W,
    "t2": Modality.T2W,
    "t2f": Modality.T2F,
    "flair": Modality.T2F,
}
_LABEL_WORDS = frozenset({"seg", "dseg", "segmentation", "mask", "label", "labels"})
_JUNK = frozenset({"thumbs.db", "desktop.ini", "dicomdir"})
_NIFTI = re.compile(r"(.+?)\.nii(?:\.gz)?", re.IGNORECASE)


def checked_name(name: str, max_depth: int) -> str:
    """The relative name, with `/` between its parts.

    Raises Refused (UNSAFE_NAME) on absolute paths, drive letters, `..` and control characters, TooLarge on depth.
    """
    plain = name.replace("\\", "/")
    parts = PurePosixPath(plain).parts
    if not plain or len(plain) > MAX_NAME or not plain.isprintable():
        raise Refused("UNSAFE_NAME", "a file name is empty, too long or holds control characters")
    if plain.startswith("/") or _DRIVE.match(plain) or ".." in parts:
        raise Refused("UNSAFE_NAME", "a file name leads out of the upload", "Send relative names without `..`.")
    if len(parts) > max_depth:
        raise TooLarge("TOO_DEEP", f"folders are nested more than {max_depth} deep")
    return "/".join(parts)


def is_junk(name: str) -> bool:
    """What file managers and media leave beside images: hidden files, DICOMDIR, resource forks."""
    parts = PurePosixPath(name).parts
    return parts[-1].lower() in _JUNK or any(part.startswith(".") or part == "__MACOSX" for part in parts)


def is_nifti_name(name: str) -> bool:
    """True for `.nii` and `.nii.gz`."""
    return _NIFTI.fullmatch(PurePosixPath(name).name) is not None


def is_label_name(name: str) -> bool:
    """True for a segmentation that lies beside the sequences, as in public data sets: it is no sequence."""
    words = _words(name)
    return bool(words) and words[-1] in _LABEL_WORDS


def slot_of(name: str) -> Modality | None:
    """The sequence that a file name states, or None."""
    words = _words(name)
    slot = _SLOT_WORDS.get(words[-1]) if words else None
    if slot is Modality.T1N and words[-1] == "t1w" and any(_is_contrast(entity) for entity in _entities(name)):
        return Modality.T1C
    return slot


def _stem(name: str) -> str:
    found = _NIFTI.fullmatch(PurePosixPath(name).name)
    return found.group(1).lower() if found else ""


def _words(name: str) -> list[str]:
    return [word for word in re.split(r"[-_. ]+", _stem(name)) if word]


def _entities(name: str) -> list[str]:
    return _stem(name).split("_")


def _is_contrast(entity: str) -> bool:
    return entity.startswith("ce-") and entity != "ce-none"
