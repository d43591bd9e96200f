"""Runs one scenario on a home of its own: starts `glioserve up`, sends the load, watches, and gives the document.

Bounded in time: what has no answer when time is up is counted as open, and the account says that it does not hold.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from loadtests.accounts import accepted, account, all_ended, documents, finished_at, latencies
from loadtests.arrivals import Arrival
from loadtests.figures import Row, histograms
from loadtests.generator import Generator, hospital
from loadtests.watch import Watch, cpu_between, metrics_page
from services.cli.supervisor import SERVICES, WARD
from services.core.runtime.home import Home, read_endpoints
from tests.system.stack import Stack, assert_nothing_left

MODELS = Path(__file__).parents[1] / "triton_models"
NOTICE = "research use; synthetic training data; not for diagnosis"
LOOK_EVERY_S = 2.0
START_TRIES = 4


@dataclass(slots=True, kw_only=True)
class Site:
    """A running home, what was sent to it so far, and what happened beside. `extra` goes into the document."""

    stack: Stack
    folder: Path
    watch: Watch
    until: float
    extra: Row = field(default_factory=dict)

    @property
    def gateway(self) -> str:
        """Its address."""
        return read_endpoints(self.stack.home)["gateway"]["http"]

    def time_left(self) -> bool:
        """False once the bound is reached."""
        return time.time() < self.until


@contextmanager
def home(only: Sequence[str] = SERVICES) -> Iterator[tuple[Stack, Path]]:
    """`glioserve up` with the shipped networks in a temporary home, which is removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="glioserve-load-"))
    stack = Stack(Home(folder / "home"), {"GLIOSERVE_MODELS": str(MODELS)}, tuple(only))
    try:
        _start(stack)
        yield stack, folder
    finally:
        stack.stop()
        shutil.rmtree(folder)
    assert_nothing_left(stack.home)


def _start(stack: Stack) -> None:
    """A machine that is busy with other things gets the time several times."""
    late: AssertionError | None = None
    for attempt in range(START_TRIES):
        try:
            (stack.wait_ready if attempt else stack.start)()
        except AssertionError as error:
            late = error
        else:
            return
    assert late is not None
    raise late


def run(
    name: str,
    plan: Sequence[Arrival],
    minutes: float,
    before: Callable[[Site], None] | None = None,
    beside: Callable[[Site, Generator], None] | None = None,
    after: Callable[[Site], None] | None = None,
) -> Row:
    """Sends the plan and waits for every study's last word, or until `minutes` are over. `before`, `beside` and `after`
    the load more may happen on the running home; `beside` is called every two seconds.
    """
    with home(WARD if beside is None else SERVICES) as (stack, folder), Watch(stack.home, stack.supervisor) as watch:
        site = Site(stack=stack, folder=folder, watch=watch, until=time.time() + 60 * minutes)
        if before is not None:
            before(site)
        began = time.time()
        with hospital(folder / "load", site.gateway, plan) as generator:
            known = _until_ended(site, generator, beside)
            ended = time.time()
            events = generator.events()
        if after is not None:
            after(site)
        pages = [metrics_page(stack.home, service) for service in read_endpoints(stack.home)]
    return {
        "scenario": name, "notice": NOTICE, "machine": machine(),
        "load": {
            "studies": len(plan), "began_at": began, "seconds": round(ended - began, 1),
            "lateness_s": _lateness(events),
        },
        "account": account(events, known),
        "lanes": latencies(events, known),
        "handlers_s": histograms(pages, "glioserve_stage_seconds", ("stage", "lane")),
        "triton_s": histograms(pages, "glioserve_triton_seconds", ("model",)),
        "cpu": _cpu(watch, began, ended),
        "peak_pss_mib": _peaks(watch.rows),
        **site.extra,
        "studies": _studies(events, known, began),
        "samples": _shifted(watch.rows, began - watch.started_at),
    }  # fmt: skip


def machine() -> Row:
    """Where it ran. `load_average`: of the minute before the end; above the number of cores others were at work."""
    return {
        "cpus": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / (1 << 30)),
        "load_average": round(os.getloadavg()[0], 1),
    }


def _until_ended(site: Site, generator: Generator, beside: Callable[[Site, Generator], None] | None) -> Row:
    while site.time_left():
        if beside is not None:
            beside(site, generator)
        known = documents(site.stack)
        if not generator.running() and all_ended(generator.events(), known) and not site.extra.get("busy"):
            return known
        time.sleep(LOOK_EVERY_S)
    return documents(site.stack)


def _lateness(events: Sequence[Row]) -> float:
    """The longest time between the moment at which an upload was due and its start: the generator's own fault."""
    return round(max((row["began"] - row["scheduled"] for row in events if row["event"] == "upload"), default=0.0), 3)


def _cpu(watch: Watch, began: float, ended: float) -> Row:
    """Cores that were busy while the load lasted, by service, and those of everything else on the machine."""
    used = dict(cpu_between(watch.rows, began - watch.started_at, ended - watch.started_at))
    seconds = used.pop("seconds", 0.0)
    machine_s = used.pop("machine", 0.0)
    if not seconds:
        return {}
    return {
        "cores_by_service": {name: round(value / seconds, 3) for name, value in used.items()},
        "cores_of_the_home": round(sum(used.values()) / seconds, 3),
        "cores_of_others": round((machine_s - sum(used.values())) / seconds, 3),
    }


def _peaks(rows: Sequence[Row]) -> Row:
    names = sorted({name for row in rows for name in row["pss_mib"]})
    peaks = {name: max(row["pss_mib"].get(name, 0.0) for row in rows) for name in names}
    return {"by_service": peaks, "total": max(sum(row["pss_mib"].values()) for row in rows)}


def _studies(events: Sequence[Row], known: Row, began: float) -> list[Row]:
    """One row a study: when it was due and when it ended, seconds from the start of the load."""
    return [
        {
            "due_s": round(row["scheduled"] - began, 2), "lane": row["lane"], "kind": row["kind"],
            "state": known[row["study"]]["state"],
            "ended_s": round(finished_at(known[row["study"]]) - began, 2)
            if known[row["study"]]["state"] in ("done", "failed") else None,
        }
        for row in accepted(events) if row["study"] in known
    ]  # fmt: skip


def _shifted(rows: Sequence[Row], seconds: float) -> list[Row]:
    """The same samples, counted from the start of the load."""
    return [{**row, "at_s": round(row["at_s"] - seconds, 2)} for row in rows]
