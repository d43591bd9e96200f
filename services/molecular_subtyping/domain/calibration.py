"""From Dirichlet evidence of one marker to a calibrated probability, with the table of temperatures and biases.

Two classes: alpha = evidence + 1; p = alpha_present / (alpha_absent + alpha_present); vacuity = 2 / (sum of alphas).
Calibrated: sigmoid((logit p + bias) / temperature) (Platt and temperature scaling, Guo et al., ICML 2017).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from services.core.contracts.documents import from_document
from services.core.contracts.facts import MarkerEvidence
from services.core.contracts.ids import JsonValue

SCHEMA = "glioserve.calibration.v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """How the logit of one marker is moved and stretched."""

    temperature: float
    bias: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A versioned table. `fitted_on` names the data it was fitted on; None: the network's own numbers pass through."""

    schema: str
    version: str
    fitted_on: str | None
    markers: Mapping[str, Scaling]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """Calibrated probability that the marker is present, and how much of the opinion is ignorance (0 to 1)."""

    probability: float
    vacuity: float


def calibration_from(document: Mapping[str, JsonValue]) -> Calibration:
    """The table. Raises ValueError on another schema, a missing field or a temperature that is not positive."""
    table = from_document(Calibration, document)
    if table.schema != SCHEMA:
        raise ValueError(f"unknown calibration schema {table.schema!r}")
    for marker, scaling in table.markers.items():
        if not (math.isfinite(scaling.bias) and math.isfinite(scaling.temperature) and scaling.temperature > 0):
            raise ValueError(f"calibration of {marker} is not usable: {scaling}")
    return table


def opinion(evidence: MarkerEvidence, scaling: Scaling) -> Opinion:
    """What the evidence says after calibration. Scaling never changes the vacuity."""
    absent, present = evidence.absent + 1.0, evidence.present + 1.0
    logit = (math.log(present / absent) + scaling.bias) / scaling.temperature
    return Opinion(probability=_sigmoid(logit), vacuity=2.0 / (absent + present))


def _sigmoid(logit: float) -> float:
    if logit >= 0:
        return 1.0 / (1.0 + math.exp(-logit))
    grown = math.exp(logit)
    return grown / (1.0 + grown)
