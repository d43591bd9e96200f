"""The phantoms that figures are reported on, and those that networks are trained on: seeds and mix are frozen.

A change of any voxel of these sets is a new GENERATOR_VERSION with new seeds; cards then report both. Every number is
one person; the sets share nobody.
"""

from __future__ import annotations

import numpy as np

from services.core.contracts.enums import STRUCTURAL, Modality
from services.phantom.generate import after_resection, generate
from services.phantom.genotype import share_of_look
from services.phantom.spec import Kind, PhantomSpec, PhantomStudy, stream

GENERATOR_VERSION = 3
TUMOURS, HEALTHY, MARKERS = 100, 100, 1000
"""Sizes of the test sets."""

_TUMOUR, _HEALTHY, _MARKER, _OPERATED, _SELECTION, _TRAINING = (
    4_000_000, 4_100_000, 4_200_000, 4_300_000, 4_400_000, 5_000_000
)  # fmt: skip
_KINDS = (Kind.GLIOBLASTOMA, Kind.ASTROCYTOMA, Kind.OLIGODENDROGLIOMA, Kind.MIDLINE)
_HEALTHY_SHARE, _OPERATED_SHARE = 1 / 8, 1 / 4
"""Of the training set."""


def tumour_study(number: int, spacing_mm: float = 1.0, *, functional: bool = False) -> PhantomStudy:
    """Test set, numbers 0 to 99: untreated tumours."""
    return generate(*_drawn(_TUMOUR + number, spacing_mm, functional))


def healthy_study(number: int, spacing_mm: float = 1.0) -> PhantomStudy:
    """Test set without tumours, numbers 0 to 99."""
    return generate(*_drawn(_HEALTHY + number, spacing_mm, functional=False, healthy=True))


def marker_study(number: int, *, functional: bool = True) -> PhantomStudy:
    """Test set of the markers, numbers 0 to 999, 2 mm."""
    return generate(*_drawn(_MARKER + number, 2.0, functional))


def operated_study(number: int, spacing_mm: float = 1.0) -> PhantomStudy:
    """Test set after a resection, numbers from 0."""
    return _operated(_OPERATED + number, spacing_mm, functional=False)


def selection_study(number: int, spacing_mm: float = 1.0, *, functional: bool = False) -> PhantomStudy:
    """For choosing checkpoints and thresholds; never reported as a test."""
    return generate(*_drawn(_SELECTION + number, spacing_mm, functional))


def training_study(number: int, spacing_mm: float = 2.0, *, functional: bool = False) -> PhantomStudy:
    """As many as wanted; one in eight is healthy, one in four operated."""
    seed = _TRAINING + number
    kind = stream("training", seed).random()
    if kind < _HEALTHY_SHARE:
        return generate(*_drawn(seed, spacing_mm, functional, healthy=True))
    if kind < _HEALTHY_SHARE + _OPERATED_SHARE:
        return _operated(seed, spacing_mm, functional)
    return generate(*_drawn(seed, spacing_mm, functional))


def _operated(seed: int, spacing_mm: float, functional: bool) -> PhantomStudy:
    return after_resection(generate(*_drawn(seed, spacing_mm, functional)), days=30, seed=1)


def _drawn(seed: int, spacing_mm: float, functional: bool, *, healthy: bool = False) -> tuple[int, PhantomSpec]:
    """Kind by its share among gliomas, 5 to 150 ml, and a scanner: field, noise, contrast curve, thick slices, a moved
    or a cut series, misalignment.
    """
    rng = stream("frozen", seed)
    shares = [share_of_look(kind) for kind in _KINDS]
    kind = _KINDS[int(rng.choice(len(_KINDS), p=shares))]
    volume = float(np.exp(rng.uniform(np.log(5.0), np.log(150.0))))
    thick, moved, cut = (float(rng.random()) for _ in range(3))
    spec = PhantomSpec(
        kind=Kind.HEALTHY if healthy else kind,
        volume_ml=None if healthy else volume,
        spacing_mm=spacing_mm,
        sequences=tuple(Modality) if functional else STRUCTURAL,
        snr=float(rng.uniform(15, 50)),
        field_tesla=1.5 if rng.random() < 0.3 else 3.0,
        gamma=float(rng.uniform(0.85, 1.15)),
        thick_mm=max(spacing_mm, float(rng.uniform(2.5, 5.0))) if thick < 0.2 else None,
        motion=float(rng.uniform(0.1, 0.6)) if moved < 0.2 else 0.0,
        moved=STRUCTURAL[int(rng.integers(len(STRUCTURAL)))],
        cut=STRUCTURAL[int(rng.integers(len(STRUCTURAL)))],
        cut_mm=float(rng.uniform(5.0, 25.0)) if cut < 0.06 else 0.0,
        misalignment_mm=float(rng.uniform(0.0, 1.0)),
    )
    return seed, spec
