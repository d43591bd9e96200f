"""Traits of a series from the headers of one of its instances, classic or enhanced MR."""

from __future__ import annotations

from pydicom.dataset import Dataset

from services.core.imaging.dicom_frames import frame_kinds
from services.core.imaging.dicom_header import text
from services.preprocessing.domain.traits import Traits

_WORDS = ("SeriesDescription", "ProtocolName", "SequenceName", "PulseSequenceName")
_NO_AGENT = frozenset({"", "NO", "NONE", "N", "0"})
_PRIVATE_B_VALUES = (0x0019100C, 0x00431039)
"""Siemens and GE wrote b values here before (0018,9087) existed."""


def traits_of(dataset: Dataset) -> Traits:
    """Raises what pydicom raises on damaged values; callers read inside `guarded`."""
    parts = list(frame_kinds(dataset))
    agent = text(dataset, "ContrastBolusAgent").upper() not in _NO_AGENT or bool(
        dataset.get("ContrastBolusAgentSequence", None)
    )
    return Traits(
        words=" | ".join(text(dataset, name) for name in _WORDS).lower(),
        image_type=tuple(value.upper() for name in ("ImageType", "FrameType") for value in _values(parts, name)),
        scanning=tuple(value.upper() for value in _values(parts, "ScanningSequence")) + _enhanced_scanning(parts),
        tr_ms=_first(parts, ("RepetitionTime",)),
        te_ms=_first(parts, ("EffectiveEchoTime", "EchoTime")),
        ti_ms=_first(parts, ("InversionTime", "InversionTimes")),
        b_value=_b_value(dataset, parts),
        contrast=agent,
        three_d=text(dataset, "MRAcquisitionType").upper() == "3D",
        original="DERIVED" not in _values(parts, "ImageType"),
    )


def _values(parts: list[Dataset], keyword: str) -> tuple[str, ...]:
    for part in parts:
        value = part.get(keyword, None)
        if value:
            return (value,) if isinstance(value, str) else tuple(str(item) for item in value)
    return ()


def _first(parts: list[Dataset], keywords: tuple[str, ...]) -> float:
    for keyword in keywords:
        for part in parts:
            value = text(part, keyword).strip("[]").split(",")[0]
            if value:
                return float(value)
    return 0.0


def _enhanced_scanning(parts: list[Dataset]) -> tuple[str, ...]:
    """Enhanced MR says GRADIENT, SPIN or BOTH, and states inversion and echo-planar readout apart (PS3.3 C.8.13.4)."""
    echo = {"GRADIENT": ("GR",), "SPIN": ("SE",), "BOTH": ("GR", "SE")}
    kinds = [value for name in ("EchoPulseSequence",) for value in _values(parts, name)]
    found = [code for kind in kinds for code in echo.get(kind.upper(), ())]
    found += ["EP"] if "YES" in _values(parts, "EchoPlanarPulseSequence") else []
    found += ["IR"] if "YES" in _values(parts, "InversionRecovery") else []
    return tuple(found)


def _b_value(dataset: Dataset, parts: list[Dataset]) -> float:
    stated = _first(parts, ("DiffusionBValue",))
    if stated:
        return stated
    for tag in _PRIVATE_B_VALUES:
        element = dataset.get(tag, None)
        first = "" if element is None else str(element.value).strip("[]").split(",")[0]
        if first.isdigit():
            return float(first) % 100_000
    return 0.0
