"""Row P5: how long a pose answer takes, from the moment at which its pose was due to be sent.

`python -m loadtests.poses --address HOST:PORT --token T [--seconds 300] [--hz 50]` asks a session that exists;
`--idle` starts a pose process with a synthetic mask and asks that. Poses are sent when they are due,
whether or not earlier ones were answered. `PoseClient` does the same from a process of its own, beside other load.
That process stands in for another machine: it has real-time priority where this one permits it, and says so.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np
from glioserve.navigation.v1 import answers_pb2, pose_service_pb2, pose_service_pb2_grpc

from services.core.runtime.priority import take_real_time
from services.core.security.tls import TlsSettings, channel
from tests.integration.navigation.pose_site import CENTRE_MM, TOKEN, running_poses, state

Row: TypeAlias = dict[str, Any]
LATE_S = 30.0
"""Answers that take longer count as lost."""
SWEEP_MM = 40.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseLoad:
    """What is asked: `seconds` long, `hz` poses a second. `certificates`: folder of cert.pem, key.pem, ca.pem; None:
    plain text on loopback.
    """

    address: str
    token: str
    seconds: float = 300.0
    hz: float = 50.0
    certificates: Path | None = None

    @property
    def poses(self) -> int:
        """How many are sent."""
        return round(self.seconds * self.hz)


@dataclass(slots=True)
class _Taken:
    """Scheduled and answered moments (perf_counter) by number."""

    due: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    real_time: bool = False
    behind_s: float = 0.0
    in_order: bool = True


class PoseClient:
    """The load from a process of its own: start it, do other things, take the result."""

    def __init__(self, load: PoseLoad) -> None:
        more = ["--certificates", str(load.certificates)] if load.certificates else []
        self._within = load.seconds + 2 * LATE_S
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "loadtests.poses", "--address", load.address, "--token", load.token),
                *("--seconds", str(load.seconds), "--hz", str(load.hz), *more),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def result(self) -> Row:
        """Waits for the end. Raises RuntimeError when the client failed."""
        said, _ = self._process.communicate(timeout=self._within)
        if self._process.returncode:
            raise RuntimeError(f"the pose client ended with {self._process.returncode}")
        row: Row = json.loads(said)
        return row


def ask(load: PoseLoad) -> Row:
    """Sends the poses from this process and measures."""
    taken = _Taken(real_time=take_real_time())
    with channel(load.address, _tls(load.certificates)) as link:
        stub = pose_service_pb2_grpc.PoseServiceStub(link)
        answers = stub.TrackPoses(_paced(load, taken), timeout=load.seconds + LATE_S)
        for number, answer in enumerate(answers):
            taken.seconds.append(time.perf_counter() - taken.due[number])
            taken.in_order &= answer.number == number
            taken.kinds[_kind(answer)] += 1
    return _row(load, taken)


def _paced(load: PoseLoad, taken: _Taken) -> Iterator[pose_service_pb2.TrackPosesRequest]:
    begun = time.perf_counter() + 0.5
    for number in range(load.poses):
        due = begun + number / load.hz
        request = pose_service_pb2.TrackPosesRequest(number=number, pose=_pose(number / load.hz))
        if number == 0:
            request.resume_token = load.token
        taken.due.append(due)
        while (wait := due - time.perf_counter()) > 0:
            time.sleep(wait)
        taken.behind_s = max(taken.behind_s, time.perf_counter() - due)
        request.acquired_at.GetCurrentTime()
        yield request


def _pose(second: float) -> list[float]:
    """A tip that sweeps through the box around the synthetic lesion; the tool keeps its direction."""
    tip = [CENTRE_MM[axis] + SWEEP_MM * math.sin(second * rate) for axis, rate in enumerate((0.31, 0.47, 0.23))]
    return [1, 0, 0, tip[0], 0, 1, 0, tip[1], 0, 0, 1, tip[2], 0, 0, 0, 1]


def _kind(answer: pose_service_pb2.TrackPosesResponse) -> str:
    if answer.HasField("limit"):
        return answers_pb2.Reason.Name(answer.limit.reason).removeprefix("REASON_")
    return "stale" if answer.stale else "fresh"


def _row(load: PoseLoad, taken: _Taken) -> Row:
    milliseconds = np.array(taken.seconds) * 1000
    p50, p95, p99 = np.percentile(milliseconds, [50, 95, 99]) if milliseconds.size else (math.nan,) * 3
    return {
        "poses": load.poses,
        "answered": len(taken.seconds),
        "in_order": taken.in_order,
        "hz": load.hz,
        "answers": dict(taken.kinds),
        "p50_ms": round(float(p50), 3),
        "p95_ms": round(float(p95), 3),
        "p99_ms": round(float(p99), 3),
        "max_ms": round(float(milliseconds.max(initial=0.0)), 3),
        "sender_behind_max_ms": round(1000 * taken.behind_s, 3),
        "sender_real_time": taken.real_time,
    }


def _tls(certificates: Path | None) -> TlsSettings:
    if certificates is None:
        return TlsSettings(plain=True)
    return TlsSettings(
        certificate=certificates / "cert.pem", key=certificates / "key.pem", authorities=certificates / "ca.pem"
    )


def _idle(seconds: float, hz: float) -> Row:
    with tempfile.TemporaryDirectory(prefix="glioserve-poses-") as folder, running_poses(Path(folder)) as site:
        site.open(state())
        with PoseClient(PoseLoad(address=site.address, token=TOKEN, seconds=seconds, hz=hz)) as client:
            return client.result()


def main() -> None:
    """Prints the row as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address")
    parser.add_argument("--token")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--hz", type=float, default=50.0)
    parser.add_argument("--certificates", type=Path)
    parser.add_argument("--idle", action="store_true")
    options = parser.parse_args()
    if options.idle:
        row = _idle(options.seconds, options.hz)
    elif options.address and options.token:
        load = PoseLoad(
            address=options.address,
            token=options.token,
            seconds=options.seconds,
            hz=options.hz,
            certificates=options.certificates,
        )
        row = ask(load)
    else:
        parser.error("--address and --token, or --idle")
    print(json.dumps(row, indent=2))


if __name__ == "__main__":
    main()
