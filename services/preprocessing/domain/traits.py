"""What a series' headers say about how it was acquired: the only input of the identification.

Descriptions are free text and may hold names: they are matched against patterns, never quoted.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """Times in ms (0: not stated). `words`: series description, protocol and sequence name, lower case, in one line.

    `image_type`, `scanning`: DICOM values, upper case. `contrast`: an agent is stated. `three_d`: 3-D acquisition.
    """

    words: str
    image_type: tuple[str, ...] = ()
    scanning: tuple[str, ...] = ()
    tr_ms: float = 0.0
    te_ms: float = 0.0
    ti_ms: float = 0.0
    b_value: float = 0.0
    contrast: bool = False
    three_d: bool = False
    original: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """Size of a series: slices, spacing across and within slices in mm."""

    slices: int
    across_mm: float
    within_mm: float
