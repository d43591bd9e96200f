"""Grown phantoms kept on disk for the marker head: one .npz a case, named by its number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.core.contracts.enums import Marker
from services.phantom import frozen
from services.phantom.prepared import PreparedCase, prepared
from services.phantom.spec import Genotype

MARKER_SEEDS = 4_000_000
"""First number of the phantoms that `make_cases` adds; the coarse training keeps lower ones."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KeptCase:
    """Inputs at 2 mm as in `PreparedCase`, and which markers are present (in the order of `Marker`)."""

    number: int
    image: NDArray[np.float16]
    available: NDArray[np.float32]
    quality: NDArray[np.float32]
    truth: NDArray[np.int64]


def markers_of(genotype: Genotype) -> NDArray[np.int64]:
    """1 where the marker is present, in the order of `Marker`."""
    present = {
        Marker.IDH: genotype.idh_mutant,
        Marker.CODEL_1P19Q: genotype.codel_1p19q,
        Marker.MGMT: genotype.mgmt_methylated,
        Marker.H3K27M: genotype.h3k27m,
    }
    return np.array([present[marker] for marker in Marker], dtype=np.int64)


def keep(folder: Path, number: int, case: PreparedCase, genotype: Genotype) -> None:
    """Writes beside, then renames: a reader never sees half a case."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{number}.npz"
    np.savez(part, image=case.image, available=case.available, quality=case.quality, truth=markers_of(genotype))
    part.rename(folder / f"{number}.npz")


def make_cases(folder: Path, count: int, first: int) -> None:
    """Adds training phantoms with all ten sequences until the folder holds `count`."""
    folder.mkdir(parents=True, exist_ok=True)
    number = first
    while len(list(folder.glob("[0-9]*.npz"))) < count:
        if not (folder / f"{number}.npz").exists():
            study = frozen.training_study(number, spacing_mm=2.0, functional=True)
            if study.genotype is not None:
                keep(folder, number, prepared(study, 2.0), study.genotype)
        number += 1


def kept_cases(folder: Path) -> Iterator[KeptCase]:
    """In the order of their numbers."""
    for path in sorted(folder.glob("[0-9]*.npz"), key=lambda p: int(p.stem)):
        with np.load(path, allow_pickle=False) as stored:
            yield KeptCase(number=int(path.stem), **{name: stored[name] for name in stored.files})
