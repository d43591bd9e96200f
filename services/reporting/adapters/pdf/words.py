"""How the PDF names things and writes numbers: names of regions, markers, sequences and states, units, dates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType

from services.core.contracts.enums import Completeness, Modality, Verdict
from services.core.contracts.facts import Decision

MINUS, DASH = "\u2212", "\u2013"

REGION_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "WT": "Whole tumour (WT)",
        "TC": "Tumour core (TC)",
        "ET": "Enhancing tumour (ET)",
        "NCR": "Necrotic core (NCR)",
        "SNFH": "FLAIR hyperintensity (SNFH)",
        "RC": "Resection cavity (RC)",
    }
)
REGION_PARTS: Mapping[str, str] = MappingProxyType(
    {
        "WT": "NCR + SNFH + ET",
        "TC": "NCR + ET",
        "ET": "enhances with contrast",
        "NCR": "does not enhance, inside the core",
        "SNFH": "oedema, may be infiltrated",
        "RC": "not part of WT or TC",
    }
)
MARKER_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "idh": "IDH mutation",
        "codel_1p19q": "1p/19q codeletion",
        "mgmt": "MGMT promoter methylation",
        "h3k27m": "H3 K27M alteration",
    }
)
DECISIONS: Mapping[Decision, str] = MappingProxyType(
    {
        Decision.POSITIVE: "Positive",
        Decision.NEGATIVE: "Negative",
        Decision.ABSTAINED: "Abstained",
        Decision.NOT_AVAILABLE: "Not available",
    }
)
MODALITY_NAMES: Mapping[Modality, str] = MappingProxyType(
    {
        Modality.T1N: "T1",
        Modality.T1C: "T1 contrast",
        Modality.T2W: "T2",
        Modality.T2F: "T2 FLAIR",
        Modality.ADC: "ADC",
        Modality.RCBV: "rCBV",
        Modality.APT: "APT",
        Modality.QSM: "QSM",
        Modality.FA: "FA",
        Modality.CHO_NAA: "Cho/NAA",
    }
)
COMPLETENESS: Mapping[Completeness, tuple[str, str]] = MappingProxyType(
    {
        Completeness.COMPLETE: ("Complete", "Every step gave its result."),
        Completeness.DEGRADED: ("Degraded", "Something was missing or poor; the reasons below say what that does."),
        Completeness.INSUFFICIENT: ("Insufficient", "Nothing could be measured; the reasons are below."),
    }
)
VERDICTS: Mapping[Verdict, tuple[str, str]] = MappingProxyType(
    {
        Verdict.TRUSTED: ("Trusted", "No automatic check objected. No person has reviewed it."),
        Verdict.NEEDS_REVIEW: (
            "Needs review",
            "An automatic check objected. Not for the archive or the record before a person accepts it.",
        ),
    }
)
NOTHING_TO_CHECK = "There is no number that a check could object to."


def modality_name(modality: Modality | str | None) -> str:
    """A sequence as the reader knows it."""
    if modality is None:
        return "Not identified"
    return MODALITY_NAMES[modality] if isinstance(modality, Modality) else modality


def millilitres(value: float) -> str:
    """One decimal; what would round to zero but is not is written as `< 0.1`."""
    return "< 0.1" if 0 < value < 0.05 else f"{value:.1f}"


def signed(value: float, decimals: int) -> str:
    """With a plus or a true minus sign; zero has none."""
    text = f"{abs(value):.{decimals}f}"
    if float(text) == 0:
        return text
    return f"{'+' if value > 0 else MINUS}{text}"


def number(value: float | None, decimals: int) -> str:
    """A number, or a dash where there is none."""
    return DASH if value is None or not math.isfinite(value) else f"{value:.{decimals}f}"


def moment(iso: str | None) -> str:
    """An ISO 8601 date or date and time as `2024-01-31 10:15`; what is not one is shown as it stands."""
    if iso is None:
        return "not known"
    try:
        parsed = datetime.fromisoformat(iso)
    except ValueError:
        return iso
    return f"{parsed:%Y-%m-%d}" if len(iso) <= len("2024-01-31") else f"{parsed:%Y-%m-%d %H:%M}"


def day(iso: str | None) -> str:
    """The date alone, for the heads of columns."""
    return moment(iso).split(" ")[0] if iso else "Date not known"
