"""How a process of GlioServe starts and stops: telemetry, home, signals, health port, published endpoints."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from services.core.contracts.errors import GlioServeError
from services.core.runtime.clock import Clock, SystemClock
from services.core.runtime.failpoints import Failpoints
from services.core.runtime.home import Home
from services.core.runtime.settings import SettingsError, SharedSettings, load_shared
from services.core.telemetry.logs import setup_logging
from services.core.telemetry.metrics import Metrics
from services.core.telemetry.tracing import setup_tracing

EXIT_BAD_SETTINGS = 78  # EX_CONFIG of sysexits.h
EXIT_CANNOT_START = 75  # EX_TEMPFAIL: what it needs is away; its supervisor tries again
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """What `main` of every service gets: never global, always passed."""

    service: str
    shared: SharedSettings
    home: Home
    environ: Mapping[str, str]
    stop: threading.Event
    clock: Clock
    metrics: Metrics
    failpoints: Failpoints


def run_process(service: str, body: Callable[[Process], None]) -> int:
    """Sets a process up, runs `body` until it returns (it watches `stop`), and gives the exit code.

    SIGTERM and SIGINT set `stop`.
    """
    environ = dict(os.environ)
    try:
        shared = load_shared(environ)
    except SettingsError as error:
        sys.stderr.write(f"{service}: {error}\n")
        return EXIT_BAD_SETTINGS
    home = Home(shared.home.resolve())
    home.prepare()
    setup_logging(service, shared.log_level)
    setup_tracing(service, shared.otlp_endpoint)
    stop = threading.Event()
    _stop_on_signal(stop)
    process = Process(
        service=service,
        shared=shared,
        home=home,
        environ=environ,
        stop=stop,
        clock=SystemClock(),
        metrics=Metrics(),
        failpoints=Failpoints(home.root),
    )
    log.info("process.started", extra={"pid": os.getpid()})
    try:
        body(process)
    except SettingsError as error:
        sys.stderr.write(f"{service}: {error}\n")
        return EXIT_BAD_SETTINGS
    except GlioServeError as error:
        log.critical("process.failed", extra={"code": error.code, "reason": error.message, "advice": error.advice})
        return EXIT_CANNOT_START
    log.info("process.stopped", extra={"pid": os.getpid()})
    return 0


def _stop_on_signal(stop: threading.Event) -> None:
    """Sets `stop` at SIGTERM or SIGINT, from a thread of its own.

    A handler must not: it would run in the middle of the main thread, which may hold the very lock that `set` takes.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)

    def wait() -> None:
        os.read(reader, 1)
        stop.set()

    threading.Thread(target=wait, name="signals", daemon=True).start()
