"""Locust users: a hospital that posts studies over HTTP, and an operating room with a session over gRPC.

A user is a sender, not a person who waits: it starts each upload at its moment in a task of its own, however long the
earlier ones take. `loadtests.generator` runs this file in a process apart; every event becomes a line of JSON.

    locust -f loadtests/users.py --headless -u 1 --plan FILE --events FILE -H http://127.0.0.1:PORT Hospital
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import gevent
import requests
from locust import HttpUser, TaskSet, User, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

from loadtests.arrivals import Arrival, read_plan

CHUNK = 64 << 10


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def _arguments(parser: LocustArgumentParser) -> None:
    parser.add_argument("--plan", type=Path, help="what Hospital sends (loadtests.arrivals)")
    parser.add_argument("--operation", type=Path, help="what Theatre sends (loadtests.operation)")
    parser.add_argument("--events", type=Path, help="a line of JSON is added for everything that happens")


class Hospital(HttpUser):
    """Posts the studies of a plan at their moments; ends the test when the last one is answered."""

    fixed_count = 1

    @task
    def day(self) -> None:
        """The whole plan."""
        options: Any = self.environment.parsed_options
        started = time.time()
        waiting = []
        for arrival in read_plan(options.plan):
            gevent.sleep(max(0.0, started + arrival.at_s - time.time()))
            waiting.append(gevent.spawn(self._send, arrival, started + arrival.at_s, options.events))
        gevent.joinall(waiting)
        _quit(self.environment)

    def _send(self, arrival: Arrival, scheduled: float, log: Path) -> None:
        headers = {"Content-Type": "application/zip"}
        if arrival.patient is not None:
            headers["GlioServe-Patient"] = arrival.patient
        params = {"lane": arrival.lane} | ({"acquired": arrival.acquired} if arrival.acquired else {})
        began = time.time()
        with Path(arrival.file).open("rb") as stream:
            body: Any = stream if arrival.bytes_per_s is None else _slowly(stream, arrival.bytes_per_s)
            with self.client.post(
                "/studies", params=params, headers=headers, data=body, name=f"POST /studies {arrival.kind}",
                catch_response=True, timeout=(30, 600),
            ) as response:  # fmt: skip
                _judge(response)
        _write(log, {
            "event": "upload", "scheduled": scheduled, "began": began, "ended": time.time(), "lane": arrival.lane,
            "kind": arrival.kind, "bytes": Path(arrival.file).stat().st_size, "status": response.status_code,
            **_told(response),
        })  # fmt: skip


def _judge(response: Any) -> None:
    """What is refused with a reason is no failure of the load: it is counted by its code."""
    if response.status_code == 0 or response.status_code >= requests.codes.server_error:
        response.failure(f"answered {response.status_code}")
    else:
        response.success()


def _told(response: requests.Response) -> dict[str, str | None]:
    try:
        document = response.json()
    except ValueError:
        document = {}
    return {"study": document.get("id"), "code": document.get("code")}


def _slowly(stream: BinaryIO, bytes_per_s: float) -> Iterator[bytes]:
    """The bytes of a stream as a thin line brings them."""
    while data := stream.read(max(1, min(CHUNK, int(bytes_per_s)))):
        yield data
        gevent.sleep(len(data) / bytes_per_s)


class Theatre(User):
    """A session of the operating room: the series of an operation at their moments."""

    fixed_count = 1

    @task
    def operation(self) -> None:
        """The whole operation."""
        from loadtests.operation import perform

        options: Any = self.environment.parsed_options
        for row in perform(options.operation):
            seconds = row.get("last_word_s") or row["ended"] - row["began"]
            self.environment.events.request.fire(
                request_type="gRPC", name=f"Session {row['event']}", response_length=0, exception=None,
                response_time=1000 * seconds,
            )  # fmt: skip
            _write(options.events, row)
        _quit(self.environment)


@events.user_error.add_listener  # type: ignore[untyped-decorator]
def _broken(user_instance: User | TaskSet, **_: object) -> None:
    """A task that fails would be begun again: a plan that was half sent must not be sent twice."""
    user = user_instance.user if isinstance(user_instance, TaskSet) else user_instance
    environment = user.environment
    environment.process_exit_code = 1
    if environment.runner is not None:
        gevent.spawn(environment.runner.quit)


@events.init.add_listener  # type: ignore[untyped-decorator]
def _gevent_grpc(environment: Environment, **_: object) -> None:
    if environment.parsed_options is not None and environment.parsed_options.operation is not None:
        from grpc.experimental import gevent as grpc_gevent  # type: ignore[attr-defined]

        grpc_gevent.init_gevent()  # before any channel


def _write(log: Path, row: dict[str, Any]) -> None:
    with log.open("a") as stream:
        stream.write(json.dumps(row) + "\n")


def _quit(environment: Environment) -> None:
    runner = environment.runner
    assert runner is not None
    gevent.spawn(runner.quit)
    gevent.sleep(3600)  # the runner ends this task
