"""Coded meaning of each label (DICOM CID 7159 and 7168), and its recommended display colour.

SNFH is coded as oedema, as the public BraTS segmentations in DICOM are; its label says that tumour may infiltrate it.
No context group has a resection cavity: it carries a private code rather than a wrong standard one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from services.core.imaging.labels import Label


@dataclass(frozen=True, slots=True, kw_only=True)
class Property:
    """What a segment is. `cielab`: L* 0 to 100, a* and b* -128 to 127 (the overlay's colour-blind safe palette)."""

    label: str
    code: Code
    cielab: tuple[float, float, float]


PROPERTIES: Mapping[Label, Property] = MappingProxyType(
    {
        Label.NCR: Property(label="NCR, necrotic core", code=codes.SCT.Necrosis, cielab=(90.0, -11.0, 75.0)),
        Label.SNFH: Property(
            label="SNFH, non-enhancing FLAIR hyperintensity",
            code=codes.SCT.Edema,
            cielab=(68.0, -14.0, -36.0),
        ),
        Label.ET: Property(label="ET, enhancing tumour", code=codes.NCIt.EnhancingLesion, cielab=(55.0, 48.0, 61.0)),
        Label.RC: Property(
            label="RC, resection cavity",
            code=Code("RC", "99GLIOSERVE", "Resection cavity"),
            cielab=(61.0, 38.0, -16.0),
        ),
    }
)
