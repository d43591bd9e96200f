"""Trains the fine network on 1 mm crops, on top of a trained coarse network that stays as it is.

    python -m services.learning.train_fine --coarse DIR/best.pt --out DIR2 --budget-cases 600

It starts as "trust the coarse evidence", so a short training can only move it from there. Resumes from resume.pt.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from services.learning.chain import Crop, cut, detached, pooled, raised, random_corner
from services.learning.feeder import TRAINING_SEEDS, Diet, Packed, case_stream
from services.learning.losses import evidential_loss
from services.learning.network import FINE_SLOTS, CoarseNet, FineNet, evidence_of
from services.learning.store import half, load_state, replace_state, report, widened
from services.learning.trainer import thinned

CROPS_PER_CASE = 8
CROP = (64, 64, 64)
WHOLE_SHARE = 0.5  # of the cases keep all the sequences they have
RATE = 2e-3
KL_WEIGHT = 0.02
FINE_SEEDS = TRAINING_SEEDS + 5_000_000
FINE_DIET = Diet(phantom_share=0.6, reuse=2.0, functional_share=0.0, pool=12)


@torch.no_grad()
def crops_of(coarse: CoarseNet, case: Packed, rng: np.random.Generator, count: int) -> list[Crop]:
    """Random crops of a 1 mm case with the evidence that the coarse network gives for it."""
    image = torch.from_numpy(case.image[:FINE_SLOTS].astype(np.float32))[None]
    available, quality = (torch.from_numpy(part)[None] for part in (case.available, case.quality))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits, _ = coarse.logits(pooled(image), available, quality)
    evidence = raised(detached(evidence_of(logits.float())))
    labels = torch.from_numpy(case.labels.astype(np.int64))[None]
    found = evidence[0].argmax(dim=0).numpy() > 0
    corners = [random_corner(rng, (case.labels > 0) | found, CROP) for _ in range(count)]
    return [Crop(*(cut(field, c, CROP) for field in (image, evidence, labels))) for c in corners]


class FineTrainer:
    """Network, average and optimiser; a few crops of one case make a step, learning rate to zero over the budget."""

    def __init__(self, coarse: CoarseNet, folder: Path, budget_cases: int) -> None:
        torch.manual_seed(2)
        self.coarse, self.folder, self.budget_cases = coarse.eval(), folder, budget_cases
        self.net, self.average = FineNet(), FineNet()
        self.average.load_state_dict(self.net.state_dict())
        self.optimiser = torch.optim.AdamW(self.net.parameters(), lr=RATE, weight_decay=1e-4)
        self.cases = 0
        self.loss, self.trusting = 0.0, 0.0
        if (folder / "resume.pt").exists():
            state = load_state(folder / "resume.pt")
            self.net.load_state_dict(state["net"])
            self.average.load_state_dict(state["average"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.cases = state["cases"]

    @property
    def done(self) -> float:
        """Share of the budget that is used."""
        return min(self.cases / self.budget_cases, 1.0)

    def step(self, cases: Iterator[Packed]) -> None:
        """One case: a few crops, one optimiser step."""
        rng = np.random.default_rng([self.cases, 3])
        case = next(cases)
        if rng.random() > WHOLE_SHARE:
            case = thinned(case, rng)
        crops = crops_of(self.coarse, case, rng, CROPS_PER_CASE)
        available = torch.from_numpy(case.available[:FINE_SLOTS])[None]
        for group in self.optimiser.param_groups:
            warm = min(1.0, (self.cases + 1) / 20)
            group["lr"] = RATE * warm * 0.5 * (1.0 + float(np.cos(np.pi * self.done)))
        self.optimiser.zero_grad(set_to_none=True)
        losses = [self._backward(crop, available) for crop in crops]
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 2.0)
        self.optimiser.step()
        self.cases += 1
        self._follow()
        self._note(float(np.mean(losses)), crops)

    def _backward(self, crop: Crop, available: Tensor) -> float:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = self.net.logits(crop.image, available, crop.evidence)
        loss = evidential_loss(logits.float(), crop.labels, KL_WEIGHT) / CROPS_PER_CASE
        loss.backward()
        return float(loss.detach()) * CROPS_PER_CASE

    @torch.no_grad()
    def _follow(self) -> None:
        keep = min(0.98, (1 + self.cases) / (10 + self.cases))
        for slow, fast in zip(self.average.parameters(), self.net.parameters(), strict=True):
            slow.lerp_(fast, 1.0 - keep)

    @torch.no_grad()
    def _note(self, loss: float, crops: list[Crop]) -> None:
        """Running mean of the loss, and of the loss of the untouched coarse evidence on the same crops."""
        trusting = [float(evidential_loss(torch.log(c.evidence + 0.01), c.labels, KL_WEIGHT)) for c in crops]
        keep = 0.0 if self.cases == 1 else 0.95
        self.loss = keep * self.loss + (1 - keep) * loss
        self.trusting = keep * self.trusting + (1 - keep) * float(np.mean(trusting))

    def save(self) -> None:
        state = {
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "cases": self.cases,
        }
        replace_state(self.folder / "resume.pt", state)
        replace_state(self.folder / "average.pt", half(self.average.state_dict()))


def run(trainer: FineTrainer, run_s: float, workers: int) -> None:
    """Trains until the budget or this run's time is used up."""
    until = time.monotonic() + run_s
    with case_stream(FINE_SEEDS + trainer.cases, FINE_DIET, workers, spacing_mm=1.0) as stream:
        while trainer.done < 1.0 and time.monotonic() < until:
            stream.progress.value = trainer.done
            trainer.step(stream.cases)
            if trainer.cases % 10 == 0:
                trainer.save()
                entry = {"cases": trainer.cases, "loss": trainer.loss}
                report(trainer.folder / "log.jsonl", {**entry, "loss_of_coarse": trainer.trusting})
    trainer.save()


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--coarse", type=Path, required=True, help="best.pt of the coarse training")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget-cases", type=int, required=True)
    parser.add_argument("--this-run-minutes", type=float, default=1e6)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--nice", type=int, default=19)
    options = parser.parse_args()
    os.nice(options.nice)
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    coarse = CoarseNet()
    coarse.load_state_dict(widened(load_state(options.coarse)))
    run(FineTrainer(coarse, options.out, options.budget_cases), 60.0 * options.this_run_minutes, options.workers)


if __name__ == "__main__":
    main()
