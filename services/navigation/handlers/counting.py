"""What operations see of the answers."""

from __future__ import annotations

from services.core.contracts.enums import Completeness
from services.core.telemetry.metrics import Metrics
from services.navigation.domain.answers import Answer, Degraded, MaskAnswer, MaskKind, SeriesCancelled, SeriesRefused


def count(metrics: Metrics, answer: Answer, now: float) -> None:
    """Counts last words and the masks that came after their deadline. `now`: monotonic seconds."""
    if isinstance(answer, MaskAnswer):
        if answer.kind is MaskKind.FINAL:
            whole = answer.completeness is Completeness.COMPLETE
            reason = "" if whole else str(answer.limits[0].reason) if answer.limits else "INPUT_POOR"
            _last_word(metrics, "complete" if whole else "degraded", reason)
        _late(metrics, answer.answered_by, now)
    elif isinstance(answer, Degraded):
        _last_word(metrics, "degraded", str(answer.limit.reason))
        _late(metrics, answer.answered_by, now)
    elif isinstance(answer, SeriesRefused):
        _last_word(metrics, "refused", str(answer.limit.reason))
    elif isinstance(answer, SeriesCancelled):
        _last_word(metrics, "cancelled", "")


def _last_word(metrics: Metrics, result: str, reason: str) -> None:
    metrics.navigation_answers.labels(result, reason).inc()


def _late(metrics: Metrics, due: float, now: float) -> None:
    if now > due:
        metrics.navigation_deadline_missed.inc()
