"""A gateway of this process on a home of its own: real HTTP server, embedded bus, SQLite, local blobs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from services.core.runtime.clock import SystemClock
from services.core.runtime.failpoints import Failpoints
from services.core.runtime.home import Home
from services.core.runtime.process import Process
from services.core.runtime.settings import load_shared
from services.core.telemetry.metrics import Metrics
from tests.integration.gateway.running import RunningGateway, running

Start = Callable[..., RunningGateway]


def process_of(home: Home, environ: dict[str, str]) -> Process:
    home.prepare()
    return Process(
        service="gateway",
        shared=load_shared({"GLIOSERVE_HOME": str(home.root)}),
        home=home,
        environ=environ,
        stop=threading.Event(),
        clock=SystemClock(),
        metrics=Metrics(CollectorRegistry()),
        failpoints=Failpoints(home.root),
    )


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def gateway(home: Home) -> Iterator[RunningGateway]:
    with running(process_of(home, {})) as started:
        yield started


@pytest.fixture
def start(home: Home) -> Iterator[Start]:
    """Starts a gateway with settings of its own; it is stopped at the end of the test."""
    contexts = []

    def begin(**settings: object) -> RunningGateway:
        environ = {f"GLIOSERVE_GATEWAY__{name.upper()}": str(value) for name, value in settings.items()}
        context = running(process_of(home, environ))
        contexts.append(context)
        return context.__enter__()

    yield begin
    for context in contexts:
        context.__exit__(None, None, None)
