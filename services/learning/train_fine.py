"""Trains the fine network on 1 mm crops, on top of a trained coarse network that stays as it is.

    python -m services.learning.train_fine --coarse DIR/best.pt --out DIR2 --budget-minutes 12

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
from services.learning.feeder import TRAINING_SEEDS, Packed, case_stream
from services.learning.losses import evidential_loss
from services.learning.network import CoarseNet, FineNet, evidence_of
from services.learning.store import half, load_state, replace_state, report

CROPS_PER_CASE = 3
RATE = 1e-3
KL_WEIGHT = 0.02
FINE_SEEDS = TRAINING_SEEDS + 5_000_000


@torch.no_grad()
def crops_of(coarse: CoarseNet, case: Packed, rng: np.random.Generator, count: int) -> list[Crop]:
    """Random crops of a 1 mm case with the evidence that the coarse network gives for it."""
    image = torch.from_numpy(case.image.astype(np.float32))[None]
    available, quality = (torch.from_numpy(part)[None] for part in (case.available, case.quality))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits, _ = coarse.logits(pooled(image), available, quality)
    evidence = raised(detached(evidence_of(logits.float())))
    labels = torch.from_numpy(case.labels.astype(np.int64))[None]
    corners = [random_corner(rng, case.labels > 0) for _ in range(count)]
    return [Crop(image=cut(image, c), evidence=cut(evidence, c), labels=cut(labels, c)) for c in corners]


class FineTrainer:
    """Network, average and optimiser; one step a crop pair, learning rate to zero over the budget."""

    def __init__(self, coarse: CoarseNet, folder: Path, budget_s: float) -> None:
        torch.manual_seed(2)
        self.coarse, self.folder, self.budget_s = coarse.eval(), folder, budget_s
        self.net, self.average = FineNet(), FineNet()
        self.average.load_state_dict(self.net.state_dict())
        self.optimiser = torch.optim.AdamW(self.net.parameters(), lr=RATE, weight_decay=1e-4)
        self.seconds, self.cases = 0.0, 0
        self.loss, self.trusting = 0.0, 0.0
        if (folder / "resume.pt").exists():
            state = load_state(folder / "resume.pt")
            self.net.load_state_dict(state["net"])
            self.average.load_state_dict(state["average"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.seconds, self.cases = state["seconds"], state["cases"]

    @property
    def done(self) -> float:
        return min(self.seconds / self.budget_s, 1.0)

    def step(self, cases: Iterator[Packed]) -> None:
        """One case: a few crops, one optimiser step."""
        started = time.monotonic()
        case = next(cases)
        crops = crops_of(self.coarse, case, np.random.default_rng(self.cases), CROPS_PER_CASE)
        available = torch.from_numpy(case.available)[None]
        for group in self.optimiser.param_groups:
            group["lr"] = RATE * 0.5 * (1.0 + float(np.cos(np.pi * self.done)))
        self.optimiser.zero_grad(set_to_none=True)
        losses = [self._backward(crop, available) for crop in crops]
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 2.0)
        self.optimiser.step()
        self.cases += 1
        self._follow()
        self._note(float(np.mean(losses)), crops)
        self.seconds += time.monotonic() - started

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
            "seconds": self.seconds,
            "cases": self.cases,
        }
        replace_state(self.folder / "resume.pt", state)
        replace_state(self.folder / "average.pt", half(self.average.state_dict()))


def run(trainer: FineTrainer, run_s: float, workers: int) -> None:
    """Trains until the budget or this run's time is used up."""
    until = time.monotonic() + run_s
    with case_stream(FINE_SEEDS + trainer.cases, spacing_mm=1.0, workers=workers) as cases:
        while trainer.done < 1.0 and time.monotonic() < until:
            trainer.step(cases)
            if trainer.cases % 10 == 0:
                trainer.save()
                entry = {"cases": trainer.cases, "seconds": trainer.seconds, "loss": trainer.loss}
                report(trainer.folder / "log.jsonl", {**entry, "loss_of_coarse": trainer.trusting})
    trainer.save()


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--coarse", type=Path, required=True, help="best.pt of the coarse training")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget-minutes", type=float, required=True)
    parser.add_argument("--this-run-minutes", type=float, default=1e6)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    os.nice(19)
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    coarse = CoarseNet()
    coarse.load_state_dict(load_state(options.coarse))
    run(
        FineTrainer(coarse, options.out, 60.0 * options.budget_minutes),
        60.0 * options.this_run_minutes,
        options.workers,
    )


if __name__ == "__main__":
    main()
