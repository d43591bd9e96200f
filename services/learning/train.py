"""Trains the coarse network on randomised cases within a wall-clock budget; resumes where it was stopped.

    python -m services.learning.train --budget-minutes 70 --out DIR [--this-run-minutes 9] [--device cuda]

One schedule: the learning rate falls by a cosine to zero over the whole budget, however many runs share it.
Checkpoints are chosen on a second synthetic set (other seeds), never on a real case.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from services.learning.feeder import SELECTION_SEEDS, TRAINING_SEEDS, Packed, case_stream, fixed_cases
from services.learning.losses import evidential_loss, softmax_loss
from services.learning.metrics import mean_dices, region_dices
from services.learning.network import CoarseNet, CoarseWidths
from services.learning.store import half, load_state, replace_state, report


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The schedule. Shares are of the budget; `accumulate` cases make one step, more of them later on. `crops`: up to
    a share, only a part of the box of so many 2 mm voxels, which holds a whole ring and costs a quarter or a half.
    """

    budget_s: float
    rate: float = 1.2e-3
    warm_up_cases: int = 40
    evidential_from: float = 0.6
    kl_weight: float = 0.02
    accumulate: tuple[int, ...] = (1, 2, 2)
    crops: tuple[tuple[float, tuple[int, int, int]], ...] = ((0.3, (48, 64, 48)), (0.7, (64, 80, 64)))
    ema: float = 0.995
    select_every_s: float = 360.0
    selection_cases: int = 12
    widths: CoarseWidths = field(default_factory=CoarseWidths)

    def rate_at(self, progress: float, cases: int) -> float:
        """Learning rate at a share of the budget, after so many cases."""
        return self.rate * min(1.0, (cases + 1) / self.warm_up_cases) * 0.5 * (1.0 + float(np.cos(np.pi * progress)))

    def crop_at(self, progress: float) -> tuple[int, int, int] | None:
        """Voxels of the part of the box that is trained on; None: all of it."""
        return next((shape for until, shape in self.crops if progress < until), None)

    def accumulate_at(self, progress: float) -> int:
        return self.accumulate[min(int(progress * len(self.accumulate)), len(self.accumulate) - 1)]


@dataclass(slots=True, kw_only=True)
class Progress:
    """What a resumed run goes on from, beside weights."""

    seconds: float = 0.0
    cases: int = 0
    steps: int = 0
    loss: float = 0.0
    best: float = -1.0


class Trainer:
    """Network, its moving average and the optimiser, kept together in `folder`/resume.pt."""

    def __init__(self, plan: Plan, folder: Path, device: str) -> None:
        self.plan, self.folder, self.device = plan, folder, torch.device(device)
        torch.manual_seed(1)
        self.net = CoarseNet(plan.widths).to(self.device)
        self.average = CoarseNet(plan.widths).to(self.device)
        self.average.load_state_dict(self.net.state_dict())
        self.optimiser = torch.optim.AdamW(self.net.parameters(), lr=plan.rate, weight_decay=1e-4)
        self.progress = Progress()
        if (folder / "resume.pt").exists():
            self._load()

    @property
    def done(self) -> float:
        """Share of the budget that is used."""
        return min(self.progress.seconds / self.plan.budget_s, 1.0)

    def step(self, cases: Iterator[Packed]) -> None:
        """One optimiser step over one to four cases; its time counts against the budget."""
        started = time.monotonic()
        count = self.plan.accumulate_at(self.done)
        for group in self.optimiser.param_groups:
            group["lr"] = self.plan.rate_at(self.done, self.progress.cases)
        self.optimiser.zero_grad(set_to_none=True)
        for _ in range(count):
            self.progress.cases += 1
            loss = self._loss(next(cases)) / count
            loss.backward()
            value = float(loss.detach()) * count
            self.progress.loss = value if self.progress.cases == 1 else 0.97 * self.progress.loss + 0.03 * value
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
        self.optimiser.step()
        self.progress.steps += 1
        self._follow()
        self.progress.seconds += time.monotonic() - started

    def _loss(self, case: Packed) -> torch.Tensor:
        crop = self.plan.crop_at(self.done)
        if crop is not None:
            case = cropped(case, crop, np.random.default_rng(self.progress.cases))
        image, available, quality = tensors(case, self.device)
        labels = torch.from_numpy(case.labels.astype(np.int64))[None].to(self.device)
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            logits, _ = self.net.logits(image, available, quality)
        if self.done < self.plan.evidential_from:
            return softmax_loss(logits.float(), labels)
        share = (self.done - self.plan.evidential_from) / (1.0 - self.plan.evidential_from)
        return evidential_loss(logits.float(), labels, self.plan.kl_weight * share)

    @torch.no_grad()
    def _follow(self) -> None:
        keep = min(self.plan.ema, (1 + self.progress.steps) / (10 + self.progress.steps))
        for slow, fast in zip(self.average.parameters(), self.net.parameters(), strict=True):
            slow.lerp_(fast, 1.0 - keep)

    def score(self, cases: list[Packed]) -> dict[str, Any]:
        """Mean Dice of the averaged weights: all sequences, and the pair t1c + t2f."""
        rows = [region_dices(predicted(self.average, case, self.device), case.labels) for case in cases]
        return {"all": mean_dices(rows[0::2]), "pair": mean_dices(rows[1::2])}

    def save(self) -> None:
        """Everything needed to go on, and the averaged weights alone; each replaces its predecessor at once."""
        state = {
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "progress": asdict(self.progress),
        }
        replace_state(self.folder / "resume.pt", state)
        replace_state(self.folder / "average.pt", half(self.average.state_dict()))

    def keep_best(self, score: dict[str, Any]) -> None:
        """Stores the averaged weights as `best.pt` when their mean Dice on the selection set is the highest so far."""
        value = float(np.mean([*score["all"].values(), *score["pair"].values()]))
        if value > self.progress.best:
            self.progress.best = value
            replace_state(self.folder / "best.pt", half(self.average.state_dict()))

    def _load(self) -> None:
        state = load_state(self.folder / "resume.pt", self.device)
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.progress = Progress(**state["progress"])


