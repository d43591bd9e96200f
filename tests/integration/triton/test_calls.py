"""The client against a real server: transports, priority, deadlines, refusals and their counters."""

from __future__ import annotations

import threading
import time
import urllib.request
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from tritonclient.grpc import InferenceServerClient

from services.core.contracts.enums import Lane
from services.core.contracts.errors import GlioServeError, Permanent, Transient
from services.core.imaging.volume import Array
from services.core.telemetry.metrics import Metrics
from services.core.triton import transport
from services.core.triton.client import TritonClient
from services.core.triton.server import MODELS
from tests.servers.triton import SLEEPER, SLEEPER_QUEUE, TritonServer, wait_until

pytestmark = pytest.mark.integration


def seconds(value: float) -> dict[str, Array]:
    return {"seconds": np.full((1, 1), value, np.float32)}


def sleep(client: TritonClient, value: float, lane: Lane = Lane.ROUTINE, deadline_s: float = 30.0) -> float:
    client.infer(SLEEPER, "1", seconds(value), ["slept"], priority=lane, deadline_s=deadline_s)
    return time.monotonic()


def noise(client: TritonClient, model: str) -> tuple[dict[str, Array], list[str]]:
    blank, outputs = client.blank_request(client.model_ref(model))
    rng = np.random.default_rng(5)
    return {name: np.abs(rng.normal(size=a.shape)).astype(a.dtype) * 2 for name, a in blank.items()}, outputs


@pytest.mark.parametrize("model", MODELS)
def test_both_transports_give_the_same_bits(triton: TritonServer, model: str) -> None:
    answers: list[Mapping[str, Array]] = []
    for shared_memory in (True, False):
        client = triton.client(shared_memory=shared_memory)
        inputs, outputs = noise(client, model)
        answers.append(client.infer(model, "1", inputs, outputs, priority=Lane.STAT, deadline_s=20))
        assert client.transport().label == ("shared_memory" if shared_memory else "grpc")
    by_memory, by_bytes = answers
    assert set(by_memory) == set(by_bytes)
    for name, array in by_memory.items():
        assert array.dtype == by_bytes[name].dtype
        np.testing.assert_array_equal(array, by_bytes[name])


def test_identity_masks_are_the_thresholds_of_the_image(triton: TritonServer) -> None:
    client = triton.client()
    inputs, _ = noise(client, "fusion_coarse")
    answer = client.infer(
        "fusion_coarse", "1", inputs, ["evidence", "markers", "gates"], priority=Lane.STAT, deadline_s=20
    )
    t1c, t2f = inputs["image"][0, 1], inputs["image"][0, 3]
    expected = np.where(t2f > 1, np.where(t1c > 1.5, 3, 2), 0)
    np.testing.assert_array_equal(answer["evidence"][0].argmax(axis=0), expected)
    assert not answer["markers"].any()
    np.testing.assert_allclose(answer["gates"], inputs["available"], rtol=1e-6)


def test_outputs_belong_to_the_caller_when_regions_are_used_again(triton: TritonServer) -> None:
    client = triton.client()
    blank, outputs = client.blank_request(client.model_ref("fusion_fine"))
    bright = {name: np.full_like(array, 3) for name, array in blank.items()}
    first = client.infer("fusion_fine", "1", bright, outputs, priority=Lane.STAT, deadline_s=20)
    client.infer("fusion_fine", "1", blank, outputs, priority=Lane.STAT, deadline_s=20)
    assert (first["label"] == 3).all()


def test_a_theatre_request_overtakes_the_queued_ward(triton: TritonServer) -> None:
    client = triton.client()
    with ThreadPoolExecutor(SLEEPER_QUEUE + 2) as pool:
        ward = _occupy(triton, client, pool, SLEEPER_QUEUE)
        theatre = pool.submit(sleep, client, 0.01, Lane.THEATRE)
        finished = sorted(future.result() for future in ward)
        assert finished[0] < theatre.result() < finished[1]


def test_the_clients_deadline_is_the_bound_and_the_server_goes_on(triton: TritonServer) -> None:
    metrics = Metrics(CollectorRegistry())
    client = triton.client(metrics=metrics)
    started = time.monotonic()
    with pytest.raises(Transient) as caught:
        sleep(client, 1.5, deadline_s=0.3)
    assert time.monotonic() - started < 1.0
    assert caught.value.code == "TRITON_DEADLINE"
    assert _failures(metrics, SLEEPER, "deadline") == 1
    assert not [name for name in triton.shared_memory() if "-client-" in name]
    sleep(client, 0.0)  # waits behind the abandoned one, whose region must still be mapped at the server
    sleep(client, 0.0)
    client.close()
    assert not _registered(triton)


def test_a_request_whose_caller_gave_up_is_not_computed(triton: TritonServer) -> None:
    client = triton.client()
    with ThreadPoolExecutor(2) as pool:
        ward = _occupy(triton, client, pool, 1)
        with pytest.raises(Transient):
            sleep(client, 20.0, deadline_s=0.1)
        for future in ward:
            future.result()
    sleep(client, 0.0, deadline_s=10.0)


class GivenUp(Exception):
    """What a caller's own pulse raises."""


@pytest.mark.parametrize("shared_memory", [True, False])
def test_a_call_that_is_given_up_ends_at_once_and_leaves_the_queue(triton: TritonServer, shared_memory: bool) -> None:
    client = triton.client(shared_memory=shared_memory)

    def pulse() -> None:
        if _pending(triton) == 2:  # the ward's one and ours
            raise GivenUp

    with ThreadPoolExecutor(2) as pool:
        ward = _occupy(triton, client, pool, 1)
        with pytest.raises(GivenUp):
            client.infer(SLEEPER, "1", seconds(20.0), ["slept"], priority=Lane.ROUTINE, deadline_s=60.0, pulse=pulse)
        for future in ward:
            future.result()
    sleep(client, 0.0, deadline_s=10.0)  # the 20 s of the other are never slept
    client.close()
    assert not _registered(triton)


