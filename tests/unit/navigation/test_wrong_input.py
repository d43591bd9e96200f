"""What a client can get wrong: a clear reason each, and the session goes on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import google_crc32c
import pytest
from glioserve.navigation.v1 import answers_pb2, series_pb2
from google.protobuf import duration_pb2

from services.cli.theatre_client import Request, Series, TheatreClient, chunks
from services.core.contracts.errors import Refused, Transient
from services.navigation.domain.token import Token
from tests.unit.navigation.test_sessions import last_word, masks, series, told, wait_for
from tests.unit.navigation.world import PLAIN, World, running

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running(tmp_path_factory.mktemp("theatre"), sessions=3, series_bytes=4 << 20, silent_s=0.2) as found:
        yield found


@pytest.fixture
def client(world: World) -> Iterator[TheatreClient]:
    with TheatreClient(world.address, PLAIN) as opened:
        opened.start(deadline_s=10.0)
        yield opened
        finish(opened)
    wait_for(lambda: not world.registry.sessions)


def header(name: str, **changes: object) -> Request:
    plain = {"series": name, "format": series_pb2.SERIES_FORMAT_NIFTI, "modality": "t1c", "file_sizes": [6]}
    return Request(header=series_pb2.SeriesHeader(**{**plain, **changes}))  # type: ignore[arg-type]


def seconds(value: float) -> duration_pb2.Duration:
    duration = duration_pb2.Duration()
    duration.FromNanoseconds(round(value * 1e9))
    return duration


WRONG_HEADERS: dict[str, dict[str, object]] = {
    "SERIES_NAME_INVALID": {"series": "Jane Doe/1"},
    "FORMAT_UNKNOWN": {"format": 0},
    "MODALITY_UNKNOWN": {"modality": "t9"},
    "SIZE_INVALID": {"file_sizes": []},
    "DEADLINE_ABSURD": {"deadline": seconds(3600)},
}


@pytest.mark.parametrize("reason", list(WRONG_HEADERS))
def test_a_wrong_header_is_refused_with_its_reason(client: TheatreClient, tmp_path: Path, reason: str) -> None:
    client.put(header("wrong", **WRONG_HEADERS[reason]))
    refused = told(client, last_word)[-1].refused
    assert answers_pb2.Reason.Name(refused.limit.reason) == f"REASON_{reason}"
    good_still_passes(client, tmp_path)


def test_a_series_that_is_too_large_is_refused(client: TheatreClient) -> None:
    client.put(header("large", file_sizes=[5 << 20]))
    assert told(client, last_word)[-1].refused.limit.reason == answers_pb2.REASON_SIZE_INVALID


def test_a_name_is_used_once(client: TheatreClient, tmp_path: Path) -> None:
    client.send(series(tmp_path, "twice"))
    told(client, last_word)
    client.put(header("twice"))
    assert told(client, last_word)[-1].refused.limit.reason == answers_pb2.REASON_SERIES_REPEATED


def test_a_chunk_of_no_series_is_refused(client: TheatreClient) -> None:
    client.put(Request(chunk=series_pb2.SeriesChunk(series="nothing", data=b"x", crc32c=google_crc32c.value(b"x"))))
    assert told(client, last_word)[-1].refused.limit.reason == answers_pb2.REASON_SERIES_UNKNOWN


WRONG_CHUNKS: dict[str, dict[str, object]] = {
    "CHUNK_CORRUPT": {"crc32c": 1},
    "SEQUENCE_BROKEN": {"sequence": 7},
    "DIGEST_WRONG": {"sha256": bytes(32)},
    "CHUNK_TOO_LARGE": {"data": b""},
}


@pytest.mark.parametrize("reason", list(WRONG_CHUNKS))
def test_a_wrong_chunk_ends_its_series_and_no_other(client: TheatreClient, tmp_path: Path, reason: str) -> None:
    item = series(tmp_path, "wrong")
    client.send_header(item)
    chunk = next(chunks(item))
    for name, value in WRONG_CHUNKS[reason].items():
        setattr(chunk, name, value)
    client.send_chunk(chunk)
    refused = told(client, last_word)[-1].refused
    assert answers_pb2.Reason.Name(refused.limit.reason) == f"REASON_{reason}"
    good_still_passes(client, tmp_path)


def test_a_repeated_chunk_is_refused(client: TheatreClient, tmp_path: Path) -> None:
    item = series(tmp_path, "again", bytes(2 << 20))
    first, _ = chunks(item)
    client.send_header(item)
    client.send_chunk(first)
    client.send_chunk(first)
    assert told(client, last_word)[-1].refused.limit.reason == answers_pb2.REASON_SEQUENCE_BROKEN


def test_a_dicom_series_that_is_none_is_refused(client: TheatreClient, tmp_path: Path) -> None:
    path = tmp_path / "slice.dcm"
    path.write_bytes(b"not a DICOM file at all")
    client.send(Series(name="odd", files=[path]))
    assert told(client, last_word)[-1].refused.limit.reason == answers_pb2.REASON_SERIES_UNREADABLE


def test_nothing_but_a_start_opens_a_session(world: World) -> None:
    with TheatreClient(world.address, PLAIN) as client, pytest.raises(Refused) as refusal:
        client.start_with(header("first"))
    assert refusal.value.code == "START_EXPECTED"


def test_a_deadline_is_required_somewhere(world: World) -> None:
    with TheatreClient(world.address, PLAIN) as client:
        client.start()
        client.put(header("endless"))
        assert told(client, last_word)[-1].refused.limit.reason == answers_pb2.REASON_DEADLINE_MISSING
        finish(client)
    wait_for(lambda: not world.registry.sessions)


@pytest.mark.parametrize("deadline_s", [0.0, -1.0, 31.0, 1e9])
def test_an_absurd_deadline_opens_no_session(world: World, deadline_s: float) -> None:
    with TheatreClient(world.address, PLAIN) as client, pytest.raises(Refused) as refusal:
        client.start(deadline_s=deadline_s)
    assert refusal.value.code == "DEADLINE_ABSURD"


def test_an_unknown_study_opens_no_session(world: World) -> None:
    with TheatreClient(world.address, PLAIN) as client, pytest.raises(Refused) as refusal:
        client.start(study="nobody", deadline_s=10.0)
    assert refusal.value.code == "STUDY_UNKNOWN"
    wait_for(lambda: world.store.sessions() == ["common"])


def test_without_the_gateway_a_session_starts_without_its_study_and_says_so(world: World) -> None:
    world.studies.away = True
    try:
        with TheatreClient(world.address, PLAIN) as client:
            accepted = client.start(study="known", deadline_s=10.0)
            finish(client)
    finally:
        world.studies.away = False
    assert accepted.limit.reason == answers_pb2.REASON_STUDY_UNAVAILABLE
    wait_for(lambda: not world.registry.sessions)


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("not a token", "SESSION_LOST"),
        (Token.new("127.0.0.1:1", "boot").text(), "SESSION_ELSEWHERE"),
        (Token.new("127.0.0.1:2", "boot").text(), "SESSION_LOST"),
    ],
)
def test_a_token_of_another_process_says_where_its_session_is(world: World, token: str, reason: str) -> None:
    with TheatreClient(world.address, PLAIN, resume=(token, 0)) as client, pytest.raises(Refused) as refusal:
        client.start()
    assert refusal.value.code == reason
    if reason == "SESSION_ELSEWHERE":
        assert "127.0.0.1:1" in refusal.value.message


def test_more_sessions_than_there_is_room_for_are_refused(world: World) -> None:
    clients = [TheatreClient(world.address, PLAIN) for _ in range(4)]
    for client in clients[:3]:
        client.start(deadline_s=10.0)
    with pytest.raises(Refused) as refusal:
        clients[3].start(deadline_s=10.0)
    assert refusal.value.code == "TOO_MANY_SESSIONS"
    for client in clients[:3]:
        finish(client)
    wait_for(lambda: not world.registry.sessions)
    for client in clients:
        client.close()


def test_a_silent_upload_gives_the_lock_up_and_goes_on(world: World, client: TheatreClient, tmp_path: Path) -> None:
    held = world.metrics.theatre_lock_held._value.get
    item = series(tmp_path, "pausing", bytes(2 << 20))
    first, second = chunks(item)
    client.send_header(item)
    client.send_chunk(first)
    wait_for(lambda: held() == 1)
    wait_for(lambda: held() == 0)
    client.send_chunk(second)
    assert masks(told(client, last_word))


def test_a_draining_process_opens_no_session(tmp_path: Path) -> None:
    with running(tmp_path) as world:
        world.registry.draining = True
        with TheatreClient(world.address, PLAIN) as client, pytest.raises(Transient) as refusal:
            client.start(deadline_s=10.0)
    assert refusal.value.code == "DRAINING"


def finish(client: TheatreClient) -> None:
    """Ends the session and hears it out."""
    client.end()
    told(client, lambda _: False)


def good_still_passes(client: TheatreClient, folder: Path) -> None:
    """Another series of the same session is answered."""
    client.send(replace(series(folder, "good"), deadline_s=20.0))
    assert masks(told(client, last_word))
