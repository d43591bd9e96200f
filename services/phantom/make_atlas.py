"""Derives the compact tissue atlas in `assets/` from the MNI tissue maps that nilearn ships. Run once, by hand.

In a throwaway environment with nibabel, scipy and nilearn 0.14.1 (nilearn is never a dependency of a service):

    python -m services.phantom.make_atlas <site-packages>/nilearn/datasets/data services/phantom/assets/mni_tissues.npz

Output: grey, white, brain and ventricle probabilities as uint8 (255 = 1) on a 1.5 mm RAS grid, and its affine.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

SPACING_MM = 1.5
LOW_MM = np.array([-80.0, -113.0, -78.0])
HIGH_MM = np.array([80.0, 80.0, 89.0])
_NAME = "mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"


def _ventricles(csf: NDArray[np.float64], brain: NDArray[np.bool_], affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """CSF deep in the brain that hangs together with the lateral ventricles (MNI x +-12, y 10, z 16 mm)."""
    deep = ndimage.distance_transform_edt(brain) > 22
    parts, _ = ndimage.label((csf > 0.45) & deep)
    inverse = np.linalg.inv(affine)
    chosen = np.zeros_like(brain)
    for x in (-12.0, 12.0):
        i, j, k = np.round(inverse @ [x, 10.0, 16.0, 1.0])[:3].astype(int)
        near = parts[i - 6 : i + 7, j - 6 : j + 7, k - 6 : k + 7]
        names, counts = np.unique(near[near > 0], return_counts=True)
        chosen |= parts == names[np.argmax(counts)]
    return np.where(ndimage.binary_dilation(chosen, iterations=2), csf, 0.0)


def make(source: Path, target: Path) -> None:
    """Reads the three maps below `source` and writes the atlas to `target`."""
    images: dict[str, Any] = {name: nibabel.load(source / _NAME.format(name)) for name in ("t1", "gm", "wm")}
    affine = np.asarray(images["t1"].affine, dtype=np.float64)
    data = {name: np.asarray(image.dataobj, dtype=np.float64) / 255.0 for name, image in images.items()}
    brain = ndimage.binary_fill_holes(data["t1"] > 0)
    csf = np.where(brain, 1.0 - data["gm"] - data["wm"], 0.0)
    maps = {"grey": data["gm"], "white": data["wm"], "brain": brain.astype(float)}
    maps["ventricle"] = _ventricles(csf, brain, affine)
    shape = np.round((HIGH_MM - LOW_MM) / SPACING_MM).astype(int) + 1
    offset = LOW_MM - affine[:3, 3]
    stored: dict[str, NDArray[np.uint8]] = {}
    for name, values in maps.items():
        smooth = ndimage.gaussian_filter(values, 0.5)  # half a millimetre: no aliasing at 1.5 mm
        resampled = ndimage.affine_transform(smooth, np.full(3, SPACING_MM), offset, tuple(shape), order=1)
        stored[name] = np.round(np.clip(resampled, 0, 1) * 255).astype(np.uint8)
    grid = np.diag([SPACING_MM, SPACING_MM, SPACING_MM, 1.0])
    grid[:3, 3] = LOW_MM
    np.savez_compressed(
        target,
        affine=grid,
        grey=stored["grey"],
        white=stored["white"],
        brain=stored["brain"],
        ventricle=stored["ventricle"],
    )


if __name__ == "__main__":
    make(Path(sys.argv[1]), Path(sys.argv[2]))
