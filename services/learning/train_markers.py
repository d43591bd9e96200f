"""Trains the marker head on grown phantoms with all ten sequences, the rest of the coarse network held still.

    python -m services.learning.train_markers --coarse DIR/best.pt --cases KEPT --out DIR3

`KEPT` is filled by `train --keep KEPT` (or by this command, `--make N`): one .npz a phantom. Each phantom goes through
the network with several sets of sequences; the head learns from those summaries in minutes. A fifth of the phantoms
chooses when to stop and gives the calibration table of molecular_subtyping. Genotypes are drawn by the phantom's
rules: what the head learns is those rules, not biology.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from services.core.contracts.enums import STRUCTURAL, Marker, Modality
from services.learning.larder import MARKER_SEEDS, KeptCase, kept_cases, make_cases
from services.learning.network import CoarseNet
from services.learning.store import half, load_state, replace_state, report, widened

HELD_OUT = 0.2
VARIANTS = ("all", "structural", "some")
DISTANCES = (0.15, 0.2, 0.25, 0.3, 0.35)
BATCH, EPOCHS, RATE, DECAY, KL_WEIGHT = 64, 60, 1e-3, 3e-2, 0.01


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Summaries:
    """Stored inputs of the head: habitats (n, 5, h), tokens (n, t, c), ml (n,), truth (n, markers), case of each."""

    habitat: Tensor
    bottom: Tensor
    ml: Tensor
    truth: Tensor
    number: NDArray[np.int64]

    def of(self, rows: NDArray[np.bool_]) -> Summaries:
        """Some of them."""
        index = torch.from_numpy(np.flatnonzero(rows))
        return Summaries(
            habitat=self.habitat[index], bottom=self.bottom[index], ml=self.ml[index], truth=self.truth[index],
            number=self.number[rows],
        )  # fmt: skip


def sequences_of(variant: str, available: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Which slots a variant keeps."""
    keep = available.copy()
    structural = len(STRUCTURAL)
    if variant == "structural":
        keep[structural:] = 0.0
    elif variant == "some":
        keep[structural:] *= rng.random(len(Modality) - structural) < 0.5
        keep[:structural] *= rng.random(structural) < 0.8
        if not keep.any():
            keep = available.copy()
    return keep


