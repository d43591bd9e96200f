"""What stands for a step of a study: nothing asked yet, an answer awaited, a manifest, or a problem."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.core.contracts.enums import Stage
from services.core.contracts.events import ManifestRef, Problem
from services.gateway.domain.records import RequestRecord, StudyRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """`asked` without manifest and problem: an answer is awaited."""

    asked: bool = True
    manifest: ManifestRef | None = None
    problem: Problem | None = None

    @property
    def settled(self) -> bool:
        """True once there is a manifest or a problem."""
        return self.manifest is not None or self.problem is not None


def standing(requests: Sequence[RequestRecord], inputs: tuple[ManifestRef, ...]) -> Standing:
    """Of the requests with these inputs: the newest manifest, else what is pending, else the newest problem.

    A replay that fails therefore takes nothing away from an earlier run that succeeded.
    """
    same = sorted((r for r in requests if same_inputs(r.request.inputs, inputs)), key=lambda r: r.request.replay)
    if not same:
        return Standing(asked=False)
    manifest = next((r.manifest for r in reversed(same) if r.manifest), None)
    if manifest is not None or any(r.pending for r in same):
        return Standing(manifest=manifest)
    return Standing(problem=same[-1].problem)


def segmentation(study: StudyRecord) -> Standing:
    """What stands for the segmentation of the current version."""
    prepare = standing(study.current(Stage.PREPARE), (study.intake,))
    if prepare.manifest is None:
        return prepare
    return standing(study.current(Stage.SEGMENT), (prepare.manifest,))


def same_inputs(left: Sequence[ManifestRef], right: Sequence[ManifestRef]) -> bool:
    """True when both name the same contents in the same parts."""
    return [(r.role, r.blob.digest) for r in left] == [(r.role, r.blob.digest) for r in right]
