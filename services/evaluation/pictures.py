"""One axial slice of a case as a small picture: FLAIR, T1c, truth and answer on FLAIR. Of phantoms only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.image import imsave
from numpy.typing import NDArray

from services.core.contracts.enums import Modality
from services.core.imaging.labels import Label
from services.evaluation.thinning import Case

COLOURS = {Label.NCR: "#2a6f97", Label.SNFH: "#e9c46a", Label.ET: "#bc4749", Label.RC: "#9b5de5"}
NAMES = {Label.NCR: "other core", Label.SNFH: "oedema", Label.ET: "enhancing", Label.RC: "cavity"}
OPACITY = 0.55


def picture_path(folder: Path, models: Mapping[str, str], number: int) -> Path:
    """Where the picture of a case lies; other models have others."""
    mark = "-".join(digest.removeprefix("sha256:")[:8] for _, digest in sorted(models.items()))
    return folder / "slices" / f"{mark}-{number}.png"


def draw(path: Path, case: Case, answer: NDArray[np.uint8]) -> None:
    """Writes the slice with most tumour, of the answer where there is none; the head's left is on the right."""
    lesion = case.labels if case.labels.any() else answer
    level = int((lesion > 0).sum(axis=(0, 1)).argmax())
    slots = tuple(Modality)
    flair, contrast = (_grey(case.image[slots.index(m)][:, :, level]) for m in (Modality.T2F, Modality.T1C))
    panels = [flair, contrast, _coloured(flair, case.labels[:, :, level]), _coloured(flair, answer[:, :, level])]
    path.parent.mkdir(parents=True, exist_ok=True)
    imsave(path, np.concatenate([panel.transpose(1, 0, 2)[::-1, ::-1] for panel in panels], axis=1))


def _grey(values: NDArray[np.float16]) -> NDArray[np.float64]:
    """z-scores from -2.5 to 3.5 as grey, black outside the brain."""
    shade = np.where(values == 0, 0.0, np.clip((values.astype(np.float64) + 2.5) / 6.0, 0.0, 1.0))
    return np.repeat(shade[:, :, None], 3, axis=2)


def _coloured(grey: NDArray[np.float64], labels: NDArray[np.uint8]) -> NDArray[np.float64]:
    out = grey.copy()
    for label, colour in COLOURS.items():
        rgb = np.array([int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)])
        inside = labels == label
        out[inside] = (1 - OPACITY) * out[inside] + OPACITY * rgb
    return out
