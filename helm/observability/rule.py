"""What a rule is, and the expressions that several rules share.

Counters with labels appear with their first event, at 1: `increase` does not see that event. So events that matter one
by one are first recorded per process, with 0 while the process answers and has not seen any (`events`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

JOB = "glioserve"
SELF = f'job="{JOB}"'
PROCESS = "job, namespace, pod, container, instance"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A series that Prometheus computes and keeps, named level:metric:operation."""

    name: str
    expr: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """`lasts`: how long the expression must hold. `critical` wakes somebody, `warning` is for working hours.

    `says` is one sentence and may hold Prometheus templates. The runbook has the alert's name.
    """

    name: str
    expr: str
    lasts: str = "0s"
    severity: Literal["critical", "warning"]
    lane: Literal["theatre", "stat", "routine", "all"]
    says: str


def events(name: str, metric: str, *matchers: str) -> Recording:
    """Events that one process has counted, whatever their further labels; 0 while there are none."""
    selector = ",".join((SELF, *matchers))
    return Recording(
        name=f"instance:{name}:total",
        expr=f"sum by ({PROCESS}) ({metric}{{{selector}}})\nor\n0 * max by ({PROCESS}) (up{{{SELF}}} == 1)",
    )


def happened(name: str, window: str) -> str:
    """How many events of a recording by `events` the window saw, by namespace."""
    return f"sum by (namespace) (increase(instance:{name}:total[{window}]))"


def share(name: str, bad: str, all_of: str, windows: tuple[str, ...]) -> list[Recording]:
    """The share of bad events over each window, by namespace; no value without events."""
    return [
        Recording(
            name=f"namespace:{name}:ratio_rate{window}",
            expr=f"sum by (namespace) (rate({bad}[{window}])) / sum by (namespace) (rate({all_of}[{window}]))",
        )
        for window in windows
    ]


def burns(name: str, windows: tuple[str, str], above: float) -> str:
    """Both windows are above: the long one says that it matters, the short one that it goes on."""
    long, short = windows
    return f"namespace:{name}:ratio_rate{long} > {above}\nand\nnamespace:{name}:ratio_rate{short} > {above}"
