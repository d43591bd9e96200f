"""What the coarse model says of a study, and a whole segmentation: the values that travel between the steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from services.core.contracts.enums import Marker, Modality
from services.core.contracts.errors import Permanent
from services.core.contracts.facts import MarkerEvidence
from services.core.imaging.labels import LABEL_SCHEMA, Label, region_mask
from services.core.imaging.volume import Array, Grid, Volume
from services.fusion_segmentation.domain.evidence import Reading, checked_evidence
from services.fusion_segmentation.domain.study import SLOTS


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CoarseAnswer:
    """Evidence (class, x, y, z) at 2 mm of the whole box, marker evidence, and how much each sequence weighed."""

    evidence: NDArray[np.float32]
    markers: tuple[MarkerEvidence, ...]
    gates: Mapping[str, float]


def coarse_answer(outputs: Mapping[str, Array], used: tuple[Modality, ...]) -> CoarseAnswer:
    """Outputs of `fusion_coarse`, checked. Raises Permanent when they cannot be evidence."""
    markers, gates = outputs["markers"][0], outputs["gates"][0]
    if not (np.isfinite(markers).all() and np.isfinite(gates).all()) or markers.min() < 0:
        raise Permanent(
            "MODEL_OUTPUT_INVALID", "the coarse model gave markers or gates that are negative or not finite"
        )
    return CoarseAnswer(
        evidence=checked_evidence(outputs["evidence"][0]),
        markers=tuple(
            MarkerEvidence(marker=name, absent=float(absent), present=float(present))
            for name, (absent, present) in zip(Marker, markers[: len(Marker)], strict=True)
        ),
        gates={slot.value: round(float(gates[SLOTS.index(slot)]), 6) for slot in used},
    )


def fine_reading(outputs: Mapping[str, Array]) -> Reading:
    """Outputs of `fusion_fine`, checked. Raises Permanent on a label that the schema does not have."""
    labels, vacuity = outputs["label"][0], outputs["vacuity"][0]
    if labels.max() >= len(Label):
        raise Permanent("MODEL_OUTPUT_INVALID", f"the fine model gave label {labels.max()}, which no schema has")
    return Reading(labels=labels, vacuity=vacuity)


def evidence_volumes(answer: CoarseAnswer, grid: Grid) -> dict[Label, Volume]:
    """The evidence of each label as a volume (float16, 2 mm), so that a later step can go on from it."""
    return {
        label: Volume(
            data=answer.evidence[label].astype(np.float16),
            affine=grid.affine,
            modality=f"evidence {label.name}",
            units="1",
        )
        for label in Label
    }


def canonical_mask(labels: NDArray[np.uint8], grid: Grid) -> Volume:
    """Labels of the box as a mask on its 1 mm or 2 mm grid."""
    return Volume(
        data=labels,
        affine=grid.affine,
        modality="mask",
        units="label",
        provenance={"label_schema": LABEL_SCHEMA},
    )


def vacuity_of(mask: Volume, reading: Reading) -> Volume:
    """The vacuity of a reading (255 = 1) on the grid of its mask."""
    return replace(mask, data=reading.vacuity, modality="vacuity", units="1/255")


def centroid_ras_mm(mask: Volume) -> tuple[float, ...] | None:
    """Centre of mass of the whole tumour (else of whatever label there is) in RAS mm; None without one."""
    tumour = region_mask(mask.data, "WT")
    tumour = tumour if tumour.any() else mask.data > 0
    if not tumour.any():
        return None
    plane = tumour.sum(axis=2, dtype=np.float64)
    profiles = (plane.sum(axis=1), plane.sum(axis=0), tumour.sum(axis=(0, 1), dtype=np.float64))
    index = np.array([profile @ np.arange(profile.size) / profile.sum() for profile in profiles])
    centre = mask.affine[:3, :3] @ index + mask.affine[:3, 3]
    return tuple(round(float(value), 3) for value in centre)
