"""One case, measured: what is written as one line of JSON, so that a long evaluation can go on where it stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.core.contracts.enums import Modality
from services.core.imaging.canonical import canonical_grid
from services.core.imaging.labels import REGIONS, Label, region_mask, volumes_ml
from services.evaluation.baseline import thresholded
from services.evaluation.calibration import binned, near, wrong_among_uncertain
from services.evaluation.instances import instance_scores
from services.evaluation.lesions import lesion_scores
from services.evaluation.metrics import dice, region_dices, sensitivity, specificity, volume_bias
from services.evaluation.served import Answer, ServedModels
from services.evaluation.surfaces import surface_scores
from services.evaluation.thinning import FULL, Case, with_only
from services.fusion_segmentation.domain.judgement import Findings, Limits, flags
from services.phantom.spec import PhantomStudy

GRID = canonical_grid(np.zeros(3))
Row = dict[str, Any]


def measured(
    models: ServedModels,
    case: Case,
    protocols: Mapping[str, tuple[Modality, ...]],
    seen: Callable[[Answer], None] | None = None,
) -> Row:
    """Every protocol's Dice; for the full one surfaces, lesions, volumes, calibration and flags too.

    `seen` is handed the answer to the full one.
    """
    truth = case.labels
    row: Row = {
        "truth_ml": volumes_ml(truth, GRID),
        "baseline": region_dices(thresholded(case), truth),
        "protocols": {},
    }
    for name, kept in protocols.items():
        if not set(kept) & _there(case) or (name != FULL and not set(kept) <= _there(case)):
            continue
        answer = models.answer(with_only(case, kept))
        row["protocols"][name] = {
            "dice": region_dices(answer.labels, truth),
            "coarse": region_dices(answer.coarse_labels, truth),
            "ml": volumes_ml(answer.labels, GRID)["WT"],
            "flags": flagged(models, answer, kept),
        }
        if name == FULL:
            row |= _closely(answer, case)
            if seen is not None:
                seen(answer)
    return row


def flagged(models: ServedModels, answer: Answer, kept: tuple[Modality, ...]) -> list[str]:
    """Codes of the doubts that serving would state about the mask itself (not those about preparation or release)."""
    settings = models.settings
    findings = Findings(
        used=kept, volumes_ml=volumes_ml(answer.labels, GRID), mean_vacuity=answer.mean_vacuity,
        touches_edge=answer.touches_edge,
    )  # fmt: skip
    limits = Limits(vacuity=settings.review_vacuity, whole_tumour_ml=settings.implausible_ml)
    return [reason.code for reason in flags(findings, limits)]


def about(study: PhantomStudy) -> Row:
    """What the figures are broken down by."""
    spec = study.spec
    snr = spec.snr or 0.0
    return {
        "seed": study.seed,
        "kind": str(spec.kind),
        "tesla": spec.field_tesla,
        "noise": "low noise" if snr >= 35 else "middle noise" if snr >= 22 else "high noise",
        "slices": "thick" if spec.thick_mm else "thin",
        "motion": "moved" if spec.motion > 0 else "still",
    }


def _there(case: Case) -> set[Modality]:
    return {m for m, given in zip(Modality, case.available, strict=True) if given}


def _closely(answer: Answer, case: Case) -> Row:
    truth = case.labels
    masks = {name: (region_mask(answer.labels, name), region_mask(truth, name)) for name in REGIONS}
    return {
        "cavity": dice(answer.labels == Label.RC, truth == Label.RC),
        "surfaces": {name: surface_scores(*pair) for name, pair in masks.items()},
        "lesions": {name: asdict(lesion_scores(*pair)) for name, pair in masks.items()},
        "instances": {name: asdict(instance_scores(*pair)) for name, pair in masks.items()},
        "sensitivity": {name: sensitivity(*pair) for name, pair in masks.items()},
        "specificity": {name: specificity(*pair, case.brain) for name, pair in masks.items()},
        "bias_ml": {name: volume_bias(*pair, GRID.voxel_ml) for name, pair in masks.items()},
        "gates": dict(answer.gates),
        "mean_vacuity": answer.mean_vacuity,
        **_uncertainty(answer, case),
    }


def _uncertainty(answer: Answer, case: Case) -> Row:
    """Confidence is that of the coarse evidence (alpha / S of the label) at 2 mm; vacuity is that of the mask."""
    alpha = answer.evidence + 1.0
    probability = alpha / alpha.sum(axis=0)
    guess = probability.argmax(axis=0)
    truth = _at_2_mm(case)
    close = near((guess > 0) | (truth > 0), 2.0)
    confidence = probability.max(axis=0)[close].astype(np.float64)
    right = (guess == truth)[close]
    one_hot = truth[close][None] == np.arange(probability.shape[0])[:, None]
    brier = float(((probability[:, close] - one_hot) ** 2).sum(axis=0).mean()) if close.any() else 0.0
    wrong = (answer.labels != case.labels)[case.brain]
    return {
        "bins": asdict(binned(confidence, right)),
        "brier": brier,
        "wrong_among_uncertain": wrong_among_uncertain(answer.vacuity[case.brain].astype(np.float32), wrong),
    }


def _at_2_mm(case: Case) -> NDArray[np.int64]:
    """The label that most of the eight 1 mm voxels have; a tie goes to the lower label."""
    x, y, z = (n // 2 for n in case.labels.shape)
    parts = case.labels.reshape(x, 2, y, 2, z, 2).transpose(0, 2, 4, 1, 3, 5).reshape(x, y, z, 8)
    votes = np.stack([(parts == label).sum(axis=-1) for label in range(int(case.labels.max()) + 1)])
    most: NDArray[np.int64] = votes.argmax(axis=0)
    return most
