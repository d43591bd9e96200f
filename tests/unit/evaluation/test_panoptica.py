"""Instances against the library that defines their counts. It pins other libraries down, so it has its own group."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from services.evaluation.instances import instance_scores

pytestmark = pytest.mark.unit

panoptica = pytest.importorskip("panoptica", reason="panoptica is not installed (dependency group oracle)")
Mask = NDArray[np.bool_]


def blobs(seed: int, level: float) -> Mask:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(24, 24, 24)), 2.0)
    mask: Mask = noise > np.quantile(noise, level)
    return mask


@pytest.mark.parametrize("seed", range(6))
def test_instances_agree_with_panoptica(seed: int) -> None:
    truth = blobs(seed, 0.9)
    guess = (truth & ~blobs(seed + 50, 0.8)) | blobs(seed + 100, 0.97)
    evaluator = panoptica.Panoptica_Evaluator(
        expected_input=panoptica.InputType.SEMANTIC,
        instance_approximator=panoptica.ConnectedComponentsInstanceApproximator(),
        instance_matcher=panoptica.NaiveThresholdMatching(),
    )
    found = evaluator.evaluate(guess.astype(np.uint8), truth.astype(np.uint8), verbose=False)["ungrouped"]
    ours = instance_scores(guess, truth)
    assert (ours.found, ours.false, ours.missed) == (found.tp, found.fp, found.fn)
    assert ours.found > 0
    assert ours.quality == pytest.approx(found.rq, abs=1e-4)
    assert ours.dice == pytest.approx(found.sq_dsc, abs=1e-4)
