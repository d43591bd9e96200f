"""A member of a bus as a process of its own, to be killed: `python -m tests.servers.bus_member <command> ...`.

produce SETTING HOME TOPIC COUNT KEYS      sends numbered records over so many keys, prints each once acknowledged
hold SETTING HOME GROUP TOPIC              takes one record, prints it, polls on without committing
work SETTING HOME GROUP TOPIC              takes, prints and commits records for ever
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from services.core.bus.factory import open_bus
from services.core.bus.port import Bus, Record
from services.core.runtime.home import Home

ROOT = Path(__file__).parents[2]


def start(*arguments: str | Path | int) -> subprocess.Popen[str]:
    """Starts a member; read its lines from `stdout`."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.servers.bus_member", *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def kill(member: subprocess.Popen[str]) -> None:
    """SIGKILL, and the end of its pipe."""
    member.kill()
    member.wait()
    if member.stdout is not None:
        member.stdout.close()


def main(command: str, setting: str, home: str, *rest: str) -> None:
    """Runs one command until it ends or is killed."""
    bus = open_bus(setting, Home(Path(home)))
    if command == "produce":
        topic, count, keys = rest
        _produce(bus, topic, int(count), int(keys))
    else:
        group, topic = rest
        _consume(bus, group, topic, commit=command == "work")


def _produce(bus: Bus, topic: str, count: int, keys: int) -> None:
    producer = bus.producer()
    for number in range(count):
        key = f"{os.getpid()}-{number % keys}"
        producer.send(topic, key, str(number).encode())
        _say(f"{key} {number}")
    producer.close()


def _consume(bus: Bus, group: str, topic: str, *, commit: bool) -> None:
    consumer = bus.consumer(group, [topic])
    taken: list[Record] = []
    while True:
        if commit or not taken:
            taken = list(consumer.poll(0.2))
            for record in taken:
                _say(f"{record.key} {record.value.decode()} {record.partition} {record.offset}")
                if commit:
                    consumer.commit(record)
        else:
            consumer.pause([topic])
            consumer.poll(0.2)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
