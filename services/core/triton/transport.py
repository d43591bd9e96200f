"""Two ways for tensors to reach Triton: system shared memory on the same host, gRPC bytes elsewhere.

Both give the same bits. Shared memory costs two copies in memory and two small calls; bytes cost the serialisation of
every tensor twice, so they are capped: a distant caller must not send what would block the server's other callers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeAlias

import numpy as np
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException, np_to_triton_dtype, triton_to_np_dtype

from services.core.contracts.errors import Permanent
from services.core.imaging.volume import Array
from services.core.runtime.clock import Clock
from services.core.triton.asking import Asker
from services.core.triton.errors import is_region_gone
from services.core.triton.region_pool import RegionPool
from services.core.triton.shared_memory import lay_out

MAX_BYTES = 32 * 1024 * 1024
PROBE_BYTES = 4096
TensorSpecs: TypeAlias = dict[str, tuple[np.dtype[np.generic], tuple[int, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One inference. `expires_at` (the clock's monotonic seconds) ends it at the client and in the server's queue.

    `pulse` is called while it is waited for and may end it by raising.
    """

    model: str
    version: str
    inputs: Mapping[str, Array]
    outputs: Sequence[str]
    priority: int
    expires_at: float
    clock: Clock
    headers: Mapping[str, str]
    pulse: Callable[[], None] | None = None

    def left_s(self) -> float:
        """Seconds until it ends, never zero: gRPC takes zero for "no bound"."""
        return max(0.001, self.expires_at - self.clock.monotonic())

    def options(self) -> dict[str, Any]:
        """What both transports pass on."""
        left_s = self.left_s()
        return {
            "model_name": self.model,
            "model_version": self.version,
            "priority": self.priority,
            "timeout": int(left_s * 1e6),  # microseconds; shortens the queue's own, never extends it
            "client_timeout": left_s,
            "headers": dict(self.headers),
        }


class Transport(Protocol):
    """One way. `label` is what metrics call it."""

    label: str

    def exchange(self, call: Call) -> dict[str, Array]:
        """Runs a call. Raises InferenceServerException, Permanent, or OSError when there is no room for the tensors."""

    def close(self) -> None:
        """Gives back what the server holds for us."""


class BytesTransport:
    """Tensors inside the gRPC messages."""

    label = "grpc"

    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    def exchange(self, call: Call) -> dict[str, Array]:
        """Runs a call. Raises Permanent when the inputs exceed the cap."""
        size = sum(array.nbytes for array in call.inputs.values())
        if size > MAX_BYTES:
            raise Permanent(
                "TRITON_TENSORS_TOO_LARGE",
                f"{size / 2**20:.0f} MB of tensors for {call.model}; gRPC bytes are limited to {MAX_BYTES >> 20} MB",
                "Run the caller on Triton's host, where shared memory has no such limit.",
            )
        inputs = [_input(name, array).set_data_from_numpy(array) for name, array in call.inputs.items()]
        wanted = [InferRequestedOutput(name) for name in call.outputs]
        result = self._asker.ask(inputs, wanted, call.options(), call.pulse)
        return {name: np.array(result.as_numpy(name)) for name in call.outputs}

    def close(self) -> None:
        """Nothing is held."""


class SharedMemoryTransport:
    """Tensors in a named region that both processes map."""

    label = "shared_memory"

    def __init__(self, server: InferenceServerClient, asker: Asker, prefix: str) -> None:
        self._server = server
        self._asker = asker
        self._pool = RegionPool(server, prefix)
        self._specs: dict[tuple[str, str], TensorSpecs] = {}

    def probe(self, timeout_s: float) -> bool:
        """True when the server maps a region that we make, that is: when it is on this host and allowed to.

        Raises InferenceServerException when the server does not answer at all, OSError when /dev/shm has no room.
        """
        self._specs.clear()  # it may be another server than before
        self._pool.clear()
        try:
            self._pool.drop(self._pool.take(PROBE_BYTES, timeout_s))
        except InferenceServerException as error:
            if str(error.status()) in {"StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED"}:
                raise
            return False
        return True

    def exchange(self, call: Call) -> dict[str, Array]:
        """Runs a call. Raises OSError when /dev/shm is full."""
        try:
            return self._exchange(call)
        except InferenceServerException as error:
            if not is_region_gone(error):
                raise
        self._pool.clear()  # the server was restarted and knows none of our regions any more
        return self._exchange(call)

    def close(self) -> None:
        """Removes our regions."""
        self._pool.close()

    def _exchange(self, call: Call) -> dict[str, Array]:
        specs = self._outputs_of(call)
        sizes = {f"in/{name}": array.nbytes for name, array in call.inputs.items()}
        sizes |= {f"out/{name}": dtype.itemsize * math.prod(shape) for name, (dtype, shape) in specs.items()}
        offsets, total = lay_out(sizes)
        region = self._pool.take(total, call.left_s())
        try:
            place = partial(_place, region.name, offsets, sizes)
            for name, array in call.inputs.items():
                region.write(offsets[f"in/{name}"], array)
            self._asker.ask(
                [place(_input(name, array), f"in/{name}") for name, array in call.inputs.items()],
                [place(InferRequestedOutput(name), f"out/{name}") for name in specs],
                call.options(),
                call.pulse,
            )
            results = {name: region.read(offsets[f"out/{name}"], *spec) for name, spec in specs.items()}
        except BaseException:
            self._pool.drop(region)
            raise
        self._pool.give(region)
        return results

    def _outputs_of(self, call: Call) -> TensorSpecs:
        """Dtype and shape of the wanted outputs; asked from the server once a model version."""
        key = (call.model, call.version)
        if key not in self._specs:
            metadata = self._server.get_model_metadata(call.model, call.version, client_timeout=call.left_s())
            self._specs[key] = {
                item.name: (np.dtype(triton_to_np_dtype(item.datatype)), tuple(1 if d < 0 else d for d in item.shape))
                for item in metadata.outputs
            }
        known = self._specs[key]
        unknown = [name for name in call.outputs if name not in known]
        if unknown:
            raise Permanent(
                "TRITON_INVALID_REQUEST", f"{call.model} version {call.version} has no output {unknown[0]!r}"
            )
        return {name: known[name] for name in call.outputs}


def _input(name: str, array: Array) -> InferInput:
    kind = np_to_triton_dtype(array.dtype)
    if kind is None:
        raise Permanent("TRITON_INVALID_REQUEST", f"input {name} has dtype {array.dtype}, which Triton does not know")
    return InferInput(name, list(array.shape), kind)


def _place(
    region: str, offsets: Mapping[str, int], sizes: Mapping[str, int], tensor: Any, key: str
) -> InferInput | InferRequestedOutput:
    tensor.set_shared_memory(region, sizes[key], offsets[key])
    return tensor
