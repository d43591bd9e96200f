"""Which sequences a case keeps: the protocols that hospitals have, and what is lost when two sequences are missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from types import MappingProxyType

from services.core.contracts.enums import STRUCTURAL, Modality
from services.phantom.prepared import PreparedCase

Case = PreparedCase
FULL = "four structural"
_M = Modality
CLINICAL: Mapping[str, tuple[Modality, ...]] = MappingProxyType(
    {
        FULL: STRUCTURAL,
        "t1c t2f": (_M.T1C, _M.T2F),
        "t1c t2w t2f": (_M.T1C, _M.T2W, _M.T2F),
        "t1n t1c": (_M.T1N, _M.T1C),
        "t1c": (_M.T1C,),
        "t2f": (_M.T2F,),
        "all ten": tuple(Modality),
    }
)
"""What is sent together, by what is sent."""


def two_dropped() -> dict[str, tuple[Modality, ...]]:
    """The four structural sequences less each pair."""
    return {
        "without " + " ".join(gone): tuple(m for m in STRUCTURAL if m not in gone)
        for gone in combinations(STRUCTURAL, 2)
    }


def all_dropped() -> dict[str, tuple[Modality, ...]]:
    """All ten sequences less each of the 45 pairs."""
    return {
        "ten without " + " ".join(gone): tuple(m for m in Modality if m not in gone)
        for gone in combinations(tuple(Modality), 2)
    }


def with_only(case: Case, kept: tuple[Modality, ...]) -> Case:
    """The case with these sequences, as far as it has them."""
    keep = [slot for slot, modality in enumerate(tuple(Modality)) if modality in kept]
    gone = [slot for slot in range(len(case.available)) if slot not in keep]
    image, available, quality = case.image.copy(), case.available.copy(), case.quality.copy()
    image[gone], available[gone], quality[gone] = 0, 0, 0
    return replace(case, image=image, available=available, quality=quality)