def test_a_pulse_that_is_content_changes_nothing(triton: TritonServer) -> None:
    client, beats = triton.client(), []
    client.infer(
        SLEEPER, "1", seconds(0.3), ["slept"], priority=Lane.THEATRE, deadline_s=30.0, pulse=lambda: beats.append(1)
    )
    assert beats


def test_a_full_queue_is_transient_and_counted_by_us(triton: TritonServer) -> None:
    metrics = Metrics(CollectorRegistry())
    client = triton.client(metrics=metrics)
    codes: list[str] = []
    barrier = threading.Barrier(SLEEPER_QUEUE + 6)

    def one() -> None:
        barrier.wait()
        try:
            sleep(client, 0.2)
        except Transient as error:
            codes.append(error.code)

    with ThreadPoolExecutor(SLEEPER_QUEUE + 6) as pool:
        for future in [pool.submit(one) for _ in range(SLEEPER_QUEUE + 6)]:
            future.result()
    assert codes
    assert set(codes) == {"TRITON_REJECTED"}
    assert _failures(metrics, SLEEPER, "rejected") == len(codes)
    sleep(client, 0.0)  # a busy server is not a broken one: the breaker stays closed


@pytest.mark.parametrize(
    ("model", "version", "inputs", "code"),
    [
        ("nobody", "1", seconds(0), "TRITON_UNKNOWN_MODEL"),
        (SLEEPER, "7", seconds(0), "TRITON_UNKNOWN_MODEL"),
        (SLEEPER, "1", {"seconds": np.zeros((1, 4), np.float32)}, "TRITON_INVALID_REQUEST"),
        (SLEEPER, "1", {"seconds": np.zeros((1, 1), np.float64)}, "TRITON_INVALID_REQUEST"),
        (SLEEPER, "1", {"hours": np.zeros((1, 1), np.float32)}, "TRITON_INVALID_REQUEST"),
    ],
)
@pytest.mark.parametrize("shared_memory", [True, False])
def test_what_does_not_fit_is_permanent(
    triton: TritonServer, model: str, version: str, inputs: dict[str, Array], code: str, shared_memory: bool
) -> None:
    client = triton.client(shared_memory=shared_memory)
    with pytest.raises(Permanent) as caught:
        client.infer(model, version, inputs, ["slept"], priority=Lane.STAT, deadline_s=5)
    assert caught.value.code == code


def test_an_output_that_the_model_does_not_have_is_permanent(triton: TritonServer) -> None:
    for shared_memory in (True, False):
        client = triton.client(shared_memory=shared_memory)
        with pytest.raises(Permanent):
            client.infer(SLEEPER, "1", seconds(0), ["dreamt"], priority=Lane.STAT, deadline_s=5)


def test_an_error_inside_a_model_is_tried_once_more_and_then_the_breaker_opens(triton: TritonServer) -> None:
    metrics = Metrics(CollectorRegistry())
    client = triton.client(metrics=metrics)
    codes = []
    for _ in range(3):
        with pytest.raises(GlioServeError) as caught:
            client.infer(SLEEPER, "1", seconds(5000), ["slept"], priority=Lane.STAT, deadline_s=5)
        codes.append(caught.value.code)
    assert codes == ["TRITON_INTERNAL", "TRITON_INTERNAL", "TRITON_CIRCUIT_OPEN"]
    assert _failures(metrics, SLEEPER, "internal") == 4
    client.infer(*_coarse(client), priority=Lane.STAT, deadline_s=20)  # one model's trouble is not another's


def test_bytes_have_a_cap(triton: TritonServer) -> None:
    client = triton.client(shared_memory=False)
    much = {"seconds": np.zeros((1, transport.MAX_BYTES // 4 + 1), np.float32)}
    with pytest.raises(Permanent) as caught:
        client.infer(SLEEPER, "1", much, ["slept"], priority=Lane.STAT, deadline_s=5)
    assert caught.value.code == "TRITON_TENSORS_TOO_LARGE"


def _occupy(server: TritonServer, client: TritonClient, pool: ThreadPoolExecutor, queued: int) -> list[Future[float]]:
    """Ward requests of 0.4 s: one that runs and `queued` behind it, when this returns."""
    futures = []
    for waiting in range(queued + 1):
        futures.append(pool.submit(sleep, client, 0.4))
        wait_until(lambda waiting=waiting: _pending(server) >= waiting, "the ward queues")  # type: ignore[misc]
    wait_until(lambda: _pending(server) == queued, "one runs, the others queue")
    return futures


def _coarse(client: TritonClient) -> tuple[str, str, dict[str, Array], list[str]]:
    ref = client.model_ref("fusion_coarse")
    return (ref.name, ref.version, *client.blank_request(ref))


def _failures(metrics: Metrics, model: str, kind: str) -> float:
    return metrics.registry.get_sample_value("glioserve_triton_failures_total", {"model": model, "kind": kind}) or 0.0


def _registered(server: TritonServer) -> list[str]:
    with InferenceServerClient(server.launch.grpc_address) as client:
        return list(client.get_system_shared_memory_status().regions)


def _pending(server: TritonServer) -> int:
    """Queued, not running: Triton's own gauge."""
    return _gauge(server, "nv_inference_pending_request_count")


def _gauge(server: TritonServer, name: str) -> int:
    with urllib.request.urlopen(f"http://{server.launch.metrics_address}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    values = [line for line in lines if line.startswith(name + "{") and f'model="{SLEEPER}"' in line]
    return int(float(values[0].split()[-1])) if values else 0
