"""Real volumes as cases: the reference glioma case and the healthy template. Nothing is learnt from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from services.core.contracts.enums import STRUCTURAL, Modality
from services.core.imaging.volume import Volume
from services.evaluation.thinning import Case
from services.phantom.prepared import prepared_volumes


def reference_case(folder: Path) -> Case:
    """The real case below `folder`/glioma_case; its mask is an algorithm's. Raises OSError when a file is missing."""
    volumes = {m: read_volume(folder / "glioma_case" / f"{m}.nii.gz", m) for m in STRUCTURAL}
    labels = read_volume(folder / "glioma_case" / "outputs_segmentation.nii.gz", "labels")
    brain = np.any([v.data != 0 for v in volumes.values()], axis=0)
    return prepared_volumes(volumes, labels.with_data(brain.astype(np.uint8)), labels)


def read_volume(path: Path, modality: Modality | str) -> Volume:
    """A NIfTI file as it is, arbitrary units."""
    image: Any = nib.load(path)
    data = np.asarray(image.dataobj, dtype=np.float32)
    return Volume(data=data, affine=np.asarray(image.affine, dtype=np.float64), modality=modality, units="a.u.")
