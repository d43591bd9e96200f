"""What a failed call to Triton means for its caller: the one table of this edge.

kind (metric label)   Triton's status and text                        reaction
rejected              UNAVAILABLE, queue full or queue timeout        Transient: busy. No sign of damage
unavailable           UNAVAILABLE otherwise, CANCELLED; the region    Transient: away, starting or stopping
                      of a server that was restarted meanwhile
deadline              DEADLINE_EXCEEDED                               Transient: the caller's time is over
internal              INTERNAL, UNKNOWN, anything not listed          Transient after one retry: broken inside
invalid               INVALID_ARGUMENT, NOT_FOUND (model, version),   Permanent
                      RESOURCE_EXHAUSTED, OUT_OF_RANGE, UNIMPLEMENTED
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from services.core.contracts.errors import GlioServeError, Permanent, Transient

Kind = Literal["rejected", "deadline", "unavailable", "invalid", "internal"]

_INVALID = frozenset(
    {"INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "FAILED_PRECONDITION"}
)
_REJECTED = ("maximum queue size", "request timeout expired")
_REGION_GONE = "shared memory region"


class TritonError(Protocol):
    """What tritonclient raises."""

    def status(self) -> str | None:
        """`StatusCode.<NAME>`."""

    def message(self) -> str:
        """The server's words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A failed call, classified. `code` is stable; `message` is the server's text, which names tensors and models."""

    kind: Kind
    code: str
    message: str

    @property
    def damaged(self) -> bool:
        """True when it tells about the server's health, not about this request: the breaker counts it."""
        return self.kind in {"unavailable", "internal"}

    def as_error(self, model: str) -> GlioServeError:
        """The error that the caller sees."""
        text = f"Triton, model {model}: {self.message}"
        if self.kind == "invalid":
            return Permanent(self.code, text, "The request does not fit the served models; check their versions.")
        return Transient(self.code, text)


def classify(error: TritonError) -> Failure:
    """Reads status and text of an exception of tritonclient."""
    status = str(error.status() or "").rpartition(".")[2]
    message = str(error.message())[:500]
    low = message.lower()
    if status == "UNAVAILABLE" and any(sign in low for sign in _REJECTED):
        return Failure(kind="rejected", code="TRITON_REJECTED", message=message)
    if status in {"UNAVAILABLE", "CANCELLED"} or is_region_gone(error):
        return Failure(kind="unavailable", code="TRITON_UNAVAILABLE", message=message)
    if status == "DEADLINE_EXCEEDED":
        return Failure(kind="deadline", code="TRITON_DEADLINE", message="no answer within the deadline")
    if status == "NOT_FOUND":
        return Failure(kind="invalid", code="TRITON_UNKNOWN_MODEL", message=message)
    if status in _INVALID:
        return Failure(kind="invalid", code="TRITON_INVALID_REQUEST", message=message)
    return Failure(kind="internal", code="TRITON_INTERNAL", message=message)


def is_region_gone(error: TritonError) -> bool:
    """True when the server does not know a region that we had registered: it was restarted meanwhile."""
    return str(error.status()) == "StatusCode.NOT_FOUND" and _REGION_GONE in str(error.message()).lower()
