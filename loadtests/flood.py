"""The money graph: a flood of routine studies and one operation beside it. Rows P3, P4 and P5.

The same operation runs twice on one home, on another person each time, so that no answer is found instead of computed:
first on the idle machine, then in the flood. Poses come from a client of their own while the second session is open.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from loadtests.arrivals import arrivals
from loadtests.figures import Row
from loadtests.generator import Generator
from loadtests.operation import Operation, resection, ward_study
from loadtests.poses import PoseClient, PoseLoad
from loadtests.run import Site, run
from loadtests.studies import Studies
from loadtests.watch import cpu_between
from services.core.runtime.home import read_endpoints

IDLE_PERSON, FLOODED_PERSON = 1, 0
SETTLE_S = 20.0
"""The flood is at work for so long before the operation begins."""
WARD = ("preprocessing", "fusion_segmentation", "molecular_subtyping", "monitoring", "reporting")
BARS = {"coarse_s": 3.0, "final_s": 8.0}
POSE_BAR_MS = 20.0


@dataclass(slots=True)
class _Theatre:
    """The second operation, started and followed beside the load."""

    studies: Studies
    folder: Path
    pose_seconds: float
    began: float = 0.0
    generator: Generator | None = None
    poses: PoseClient | None = None
    poses_until: float = 0.0
    study: str = ""
    idle: list[Row] = field(default_factory=list)

    def before(self, site: Site) -> None:
        """Both patients' earlier studies, and the operation on the idle machine."""
        ids = {
            person: ward_study(site.stack, self.studies.theatre(person).before, f"theatre-{person}")
            for person in (IDLE_PERSON, FLOODED_PERSON)
        }
        self.study = ids[FLOODED_PERSON]
        operation = _operation(site, self.studies, IDLE_PERSON, ids[IDLE_PERSON])
        idle = _theatre(site.folder / "idle", operation)
        while idle.running() and site.time_left():
            time.sleep(0.5)
        idle.stop()
        self.idle = idle.events()
        self.began = time.time()

    def beside(self, site: Site, load: Generator) -> None:
        """Begins the operation once the flood is at work; keeps the run open until it has ended."""
        if self.generator is None:
            uploads = [row for row in load.events() if row["event"] == "upload"]
            site.extra["busy"] = True
            if not uploads or time.time() < uploads[0]["began"] + SETTLE_S:
                return
            operation = _operation(
                site, self.studies, FLOODED_PERSON, self.study, pause_s=30.0, hold_s=self.pose_seconds + 10
            )
            self.generator = _theatre(self.folder / "flooded", operation)
        events = {row["event"]: row for row in self.generator.events()}
        if "series" in events and self.poses is None and events["session"]["poses"] and self.pose_seconds:
            session = events["session"]
            asked = PoseLoad(address=session["poses"], token=session["token"], seconds=self.pose_seconds)
            self.poses = PoseClient(asked)
            self.poses_until = time.time() + self.pose_seconds
        site.extra["busy"] = self.generator.running() or time.time() < self.poses_until

    def close(self) -> None:
        """Ends what still runs."""
        if self.generator is not None:
            self.generator.stop()
        if self.poses is not None:
            self.poses.__exit__(None, None, None)

    def pose_row(self) -> Row | None:
        """What the pose client measured."""
        if self.poses is None:
            return None
        with self.poses as client:
            return dict(client.result())


def flood_with_theatre(studies: Studies, minutes: float, count: int, seed: int, pose_s: float = 300.0) -> Row:
    """The document of the run; rows P3 to P5 under `rows`. `pose_s` 0: no poses."""
    moments = [10.0 * number / count for number in range(count)]
    plan = arrivals(moments, studies, seed, stat=0.0)
    theatre = _Theatre(studies, Path(), pose_s)

    def before(site: Site) -> None:
        theatre.folder = site.folder
        theatre.before(site)

    def after(site: Site) -> None:
        poses = theatre.pose_row()
        theatre.close()
        flooded = theatre.generator.events() if theatre.generator is not None else []
        site.extra.pop("busy", None)
        site.extra.update(_told(site, theatre.idle, flooded, poses))

    try:
        return _finished(run("flood-with-theatre", plan, minutes, before, theatre.beside, after))
    finally:
        theatre.close()


def _operation(
    site: Site, studies: Studies, person: int, study: str, pause_s: float = 5.0, hold_s: float = 0.0
) -> Operation:
    address = read_endpoints(site.stack.home)["navigation"]["grpc"]
    return Operation(address=address, study=study, moves=resection(studies, person), pause_s=pause_s, hold_s=hold_s)


def _theatre(folder: Path, operation: Operation) -> Generator:
    folder.mkdir(parents=True)
    return Generator(folder, "Theatre", ["--operation", str(operation.write(folder / "operation.json"))], "http://-")