def summarised(
    net: CoarseNet, cases: Iterable[KeptCase], folder: Path, variants: tuple[str, ...] = VARIANTS
) -> Summaries:
    """Every case through the network once per variant. A case that has its file in `folder` is read, not computed: an
    interrupted run goes on. One folder per weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for case in cases:
        path = folder / f"{case.number}.pt"
        if not path.exists():
            replace_state(path, _summary_of(net, case, variants))
        stored = load_state(path)
        rows.append({**stored, "number": np.full(len(stored["ml"]), case.number)})
    return Summaries(
        **{name: torch.cat([row[name] for row in rows]) for name in ("habitat", "bottom", "ml", "truth")},
        number=np.concatenate([row["number"] for row in rows]),
    )


@torch.no_grad()
def _summary_of(net: CoarseNet, case: KeptCase, variants: tuple[str, ...]) -> dict[str, Tensor]:
    rng = np.random.default_rng([case.number, 4])
    parts: dict[str, list[Tensor]] = {"habitat": [], "bottom": [], "ml": []}
    for variant in variants:
        available = sequences_of(variant, case.available, rng)
        image = torch.from_numpy(case.image.astype(np.float32) * available[:, None, None, None])[None]
        quality = torch.from_numpy(case.quality * available[:, None])[None]
        held = net.summary_at_half(image, torch.from_numpy(available)[None], quality)
        parts["habitat"].append(held.habitat)
        parts["bottom"].append(held.bottom.half())
        parts["ml"].append(held.ml)
    truth = torch.from_numpy(case.truth)[None].repeat(len(variants), 1)
    return {**{name: torch.cat(values) for name, values in parts.items()}, "truth": truth}


def marker_loss(evidence: Tensor, truth: Tensor) -> Tensor:
    """Type-II likelihood of Dirichlet evidence (batch, markers, 2), balanced between present and absent, with the KL
    of misleading evidence (Sensoy 2018).
    """
    alpha = evidence + 1.0
    total = alpha.sum(dim=2)
    chosen = alpha.gather(2, truth[:, :, None])[:, :, 0]
    wrong = alpha.gather(2, 1 - truth[:, :, None])[:, :, 0]
    misleading = torch.log(wrong) - (wrong - 1.0) / wrong  # KL(Beta(wrong, 1) || Beta(1, 1))
    return (torch.log(total) - torch.log(chosen) + KL_WEIGHT * misleading).mean()


def train_head(net: CoarseNet, data: Summaries, log: Path) -> Summaries:
    """Trains `net.markers` in place, keeps the epoch with the lowest held-out loss; the held-out rows are returned."""
    held = np.isin(data.number, np.unique(data.number)[: int(HELD_OUT * len(np.unique(data.number)))])
    train, check = data.of(~held), data.of(held)
    head = net.markers
    torch.manual_seed(4)
    head.middle.copy_(train.habitat.mean(dim=0))
    head.scale.copy_(train.habitat.std(dim=0) + 0.05)
    head.trained.fill_(1.0)
    optimiser = torch.optim.AdamW(head.parameters(), lr=RATE, weight_decay=DECAY)
    count, best, kept = train.truth.shape[1], math.inf, None
    for epoch in range(EPOCHS):
        head.train()
        for group in optimiser.param_groups:
            group["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * epoch / EPOCHS))
        for rows in torch.randperm(len(train.ml)).split(BATCH):
            evidence = head(train.habitat[rows], train.bottom[rows].float(), train.ml[rows])[:, :count]
            optimiser.zero_grad(set_to_none=True)
            marker_loss(evidence, train.truth[rows]).backward()
            optimiser.step()
        value = float(marker_loss(answers(net, check), check.truth))
        report(log, {"epoch": epoch, "held_out_loss": value})
        if value < best:
            best, kept = value, {name: value.clone() for name, value in head.state_dict().items()}
    assert kept is not None
    head.load_state_dict(kept)
    return check


@torch.no_grad()
def answers(net: CoarseNet, data: Summaries) -> Tensor:
    """Evidence (n, markers, 2) of the markers that phantoms have."""
    net.markers.eval()
    return net.markers(data.habitat, data.bottom.float(), data.ml)[:, : data.truth.shape[1]]


def calibration(evidence: Tensor, truth: Tensor, version: str, fitted_on: str) -> dict[str, Any]:
    """The table of molecular_subtyping: per marker the temperature and bias of least cross-entropy."""
    alpha = evidence + 1.0
    logit = torch.log(alpha[:, :, 1] / alpha[:, :, 0])
    table = {}
    for index, marker in enumerate(Marker):
        temperature, bias = _fitted(logit[:, index].double(), truth[:, index].double())
        table[marker.value] = {"temperature": round(temperature, 4), "bias": round(bias, 4)}
    return {"schema": "glioserve.calibration.v1", "version": version, "fitted_on": fitted_on, "markers": table}


def _fitted(logit: Tensor, truth: Tensor) -> tuple[float, float]:
    log_temperature = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([log_temperature, bias], max_iter=100)

    def closure() -> Tensor:
        optimiser.zero_grad()
        scaled = (logit + bias) / torch.exp(log_temperature.clamp(-3.0, 3.0))
        loss = torch.nn.functional.binary_cross_entropy_with_logits(scaled, truth)
        loss = loss + 1e-3 * (log_temperature**2 + bias**2).sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    return float(torch.exp(log_temperature.detach().clamp(-3.0, 3.0))), float(bias.detach())


def decided(evidence: Tensor, truth: Tensor, table: Mapping[str, Any]) -> dict[str, dict[str, list[float | None]]]:
    """By marker and distance of the calibrated probability from 0.5: the share that is that far away, and how much of
    it is right (None of nothing). `min_distance` of molecular_subtyping is chosen from it.
    """
    alpha = evidence.double() + 1.0
    logit = torch.log(alpha[:, :, 1] / alpha[:, :, 0])
    rows: dict[str, dict[str, list[float | None]]] = {}
    for index, (marker, scaling) in enumerate(table["markers"].items()):
        probability = torch.sigmoid((logit[:, index] + scaling["bias"]) / scaling["temperature"])
        right = (probability > 0.5) == truth[:, index].bool()
        rows[marker] = {}
        for distance in DISTANCES:
            far = (probability - 0.5).abs() >= distance
            share = float(far.double().mean())
            rows[marker][str(distance)] = [share, float(right[far].double().mean()) if share else None]
    return rows


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--coarse", type=Path, required=True, help="best.pt of the coarse training")
    parser.add_argument("--cases", type=Path, required=True, help="folder of kept phantoms")
    parser.add_argument("--make", type=int, default=0, help="make phantoms until there are so many")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=VARIANTS, help="sets of sequences a case")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--nice", type=int, default=19)
    options = parser.parse_args()
    os.nice(options.nice)
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    make_cases(options.cases, options.make, MARKER_SEEDS)
    net = CoarseNet()
    net.load_state_dict(widened(load_state(options.coarse)))
    net.eval()
    data = summarised(net, kept_cases(options.cases), options.out / "summaries", tuple(options.variants))
    check = train_head(net, data, options.out / "log.jsonl")
    replace_state(options.out / "coarse.pt", half(net.state_dict()))
    number = len(np.unique(data.number))
    fitted_on = f"{len(np.unique(check.number))} held-out phantoms of {number}, several sets of sequences each"
    found = answers(net, check)
    table = calibration(found, check.truth, f"phantoms-{number}", fitted_on)
    report(options.out / "log.jsonl", {"answered_and_right": decided(found, check.truth, table)})
    (options.out / "calibration.json").write_text(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    main()
