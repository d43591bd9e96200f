"""Why the theatre refuses a series: the many causes of the preparation as the few that its client can act on."""

from __future__ import annotations

from services.core.contracts.errors import Refused

_GEOMETRY = frozenset(
    {
        "GEOMETRY_MISMATCH", "ONE_SLICE", "NOT_THREE_DIMENSIONAL", "TOO_MANY_SLICES", "TWO_FRAMES_OF_REFERENCE",
        "MIXED_ORIENTATIONS", "MISSING_SLICES", "DUPLICATE_SLICES", "UNEVEN_SLICES", "SHEARED_GRID",
        "SINGULAR_AFFINE", "IMPLAUSIBLE_SPACING", "SLICES_TOO_THICK", "TOO_FEW_SLICES", "NO_ORIENTATION",
        "EMPTY_BRAIN",
    }
)  # fmt: skip
_KEPT = frozenset({"REGISTRATION_FAILED", "OTHER_PATIENT", "MODALITY_UNKNOWN", "SERIES_UNREADABLE"})
_UNNAMED = frozenset({"NO_USABLE_SEQUENCE", "NOT_USED"})
"""Of a single series: its headers name no sequence that the networks know."""
_STORE = frozenset({"SESSION_STORE_FULL", "SESSION_OVER"})
_ADVICE = {
    "GEOMETRY_MISMATCH": "Send one whole volume of the head, as the scanner reconstructs it.",
    "OTHER_PATIENT": "Open a session of its own for that patient.",
    "MODALITY_UNKNOWN": "Name the sequence in the header of the series.",
    "SERIES_UNREADABLE": "Export the series again, uncompressed, and send all of its files.",
    "REGISTRATION_FAILED": "Check that the series shows this patient's head and send it again.",
}


def theatre_refusal(code: str, message: str, advice: str = "") -> Refused:
    """GEOMETRY_MISMATCH, REGISTRATION_FAILED, OTHER_PATIENT, MODALITY_UNKNOWN, or SERIES_UNREADABLE for the rest."""
    if code in _STORE:
        return Refused(code, message, advice)
    known = code if code in _KEPT else "SERIES_UNREADABLE"
    if code in _GEOMETRY:
        known = "GEOMETRY_MISMATCH"
    elif code in _UNNAMED:
        known = "MODALITY_UNKNOWN"
    return Refused(known, message, advice or _ADVICE[known])
