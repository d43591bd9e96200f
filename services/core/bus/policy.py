"""When to try again, when to give up, when to stop: the numbers of the consumer loop and what follows from them."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """All times in seconds. `budget_s` runs from the first failed try to the dead letters.

    The delay of the retry topic is a constant: then its records fall due in the order in which they lie there, and
    none waits behind one that is due later.
    """

    budget_s: float = 900.0
    tries: int = 3
    backoff_s: float = 0.5
    backoff_limit_s: float = 5.0
    retry_delay_s: float = 10.0
    brake_after: int = 5
    drain_s: float = 30.0
    commit_patience_s: float = 120.0

    def backoff(self, tries: int) -> float:
        """How long to wait after so many failed tries: doubling, bounded, half of it at random."""
        full = min(self.backoff_limit_s, self.backoff_s * 2.0 ** (tries - 1))
        return full * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, no secret
