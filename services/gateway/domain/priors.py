"""Which earlier studies a comparison names: by time of acquisition, never by order of arrival (architecture rule 6)."""

from __future__ import annotations

from dataclasses import replace

from services.core.contracts.enums import Stage
from services.core.contracts.events import ManifestRef
from services.gateway.domain.records import PatientRecord, StudyRecord
from services.gateway.domain.standing import segmentation


def priors_for(study: StudyRecord, patient: PatientRecord) -> tuple[ManifestRef, ...]:
    """Segmentation manifests of the patient's earlier studies, oldest acquisition first, under the role `prior`.

    A study without a time of acquisition is nobody's prior and has none.
    """
    own = study.order
    if own is None:
        return ()
    earlier = sorted((o, other) for other in patient.studies if (o := other.order) is not None and o < own)
    found = (_prior(other, study) for _, other in earlier)
    return tuple(replace(ref, role="prior") for ref in found if ref is not None)


def _prior(earlier: StudyRecord, study: StudyRecord) -> ManifestRef | None:
    """While an earlier study is being segmented again, what it gave before stays named: no comparison without it."""
    now = segmentation(earlier)
    if now.settled:
        return now.manifest
    return _named_before(earlier, study) or _newest(earlier)


def _named_before(earlier: StudyRecord, study: StudyRecord) -> ManifestRef | None:
    compared = study.current(Stage.COMPARE)
    if not compared:
        return None
    last = max(compared, key=lambda r: r.request.revision).request
    runs = {r.manifest.run_id for r in earlier.requests if r.request.stage is Stage.SEGMENT and r.manifest}
    return next((ref for ref in last.priors() if ref.run_id in runs), None)


def _newest(earlier: StudyRecord) -> ManifestRef | None:
    done = [r for r in earlier.current(Stage.SEGMENT) if r.manifest]
    return done[-1].manifest if done else None
