"""Kills at random times, of every process and of a real Kafka: every study still ends with one current result."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path
from threading import Event

import pytest

from services.phantom import SMALL, generate, write_nifti
from tests.chaos.kills import PROCESSES, Kill, carry_out, schedule
from tests.servers import kafka
from tests.servers.require import require
from tests.servers.triton import require_triton
from tests.system.invariants import assert_one_current_result
from tests.system.stack import ENDED, Stack, running

pytestmark = [pytest.mark.chaos]
IN_FLIGHT, VISITS = 3, 6
FIRST = date(2024, 1, 15)
log = logging.getLogger(__name__)


def test_fifty_random_kills_over_a_real_kafka_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    require("kafka", kafka.missing())
    require_triton()
    kills = schedule(20261, (*PROCESSES, "kafka"), kills=50, each_at_least=3)
    with (
        kafka.KafkaBroker(tmp_path / "kafka") as broker,
        running(tmp_path, {"GLIOSERVE_BUS": broker.setting}) as stack,
    ):
        survive(kills, stack, broker, tmp_path)


def test_random_kills_over_the_embedded_log_lose_nothing_and_double_nothing(stack: Stack, tmp_path: Path) -> None:
    kills = schedule(20262, PROCESSES, kills=16, each_at_least=2)
    survive(kills, stack, None, tmp_path)


def survive(kills: Sequence[Kill], stack: Stack, broker: kafka.KafkaBroker | None, folder: Path) -> None:
    """Sends studies all the time while the kills happen; then everything sent must have one current result."""
    for visit in range(VISITS):
        write_nifti(generate(visit, SMALL), folder / f"visit-{visit}")
    enough = Event()
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(keep_sending, stack, folder, enough)
        try:
            for number, kill in enumerate(kills):
                stack.pause(kill.after_s)
                log.info("kill %d: %s", number, kill)
                carry_out(kill, stack, broker)
                assert not sent.done(), sent.exception()
        finally:
            enough.set()
    studies = sent.result()
    log.info("%d studies sent", len(studies))
    stack.wait_ready()
    for study in studies:
        stack.wait_done(study, within_s=600)
    assert_one_current_result(stack, studies)
    assert stack.studies() == set(studies)


def keep_sending(stack: Stack, folder: Path, enough: Event) -> list[str]:
    """Sends studies, `IN_FLIGHT` at a time, `VISITS` of each patient, oldest first; gives their ids."""
    sent: list[str] = []
    flying: set[str] = set()
    while not enough.is_set():
        flying = {study for study in flying if stack.study(study)["state"] not in ENDED}
        if len(flying) < IN_FLIGHT:
            patient, visit = divmod(len(sent), VISITS)
            acquired = str(FIRST + timedelta(days=90 * visit))
            sent.append(stack.submit(folder / f"visit-{visit}", patient=f"chaos-{patient}", acquired=acquired))
            flying.add(sent[-1])
        enough.wait(0.3)
    return sent
