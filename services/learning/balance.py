"""Offsets of the classes and the temperature of a trained coarse network, fitted on selection phantoms.

    python -m services.learning.balance --weights DIR/best.pt --out DIR/balanced.pt

The region losses favour tumour over background, so borders come out too far. A constant added to the log evidence of
each class (it goes into the bias of the last layer, so that nothing changes in serving) undoes that; the temperature,
printed for `export --temperature`, then gives the smallest calibration error. Neither sees a test or a real case.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from services.core.contracts.enums import STRUCTURAL
from services.core.imaging.labels import REGIONS
from services.evaluation.calibration import added, binned, expected_calibration_error, near
from services.evaluation.metrics import overall_dice, region_dices
from services.learning.export import load_coarse
from services.learning.feeder import Packed
from services.learning.network import CLASSES, MAX_LOG_EVIDENCE, CoarseNet
from services.learning.store import half, load_state, replace_state, widened
from services.learning.trainer import tensors
from services.phantom import frozen
from services.phantom.prepared import prepared

FIRST, CASES, SPACING_MM = 100, 28, 2.0
"""Selection phantoms from this number on: the trainer chooses checkpoints with lower ones."""
PAIR = (1, 3)  # t1c and t2f, the commonest protocol with sequences missing
STEPS, LARGEST = (0.6, 0.3, 0.15), 4.0
DOUBT = 2 * LARGEST  # log evidence by which background must lead for offsets never to matter
TEMPERATURES = tuple(np.round(np.arange(1.0, 3.01, 0.1), 1))
Scores = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scored:
    """Voxels of a case where the answer is not plain: log evidence (classes, n), labels (n,) and which are close to
    tumour, true or claimed (n,).
    """

    scores: Scores
    labels: NDArray[np.uint8]
    close: NDArray[np.bool_]

    def claimed(self, offsets: Scores) -> NDArray[np.uint8]:
        """Labels with the offsets."""
        found: NDArray[np.uint8] = (self.scores + offsets[:, None]).argmax(axis=0).astype(np.uint8)
        return found


@torch.no_grad()
def scored(net: CoarseNet, case: Packed, brain: NDArray[np.bool_]) -> Scored:
    """What a network says of a case inside the brain (x, y, z)."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        answer, _ = net.logits(*tensors(case, torch.device("cpu")))
    scores: Scores = answer[0].float().numpy()
    guess = scores.argmax(axis=0) * brain
    close = near((guess > 0) | (case.labels > 0), SPACING_MM) & brain
    counted = brain & (close | (scores[1:].max(axis=0) > scores[0] - DOUBT))
    return Scored(scores=scores[:, counted], labels=case.labels[counted], close=close[counted])


def selection_cases(count: int) -> Iterator[tuple[Packed, NDArray[np.bool_]]]:
    """Each phantom with all four structural sequences, then with t1c and t2f alone; and its brain."""
    for number in range(FIRST, FIRST + count):
        whole = prepared(frozen.selection_study(number, spacing_mm=SPACING_MM), SPACING_MM, STRUCTURAL)
        yield Packed.of(whole), whole.brain
        gone = [slot for slot in range(len(STRUCTURAL)) if slot not in PAIR]
        yield Packed.of(whole).without(gone), whole.brain


def mean_dice(cases: Sequence[Scored], offsets: Scores) -> float:
    """Of the three regions over all cases."""
    return overall_dice(region_dices(case.claimed(offsets), case.labels) for case in cases)


def fitted(cases: Sequence[Scored]) -> Scores:
    """Offsets (classes,) with the highest mean Dice, by steps along one class after another, which grow finer.

    Dice sees their differences alone, so the mean of the tumour's classes is held at zero: no more and no less evidence
    inside the tumour than the network gave.
    """
    offsets = np.zeros(CLASSES, dtype=np.float32)
    best = mean_dice(cases, offsets)
    for step in STEPS:
        moved = True
        while moved:
            moved = False
            for label, change in ((label, change) for label in range(CLASSES) for change in (step, -step)):
                trial = offsets.copy()
                trial[label] += change
                if abs(trial[label]) <= LARGEST and (value := mean_dice(cases, trial)) > best + 1e-4:
                    best, offsets, moved = value, trial, True
    return offsets - offsets[list(REGIONS["WT"])].mean()


def calibration_error(cases: Sequence[Scored], offsets: Scores, temperature: float) -> float:
    """Of alpha / S, where the export divides the log evidence by a temperature."""
    bins = []
    for case in cases:
        log_evidence = (case.scores[:, case.close] + offsets[:, None]) / np.float32(temperature)
        alpha = np.exp(np.minimum(log_evidence, MAX_LOG_EVIDENCE)) + 1.0
        believed = alpha / alpha.sum(axis=0)
        bins.append(binned(believed.max(axis=0), believed.argmax(axis=0) == case.labels[case.close]))
    return expected_calibration_error(added(bins))


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="where the balanced weights go")
    parser.add_argument("--cases", type=int, default=CASES)
    options = parser.parse_args()
    net = load_coarse(options.weights)
    cases = [scored(net, *case) for case in selection_cases(options.cases)]
    offsets = fitted(cases)
    state = widened(load_state(options.weights))
    state["head.bias"] += torch.from_numpy(offsets)
    replace_state(options.out, half(state))
    errors = {float(t): round(calibration_error(cases, offsets, float(t)), 4) for t in TEMPERATURES}
    told = {
        "offsets": [round(float(value), 2) for value in offsets],
        "mean_dice": [round(mean_dice(cases, o), 4) for o in (np.zeros_like(offsets), offsets)],
        "temperature": min(errors, key=lambda t: errors[t]),
        "calibration_error": errors,
    }
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
