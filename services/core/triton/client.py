"""The adapter of the inference port: gRPC to a Triton server, with deadlines, priority, breaker and counters.

Triton's own counters do not see a queue-full rejection and its queue timeouts are late, so both are kept here: the
client's deadline is the bound, and every failure is counted by kind (`errors` holds the table).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

from services.core.contracts.enums import Lane
from services.core.contracts.errors import Transient
from services.core.contracts.manifest import ModelRef
from services.core.imaging.volume import Array
from services.core.runtime.clock import Clock, SystemClock
from services.core.telemetry.metrics import Metrics
from services.core.triton.asking import Asker
from services.core.triton.breaker import CircuitBreaker
from services.core.triton.catalog import ModelCatalog
from services.core.triton.errors import Failure, classify
from services.core.triton.transport import BytesTransport, Call, SharedMemoryTransport, Transport

PRIORITY = {Lane.THEATRE: 1, Lane.STAT: 2, Lane.ROUTINE: 2}
PROBE_TIMEOUT_S = 1.0
_LATE = Failure(kind="deadline", code="TRITON_DEADLINE", message="no answer within the deadline")
# gRPC waits up to two minutes before it tries a restarted server again, unless told otherwise.
_CHANNEL = (
    ("grpc.max_send_message_length", 64 << 20),
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.use_local_subchannel_pool", 1),
)


@dataclass(slots=True)
class Pulse:
    """When a model last answered and last failed in a way that tells about its health (monotonic seconds)."""

    breaker: CircuitBreaker
    answered_at: float | None = None
    failed_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSpec:
    """Where the server is and how to reach it. `shm_prefix` of the home, or None to send gRPC bytes only."""

    address: str
    shm_prefix: str | None
    clock: Clock = field(default_factory=SystemClock)
    trace_headers: Callable[[], Mapping[str, str]] = dict


class TritonClient:
    """Implements `port.InferenceClient`. One a process; safe to share between threads; close it at the end."""

    def __init__(self, spec: ClientSpec, catalog: ModelCatalog, metrics: Metrics) -> None:
        self._spec = spec
        self._catalog = catalog
        self._metrics = metrics
        self._server = InferenceServerClient(spec.address, channel_args=list(_CHANNEL))
        self._lock = threading.Lock()
        self._probing = threading.Lock()
        self._pulses: dict[str, Pulse] = {}
        self._asker = Asker(self._server)
        self._bytes = BytesTransport(self._asker)
        self._shared: SharedMemoryTransport | None = None
        self._chosen: Transport | None = None

    def infer(  # noqa: PLR0913 - named, and each of them is needed
        self,
        model: str,
        version: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        *,
        priority: Lane,
        deadline_s: float,
        pulse: Callable[[], None] | None = None,
    ) -> Mapping[str, Array]:
        """See `port.InferenceClient`."""
        clock = self._spec.clock
        call = Call(
            model=model,
            version=version,
            inputs={name: np.ascontiguousarray(array) for name, array in inputs.items()},
            outputs=tuple(outputs),
            priority=PRIORITY[priority],
            expires_at=clock.monotonic() + deadline_s,
            clock=clock,
            headers=self._spec.trace_headers(),
            pulse=pulse,
        )
        if not self.pulse(model).breaker.allows():
            self._metrics.triton_failures.labels(model, "unavailable").inc()
            raise Transient("TRITON_CIRCUIT_OPEN", f"Triton, model {model}: it failed repeatedly and is given a pause")
        with self._metrics.triton_pending.labels(model).track_inprogress():
            return self._with_one_retry(call)

    def model_ref(self, name: str) -> ModelRef:
        """See `port.InferenceClient`."""
        return self._catalog.ref(name)

    def ready(self) -> bool:
        """See `port.InferenceClient`."""
        try:
            return bool(self._server.is_server_ready(client_timeout=PROBE_TIMEOUT_S))
        except InferenceServerException:
            return False

    def model_ready(self, model: ModelRef) -> bool:
        """What the server says of one model version; a dead stub may still be called ready (Triton 2.51)."""
        try:
            return bool(self._server.is_model_ready(model.name, model.version, client_timeout=PROBE_TIMEOUT_S))
        except InferenceServerException:
            return False

    def pulse(self, model: str) -> Pulse:
        """What this process has seen of a model."""
        with self._lock:
            return self._pulses.setdefault(model, Pulse(CircuitBreaker(self._spec.clock)))

    def blank_request(self, model: ModelRef) -> tuple[dict[str, Array], list[str]]:
        """Zeros for every input, and all output names. Raises Transient or Permanent."""
        try:
            metadata = self._server.get_model_metadata(model.name, model.version, client_timeout=PROBE_TIMEOUT_S)
        except InferenceServerException as error:
            raise classify(error).as_error(model.name) from error
        inputs: dict[str, Array] = {
            item.name: np.zeros([max(1, extent) for extent in item.shape], triton_to_np_dtype(item.datatype))
            for item in metadata.inputs
        }
        return inputs, [item.name for item in metadata.outputs]

    def transport(self, timeout_s: float = PROBE_TIMEOUT_S) -> Transport:
        """The transport in use; found out with a probe region when none is. Raises InferenceServerException."""
        with self._probing:
            if self._chosen is None:
                try:
                    self._chosen = self._probe(timeout_s)
                except OSError:
                    return self._bytes  # /dev/shm is full now; that may pass
            return self._chosen

    def close(self) -> None:
        """Gives back what the server holds for this process and closes the connection."""
        if self._shared is not None:
            self._shared.close()
        self._server.close()

    def _probe(self, timeout_s: float) -> Transport:
        if self._spec.shm_prefix is None:
            return self._bytes
        if self._shared is None:
            self._shared = SharedMemoryTransport(self._server, self._asker, self._spec.shm_prefix)
        return self._shared if self._shared.probe(timeout_s) else self._bytes

    def _with_one_retry(self, call: Call) -> Mapping[str, Array]:
        outcome = self._attempt(call)
        if isinstance(outcome, Failure) and outcome.kind == "internal":
            outcome = self._attempt(call)
        if isinstance(outcome, Failure):
            raise outcome.as_error(call.model)
        return outcome

    def _attempt(self, call: Call) -> Mapping[str, Array] | Failure:
        started = call.clock.monotonic()
        if started >= call.expires_at:
            return self._failed(call.model, _LATE)
        try:
            transport = self.transport(call.left_s())
            try:
                results = transport.exchange(call)
            except OSError:  # /dev/shm is full: slower is better than not at all
                transport = self._bytes
                results = transport.exchange(call)
        except InferenceServerException as error:
            return self._failed(call.model, classify(error))
        now = call.clock.monotonic()
        pulse = self.pulse(call.model)
        pulse.answered_at = now
        pulse.breaker.succeeded()
        self._metrics.triton_seconds.labels(call.model, transport.label).observe(now - started)
        return results

    def _failed(self, model: str, failure: Failure) -> Failure:
        self._metrics.triton_failures.labels(model, failure.kind).inc()
        if failure.damaged:
            pulse = self.pulse(model)
            pulse.failed_at = self._spec.clock.monotonic()
            pulse.breaker.failed()
        if failure.kind == "unavailable":
            self._chosen = None  # another server may answer next, perhaps elsewhere
        return failure
