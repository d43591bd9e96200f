"""One training: network, moving average and optimiser, the schedule, and what a resumed run goes on from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from services.evaluation.metrics import mean_dices, region_dices
from services.learning.feeder import Diet, Packed
from services.learning.losses import distillation, evidential_loss, softmax_loss
from services.learning.network import CoarseNet, CoarseWidths, FusionMode
from services.learning.store import half, load_state, replace_state, widened


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The schedule. Shares are of `budget_cases`; `accumulate` cases make one step, more of them later on. `crops`: up
    to a share, only a part of the box of so many 2 mm voxels, which holds a whole ring and costs half.
    """

    budget_cases: int
    rate: float = 1.2e-3
    warm_up_cases: int = 60
    evidential_from: float = 0.5
    kl_weight: float = 0.02
    accumulate: tuple[int, ...] = (1, 2, 2, 4)
    crops: tuple[tuple[float, tuple[int, int, int]], ...] = ((0.25, (48, 64, 48)), (0.85, (64, 80, 64)))
    ema: float = 0.99
    select_every: int = 400
    selection_cases: int = 12
    distil_from: float = 0.3
    distil_share: float = 0.5
    distil_weight: float = 0.3
    widths: CoarseWidths = field(default_factory=CoarseWidths)
    mode: FusionMode = FusionMode.GATED
    attention: bool = True
    diet: Diet = field(default_factory=Diet)

    def rate_at(self, progress: float, cases: int) -> float:
        """Learning rate at a share of the budget, after so many cases of this start."""
        return self.rate * min(1.0, (cases + 1) / self.warm_up_cases) * 0.5 * (1.0 + float(np.cos(np.pi * progress)))

    def crop_at(self, progress: float) -> tuple[int, int, int] | None:
        """Voxels of the part of the box that is trained on; None: all of it."""
        return next((shape for until, shape in self.crops if progress < until), None)

    def accumulate_at(self, progress: float) -> int:
        """Cases per optimiser step."""
        return self.accumulate[min(int(progress * len(self.accumulate)), len(self.accumulate) - 1)]


@dataclass(slots=True, kw_only=True)
class Progress:
    """What a resumed run goes on from, beside weights. `drawn` counts seeds, so that no case comes twice."""

    cases: int = 0
    drawn: int = 0
    steps: int = 0
    loss: float = 0.0
    best: float = -1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Cases for choosing a checkpoint: randomised ones (every second with t1c and t2f only) and grown phantoms."""

    randomised: list[Packed]
    phantoms: list[Packed]


class Trainer:
    """Network, its moving average and the optimiser, kept together in `folder`/resume.pt."""

    def __init__(self, plan: Plan, folder: Path, device: str, seed: int = 1) -> None:
        self.plan, self.folder, self.device = plan, folder, torch.device(device)
        torch.manual_seed(seed)
        self.net = CoarseNet(plan.widths, plan.mode, attention=plan.attention).to(self.device)
        self.average = CoarseNet(plan.widths, plan.mode, attention=plan.attention).to(self.device)
        self.average.load_state_dict(self.net.state_dict())
        self.optimiser = torch.optim.AdamW(self.net.parameters(), lr=plan.rate, weight_decay=1e-4)
        self.progress = Progress()
        self._started_at = 0
        if (folder / "resume.pt").exists():
            self._load()

    @property
    def done(self) -> float:
        """Share of the budget that is used."""
        return min(self.progress.cases / self.plan.budget_cases, 1.0)

    def start_from(self, weights: Path) -> None:
        """Begins a schedule from a compact state (`average.pt`, `best.pt` or the one in the repository)."""
        for net in (self.net, self.average):
            net.load_state_dict(widened(load_state(weights, self.device)))

    def step(self, cases: Iterator[Packed]) -> None:
        """One optimiser step over one to four cases."""
        count = self.plan.accumulate_at(self.done)
        since = self.progress.cases - self._started_at
        for group in self.optimiser.param_groups:
            group["lr"] = self.plan.rate_at(self.done, since)
        self.optimiser.zero_grad(set_to_none=True)
        for _ in range(count):
            self.progress.cases += 1
            self.progress.drawn += 1
            loss = self._loss(next(cases)) / count
            loss.backward()
            value = float(loss.detach()) * count
            self.progress.loss = value if self.progress.cases == 1 else 0.98 * self.progress.loss + 0.02 * value
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
        self.optimiser.step()
        self.progress.steps += 1
        self._follow()

    def _loss(self, case: Packed) -> Tensor:
        rng = np.random.default_rng([self.progress.drawn, 2])
        crop = self.plan.crop_at(self.done)
        if crop is not None:
            case = cropped(case, crop, rng)
        teaching = self.done >= self.plan.distil_from and rng.random() < self.plan.distil_share
        given = thinned(case, rng) if teaching else case
        labels = torch.from_numpy(case.labels.astype(np.int64))[None].to(self.device)
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            scores, _ = self.net.logits(*tensors(given, self.device))
        scores = scores.float()
        loss = self._supervised(scores, labels)
        if given is not case:
            loss = loss + self.plan.distil_weight * distillation(scores, self._taught(case))
        return loss

    def _supervised(self, scores: Tensor, labels: Tensor) -> Tensor:
        if self.done < self.plan.evidential_from:
            return softmax_loss(scores, labels)
        share = (self.done - self.plan.evidential_from) / (1.0 - self.plan.evidential_from)
        return evidential_loss(scores, labels, self.plan.kl_weight * share)

    @torch.no_grad()
    def _taught(self, case: Packed) -> Tensor:
        """What the averaged network says with every sequence that the case has."""
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            scores, _ = self.average.logits(*tensors(case, self.device))
        return scores.float()

    @torch.no_grad()
    def _follow(self) -> None:
        keep = min(self.plan.ema, (1 + self.progress.steps) / (10 + self.progress.steps))
        for slow, fast in zip(self.average.parameters(), self.net.parameters(), strict=True):
            slow.lerp_(fast, 1.0 - keep)

    def score(self, selection: Selection) -> dict[str, Any]:
        """Mean Dice of the averaged weights: randomised with all sequences, with t1c and t2f, and grown phantoms."""
        rows = [region_dices(predicted(self.average, c, self.device), c.labels) for c in selection.randomised]
        grown = [region_dices(predicted(self.average, c, self.device), c.labels) for c in selection.phantoms]
        return {"all": mean_dices(rows[0::2]), "pair": mean_dices(rows[1::2]), "phantoms": mean_dices(grown)}

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
        """Stores the averaged weights as `best.pt` when their mean Dice on the selection sets is the highest so far."""
        value = float(np.mean([v for part in score.values() for v in part.values()]))
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


def thinned(case: Packed, rng: np.random.Generator) -> Packed:
    """The case without one to all but one of its sequences; the case itself where there is only one."""
    there = np.flatnonzero(case.available)
    if there.size < 2:
        return case
    return case.without(rng.permutation(there)[: int(rng.integers(1, there.size))].tolist())


def tensors(case: Packed, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """image, available, quality of one case with a batch axis."""
    parts = (case.image.astype(np.float32), case.available, case.quality)
    image, available, quality = (torch.from_numpy(part)[None].to(device) for part in parts)
    return image, available, quality


@torch.no_grad()
def predicted(net: CoarseNet, case: Packed, device: torch.device) -> NDArray[np.uint8]:
    """Label map of the network for one case."""
    with torch.autocast(device.type, dtype=torch.bfloat16):
        scores, _ = net.logits(*tensors(case, device))
    labels: NDArray[np.uint8] = scores.float().argmax(dim=1)[0].to(torch.uint8).cpu().numpy()
    return labels
