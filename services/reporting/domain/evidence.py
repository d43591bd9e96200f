"""What a report rests on: the manifests of the other stages, their typed facts, and why some are missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from services.core.contracts.documents import from_document
from services.core.contracts.enums import Completeness, Stage
from services.core.contracts.errors import Permanent
from services.core.contracts.events import Problem, StageRequest
from services.core.contracts.facts import CompareFacts, IntakeFacts, PrepareFacts, SegmentFacts, SubtypeFacts
from services.core.contracts.manifest import Manifest
from services.core.imaging.labels import LABEL_SCHEMA

ROLES = ("intake", "prepare", "segment", "subtype", "compare", "predecessor")
F = TypeVar("F")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Manifests by role (absent roles are missing keys) and the facts of those that can be used.

    `prepare` and `segment` are None also when their manifests are insufficient: nothing may be computed from them.
    """

    manifests: Mapping[str, Manifest]
    problems: tuple[Problem, ...]
    intake: IntakeFacts | None
    prepare: PrepareFacts | None
    segment: SegmentFacts | None
    subtype: SubtypeFacts | None
    compare: CompareFacts | None

    @property
    def measurable(self) -> bool:
        """True when there is a segmentation to report numbers from."""
        return self.prepare is not None and self.segment is not None

    def problem(self, stage: Stage) -> Problem | None:
        """Why a stage gave no answer, when the gateway said so."""
        return next((problem for problem in self.problems if problem.stage == stage), None)


def evidence_of(request: StageRequest, manifests: Mapping[str, Manifest]) -> Evidence:
    """Typed evidence. Raises Permanent when a manifest is of another study or holds facts that do not fit its stage."""
    for role, manifest in manifests.items():
        if (manifest.study.patient, manifest.study.study) != (request.study.patient, request.study.study):
            raise Permanent("FOREIGN_MANIFEST", f"the {role} manifest belongs to another study")
    segment = _facts(SegmentFacts, manifests.get("segment"), needs_numbers=True)
    if segment is not None and segment.label_schema != LABEL_SCHEMA:
        raise Permanent("UNKNOWN_LABEL_SCHEMA", f"labels of schema {segment.label_schema!r} cannot be reported")
    return Evidence(
        manifests=manifests,
        problems=request.problems,
        intake=_facts(IntakeFacts, manifests.get("intake")),
        prepare=_facts(PrepareFacts, manifests.get("prepare"), needs_numbers=True),
        segment=segment,
        subtype=_facts(SubtypeFacts, manifests.get("subtype")),
        compare=_facts(CompareFacts, manifests.get("compare")),
    )


def _facts(kind: type[F], manifest: Manifest | None, *, needs_numbers: bool = False) -> F | None:
    if manifest is None or (needs_numbers and manifest.completeness is Completeness.INSUFFICIENT):
        return None
    try:
        return from_document(kind, manifest.facts)
    except ValueError as error:
        raise Permanent("MANIFEST_UNREADABLE", f"manifest {manifest.run_id}: {error}") from error
