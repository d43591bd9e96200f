"""One table for both DICOM doors: which error is which status of C-STORE (PS3.4 B.2.3) and which Failure Reason of
STOW-RS (PS3.18 I.2.2, which names the same numbers).
"""

from __future__ import annotations

from collections.abc import Mapping

from services.core.contracts.errors import GlioServeError, Permanent, Refused, Transient
from services.gateway.errors import TooLarge

SUCCESS = 0x0000
PROCESSING_FAILURE = 0x0110
DUPLICATE_INSTANCE = 0x0111
CLASS_NOT_SUPPORTED = 0x0122
OUT_OF_RESOURCES = 0xA700
DOES_NOT_MATCH = 0xA900
NOT_UNDERSTOOD = 0xC000
SYNTAX_NOT_SUPPORTED = 0xC122

_BY_CODE: Mapping[str, int] = {
    "NOT_MR": CLASS_NOT_SUPPORTED,
    "UNSUPPORTED_TRANSFER_SYNTAX": SYNTAX_NOT_SUPPORTED,
    "INSTANCE_CONFLICT": DUPLICATE_INSTANCE,  # a known UID with other pixels; an equal instance is a success
    "OTHER_STUDY": DOES_NOT_MATCH,
    "INSTANCE_CONTRADICTS": DOES_NOT_MATCH,
    "CONTRADICTORY_HEADER": DOES_NOT_MATCH,
    "NO_PIXELS": DOES_NOT_MATCH,
    "UNSUPPORTED_PIXELS": DOES_NOT_MATCH,
    "DICOM_TOO_LARGE": OUT_OF_RESOURCES,
}
_BY_CLASS: Mapping[type[GlioServeError], int] = {  # the first that fits
    TooLarge: OUT_OF_RESOURCES,
    Transient: OUT_OF_RESOURCES,  # the sender may try again
    Refused: NOT_UNDERSTOOD,
    Permanent: PROCESSING_FAILURE,
}


def status_number(error: GlioServeError) -> int:
    """The failure that tells a DICOM sender what the error is about."""
    if error.code in _BY_CODE:
        return _BY_CODE[error.code]
    return next((number for kind, number in _BY_CLASS.items() if isinstance(error, kind)), PROCESSING_FAILURE)
