"""Trains the coarse network within a budget of cases; resumes where it was stopped.

    python -m services.learning.train --budget-cases 12000 --out DIR [--this-run-minutes 9] [--device cuda]

With `--start services/learning/checkpoint/coarse.pt` a new schedule goes on from the released weights.

One schedule: the learning rate falls by a cosine to zero over the whole budget, however many runs share it.
Checkpoints are chosen on synthetic sets with seeds of their own, never on a real case.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import asdict
from pathlib import Path

from services.learning.feeder import SELECTION_SEEDS, TRAINING_SEEDS, Diet, case_stream, fixed_cases, selection_phantoms
from services.learning.network import FusionMode
from services.learning.store import report
from services.learning.trainer import Plan, Selection, Trainer


def run(trainer: Trainer, selection: Selection, run_s: float, workers: int) -> None:
    """Trains until the budget or this run's time is used up; scores and saves at every selection point."""
    plan, progress = trainer.plan, trainer.progress
    until = time.monotonic() + run_s
    log = trainer.folder / "log.jsonl"
    next_save = progress.cases + plan.select_every
    with case_stream(TRAINING_SEEDS + progress.drawn, plan.diet, workers) as stream:
        while trainer.done < 1.0 and time.monotonic() < until:
            stream.progress.value = trainer.done
            trainer.step(stream.cases)
            if progress.steps % 25 == 0:
                report(log, {**asdict(progress), "progress": trainer.done})
            if progress.cases >= next_save:
                next_save += plan.select_every
                keep(trainer, selection, log)
    keep(trainer, selection, log)


def keep(trainer: Trainer, selection: Selection, log: Path) -> None:
    """Scores the averaged weights, keeps them when they are the best so far, and saves everything."""
    score = trainer.score(selection)
    trainer.keep_best(score)
    trainer.save()
    report(log, {**asdict(trainer.progress), "selection": score})


def parsed() -> argparse.Namespace:
    """The command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True, help="folder of resume.pt, average.pt, best.pt, log.jsonl")
    parser.add_argument("--budget-cases", type=int, required=True, help="length of the whole schedule")
    parser.add_argument("--this-run-minutes", type=float, default=1e6, help="stop earlier, to be resumed")
    parser.add_argument("--start", type=Path, help="weights to start from when there is nothing to resume")
    parser.add_argument("--mode", type=FusionMode, choices=list(FusionMode), default=FusionMode.GATED)
    parser.add_argument("--keep", type=Path, help="folder for the grown phantoms, for train_markers")
    parser.add_argument("--functional-share", type=float, default=0.4, help="of the grown phantoms: all ten sequences")
    parser.add_argument("--rate", type=float, default=1.2e-3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1, help="generator processes")
    parser.add_argument("--nice", type=int, default=19)
    return parser.parse_args()


def main() -> None:
    """Command line; see the module's docstring."""
    import torch

    options = parsed()
    os.nice(options.nice)
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    diet = Diet(keep=options.keep, functional_share=options.functional_share)
    plan = Plan(budget_cases=options.budget_cases, rate=options.rate, mode=options.mode, diet=diet)
    trainer = Trainer(plan, options.out, options.device)
    if options.start and trainer.progress.cases == 0:
        trainer.start_from(options.start)
    selection = Selection(
        randomised=fixed_cases(SELECTION_SEEDS, plan.selection_cases), phantoms=selection_phantoms(plan.selection_cases)
    )
    run(trainer, selection, 60.0 * options.this_run_minutes, options.workers)


if __name__ == "__main__":
    main()
