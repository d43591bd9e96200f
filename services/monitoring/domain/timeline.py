"""Which earlier study a study is compared with: the latest one acquired before it that has volumes.

Order of acquisition decides, never order of arrival (rule 6). Every prior that is passed over gets a reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from services.core.contracts.enums import Completeness, Verdict
from services.core.contracts.facts import SegmentFacts
from services.core.contracts.ids import RunId, StudyKey
from services.core.contracts.manifest import ModelRef, Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Timepoint:
    """One segmented study. `facts` is None where the segmentation gave no number; `acquired_at` is ISO 8601 or None."""

    study: StudyKey
    run_id: RunId
    acquired_at: str | None
    facts: SegmentFacts | None
    completeness: Completeness
    verdict: Verdict
    models: tuple[ModelRef, ...]

    @property
    def moment(self) -> datetime | None:
        """When it was acquired; None when that is unknown or unreadable. Without a time zone UTC is meant."""
        if self.acquired_at is None:
            return None
        try:
            moment = datetime.fromisoformat(self.acquired_at)
        except ValueError:
            return None
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    @property
    def day(self) -> str:
        """The date for readers, or that it is unknown."""
        return self.moment.date().isoformat() if self.moment else "unknown date"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The prior to compare with, or None, and why others were passed over."""

    prior: Timepoint | None
    reasons: tuple[Reason, ...]


def choose(current: Timepoint, priors: Sequence[Timepoint]) -> Choice:
    """The latest usable prior. `priors` come oldest first; that order counts only where dates are missing."""
    reasons: list[Reason] = []
    usable = [prior for prior in priors if not _note(reasons, _unusable(current, prior))]
    dated = [prior for prior in usable if prior.moment is not None]
    if current.moment is None or not dated:
        chosen = usable[-1] if usable else None
        if chosen is not None:
            reasons.append(_undated(current, chosen))
        return Choice(prior=chosen, reasons=tuple(reasons))
    undated = Reason(code="PRIOR_UNDATED", message="an earlier study without a date was passed over")
    reasons.extend(undated for prior in usable if prior.moment is None)
    latest = max(enumerate(dated), key=lambda item: (item[1].moment, item[0]))[1]
    return Choice(prior=latest, reasons=tuple(reasons))


def interval_days(current: Timepoint, prior: Timepoint) -> int | None:
    """Whole calendar days between two acquisitions; None when a date is unknown."""
    if current.moment is None or prior.moment is None:
        return None
    return (current.moment.date() - prior.moment.date()).days


def _note(reasons: list[Reason], reason: Reason | None) -> bool:
    if reason is not None:
        reasons.append(reason)
    return reason is not None


def _unusable(current: Timepoint, prior: Timepoint) -> Reason | None:
    if prior.study == current.study:
        return Reason(code="PRIOR_SAME_STUDY", message="a prior that is the study itself was passed over")
    if prior.facts is None:
        return Reason(code="PRIOR_INSUFFICIENT", message=f"the study of {prior.day} has no volumes and was passed over")
    if current.facts is not None and prior.facts.label_schema != current.facts.label_schema:
        return Reason(
            code="PRIOR_OTHER_LABELS", message=f"the study of {prior.day} has other labels and was passed over"
        )
    if current.moment is not None and prior.moment is not None and prior.moment >= current.moment:
        return Reason(
            code="PRIOR_NOT_EARLIER", message=f"the study of {prior.day} was not acquired earlier and was passed over"
        )
    return None


def _undated(current: Timepoint, prior: Timepoint) -> Reason:
    which = " and ".join(
        name for name, point in (("this study", current), ("the earlier study", prior)) if point.moment is None
    )
    return Reason(
        code="DATE_UNKNOWN",
        message=f"the acquisition date of {which} is unknown: the order is that of the archive, the interval unknown",
    )


def quality_reasons(current: Timepoint, prior: Timepoint) -> Iterator[Reason]:
    """What makes the two volumes less comparable than they look."""
    if prior.completeness is Completeness.DEGRADED:
        yield Reason(code="PRIOR_DEGRADED", message=f"the segmentation of {prior.day} is degraded")
    if prior.verdict is Verdict.NEEDS_REVIEW:
        yield Reason(code="PRIOR_FLAGGED", message=f"the segmentation of {prior.day} needs review")
    if {(m.name, m.digest) for m in prior.models} != {(m.name, m.digest) for m in current.models}:
        yield Reason(
            code="MODELS_DIFFER",
            message="the two studies were segmented by different models: part of the change may be theirs",
        )
