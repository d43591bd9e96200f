"""Streams that are slow, old, foreign or cut: nobody else notices."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.cli.theatre_client import TheatreClient, chunks
from services.core.contracts.errors import GlioServeError, Refused, Transient
from services.core.security.development import DevelopmentAuthority, Validity
from services.core.security.roles import Role
from services.core.security.tls import TlsSettings
from services.navigation.domain.answer_log import MAX_KEPT, AnswerLog
from services.navigation.domain.answers import Progress, SeriesCancelled, Step
from tests.unit.navigation.test_sessions import last_word, masks, series, told, wait_for
from tests.unit.navigation.world import PLAIN, World, running

pytestmark = pytest.mark.unit
SERVICE = "glioserve.navigation.v1.NavigationService"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with running(tmp_path) as found:
        yield found


def test_a_reader_that_does_not_read_delays_nobody_and_loses_nothing(world: World, tmp_path: Path) -> None:
    with TheatreClient(world.address, PLAIN) as slow, TheatreClient(world.address, PLAIN) as quick:
        slow.start(deadline_s=20.0)
        for number in range(5):
            slow.send(series(tmp_path, f"unread{number}", bytes([number])))
        quick.start(deadline_s=20.0)
        quick.send(series(tmp_path, "quick"))
        assert len(masks(told(quick, last_word))) == 2
        finals = 0
        while finals < 5:
            finals += sum(mask.kind == 2 for mask in masks(told(slow, last_word)))


def test_what_is_kept_for_a_reader_is_bounded() -> None:
    log = AnswerLog(max_bytes=1000)
    for number in range(3 * MAX_KEPT):
        log.add(Progress(series="one", step=Step.WAITING))
        log.add(SeriesCancelled(series=str(number)))
    assert log.last == 6 * MAX_KEPT
    assert log.kept <= MAX_KEPT


def test_a_writer_that_vanishes_in_the_middle_of_a_chunk_costs_no_other_session(world: World, tmp_path: Path) -> None:
    item = series(tmp_path, "cut", bytes(3 << 20))
    with TheatreClient(world.address, PLAIN) as vanishing:
        vanishing.start(deadline_s=20.0)
        vanishing.send_header(item)
        vanishing.send_chunk(next(chunks(item)))
        wait_for(lambda: world.registry.sessions[0].upload_state()[1] == 1)
    with TheatreClient(world.address, PLAIN) as other:
        other.start(deadline_s=20.0)
        other.send(series(tmp_path, "whole"))
        assert masks(told(other, last_word))


def test_a_connection_of_age_is_asked_to_come_again_and_the_session_goes_on(tmp_path: Path) -> None:
    with running(tmp_path, connection_age_s=0.5, connection_grace_s=0.2) as world:
        with TheatreClient(world.address, PLAIN) as client:
            token = client.start(deadline_s=20.0).resume_token
            with pytest.raises(Transient):
                told(client, lambda _: False)
        with TheatreClient(world.address, PLAIN, resume=(token, client.last)) as again:
            again.start()
            again.send(series(tmp_path, "later"))
            assert masks(told(again, last_word))


def test_health_says_that_a_process_drains(world: World) -> None:
    with grpc.insecure_channel(world.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service=SERVICE)
        assert stub.Check(request).status == health_pb2.HealthCheckResponse.SERVING
        watch = stub.Watch(request)
        assert next(iter(watch)).status == health_pb2.HealthCheckResponse.SERVING
        world.drain()
        assert next(iter(watch)).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()


def test_a_drain_lets_the_running_series_finish(tmp_path: Path) -> None:
    with running(tmp_path) as world, TheatreClient(world.address, PLAIN) as client:
        client.start(deadline_s=20.0)
        client.send(series(tmp_path, "last"))
        told(client, lambda response: response.progress.step == "preparing")
        world.stop.set()
        rest = told(client, lambda response: response.WhichOneof("body") == "ended")
    assert [mask.kind for mask in masks(rest)] == [1, 2]


def test_a_chunk_message_beyond_the_limit_ends_its_stream_alone(world: World, tmp_path: Path) -> None:
    with TheatreClient(world.address, PLAIN) as client:
        client.start(deadline_s=20.0)
        item = series(tmp_path, "heavy", bytes(2 << 20))
        client.send_header(item)
        chunk = next(chunks(item))
        chunk.data = bytes(2 << 20)
        client.send_chunk(chunk)
        with pytest.raises(GlioServeError) as broken:
            told(client, lambda _: False)
    assert broken.value.code == "RESOURCE_EXHAUSTED"


@pytest.fixture(scope="module")
def authority() -> DevelopmentAuthority:
    return DevelopmentAuthority(Validity.days(1))


@pytest.fixture(scope="module")
def guarded(authority: DevelopmentAuthority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("guarded")
    with running(folder, certified(authority, folder / "server", Role.STAGE)) as found:
        yield found


def certified(
    authority: DevelopmentAuthority, folder: Path, role: Role, validity: Validity | None = None
) -> TlsSettings:
    authority.issue(folder, role, validity=validity)
    return TlsSettings(certificate=folder / "cert.pem", key=folder / "key.pem", authorities=folder / "ca.pem")


def test_a_navigation_systems_certificate_opens_a_session(
    guarded: World, authority: DevelopmentAuthority, tmp_path: Path
) -> None:
    with TheatreClient(guarded.address, certified(authority, tmp_path, Role.NAVIGATION)) as client:
        assert client.start(deadline_s=5.0).resume_token


def test_another_role_is_told_that_it_may_not(guarded: World, authority: DevelopmentAuthority, tmp_path: Path) -> None:
    tls = certified(authority, tmp_path, Role.OPERATIONS)
    with TheatreClient(guarded.address, tls) as client, pytest.raises(Refused) as refusal:
        client.start(deadline_s=5.0)
    assert refusal.value.code == "ROLE_NOT_ALLOWED"


def test_expired_and_foreign_certificates_get_no_connection(
    guarded: World, authority: DevelopmentAuthority, tmp_path: Path
) -> None:
    past = Validity(begins=datetime.now(UTC) - timedelta(days=2), ends=datetime.now(UTC) - timedelta(days=1))
    expired = certified(authority, tmp_path / "expired", Role.NAVIGATION, past)
    foreign = certified(DevelopmentAuthority(Validity.days(1)), tmp_path / "foreign", Role.NAVIGATION)
    trusting = TlsSettings(certificate=foreign.certificate, key=foreign.key, authorities=expired.authorities)
    for tls in (expired, trusting):
        with TheatreClient(guarded.address, tls) as client, pytest.raises(Transient):
            client.start(deadline_s=5.0)
