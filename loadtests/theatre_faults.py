"""Deadlines of the operating room: a hundred series with Triton healthy, hung, killed, or its queue full.

`python -m loadtests.theatre_faults [--states healthy,hung,killed,full] [--series 100]` prints JSON. Each state has a
home of its own; series are sent by a few sessions, each waiting for its answer. An answer is in time when the last word
on a series, whatever it says, came before the deadline that the client counts from its own last byte.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import psutil
from prometheus_client import CollectorRegistry

from loadtests.figures import Row, summary
from loadtests.operation import told, ward_study
from loadtests.run import MODELS, NOTICE, home, machine
from loadtests.studies import Studies
from loadtests.theatre_client import Answered, SeriesFile, TheatreSession
from services.core.contracts.enums import STRUCTURAL, Lane, Modality
from services.core.contracts.errors import GlioServeError
from services.core.imaging.canonical import COARSE_SHAPE
from services.core.imaging.volume import Array
from services.core.runtime.home import read_endpoints
from services.core.telemetry.metrics import Metrics
from services.core.triton.catalog import ModelCatalog
from services.core.triton.client import ClientSpec, TritonClient
from tests.system.stack import Stack

IN_TIME = 99
"""Of a hundred series with Triton healthy, at least so many are complete."""
FILLERS = 14
"""Callers at a time; the queue of the theatre's level holds eight."""
FULL_S = 60.0


