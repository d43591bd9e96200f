"""Offsets and temperature that are fitted after the training."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed; `make learning` makes its environment")

from services.learning import balance
from services.learning.balance import Scored, calibration_error, fitted, mean_dice
from services.learning.network import CLASSES, CoarseNet
from services.learning.store import half, load_state, replace_state

pytestmark = pytest.mark.unit


def biased(seed: int, too_much: float) -> Scored:
    """Noisy log evidence of a case whose classes 1 to 3 all get too much of it."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(CLASSES - 1, 4000, p=(0.7, 0.1, 0.1, 0.1)).astype(np.uint8)
    scores = rng.normal(0.0, 1.0, (CLASSES, labels.size)).astype(np.float32)
    scores[labels, np.arange(labels.size)] += 3.0
    scores[1:4] += too_much
    return Scored(scores=scores, labels=labels, close=np.ones(labels.size, np.bool_))


def test_evidence_that_is_too_much_for_tumour_is_found_and_taken_back() -> None:
    cases = [biased(seed, 2.0) for seed in range(3)]
    offsets = fitted(cases)
    assert offsets[0] - offsets[1:4].mean() == pytest.approx(2.4, abs=0.8)
    assert mean_dice(cases, offsets) > mean_dice(cases, np.zeros_like(offsets)) + 0.05


def test_balanced_evidence_is_nearly_left_alone() -> None:
    offsets = fitted([biased(seed, 0.0) for seed in range(3)])
    assert abs(offsets[0] - offsets[1:4].mean()) < 0.7


def test_evidence_that_claims_too_much_is_calibrated_by_a_higher_temperature() -> None:
    case = biased(1, 0.0)
    loud = Scored(scores=case.scores * 9, labels=case.labels, close=case.close)
    none = np.zeros(CLASSES, np.float32)
    assert calibration_error([loud], none, 3.0) < calibration_error([loud], none, 1.0) / 2


def test_the_offsets_go_into_the_last_layer_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    replace_state(tmp_path / "best.pt", half(CoarseNet().state_dict()))
    monkeypatch.setattr(
        sys,
        "argv",
        ["balance", "--weights", str(tmp_path / "best.pt"), "--out", str(tmp_path / "balanced.pt"), "--cases", "1"],
    )
    balance.main()
    told = json.loads(capsys.readouterr().out)
    before, after = load_state(tmp_path / "best.pt"), load_state(tmp_path / "balanced.pt")
    changed = [name for name, value in before.items() if not value.equal(after[name])]
    assert changed in ([], ["head.bias"])
    assert (after["head.bias"] - before["head.bias"]).numpy() == pytest.approx(told["offsets"], abs=0.02)
    assert told["mean_dice"][1] >= told["mean_dice"][0]
