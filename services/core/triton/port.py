"""What a service may ask of the inference server, whichever transport and server stand behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from services.core.contracts.enums import Lane
from services.core.contracts.manifest import ModelRef
from services.core.imaging.volume import Array


class InferenceClient(Protocol):
    """Runs named versions of models. Safe to share between threads."""

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
        """The named outputs, each with the leading batch axis of 1, as arrays that the caller owns.

        Inputs carry the batch axis and the dtype of the tensor contract. Returns or raises within `deadline_s` seconds
        (a tenth of a second of grace apart). Raises Transient (busy, away, too late, broken inside) or Permanent
        (unknown model or version, tensors that do not fit). `pulse` is called every 50 ms meanwhile; what it raises
        cancels the call, in the server's queue too, and is passed on.
        """

    def model_ref(self, name: str) -> ModelRef:
        """Served version and digest of a model; enters the identity of a run. Raises Permanent on an unknown name."""

    def ready(self) -> bool:
        """True when the server says that it is ready. That alone proves no model: see `canary.CanaryProbe`."""