def main() -> int:
    """Gives 0 when every bar was reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--states", default=",".join(STATES), help="healthy, hung, killed, full")
    parser.add_argument("--series", type=int, default=100)
    parser.add_argument("--sessions", type=int, default=2, help="that send at the same time")
    parser.add_argument("--deadline", type=float, default=30.0, help="s, of the healthy run")
    parser.add_argument("--fault-deadline", type=float, default=5.0, help="s, of the runs with a fault")
    parser.add_argument("--spacing", type=float, default=1.0, help="voxel size of the series, mm")
    parser.add_argument("--out", type=Path, help="also write the JSON there")
    given = parser.parse_args()
    document: Row = {"notice": NOTICE, "machine": machine(), "states": {}}
    for state in given.states.split(","):
        deadline = given.deadline if state == "healthy" else given.fault_deadline
        row = measured(state, given.series, given.sessions, deadline, Studies(spacing_mm=given.spacing))
        document["states"][state] = row
        print(f"{state}: {json.dumps(row)}", file=sys.stderr, flush=True)
    text = json.dumps(document, indent=2)
    print(text)
    if given.out is not None:
        given.out.write_text(text + "\n")
    return 0 if all(row["reached"] for row in document["states"].values()) else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Room:
    """Where series are sent, for which study of the gateway, and what: sequence and file, again and again."""

    address: str
    study: str
    deadline_s: float
    series: Sequence[tuple[Modality, Path]]

    def send(self, session: int, count: int) -> list[Answered]:
        """One session."""
        answers = []
        with TheatreSession(self.address, self.study, self.deadline_s) as theatre:
            theatre.opened()
            for number in range(count):
                modality, path = self.series[number % len(self.series)]
                answered = theatre.send(SeriesFile(name=f"{session}-{number}", path=path, modality=str(modality)))
                answers.append(_waited(theatre, answered, self.deadline_s))
        return answers


def measured(state: str, count: int, sessions: int, deadline_s: float, studies: Studies) -> Row:
    """One state: the fault is there before the first series and stays until the last answer.

    The ward knows the patient's study: without it a series alone could never be answered as complete.
    """
    case = studies.theatre()
    series = [(modality, case.series_before[modality]) for modality in STRUCTURAL]
    shares = [count // sessions + (number < count % sessions) for number in range(sessions)]
    with home() as (stack, _folder):
        study = ward_study(stack, case.before, "theatre-faults")
        address = read_endpoints(stack.home)["navigation"]["grpc"]
        room = _Room(address=address, study=study, deadline_s=deadline_s, series=series)
        with STATES[state](stack), ThreadPoolExecutor(sessions) as pool:
            jobs = [pool.submit(room.send, number, share) for number, share in enumerate(shares)]
            answers = [answer for job in jobs for answer in job.result()]
    return _row(state, answers, deadline_s)


def _waited(theatre: TheatreSession, answered: Answered, deadline_s: float) -> Answered:
    try:
        return theatre.wait(answered, deadline_s + 15.0)
    except grpc.RpcError as error:
        answered.reasons = [str(error.code())]
        return answered


def _row(state: str, answers: Sequence[Answered], deadline_s: float) -> Row:
    in_time = [a for a in answers if a.last_word_s is not None and a.last_word_s <= deadline_s]
    complete = [a for a in in_time if a.word == "complete"]
    reached = len(in_time) == len(answers)
    if state == "healthy":
        reached = len(complete) >= IN_TIME * len(answers) / 100
    rows = [told(answer) for answer in answers]
    return {
        "series": len(answers), "deadline_s": deadline_s, "answered_in_time": len(in_time), "complete": len(complete),
        "reached": reached,
        "words": dict(Counter(answer.word for answer in answers)),
        "reasons": dict(Counter(reason for answer in answers for reason in answer.reasons)),
        "last_word_s": summary([row["last_word_s"] for row in rows if row["last_word_s"] is not None]),
        "coarse_s": summary([row["coarse_s"] for row in rows if row["coarse_s"] is not None]),
        "final_s": summary([row["final_s"] for row in rows if row["final_s"] is not None]),
    }  # fmt: skip


@contextmanager
def _healthy(_stack: Stack) -> Iterator[None]:
    yield


@contextmanager
def _hung(stack: Stack) -> Iterator[None]:
    """The server is stopped by a signal: its ports are open, and nothing answers."""
    family = _family(stack)
    for process in family:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in family:
            if process.is_running():
                process.send_signal(signal.SIGCONT)


@contextmanager
def _killed(stack: Stack) -> Iterator[None]:
    """The server is killed whenever the supervisor has started it again."""
    ended = threading.Event()

    def kill() -> None:
        while not ended.is_set():
            for process in _family(stack):
                try:
                    process.kill()
                except psutil.NoSuchProcess:
                    continue
            ended.wait(0.2)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    try:
        yield
    finally:
        ended.set()
        killer.join()


@contextmanager
def _full(stack: Stack) -> Iterator[None]:
    """Others keep the server's queue full at the theatre's own priority."""
    ended, full = threading.Event(), threading.Event()
    spec = ClientSpec(address=read_endpoints(stack.home)["triton"]["grpc"], shm_prefix=None)

    def fill() -> None:
        client = TritonClient(spec, ModelCatalog.load(MODELS), Metrics(CollectorRegistry()))
        try:
            while not ended.is_set():
                if _call(client) == "TRITON_REJECTED":
                    full.set()
        finally:
            client.close()

    fillers = [threading.Thread(target=fill, daemon=True) for _ in range(FILLERS)]
    try:
        for filler in fillers:
            filler.start()
        assert full.wait(120), "the queue of Triton does not fill"
        yield
    finally:
        ended.set()
        for filler in fillers:
            filler.join()


def _call(client: TritonClient) -> str:
    """One call with an empty image; the code of its failure, or nothing."""
    slots = len(Modality)
    inputs: dict[str, Array] = {
        "image": np.zeros((1, slots, *COARSE_SHAPE), np.float16),
        "available": np.ones((1, slots), np.float32),
        "quality": np.ones((1, slots, 3), np.float32),
    }
    version = client.model_ref("fusion_coarse").version
    try:
        client.infer("fusion_coarse", version, inputs, ("gates",), priority=Lane.THEATRE, deadline_s=FULL_S)
    except GlioServeError as error:  # full is what is wanted
        time.sleep(0.05)
        return error.code
    return ""


def _family(stack: Stack) -> list[psutil.Process]:
    """Triton and its own children; empty while it is being started again."""
    for child in stack.supervisor.children():
        try:
            if "tritonserver" in " ".join(child.cmdline()):
                return [child, *child.children(recursive=True)]
        except psutil.NoSuchProcess:
            continue
    return []


STATES: dict[str, Callable[[Stack], AbstractContextManager[None]]] = {
    "healthy": _healthy,
    "hung": _hung,
    "killed": _killed,
    "full": _full,
}


if __name__ == "__main__":
    sys.exit(main())
