"""Proof that models compute: real inferences now and then, because a server calls itself ready with a dead stub.

A real answer to any caller of this process counts as proof, so a busy process sends no canaries. Between canaries the
server's own word is asked every few seconds: it costs nothing and shows a killed server at once.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from services.core.contracts.enums import Lane
from services.core.contracts.errors import GlioServeError
from services.core.runtime.clock import Clock
from services.core.telemetry.metrics import Metrics
from services.core.triton.client import TritonClient


@dataclass(frozen=True, slots=True, kw_only=True)
class CanarySpec:
    """Seconds: how old a proof may grow, how often the server's word is asked, how long a canary may take."""

    interval_s: float = 30.0
    tick_s: float = 2.0
    deadline_s: float = 10.0


class CanaryProbe:
    """Runs beside a service from `start` to `stop`. `fresh` is for its readiness."""

    def __init__(
        self,
        client: TritonClient,
        models: Sequence[str],
        metrics: Metrics,
        clock: Clock,
        spec: CanarySpec | None = None,
    ) -> None:
        self._client = client
        self._models = tuple(models)
        self._metrics = metrics
        self._clock = clock
        self._spec = spec or CanarySpec()
        self._broken: set[str] = set(models)  # until the first proof nothing is known
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="triton-canary", daemon=True)

    def start(self) -> None:
        """Starts the thread; the first canaries run at once."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread, after the canary that runs."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(self._spec.deadline_s + 1)

    def fresh(self, max_age_s: float = 60.0) -> bool:
        """True when every model has computed within `max_age_s` and nothing since says that it is broken."""
        oldest = self._clock.monotonic() - max_age_s
        proofs = [self._client.pulse(model).answered_at for model in self._models]
        return not self._broken and all(proof is not None and proof >= oldest for proof in proofs)

    def check(self) -> None:
        """One round over all models; the thread calls it every tick."""
        for model in self._models:
            computes = self._computes(model)
            (self._broken.discard if computes else self._broken.add)(model)
            self._metrics.triton_canary.labels(model).set(computes)

    def _computes(self, model: str) -> bool:
        ref = self._client.model_ref(model)
        if not self._client.model_ready(ref):
            return False
        if self._proved(model):
            return True
        try:
            inputs, outputs = self._client.blank_request(ref)
            self._client.infer(
                ref.name, ref.version, inputs, outputs, priority=Lane.ROUTINE, deadline_s=self._spec.deadline_s
            )
        except GlioServeError as error:
            return error.code == "TRITON_REJECTED" and model not in self._broken  # busy is not broken
        return True

    def _proved(self, model: str) -> bool:
        pulse = self._client.pulse(model)
        if pulse.answered_at is None or (pulse.failed_at or 0.0) > pulse.answered_at:
            return False
        return self._clock.monotonic() - pulse.answered_at < self._spec.interval_s

    def _loop(self) -> None:
        while not self._stop.is_set():
            self.check()
            self._stop.wait(self._spec.tick_s)
