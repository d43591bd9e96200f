"""Memory of navigation with four open sessions, one series a session each minute: PSS, and how much it grows.

`python -m loadtests.theatre_memory [--minutes 10] [--sessions 4]` prints JSON. Growth is from the median of the minute
that begins with minute 2 to the median of the last one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import grpc

from loadtests.figures import Row, summary
from loadtests.operation import ward_study
from loadtests.run import NOTICE, home, machine
from loadtests.studies import Studies
from loadtests.theatre_client import Answered, SeriesFile, TheatreSession
from loadtests.watch import Watch
from services.core.contracts.enums import STRUCTURAL
from services.core.runtime.home import Home, read_endpoints

LARGEST_MIB = 1536.0
GROWTH_PERCENT = 5.0
FROM_MINUTE = 2
DEADLINE_S = 30.0
MIB = 1 << 20


def main() -> int:
    """Gives 0 when both bars were reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--sessions", type=int, default=4)
    parser.add_argument("--spacing", type=float, default=1.0, help="voxel size of the series, mm")
    parser.add_argument("--out", type=Path, help="also write the JSON there")
    given = parser.parse_args()
    document = measured(given.minutes, given.sessions, Studies(spacing_mm=given.spacing))
    text = json.dumps(document, indent=2)
    print(text)
    if given.out is not None:
        given.out.write_text(text + "\n")
    return 0 if document["reached"] else 1


def measured(minutes: float, sessions: int, studies: Studies) -> Row:
    """The run as a document."""
    case = studies.theatre()
    series = [(str(modality), case.series_before[modality]) for modality in STRUCTURAL]
    tmpfs: list[Row] = []
    with home() as (stack, _folder), ExitStack() as watched:
        study = ward_study(stack, case.before, "theatre-memory")
        address = read_endpoints(stack.home)["navigation"]["grpc"]
        watch = watched.enter_context(Watch(stack.home, stack.supervisor))
        until = time.time() + 60 * minutes
        ended = threading.Event()
        follower = threading.Thread(target=_follow, args=(stack.home, watch.started_at, ended, tmpfs), daemon=True)
        follower.start()
        with ThreadPoolExecutor(sessions) as pool:
            jobs = [pool.submit(_send, (address, study), number, until, series) for number in range(sessions)]
            answers = _all(jobs)
        ended.set()
        follower.join()
    return {
        "notice": NOTICE, "machine": machine(), "minutes": minutes, "sessions": sessions,
        **judged(watch.rows, 60 * minutes),
        "tmpfs_mib": {"max": max((row["mib"] for row in tmpfs), default=0.0), "samples": tmpfs},
        "words": dict(Counter(answer.word for answer in answers)),
        "final_s": summary([answer.final_s for answer in answers if answer.final_s is not None]),
    }  # fmt: skip


def judged(rows: Sequence[Row], seconds: float) -> Row:
    """PSS of navigation (MiB): the largest, and the growth between two medians. Short runs have no growth."""
    points = [(row["at_s"], row["pss_mib"]["navigation"]) for row in rows if "navigation" in row["pss_mib"]]
    largest = max((size for _, size in points), default=0.0)
    first = [size for at, size in points if 60 * FROM_MINUTE <= at < 60 * FROM_MINUTE + 60]
    last = [size for at, size in points if seconds - 60 <= at < seconds]
    growth = None
    if first and last and seconds >= 60 * (FROM_MINUTE + 2):
        growth = round(100 * (statistics.median(last) / statistics.median(first) - 1), 2)
    return {
        "navigation_pss_mib": {"max": largest, "bar": LARGEST_MIB},
        "growth_percent": {"measured": growth, "bar": GROWTH_PERCENT},
        "reached": 0 < largest <= LARGEST_MIB and growth is not None and growth < GROWTH_PERCENT,
        "samples": [{"at_s": at, "mib": size} for at, size in points],
    }


def _send(place: tuple[str, str], session: int, until: float, series: Sequence[tuple[str, Path]]) -> list[Answered]:
    """One series each minute, at an address and for a study; the sessions take turns within the minute."""
    answers = []
    with TheatreSession(*place, DEADLINE_S) as theatre:
        theatre.opened()
        next_at, number = time.time() + 15.0 * session, 0
        while next_at < until:
            time.sleep(max(0.0, next_at - time.time()))
            modality, path = series[number % len(series)]
            answered = theatre.send(SeriesFile(name=f"{session}-{number}", path=path, modality=modality))
            answers.append(_waited(theatre, answered))
            next_at, number = next_at + 60.0, number + 1
        time.sleep(max(0.0, until - time.time()))
    return answers


def _waited(theatre: TheatreSession, answered: Answered) -> Answered:
    try:
        return theatre.wait(answered, DEADLINE_S + 15.0)
    except grpc.RpcError as error:
        answered.reasons = [str(error.code())]
        return answered


def _follow(home: Home, started_at: float, ended: threading.Event, rows: list[Row]) -> None:
    """Size of the theatre's folder in shared memory, which no process's PSS shows."""
    while not ended.wait(5.0):
        size = sum(_size(path) for path in home.theatre.rglob("*"))
        rows.append({"at_s": round(time.time() - started_at, 1), "mib": round(size / MIB, 1)})


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except FileNotFoundError:
        return 0


def _all(jobs: Sequence[Future[list[Answered]]]) -> list[Answered]:
    return [answer for job in jobs for answer in job.result()]


if __name__ == "__main__":
    sys.exit(main())