def cropped(case: Packed, shape: tuple[int, int, int], rng: np.random.Generator) -> Packed:
    """Most of the box at half the cost: a part that holds the middle of the tumour, or any where there is none."""
    full = np.array(case.labels.shape)
    edges = np.minimum(shape, full)
    found = np.argwhere(case.labels > 0)
    middle = found.mean(axis=0) if len(found) else full / 2
    corner = np.clip(np.round(middle - edges / 2 + rng.uniform(-0.3, 0.3, 3) * edges), 0, full - edges).astype(int)
    where = tuple(slice(int(c), int(c + e)) for c, e in zip(corner, edges, strict=True))
    return replace(case, image=case.image[(slice(None), *where)], labels=case.labels[where])


def tensors(case: Packed, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """image, available, quality of one case with a batch axis; only the four structural slots."""
    parts = (case.image.astype(np.float32), case.available, case.quality)
    image, available, quality = (torch.from_numpy(part)[None].to(device) for part in parts)
    return image, available, quality


@torch.no_grad()
def predicted(net: CoarseNet, case: Packed, device: torch.device) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Label map of the network for one case."""
    with torch.autocast(device.type, dtype=torch.bfloat16):
        logits, _ = net.logits(*tensors(case, device))
    return logits.float().argmax(dim=1)[0].to(torch.uint8).cpu().numpy()


def run(trainer: Trainer, run_s: float, workers: int) -> None:
    """Trains until the budget or this run's time is used up; scores and saves at every selection point."""
    plan, progress = trainer.plan, trainer.progress
    until = time.monotonic() + run_s
    selection = fixed_cases(SELECTION_SEEDS, plan.selection_cases)
    log = trainer.folder / "log.jsonl"
    next_save = progress.seconds + plan.select_every_s
    with case_stream(TRAINING_SEEDS + progress.cases, workers=workers) as cases:
        while trainer.done < 1.0 and time.monotonic() < until:
            trainer.step(cases)
            if progress.steps % 20 == 0:
                report(log, {**asdict(progress), "progress": trainer.done})
            if progress.seconds >= next_save:
                next_save += plan.select_every_s
                _select(trainer, selection, log)
    _select(trainer, selection, log)


def _select(trainer: Trainer, selection: list[Packed], log: Path) -> None:
    score = trainer.score(selection)
    trainer.keep_best(score)
    trainer.save()
    report(log, {**asdict(trainer.progress), "selection": score})


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True, help="folder of resume.pt, average.pt, best.pt, log.jsonl")
    parser.add_argument("--budget-minutes", type=float, required=True, help="length of the whole schedule")
    parser.add_argument("--this-run-minutes", type=float, default=1e6, help="stop earlier, to be resumed")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1, help="generator processes")
    options = parser.parse_args()
    os.nice(19)
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    plan = Plan(budget_s=60.0 * options.budget_minutes)
    run(Trainer(plan, options.out, options.device), 60.0 * options.this_run_minutes, options.workers)


if __name__ == "__main__":
    main()