def _told(site: Site, idle: Sequence[Row], flooded: Sequence[Row], poses: Row | None) -> Row:
    """What goes into the document: both operations, the use of the machine while the second was open, the rows."""
    end = next((row for row in flooded if row["event"] == "session-end"), None)
    told: Row = {"operations": {"idle": _public(idle), "flooded": _public(flooded)}, "poses": poses}
    if end is not None:
        started = site.watch.started_at
        used = dict(cpu_between(site.watch.rows, end["began"] - started, end["ended"] - started))
        seconds = used.pop("seconds", 0.0)
        told["session"] = {
            "began_at": end["began"], "ended_at": end["ended"], "seconds": round(end["ended"] - end["began"], 1),
            "cores": {name: round(value / seconds, 3) for name, value in used.items()} if seconds else {},
        }  # fmt: skip
    return told


def _public(rows: Sequence[Row]) -> list[Row]:
    """Without the token: it opens the session."""
    return [{name: value for name, value in row.items() if name != "token"} for row in rows]


def _finished(document: Row) -> Row:
    """Adds what needs the times of the studies: how the ward went on, and the rows of the objectives."""
    began = document["load"]["began_at"]
    for row in document["operations"]["flooded"]:
        if row["event"] != "session":
            first = row["began"] if row["event"] == "session-end" else row["last_byte_at"] or row["began"]
            row["from_s"], row["to_s"] = round(first - began, 2), round(row["ended"] - began, 2)
    session = document.get("session")
    if session is not None:
        first, last = session["began_at"] - began, session["ended_at"] - began
        ended = [s for s in document["studies"] if s["ended_s"] is not None and first <= s["ended_s"] <= last]
        cores = document["machine"]["cpus"]
        session["routine_studies_finished"] = len(ended)
        session["routine_cpu_share"] = round(sum(session["cores"].get(name, 0.0) for name in WARD) / cores, 3)
    return {**document, "rows": objectives(document)}


def objectives(document: Row) -> Row:
    """Rows P3, P4, P5 and the conditions of the scenario: measured, bar, reached."""
    series = {
        name: {row["series"]: row for row in rows if row["event"] == "series"}
        for name, rows in document["operations"].items()
    }
    rows: Row = {}
    for key, bar in BARS.items():
        idle, flooded = (_median(series[name].values(), key) for name in ("idle", "flooded"))
        limit = None if idle is None or math.isinf(idle) else round(1.3 * idle + 2.0, 2)
        what = f"{key.removesuffix('_s')} mask, median s"
        rows[f"P3 idle, {what}"] = _row(idle, bar)
        rows[f"P4 flooded, {what}"] = _row(flooded, limit)
    rows["P5 pose in the flood, p99 ms"] = _row(_pose_p99(document.get("poses")), POSE_BAR_MS)
    for name, region, bar in (("t2f-after", "WT", 0.8), ("t1c-after", "TC", 0.6)):
        dice = series["flooded"].get(name, {}).get("dice", {}).get(region)
        rows[f"{region} Dice of {name}"] = _row(dice, bar, at_least=True)
    answered = [row for found in series.values() for row in found.values() if "names_its_series" in row]
    rows["answers that name the series that they answer"] = {
        "measured": sum(row["names_its_series"] for row in answered), "bar": f"all {len(answered)}",
        "reached": all(row["names_its_series"] for row in answered) if answered else None,
    }  # fmt: skip
    session = document.get("session", {})
    rows["routine studies finished while the session was open"] = _row(
        session.get("routine_studies_finished"), 1, at_least=True
    )
    return rows


def _median(rows: Iterable[Row], key: str) -> float | None:
    """A series without that mask took for ever; None without any series."""
    values = [math.inf if row.get(key) is None else row[key] for row in rows]
    return round(statistics.median(values), 2) if values else None


def _pose_p99(poses: Row | None) -> float | None:
    """None where any pose found no mask: the answer to nothing is quick."""
    if poses is None or set(poses["answers"]) - {"fresh", "stale"} or poses["answered"] < poses["poses"]:
        return None
    return float(poses["p99_ms"])


def _row(measured: float | None, bar: float | None, *, at_least: bool = False) -> Row:
    """`reached` None: not measured. A mask that never came is told as not reached."""
    sign = "at least" if at_least else "at most"
    if measured is not None and math.isinf(measured):
        return {"measured": None, "bar": None if bar is None else f"{sign} {bar:g}", "reached": False}
    if measured is None or bar is None:
        return {"measured": measured, "bar": bar, "reached": None}
    return {"measured": measured, "bar": f"{sign} {bar:g}", "reached": measured >= bar if at_least else measured <= bar}
