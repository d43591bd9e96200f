"""A mask as a `.nii.gz` that every viewer opens: uint8, millimetres, sform and qform, equal masks in equal bytes."""

from __future__ import annotations

import gzip
from typing import Any

import nibabel as nib

from services.core.imaging.volume import Volume

NIFTI_MEDIA_TYPE = "application/vnd.nifti1+gzip"
_image: Any = nib.Nifti1Image  # untyped
_SCANNER = 1
_LEVEL = 4  # masks are mostly zeros: higher levels only cost time


def encode_nifti(mask: Volume, description: str) -> bytes:
    """NIfTI-1 bytes of a label mask on its own grid (RAS affine). `description` has at most 79 ASCII characters."""
    image: Any = _image(mask.data, mask.affine)
    image.header.set_data_dtype("uint8")
    image.header.set_xyzt_units("mm")
    image.header.set_intent("label")
    image.header["descrip"] = description.encode("ascii")
    image.set_sform(mask.affine, code=_SCANNER)
    image.set_qform(mask.affine, code=_SCANNER)
    return gzip.compress(image.to_bytes(), compresslevel=_LEVEL, mtime=0)
