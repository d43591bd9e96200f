"""Markers, from the stored evidence through the very decisions of molecular_subtyping with its calibration."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import numpy as np

from services.core.contracts.enums import Marker
from services.core.contracts.facts import Decision, MarkerEvidence
from services.evaluation.calibration import auc, binned, expected_calibration_error
from services.molecular_subtyping.domain.calibration import Calibration, calibration_from
from services.molecular_subtyping.domain.decisions import Thresholds, decide
from services.molecular_subtyping.settings import SubtypeSettings

BINS = 10
Row = dict[str, Any]


def marker_figures(rows: Sequence[Mapping[str, Any]]) -> Row:
    """By set of sequences and marker: AUC, ECE, how often there is an answer and how often it is right."""
    calibration, thresholds = shipped_rules()
    names = list(rows[0]["evidence"])
    return {
        name: {str(marker): _of(rows, name, marker, (calibration, thresholds)) for marker in Marker}
        | {"cases": len(rows), "codel_among_idh_mutants": _codel(rows, name, (calibration, thresholds))}
        for name in names
    }


def shipped_rules() -> tuple[Calibration, Thresholds]:
    """The calibration and thresholds that molecular_subtyping ships."""
    text = resources.files("services.molecular_subtyping").joinpath("calibration.json").read_text()
    settings = SubtypeSettings()
    thresholds = Thresholds(
        max_vacuity=settings.max_vacuity, min_distance=settings.min_distance, silent=settings.silent
    )
    return calibration_from(json.loads(text)), thresholds


def _of(rows: Sequence[Mapping[str, Any]], name: str, marker: Marker, rules: tuple[Calibration, Thresholds]) -> Row:
    probability, truth, decisions = [], [], []
    for row in rows:
        evidence = [
            MarkerEvidence(marker=Marker(key), absent=pair[0], present=pair[1])
            for key, pair in row["evidence"][name].items()
        ]
        answer = next(a for a in decide(evidence, *rules) if a.marker == marker)
        probability.append(0.5 if answer.probability is None else answer.probability)
        truth.append(bool(row["truth"][str(marker)]))
        decisions.append(answer.decision)
    p, t = np.array(probability), np.array(truth)
    answered = np.array([d in {Decision.POSITIVE, Decision.NEGATIVE} for d in decisions])
    right = np.array([d is Decision.POSITIVE for d in decisions]) == t
    confidence, correct = np.maximum(p, 1 - p), (p > 0.5) == t
    return {
        "auc": auc(p, t),
        "ece": expected_calibration_error(binned(p, t, BINS)),
        "ece_of_confidence": expected_calibration_error(binned(confidence, correct, BINS)),
        "answered": float(answered.mean()),
        "accuracy_of_answered": float(right[answered].mean()) if answered.any() else None,
        "abstained": float(1 - answered.mean()),
    }


def _codel(rows: Sequence[Mapping[str, Any]], name: str, rules: tuple[Calibration, Thresholds]) -> float | None:
    mutants = [row for row in rows if row["truth"][str(Marker.IDH)]]
    found: float | None = _of(mutants, name, Marker.CODEL_1P19Q, rules)["auc"] if mutants else None
    return found
