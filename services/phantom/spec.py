"""What to make (`PhantomSpec`) and what was made (`PhantomStudy`), with the truth a real study never has.

Volumes are RAS, millimetres, C-order (x, y, z). Everything is a function of the seed, the spec and the visit.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import numpy as np

from services.core.contracts.enums import STRUCTURAL, Modality
from services.core.imaging.labels import volumes_ml
from services.core.imaging.volume import Affine, Volume
from services.phantom.signal import Protocol

FIELD_OF_VIEW_MM = (240.0, 240.0, 155.0)
HEAD_FIELD_OF_VIEW_MM = (240.0, 256.0, 184.0)


class Kind(StrEnum):
    """How the tumour looks. The genotype is drawn from what is usual for that look."""

    GLIOBLASTOMA = "glioblastoma"
    ASTROCYTOMA = "astrocytoma"
    OLIGODENDROGLIOMA = "oligodendroglioma"
    MIDLINE = "diffuse_midline"
    HEALTHY = "healthy"


@dataclass(frozen=True, slots=True, kw_only=True)
class PhantomSpec:
    """What to make. Raises ValueError for what cannot be made.

    `volume_ml`: whole tumour (WT), None draws 15 to 120 ml. `matrix`: None covers 240 x 240 x 155 mm (with `skull`
    240 x 256 x 184 mm). `sequences` may hold functional maps too, beside a structural sequence. `misalignment_mm`:
    every series but the reference is shifted by that length and turned by as many half degrees; the truth is in
    `PhantomStudy.to_reference`. `thick_mm`: slice spacing of t2w and t2f (2-D series). `snr`: white matter over noise,
    None draws 20 to 50. `skull`: with scalp, skull, eyes and neck, and noise in the air; otherwise zero outside the
    brain. `gamma`: exponent of the contrast curve. `motion` (0 to 1) spoils the series `moved`; of the series `cut` the
    uppermost `cut_mm` are missing.
    """

    kind: Kind = Kind.GLIOBLASTOMA
    volume_ml: float | None = None
    spacing_mm: float = 1.0
    matrix: tuple[int, int, int] | None = None
    sequences: tuple[Modality, ...] = STRUCTURAL
    skull: bool = False
    misalignment_mm: float = 0.0
    thick_mm: float | None = None
    snr: float | None = None
    field_tesla: float = 3.0
    gamma: float = 1.0
    motion: float = 0.0
    moved: Modality | None = None
    cut: Modality | None = None
    cut_mm: float = 0.0

    def __post_init__(self) -> None:
        if not set(self.sequences) & set(STRUCTURAL):
            raise ValueError(f"at least one of the sequences must be among {[str(m) for m in STRUCTURAL]}")
        if not 0.5 <= self.spacing_mm <= 6.0:
            raise ValueError("spacing_mm must lie between 0.5 and 6")
        if self.volume_ml is not None and not 0.5 <= self.volume_ml <= 250.0:
            raise ValueError("volume_ml must lie between 0.5 and 250")
        if self.thick_mm is not None and not self.spacing_mm <= self.thick_mm <= 12.0:
            raise ValueError("thick_mm must lie between spacing_mm and 12")
        if (self.snr is not None and self.snr <= 0) or self.misalignment_mm < 0:
            raise ValueError("snr must be positive and misalignment_mm must not be negative")
        if not 0.5 <= self.gamma <= 2.0 or not 0.0 <= self.motion <= 1.0:
            raise ValueError("gamma must lie between 0.5 and 2, motion between 0 and 1")
        if not 0.0 <= self.cut_mm <= 80.0:
            raise ValueError("cut_mm must lie between 0 and 80")
        if min(self.shape) < 8:
            raise ValueError("every side of the matrix must have at least 8 voxels")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Matrix of the reference grid."""
        if self.matrix is not None:
            return self.matrix
        field = HEAD_FIELD_OF_VIEW_MM if self.skull else FIELD_OF_VIEW_MM
        x, y, z = (round(edge / self.spacing_mm) for edge in field)
        return x, y, z

    @property
    def reference(self) -> Modality:
        """The sequence whose grid and position the truth has: t1c, else the first."""
        return Modality.T1C if Modality.T1C in self.sequences else self.sequences[0]


SMALL = PhantomSpec(spacing_mm=4.0, matrix=(48, 48, 48), volume_ml=60.0)
"""A study of 48 x 48 x 48 voxels of 4 mm for tests that need many studies, not good ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Genotype:
    """Markers as drawn. MGMT has no effect on the images: whoever predicts it from them predicts noise."""

    idh_mutant: bool
    codel_1p19q: bool
    mgmt_methylated: bool
    h3k27m: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Surgery:
    """A resection. `extent`: share of the core that is taken, `margin_mm`: what is taken around it, `collapsed`: share
    of the hole that the brain has filled since, `relaxed`: share of the tumour's mass effect that is gone. Raises
    ValueError outside their ranges.
    """

    extent: float = 0.95
    margin_mm: float = 2.0
    collapsed: float = 0.2
    relaxed: float = 0.0

    def __post_init__(self) -> None:
        if not 0.2 <= self.extent <= 1.0:
            raise ValueError("extent must lie between 0.2 and 1")
        if not 0.0 <= self.margin_mm <= 10.0 or not 0.0 <= self.collapsed <= 0.8:
            raise ValueError("margin_mm must lie between 0 and 10 and collapsed between 0 and 0.8")
        if not 0.0 <= self.relaxed <= 1.0:
            raise ValueError("relaxed must lie between 0 and 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One time point: `number` 0 is the first; `volume_ml` None: as the spec or drawn; `surgery` precedes it."""

    number: int
    seed: int
    acquired_at: datetime
    volume_ml: float | None = None
    core_factor: float = 1.0
    surgery: Surgery | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PhantomStudy:
    """One synthetic study. `labels` (glioserve.labels.v1) and `brain_mask` lie on the grid of the reference sequence.

    `head_to_scanner`: rigid, head frame (MNI-like) to scanner RAS at the reference. `to_reference`: per sequence, the
    rigid map from RAS mm of the series to RAS mm of the reference. `genotype` is None for a healthy brain.
    """

    seed: int
    spec: PhantomSpec
    visit: Visit
    volumes: Mapping[Modality, Volume]
    labels: Volume
    brain_mask: Volume
    genotype: Genotype | None
    protocols: Mapping[Modality, Protocol]
    head_to_scanner: Affine
    to_reference: Mapping[Modality, Affine]

    @property
    def acquired_at(self) -> datetime:
        """Start of the study."""
        return self.visit.acquired_at

    @property
    def truth_ml(self) -> dict[str, float]:
        """Millilitres of WT, TC, ET and each label in the truth."""
        return volumes_ml(self.labels.data, self.labels.grid)


def stream(name: str, *seeds: int) -> np.random.Generator:
    """An independent random stream for each purpose: what one draws never shifts another."""
    return np.random.default_rng([zlib.crc32(name.encode()), *seeds])
