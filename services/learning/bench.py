"""Compares fusions and parts of the network at equal budget: same cases, same steps, same seeds, 4 mm, minutes each.

    python -m services.learning.bench fusion|ablations|folds --out DIR [--cases 600] [--tests 40]

Small grid and short training: the order of the rows means something, their height does not. `folds` trains the gated
network five times, each time tested on the fifth of the cases that it did not see. Results go to DIR/<what>.json.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations, cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from services.core.contracts.enums import STRUCTURAL
from services.evaluation.metrics import mean_dices, region_dices
from services.learning.feeder import TEST_SEEDS, TRAINING_SEEDS, Packed
from services.learning.network import FusionMode
from services.learning.trainer import Plan, Trainer, predicted
from services.phantom.anatomy import load_atlas
from services.phantom.randomised import CaseOptions, randomised_case
from services.phantom.randomised_atlas import tissue_atlas

SPACING_MM = 4.0
FOLDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One row of a comparison. `adapters` off: the same stem for every sequence; `quality` off: all count alike."""

    mode: FusionMode = FusionMode.GATED
    attention: bool = True
    adapters: bool = True
    quality: bool = True


FUSIONS: Mapping[str, Variant] = {str(mode): Variant(mode=mode) for mode in FusionMode}
ABLATIONS: Mapping[str, Variant] = {
    "all parts": Variant(),
    "no attention": Variant(attention=False),
    "mean instead of gate": Variant(mode=FusionMode.EARLY),
    "no adapters": Variant(adapters=False),
    "no quality": Variant(quality=False),
}


def cases(first_seed: int, count: int, *, all_sequences: bool) -> list[Packed]:
    """Randomised cases at 4 mm, sequences missing as in training or none."""
    atlas = tissue_atlas(load_atlas(), SPACING_MM)
    options = CaseOptions(all_sequences=all_sequences, smallest_ml=10.0)
    return [Packed.of(randomised_case(first_seed + n, atlas, options)) for n in range(count)]


def trained(variant: Variant, training: list[Packed], folder: Path, seed: int = 1) -> Trainer:
    """The variant after one pass over the cases."""
    plan = Plan(budget_cases=len(training), crops=(), mode=variant.mode, attention=variant.attention)
    trainer = Trainer(replace(plan, accumulate=(1, 1, 2)), folder, "cpu", seed=seed)
    if not variant.adapters:
        for reader in (trainer.net.fusion.sharp, trainer.net.fusion.flat):
            reader.film_scale.requires_grad_(False)
            reader.film_shift.requires_grad_(False)
    stream: Iterator[Packed] = cycle(training)
    while trainer.done < 1.0:
        trainer.step(plain(case) if not variant.quality else case for case in stream)
    return trainer


def plain(case: Packed) -> Packed:
    """The same quality for every sequence that is there."""
    usual = np.array([3.0, 0.1, 2.0], dtype=np.float32)
    return replace(case, quality=case.available[:, None] * usual)


def measured(trainer: Trainer, tests: list[Packed], *, quality: bool = True) -> dict[str, Any]:
    """Mean Dice with all four sequences, and over the six pairs that can be missing."""
    given = tests if quality else [plain(case) for case in tests]
    device = torch.device("cpu")
    rows = [region_dices(predicted(trainer.average, case, device), case.labels) for case in given]
    drops = {}
    for gone in combinations(range(len(STRUCTURAL)), 2):
        name = "without " + ", ".join(STRUCTURAL[slot] for slot in gone)
        found = [region_dices(predicted(trainer.average, c.without(gone), device), c.labels) for c in given]
        drops[name] = mean_dices(found)
    mean = {region: float(np.mean([row[region] for row in drops.values()])) for region in ("WT", "TC", "ET")}
    return {"all": mean_dices(rows), "two_missing": mean, "drops": drops}


def compared(variants: Mapping[str, Variant], folder: Path, count: int, tests: int) -> dict[str, Any]:
    """Every variant on the same cases."""
    training = cases(TRAINING_SEEDS + 7_000_000, count, all_sequences=False)
    unseen = cases(TEST_SEEDS + 7_000_000, tests, all_sequences=True)
    rows = {}
    for name, variant in variants.items():
        trainer = trained(variant, training, folder / name.replace(" ", "_"))
        rows[name] = measured(trainer, unseen, quality=variant.quality)
        print(name, json.dumps(rows[name]["all"]), json.dumps(rows[name]["two_missing"]), flush=True)
    return {"training_cases": count, "test_cases": tests, "spacing_mm": SPACING_MM, "rows": rows}


def folds(folder: Path, count: int) -> dict[str, Any]:
    """Five trainings, each tested on the fifth that it did not see (all four sequences)."""
    pool = cases(TRAINING_SEEDS + 8_000_000, count, all_sequences=False)
    whole = cases(TRAINING_SEEDS + 8_000_000, count, all_sequences=True)
    rows = {}
    for fold in range(FOLDS):
        training = [case for n, case in enumerate(pool) if n % FOLDS != fold]
        trainer = trained(Variant(), training, folder / f"fold{fold}", seed=fold + 1)
        device = torch.device("cpu")
        rows[str(fold)] = mean_dices(
            region_dices(predicted(trainer.average, case, device), case.labels) for case in whole[fold::FOLDS]
        )
        print(fold, json.dumps(rows[str(fold)]), flush=True)
    spread = {r: float(np.std([row[r] for row in rows.values()], ddof=1)) for r in ("WT", "TC", "ET")}
    return {"cases": count, "spacing_mm": SPACING_MM, "rows": rows, "mean": mean_dices(rows.values()), "sd": spread}


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("what", choices=("fusion", "ablations", "folds"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cases", type=int, default=600)
    parser.add_argument("--tests", type=int, default=40)
    options = parser.parse_args()
    os.nice(19)
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.what == "folds":
        result = folds(options.out, options.cases)
    else:
        variants = FUSIONS if options.what == "fusion" else ABLATIONS
        result = compared(variants, options.out, options.cases, options.tests)
    (options.out / f"{options.what}.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
