"""A prepared study with one more series: what is added, what stays, what may serve registration only from now on.

Everything that stays is named by reference: nothing of it is decoded, resampled or encoded again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from services.core.contracts.enums import Completeness, Modality, Verdict
from services.core.contracts.events import BlobRef
from services.core.contracts.facts import PrepareFacts, SeriesFacts
from services.core.contracts.manifest import Manifest, Reason
from services.core.imaging.quality import measure
from services.core.imaging.resample import resample_inside
from services.core.imaging.standardise import standardise
from services.core.imaging.volume import Volume
from services.preprocessing.domain.box import FULL_COVER, completed, covered, partial_coverage
from services.preprocessing.domain.choice import REFERENCE_ORDER
from services.preprocessing.domain.judgement import Judgement, limits_of
from services.preprocessing.domain.series import Placed, Pulse

VOLUME, REGISTRATION = "volume/", "registration/"
CHANGED = "ANATOMY_CHANGED"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Added:
    """The new series in the canonical box, its facts, and what is poor about it."""

    volume: Volume
    facts: SeriesFacts
    problems: tuple[Reason, ...]


def fixed_name(outputs: Mapping[str, BlobRef], modality: Modality) -> str | None:
    """The prepared volume that a new series is registered to: the same sequence, else one of the present anatomy."""
    preferred = (modality, *REFERENCE_ORDER, *Modality)
    same = (VOLUME + modality, REGISTRATION + modality)
    names = (*same, *(VOLUME + slot for slot in preferred), *(REGISTRATION + slot for slot in preferred))
    return next((name for name in names if name in outputs), None)


def add(placed: Placed, mask: Volume, facts: SeriesFacts, threads: int, pulse: Pulse) -> Added:
    """Resamples the series into the box, once, and standardises it. No bias correction: the theatre has no time for it.

    Raises Refused (EMPTY_BRAIN, FLAT_IMAGE) when there is nothing to see in the brain.
    """
    quality = measure(placed.volume, mask, placed.to_reference, placed.found.slice_thickness_mm)
    pulse()
    visible = covered(placed, mask)
    share = float(visible.data.sum() / mask.data.sum())
    volume = resample_inside(placed.volume, visible, placed.from_reference, threads)
    pulse()
    standard = standardise(volume, visible)
    provenance = {**standard.provenance, "bias": "not corrected", "placing": placed.placing}
    return Added(
        volume=replace(standard, data=standard.data.astype(np.float16), provenance=provenance),
        facts=completed(facts, placed, quality),
        problems=(partial_coverage(placed.modality, share),) if share < FULL_COVER else (),
    )


def outputs_with(
    before: Mapping[str, BlobRef], modality: Modality, volume: BlobRef, *, changed: bool
) -> dict[str, BlobRef]:
    """The outputs of the study so far and the new volume. `changed`: what was acquired before is no input any more."""
    outputs: dict[str, BlobRef] = {}
    for name, ref in before.items():
        if name in (VOLUME + modality, REGISTRATION + modality):
            continue
        outputs[REGISTRATION + name.removeprefix(VOLUME) if changed and name.startswith(VOLUME) else name] = ref
    outputs[VOLUME + modality] = volume
    return outputs


def series_with(before: Sequence[SeriesFacts], new: SeriesFacts, *, changed: bool) -> tuple[SeriesFacts, ...]:
    """The series of the study so far, those that are no input any more marked, and the new one."""
    kept: list[SeriesFacts] = []
    for series in before:
        if series.series == new.series:
            continue
        why = None
        if series.used and series.modality is new.modality:
            why = "not used: the same sequence was acquired again"
        elif series.used and changed:
            why = "not used: acquired before the anatomy changed"
        kept.append(series if why is None else replace(series, used=False, reason=why))
    return (*kept, new)


def unavailable(outputs: Iterable[str]) -> tuple[Modality, ...]:
    """Slots that serve registration only, in slot order."""
    return tuple(slot for slot in Modality if REGISTRATION + slot in outputs)


def judge_addition(
    before: Manifest, series: Sequence[SeriesFacts], added: Added, gone: Sequence[Modality], thick_mm: float
) -> Judgement:
    """What was said of the study so far and is still true, and what the new series and a changed anatomy add to it."""
    present = {facts.modality for facts in series if facts.used}
    silent = [slot for slot in Modality if slot not in present or slot is added.facts.modality]
    carried = [reason for reason in before.reasons if _still_true(reason, silent)]
    changed = [_changed(gone)] if gone else []
    reasons = [*changed, *carried, *added.problems, *limits_of(series, thick_mm)]
    return Judgement(
        completeness=Completeness.DEGRADED if reasons else Completeness.COMPLETE,
        verdict=before.verdict if before.verdict is Verdict.NEEDS_REVIEW else Verdict.TRUSTED,
        reasons=tuple({reason.code: reason for reason in reversed(reasons)}.values())[::-1],
    )


def facts_with(before: PrepareFacts, series: tuple[SeriesFacts, ...], acquired_at: str | None) -> PrepareFacts:
    """The facts of the study with other series. Reference, box and brain stay."""
    return replace(before, series=series, acquired_at=acquired_at or before.acquired_at)


def _still_true(reason: Reason, silent: Sequence[Modality]) -> bool:
    """What is measured anew is said anew, and what was said of a sequence that is no input any more is over."""
    if reason.code in (CHANGED, "ONE_SEQUENCE") or reason.code.endswith(("_MISSING", "_THICK_SLICES", "_MOTION")):
        return False
    return not any(reason.code.startswith(f"{slot.name}_") or reason.message.startswith(f"{slot}: ") for slot in silent)


def _changed(gone: Sequence[Modality]) -> Reason:
    names = ", ".join(gone)
    return Reason(
        code=CHANGED,
        message=f"{names}: acquired before the anatomy changed, so no input of the networks until acquired again",
    )
