"""A study as NIfTI files: t1n, t1c, t2w, t2f.nii.gz as in BraTS, adc.nii.gz and so on, and the truth beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from services.core.contracts.enums import STRUCTURAL
from services.core.imaging.volume import Array, Volume
from services.phantom.spec import PhantomStudy


def write_nifti(study: PhantomStudy, folder: Path, *, truth: bool = False) -> tuple[Path, ...]:
    """Writes the series and, with `truth`, `truth/{labels,brain_mask}.nii.gz`; int16, functional maps as float32 in
    their units, affines RAS in mm.

    The truth has a folder of its own: `folder` can be submitted as it is when `truth` is left out. Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for modality, volume in study.volumes.items():
        kind = np.int16 if modality in STRUCTURAL else np.float32
        written.append(_save(volume, volume.data.astype(kind), folder / f"{modality}.nii.gz"))
    if truth:
        (folder / "truth").mkdir(exist_ok=True)
        for name, volume in (("labels", study.labels), ("brain_mask", study.brain_mask)):
            written.append(_save(volume, volume.data, folder / "truth" / f"{name}.nii.gz"))
    return tuple(written)


def _save(volume: Volume, data: Array, path: Path) -> Path:
    import nibabel

    library: Any = nibabel  # its classes are not fully typed
    image = library.Nifti1Image(data, volume.affine)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b"synthetic phantom, not a patient"
    image.set_sform(volume.affine, code=1)
    image.set_qform(volume.affine, code=1)
    library.save(image, path)
    return path
