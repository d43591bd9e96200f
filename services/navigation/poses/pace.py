"""How fast one stream is answered, however fast its poses come."""

from __future__ import annotations

BURST_S = 0.2


class Pace:
    """At most `a_second`, after a burst of what `BURST_S` allows (poses that a hiccup of the network held up)."""

    def __init__(self, a_second: float) -> None:
        self._step_s = 1.0 / a_second
        self._free_at = float("-inf")

    def wait_s(self, now: float) -> float:
        """Seconds to wait before the next pose, which counts from now on. `now`: monotonic."""
        self._free_at = max(self._free_at, now - max(BURST_S, self._step_s)) + self._step_s
        return max(self._free_at - now, 0.0)
