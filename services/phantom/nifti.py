"""A study as NIfTI files with BraTS names: t1n.nii.gz, t1c.nii.gz, t2w.nii.gz, t2f.nii.gz and the truth beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from services.core.imaging.volume import Array, Volume
from services.phantom.spec import PhantomStudy


def write_nifti(study: PhantomStudy, folder: Path, *, truth: bool = False) -> tuple[Path, ...]:
    """Writes the series (int16, RAS affine in mm) and, with `truth`, `truth/{labels,brain_mask}.nii.gz`.

    The truth has a folder of its own: `folder` can be submitted as it is when `truth` is left out. Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for modality, volume in study.volumes.items():
        written.append(_save(volume, volume.data.astype(np.int16), folder / f"{modality}.nii.gz"))
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
