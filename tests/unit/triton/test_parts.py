"""Breaker, table of failures, layout of regions: without a server."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from services.core.contracts.errors import Permanent, Transient
from services.core.runtime.home import Home
from services.core.triton.breaker import CircuitBreaker
from services.core.triton.errors import classify
from services.core.triton.server import TritonSpec, triton_command
from services.core.triton.shared_memory import Region, lay_out

pytestmark = pytest.mark.unit


@dataclass
class HandClock:
    time: float = 0.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.time, UTC)

    def monotonic(self) -> float:
        return self.time


def test_the_breaker_opens_after_three_failures_in_a_row_and_lets_one_try() -> None:
    clock = HandClock()
    breaker = CircuitBreaker(clock, threshold=3, pause_s=2)
    for _ in range(3):
        assert breaker.allows()
        breaker.failed()
    assert not breaker.allows()
    clock.time = 2.1
    assert [breaker.allows(), breaker.allows()] == [True, False]
    breaker.failed()
    clock.time = 4.0
    assert not breaker.allows()
    clock.time = 4.2
    assert breaker.allows()
    breaker.succeeded()
    assert breaker.allows()


def test_a_success_between_failures_keeps_the_breaker_closed() -> None:
    breaker = CircuitBreaker(HandClock(), threshold=2)
    for _ in range(5):
        breaker.failed()
        breaker.succeeded()
    assert breaker.allows()


# Texts as Triton 2.51 gave them.
@pytest.mark.parametrize(
    ("status", "text", "kind", "reaction", "damaged"),
    [
        ("UNAVAILABLE", "[request id: 1] Exceeds maximum queue size", "rejected", Transient, False),
        ("UNAVAILABLE", "Request timeout expired", "rejected", Transient, False),
        ("UNAVAILABLE", "failed to connect to all addresses", "unavailable", Transient, True),
        ("UNAVAILABLE", "Server is stopping, scheduler for model has stopped", "unavailable", Transient, True),
        ("CANCELLED", "", "unavailable", Transient, True),
        ("NOT_FOUND", "Unable to find shared memory region: 'x'", "unavailable", Transient, True),
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", "deadline", Transient, False),
        ("INTERNAL", "Stub process 'x' is not healthy", "internal", Transient, True),
        ("UNKNOWN", "", "internal", Transient, True),
        ("NOT_FOUND", "Request for unknown model: 'x' is not found", "invalid", Permanent, False),
        ("INVALID_ARGUMENT", "unexpected shape for input 'x'", "invalid", Permanent, False),
        ("RESOURCE_EXHAUSTED", "message larger than max", "invalid", Permanent, False),
    ],
)
def test_failures_are_classified_by_the_callers_reaction(
    status: str, text: str, kind: str, reaction: type[Exception], damaged: bool
) -> None:
    failure = classify(InferenceServerException(msg=text, status=f"StatusCode.{status}"))
    assert failure.kind == kind
    assert failure.damaged is damaged
    assert isinstance(failure.as_error("m"), reaction)


def test_an_error_without_a_status_counts_as_internal() -> None:
    assert classify(InferenceServerException(msg="odd")).kind == "internal"


def test_tensors_lie_apart_and_aligned() -> None:
    offsets, size = lay_out({"a": 1, "b": 64, "c": 65})
    assert offsets == {"a": 0, "b": 64, "c": 128}
    assert size == 256


def test_a_region_gives_back_what_was_written_and_leaves_no_name(tmp_path: Path) -> None:
    prefix = Home(tmp_path).shm_prefix
    array = np.arange(24, dtype=np.float16).reshape(1, 2, 3, 4)
    with Region(prefix, 4096) as region:
        path = Path("/dev/shm") / region.name  # noqa: S108
        assert path.stat().st_mode & 0o777 == 0o600
        region.write(128, array)
        np.testing.assert_array_equal(region.read(128, array.dtype, array.shape), array)
    assert not path.exists()


def test_a_region_without_room_raises_and_leaves_no_name(tmp_path: Path) -> None:
    prefix = Home(tmp_path).shm_prefix
    with pytest.raises(OSError, match="No space"):
        Region(prefix, 1 << 50)
    assert not list(Path("/dev/shm").glob(f"{prefix}*"))  # noqa: S108


def test_a_missing_runtime_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Permanent) as caught:
        triton_command(TritonSpec(home=Home(tmp_path), models=tmp_path, runtime=tmp_path / "none"))
    assert caught.value.code == "TRITON_RUNTIME_MISSING"
    assert "make setup" in caught.value.advice
