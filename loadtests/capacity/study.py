"""Runs the simulations: days of 1 to 1000 hospitals with the chart's defaults and without a most, and the check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from loadtests.capacity.chart import Chart, Rule
from loadtests.capacity.demand import Hospital, Session, Study, sessions, studies
from loadtests.capacity.measured import STAGES, Measured
from loadtests.capacity.rooms import Rooms
from loadtests.capacity.ward import Ward
from loadtests.figures import Row, percentile, summary

SIZES = (1, 10, 100, 1000)
SPARES = (1, 2, 4, 8, 16, 32)
WAITING = 0.01
"""Share of sessions that may find no room at once where a number of spares is picked."""
ROUTINE_P95_S = 120.0
"""A number of pods is enough when routine studies have this p95."""


def day(measured: Measured, chart: Chart, hospitals: int, hospital: Hospital, seed: int = 1) -> Row:
    """One size: the ward and the rooms with the chart as it is, then what it would ask for, then the pick."""
    asked = studies(hospitals, hospital, seed)
    operations = sessions(hospitals, hospital, seed)
    defaults, free = _ward(measured, chart, asked), _ward(measured, chart.unbounded(), asked)
    row: Row = {
        "hospitals": hospitals, "studies_a_day": len(asked), "operations_a_day": len(operations),
        "ward": {"defaults": defaults, "unbounded": free},
    }  # fmt: skip
    if measured.final_s:
        row["theatre"] = {
            "defaults": _rooms(measured, chart, operations),
            "picked": _spares(measured, chart, operations),
        }
    return row


def check(measured: Measured, document: Row, runs: int = 20) -> Row:
    """The same arrivals as in a real run on one machine, simulated `runs` times: both latencies, and their ratio.

    A handler alone has the speed at which it was measured; the machine holds as many at that speed as its cores allow.
    """
    jobs = max(1.0, document["machine"]["cpus"] / measured.demand)
    ended = [study for study in document["studies"] if study["ended_s"] is not None]
    asked = [Study(at_s=study["due_s"], urgent=study["lane"] == "stat") for study in ended]
    real = [study["ended_s"] - study["due_s"] for study in ended]
    simulated: list[list[float]] = []
    for seed in range(runs):
        ward = Ward(measured=measured, chart=one_machine(), jobs=jobs, seed=seed)
        ward.run(asked)
        simulated.append(sorted(ward.latencies["stat"] + ward.latencies["routine"]))
    shares = {}
    for name, share in (("p50", 0.5), ("p95", 0.95)):
        guess = percentile([percentile(values, share) for values in simulated], 0.5)
        shares[name] = {"real_s": round(percentile(real, share), 1), "simulated_s": round(guess, 1)}
        shares[name]["ratio"] = round(guess / max(percentile(real, share), 1e-3), 2)
    return {"scenario": document["scenario"], "studies": len(ended), "jobs_at_full_speed": round(jobs, 2), **shares}


def one_machine() -> Chart:
    """One process a stage, one Triton, nothing scaled."""
    alone = Rule(least=1, most=1, per_pod=1.0, starts_s=0.0)
    return Chart(
        stages=dict.fromkeys(STAGES, alone), triton=alone, theatre=alone,
        spare=1, sessions=1, poll_s=15.0, down_s=600.0, theatre_down_s=600.0,
    )  # fmt: skip


def picked(rows: Sequence[Row]) -> Row:
    """Values for the chart by size: the most pods that the unbounded run had, and the spares that were enough."""
    values: Row = {}
    for row in rows:
        pods = row["ward"]["unbounded"]["most_pods"]
        values[str(row["hospitals"])] = {
            "bus.partitions": max(4, *(pods[stage] for stage in STAGES)),
            **{f"max {name}": max(pods[name], 1) for name in (*STAGES, "triton")},
            **({"theatre.scale.spare": row["theatre"]["picked"]["spare"],
                "theatre.scale.max": row["theatre"]["picked"]["most_pods"]} if "theatre" in row else {}),
        }  # fmt: skip
    return values


def _ward(measured: Measured, chart: Chart, asked: Sequence[Study]) -> Row:
    ward = Ward(measured=measured, chart=chart)
    ward.run(asked)
    return {
        **{lane: summary(values, 1) for lane, values in ward.latencies.items()},
        "most_pods": {name: pool.most_ready for name, pool in ward.pools.items()},
        "enough": bool(ward.latencies["routine"]) and percentile(ward.latencies["routine"], 0.95) <= ROUTINE_P95_S,
    }


def _rooms(measured: Measured, chart: Chart, operations: Sequence[Session]) -> Row:
    rooms = Rooms(measured=measured, chart=chart)
    rooms.run(operations)
    waited = sum(seconds > 0 for seconds in rooms.welcome_s) / max(len(rooms.welcome_s), 1)
    return {
        "spare": chart.spare, "most_pods": rooms.most_pods, "found_no_room_at_once": round(waited, 4),
        "welcome_s": summary(rooms.welcome_s, 1), "coarse_s": summary(rooms.coarse_s, 2),
        "final_s": summary(rooms.final_s, 2),
    }  # fmt: skip


def _spares(measured: Measured, chart: Chart, operations: Sequence[Session]) -> Row:
    """The least number of spares with which sessions find room; the largest one where none is enough."""
    free = chart.unbounded()
    row: Row = {}
    for spare in SPARES:
        row = _rooms(measured, replace(free, spare=spare, theatre=replace(free.theatre, least=spare)), operations)
        if row["found_no_room_at_once"] <= WAITING:
            break
    return row
