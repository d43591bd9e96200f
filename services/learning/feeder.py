"""Training cases from other processes: generators and the optimiser each keep their own core busy.

Two sources: domain-randomised cases (each drawn once) and grown phantoms (each scanned anew a few times, then dropped:
a fixed pool is memorised). Both in the canonical box.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.queues import Queue
from pathlib import Path
from queue import Empty, Full
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.core.contracts.enums import STRUCTURAL, Modality
from services.learning.larder import keep
from services.phantom import frozen
from services.phantom.anatomy import load_atlas
from services.phantom.prepared import PreparedCase, prepared
from services.phantom.randomised import CaseOptions, TrainingCase, randomised_case
from services.phantom.randomised_atlas import TissueAtlas, tissue_atlas
from services.phantom.randomised_rescan import rescanned

TRAINING_SEEDS, SELECTION_SEEDS, TEST_SEEDS = 10_000_000, 20_000_000, 30_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A case in few bytes for the queue: float16 image (slot, x, y, z), uint8 labels; see `PreparedCase`."""

    image: NDArray[np.float16]
    available: NDArray[np.float32]
    quality: NDArray[np.float32]
    labels: NDArray[np.uint8]

    @classmethod
    def of(cls, case: TrainingCase | PreparedCase) -> Packed:
        return cls(
            image=case.image.astype(np.float16), available=case.available, quality=case.quality, labels=case.labels
        )

    def without(self, gone: Sequence[int]) -> Packed:
        """The case with zeros for some of its sequences."""
        image, available, quality = self.image.copy(), self.available.copy(), self.quality.copy()
        for part in (image, available, quality):
            part[list(gone)] = 0.0
        return replace(self, image=image, available=available, quality=quality)


@dataclass(frozen=True, slots=True, kw_only=True)
class Diet:
    """What the network is fed. `phantom_share` of the cases are grown phantoms, each drawn about `reuse` times;
    `functional_share` of those keep their functional maps; everything else is structural sequences only.
    `pool`: grown phantoms that a generator process holds (18 MB each at 2 mm, 90 at 1 mm).
    `keep`: a folder for every new phantom with all of its maps, for the marker head.
    """

    phantom_share: float = 0.6
    reuse: float = 6.0
    functional_share: float = 0.4
    pool: int = 60
    keep: Path | None = None


class Kitchen:
    """Makes one case after another; everything follows from the seeds. `progress` (0 to 1) drives the curriculum."""

    def __init__(self, diet: Diet, first_seed: int, step: int, spacing_mm: float = 2.0) -> None:
        self._diet, self._spacing = diet, spacing_mm
        self._seed, self._step = first_seed, step
        self._atlas: TissueAtlas = tissue_atlas(load_atlas(), spacing_mm)
        self._pool: list[TrainingCase] = []

    def next(self, progress: float) -> Packed:
        """The case of the next seed."""
        rng = np.random.default_rng([self._seed, 1])
        seed, self._seed = self._seed, self._seed + self._step
        if rng.random() < self._diet.phantom_share:
            return Packed.of(self._phantom(rng, seed))
        options = CaseOptions(smallest_ml=smallest_ml(progress))
        return Packed.of(randomised_case(seed, self._atlas, options))

    def _phantom(self, rng: np.random.Generator, seed: int) -> TrainingCase:
        if len(self._pool) < self._diet.pool // 4 or rng.random() < 1.0 / self._diet.reuse:
            case = self._new_phantom(rng, seed - TRAINING_SEEDS)
            self._pool.append(case)
            del self._pool[: -self._diet.pool]
        else:
            case = self._pool[int(rng.integers(len(self._pool)))]
        return rescanned(rng, case) if self._spacing > 1.0 else case

    def _new_phantom(self, rng: np.random.Generator, number: int) -> TrainingCase:
        functional = bool(rng.random() < self._diet.functional_share)
        keeping = self._diet.keep is not None
        study = frozen.training_study(number, spacing_mm=self._spacing, functional=functional or keeping)
        case = prepared(study, self._spacing)
        if self._diet.keep is not None and study.genotype is not None:
            keep(self._diet.keep, number, case, study.genotype)
        return as_training_case(case, len(Modality) if functional else len(STRUCTURAL))


def smallest_ml(progress: float) -> float:
    """Curriculum by lesion size: 10 ml at first, down to half a millilitre at half of the schedule."""
    return float(np.exp(np.interp(progress, (0.0, 0.5), (np.log(10.0), np.log(0.5)))))


def as_training_case(case: PreparedCase, slots: int) -> TrainingCase:
    """The first `slots` of a phantom in the clothes of a randomised case."""
    return TrainingCase(
        image=case.image[:slots].astype(np.float32), available=case.available[:slots], quality=case.quality[:slots],
        labels=case.labels, brain=case.brain, kind=None,
    )  # fmt: skip


def _produce(queue: Queue[Packed], kitchen_of: tuple[Diet, int, int, float], progress: Any) -> None:
    os.nice(5)
    kitchen = Kitchen(*kitchen_of)
    trainer = os.getppid()
    while os.getppid() == trainer:
        case = kitchen.next(float(progress.value))
        while os.getppid() == trainer:  # a killed trainer leaves no generator behind
            with suppress(Full):
                queue.put(case, timeout=2.0)
                break
    queue.cancel_join_thread()  # nobody reads any more


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Endless cases, and the number that tells the generators how far the training is."""

    cases: Iterator[Packed]
    progress: Any


def _served(queue: Queue[Packed], processes: list[Any]) -> Iterator[Packed]:
    while True:
        try:
            yield queue.get(timeout=20.0)
        except Empty:
            if not all(process.is_alive() for process in processes):
                raise RuntimeError("a generator process has died; its own message says why") from None


@contextmanager
def case_stream(first_seed: int, diet: Diet, workers: int = 1, *, spacing_mm: float = 2.0) -> Iterator[Stream]:
    """Cases of consecutive seeds from `workers` processes, which end with the context (or with this process)."""
    context: Any = multiprocessing.get_context("spawn")
    queue = context.Queue(maxsize=6 * workers)
    progress = context.Value("d", 0.0)
    processes = [
        context.Process(
            target=_produce, args=(queue, (diet, first_seed + w, workers, spacing_mm), progress), daemon=True
        )
        for w in range(workers)
    ]
    for process in processes:
        process.start()
    try:
        yield Stream(cases=_served(queue, processes), progress=progress)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()
        queue.cancel_join_thread()
        queue.close()


def fixed_cases(first_seed: int, count: int, spacing_mm: float = 2.0) -> list[Packed]:
    """A held-out randomised set: even places with all four sequences, odd places only t1c and t2f."""
    atlas = tissue_atlas(load_atlas(), spacing_mm)
    options = CaseOptions(all_sequences=True, healthy_share=0.0)
    cases = [randomised_case(first_seed + n, atlas, options) for n in range(count)]
    return [Packed.of(case).without((0, 2) if n % 2 else ()) for n, case in enumerate(cases)]


def selection_phantoms(count: int) -> list[Packed]:
    """Grown phantoms for choosing checkpoints, four structural sequences, 2 mm."""
    return [Packed.of(prepared(frozen.selection_study(n, spacing_mm=2.0), 2.0, STRUCTURAL)) for n in range(count)]
