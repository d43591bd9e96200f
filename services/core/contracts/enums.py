"""The closed vocabularies of the contracts. Values are what JSON documents hold."""

from __future__ import annotations

from enum import StrEnum


class Lane(StrEnum):
    """How urgent a study is. The theatre never travels on the bus."""

    THEATRE = "theatre"
    STAT = "stat"
    ROUTINE = "routine"


class Stage(StrEnum):
    """The steps of a study, in the order in which they run."""

    PREPARE = "prepare"
    SEGMENT = "segment"
    SUBTYPE = "subtype"
    COMPARE = "compare"
    REPORT = "report"


class OutcomeStatus(StrEnum):
    """How a request ended."""

    COMPLETED = "completed"
    DEGRADED = "degraded"
    REFUSED = "refused"
    FAILED = "failed"


class SegmentStep(StrEnum):
    """Which masks a segmentation request asks for."""

    COARSE = "coarse"
    FINE = "fine"
    BOTH = "both"


class Completeness(StrEnum):
    """How much a result can say. `insufficient` carries no number at all."""

    COMPLETE = "complete"
    DEGRADED = "degraded"
    INSUFFICIENT = "insufficient"


class Verdict(StrEnum):
    """Whether a result may leave for archive and record before a person has looked at it."""

    TRUSTED = "trusted"
    NEEDS_REVIEW = "needs_review"


class BlobClass(StrEnum):
    """Where a blob lies. `identified` holds original instances: gateway, preprocessing and navigation only."""

    DERIVED = "derived"
    IDENTIFIED = "identified"


class Modality(StrEnum):
    """The slots of the fusion model. The order is part of the tensor contract: never change it."""

    T1N = "t1n"
    T1C = "t1c"
    T2W = "t2w"
    T2F = "t2f"
    ADC = "adc"
    RCBV = "rcbv"
    APT = "apt"
    QSM = "qsm"
    FA = "fa"
    CHO_NAA = "cho_naa"


class Marker(StrEnum):
    """Molecular markers, in the order of the rows of the network's `markers` output; four more rows are reserved."""

    IDH = "idh"
    CODEL_1P19Q = "codel_1p19q"
    MGMT = "mgmt"
    H3K27M = "h3k27m"


STRUCTURAL = (Modality.T1N, Modality.T1C, Modality.T2W, Modality.T2F)

UNITS = {
    Modality.T1N: "a.u.",
    Modality.T1C: "a.u.",
    Modality.T2W: "a.u.",
    Modality.T2F: "a.u.",
    Modality.ADC: "1e-3 mm2/s",
    Modality.RCBV: "ratio",
    Modality.APT: "%",
    Modality.QSM: "ppm",
    Modality.FA: "1",
    Modality.CHO_NAA: "ratio",
}
