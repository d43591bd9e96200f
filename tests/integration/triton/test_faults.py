"""What happens when Triton, one of its stubs or a caller dies, hangs or stops. Each test breaks its own server."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from prometheus_client import CollectorRegistry

from services.core.contracts.enums import Lane
from services.core.contracts.errors import GlioServeError, Transient
from services.core.imaging.volume import Array
from services.core.runtime.clock import SystemClock
from services.core.telemetry.metrics import Metrics
from services.core.triton.canary import CanaryProbe, CanarySpec
from services.core.triton.client import TritonClient
from services.core.triton.server import MODELS
from services.core.triton.shared_memory import SHM, Region, sweep_client_regions, sweep_shared_memory
from tests.servers.triton import SLEEPER, TritonServer, triton_server, wait_until

pytestmark = pytest.mark.integration


@pytest.fixture
def own(tmp_path: Path) -> Iterator[TritonServer]:
    with triton_server(tmp_path) as server:
        yield server


def call(client: TritonClient, seconds: float = 0.0, deadline_s: float = 10.0) -> None:
    inputs = {"seconds": np.full((1, 1), seconds, np.float32)}
    client.infer(SLEEPER, "1", inputs, ["slept"], priority=Lane.ROUTINE, deadline_s=deadline_s)


def answers(client: TritonClient) -> bool:
    try:
        call(client)
    except Transient:
        return False
    return True


def test_a_dead_stub_is_seen_by_the_canary_though_the_server_says_ready(own: TritonServer) -> None:
    metrics = Metrics(CollectorRegistry())
    client = own.client(metrics=metrics)
    probe = CanaryProbe(client, (SLEEPER, *MODELS), metrics, SystemClock(), CanarySpec(interval_s=0.2, tick_s=0.1))
    probe.start()
    try:
        wait_until(probe.fresh, "every model has computed")
        with pytest.raises(GlioServeError):
            call(client, seconds=-1)
        wait_until(lambda: not probe.fresh(), "the canary notices", 10)
        assert own.http_ready()
        gauge = metrics.registry.get_sample_value
        wait_until(lambda: gauge("glioserve_triton_canary", {"model": SLEEPER}) == 0, "the gauge says so", 10)
        assert gauge("glioserve_triton_canary", {"model": MODELS[0]}) == 1
    finally:
        probe.stop()


def test_a_canary_is_stale_when_nothing_has_computed_for_too_long(own: TritonServer) -> None:
    metrics = Metrics(CollectorRegistry())
    probe = CanaryProbe(own.client(metrics=metrics), MODELS, metrics, SystemClock())
    assert not probe.fresh()  # nothing is known yet
    probe.check()
    assert probe.fresh(max_age_s=60)
    assert not probe.fresh(max_age_s=0)


def test_callers_recover_after_kill_and_restart_and_nothing_is_left(own: TritonServer) -> None:
    metrics = Metrics(CollectorRegistry())
    client = own.client(metrics=metrics)
    call(client)
    own.kill()
    for _ in range(3):
        with pytest.raises(Transient) as caught:
            call(client, deadline_s=2.0)
    assert caught.value.code in {"TRITON_UNAVAILABLE", "TRITON_CIRCUIT_OPEN"}
    assert not client.ready()
    sweep_shared_memory(own.home.shm_prefix)
    own.start()
    wait_until(lambda: answers(client), "the same client is served again", 10)
    own.stop()
    assert not own.shared_memory()


def test_a_restart_between_two_calls_is_not_even_noticed(own: TritonServer) -> None:
    metrics = Metrics(CollectorRegistry())
    client = own.client(metrics=metrics)
    call(client)
    own.kill()
    sweep_shared_memory(own.home.shm_prefix)
    own.start()
    wait_until(client.ready, "connected again", 10)
    call(client)
    failures = metrics.registry.get_sample_value(
        "glioserve_triton_failures_total", {"model": SLEEPER, "kind": "unavailable"}
    )
    assert not failures


def test_a_kill_in_the_middle_of_a_call_is_transient_at_once(own: TritonServer) -> None:
    client = own.client()
    call(client)
    killer = subprocess.Popen(["/bin/sh", "-c", f"sleep 0.3; kill -9 {own.process.pid}"])  # type: ignore[union-attr]
    started = time.monotonic()
    with pytest.raises(Transient) as caught:
        call(client, seconds=20, deadline_s=30)
    assert time.monotonic() - started < 10
    assert caught.value.code == "TRITON_UNAVAILABLE"
    killer.wait()
    own.kill()


def test_stubs_end_with_a_server_that_nobody_reaps(own: TritonServer) -> None:
    stubs = [stub for stub in own.stubs() if SLEEPER not in " ".join(stub.cmdline())]
    assert len(stubs) == len(MODELS)
    server = psutil.Process(own.process.pid)  # type: ignore[union-attr]
    server.kill()
    wait_until(lambda: not any(_alive(stub) for stub in stubs), "our backend's stubs end", 10)
    assert server.status() == psutil.STATUS_ZOMBIE
    own.kill()


def test_when_server_and_stubs_are_killed_together_the_sweep_removes_what_they_left(own: TritonServer) -> None:
    client = own.client()
    client.infer(*_blank(client, "fusion_coarse"), priority=Lane.STAT, deadline_s=20)
    stubs = own.stubs()
    for process in [psutil.Process(own.process.pid), *stubs]:  # type: ignore[union-attr]
        process.kill()
    own.kill()
    assert [name for name in own.shared_memory() if "-triton-" in name]
    own.close_clients()
    sweep_shared_memory(own.home.shm_prefix)
    assert not own.shared_memory()


def test_stubs_that_cannot_see_that_their_server_died_are_ended_by_the_sweep(own: TritonServer) -> None:
    stubs = own.stubs()
    for stub in stubs:
        stub.suspend()  # as blind as one that waits for the server with the interpreter's lock held
    own.process.kill()  # type: ignore[union-attr]
    own.process.wait()  # type: ignore[union-attr]
    assert len(own.stubs()) == len(stubs)
    sweep_shared_memory(own.home.shm_prefix)
    assert not own.stubs()
    own.start()  # the same home serves again


def test_a_hung_server_cannot_hold_a_caller_beyond_its_deadline(own: TritonServer) -> None:
    client = own.client()
    call(client)
    own.process.send_signal(signal.SIGSTOP)  # type: ignore[union-attr]
    for _ in range(2):
        started = time.monotonic()
        with pytest.raises(Transient):
            call(client, deadline_s=0.5)
        assert time.monotonic() - started < 1.5
    own.process.send_signal(signal.SIGCONT)  # type: ignore[union-attr]
    wait_until(lambda: answers(client), "served again", 10)


def test_a_stop_finishes_what_runs(own: TritonServer) -> None:
    client = own.client()
    call(client)
    stopper = subprocess.Popen(["/bin/sh", "-c", f"sleep 0.2; kill {own.process.pid}"])  # type: ignore[union-attr]
    call(client, seconds=0.8)
    stopper.wait()
    wait_until(lambda: own.process.poll() is not None, "the server ends", 15)  # type: ignore[union-attr]
    assert not [name for name in own.shared_memory() if "-triton-" in name]


def test_a_killed_callers_region_goes_with_the_next_caller_and_live_ones_stay(tmp_path: Path) -> None:
    prefix = f"glioserve-test{abs(hash(tmp_path)) % 10**8}"
    code = textwrap.dedent(f"""
        import sys, time
        from services.core.triton.shared_memory import Region
        region = Region({prefix!r}, 4096)
        print(region.name, flush=True)
        time.sleep(60)
    """)
    with Region(prefix, 4096) as ours, subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        theirs = other.stdout.readline().decode().strip()
        assert sweep_client_regions(prefix) == []
        other.kill()
        other.wait()
        assert sweep_client_regions(prefix) == [theirs]
        assert sweep_shared_memory(prefix) == []
        assert (SHM / ours.name).exists()
    assert not list(SHM.glob(f"{prefix}*"))


def _blank(client: TritonClient, model: str) -> tuple[str, str, dict[str, Array], list[str]]:
    ref = client.model_ref(model)
    return (ref.name, ref.version, *client.blank_request(ref))


def _alive(process: psutil.Process) -> bool:
    return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
