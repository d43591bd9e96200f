"""Processes on the embedded log are killed with SIGKILL while they send and read: nothing acknowledged is lost."""

from __future__ import annotations

import random
import subprocess
from collections import defaultdict
from contextlib import closing
from pathlib import Path

import pytest

from services.core.bus.embedded import EmbeddedBus
from services.core.runtime.home import Home
from tests.servers import bus_member
from tests.servers.bus_site import receive, until

pytestmark = pytest.mark.integration
TOPIC = "t"
GROUP = "g"
ROUNDS = 3
RECORDS_A_ROUND = 80


def test_sigkill_loses_no_acknowledged_record_and_keeps_the_order_of_every_key(tmp_path: Path) -> None:
    home = Home(tmp_path)
    bus = EmbeddedBus(home.bus)
    dice = random.Random(7)
    acknowledged: list[str] = []
    read: list[str] = []
    kills = 0
    for turn in range(1, ROUNDS + 1):
        senders = [bus_member.start("produce", "embedded", tmp_path, TOPIC, 100_000, 3) for _ in range(2)]
        readers = [bus_member.start("work", "embedded", tmp_path, GROUP, TOPIC) for _ in range(2)]
        try:
            until(lambda turn=turn: _sent_and_read(bus, turn), "records flow")  # type: ignore[misc]
        finally:
            members = senders + readers
            dice.shuffle(members)
            for member in members:
                member.kill()
        acknowledged += [line for sender in senders for line in _lines(sender)]
        read += [line for reader in readers for line in _lines(reader)]
        kills += len(readers)
    with closing(bus.admin()) as admin, closing(bus.consumer(GROUP, [TOPIC])) as consumer:
        stored = [f"{record.key} {record.value.decode()}" for record in admin.browse(TOPIC)]
        rest = receive(consumer, admin.backlog(GROUP, TOPIC))
        assert admin.backlog(GROUP, TOPIC) == 0
    read += [f"{record.key} {record.value.decode()} {record.partition} {record.offset}" for record in rest]

    assert set(acknowledged) <= set(stored)
    assert len(stored) <= len(acknowledged) + 2 * ROUNDS, "at most the one in flight of each killed sender"
    assert len(set(stored)) == len(stored)
    assert _in_order(stored)
    delivered = [line.rsplit(" ", 2)[0] for line in read]
    assert set(delivered) == set(stored)
    assert len(delivered) <= len(stored) + kills, "at most the one in hand of each killed reader comes twice"


def _sent_and_read(bus: EmbeddedBus, turn: int) -> bool:
    with closing(bus.admin()) as admin:
        sent = sum(1 for _ in admin.browse(TOPIC))
        return sent >= turn * RECORDS_A_ROUND and sent - admin.backlog(GROUP, TOPIC) >= turn * RECORDS_A_ROUND / 2


def _lines(member: subprocess.Popen[str]) -> list[str]:
    output, _ = member.communicate(timeout=20)
    return output.splitlines()


def _in_order(stored: list[str]) -> bool:
    numbers: dict[str, list[int]] = defaultdict(list)
    for line in stored:
        key, number = line.split()
        numbers[key].append(int(number))
    return all(sent == sorted(sent) for sent in numbers.values())
