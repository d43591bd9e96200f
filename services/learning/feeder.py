"""Training cases from another process: the generator and the optimiser each keep their own core busy."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.queues import Queue
from queue import Full
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.phantom.anatomy import load_atlas
from services.phantom.randomised import CaseOptions, TrainingCase, randomised_case
from services.phantom.randomised_atlas import tissue_atlas

TRAINING_SEEDS, SELECTION_SEEDS, TEST_SEEDS = 10_000_000, 20_000_000, 30_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A case in few bytes for the queue: float16 image, uint8 labels."""

    image: NDArray[np.float16]
    available: NDArray[np.float32]
    quality: NDArray[np.float32]
    labels: NDArray[np.uint8]

    @classmethod
    def of(cls, case: TrainingCase) -> Packed:
        return cls(
            image=case.image.astype(np.float16), available=case.available, quality=case.quality, labels=case.labels
        )


def _produce(queue: Queue[Packed], first_seed: int, step: int, spacing_mm: float) -> None:
    os.nice(19)
    atlas = tissue_atlas(load_atlas(), spacing_mm)
    trainer, seed = os.getppid(), first_seed
    while os.getppid() == trainer:
        case = Packed.of(randomised_case(seed, atlas))
        while os.getppid() == trainer:  # a killed trainer leaves no generator behind
            with suppress(Full):
                queue.put(case, timeout=2.0)
                break
        seed += step


@contextmanager
def case_stream(first_seed: int, *, spacing_mm: float = 2.0, workers: int = 1) -> Iterator[Iterator[Packed]]:
    """Endless cases of consecutive seeds from `workers` processes, which end with the context."""
    context: Any = multiprocessing.get_context("spawn")
    queue = context.Queue(maxsize=4 * workers)
    processes = [
        context.Process(target=_produce, args=(queue, first_seed + w, workers, spacing_mm), daemon=True)
        for w in range(workers)
    ]
    for process in processes:
        process.start()
    try:
        yield iter(queue.get, None)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()
        queue.cancel_join_thread()
        queue.close()


def fixed_cases(first_seed: int, count: int, spacing_mm: float = 2.0) -> list[Packed]:
    """A held-out set: even places with all four sequences, odd places only t1c and t2f."""
    atlas = tissue_atlas(load_atlas(), spacing_mm)
    options = CaseOptions(all_sequences=True, healthy_share=0.0)
    cases = [randomised_case(first_seed + n, atlas, options) for n in range(count)]
    for case in cases[1::2]:
        for slot in (0, 2):
            case.image[slot] = 0.0
            case.quality[slot] = 0.0
            case.available[slot] = 0.0
    return [Packed.of(case) for case in cases]
