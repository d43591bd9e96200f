"""Sessions over a real gRPC stream: masks in order, resuming, cancelling, deadlines."""

from __future__ import annotations

import asyncio
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from glioserve.navigation.v1 import answers_pb2

from services.cli.theatre_client import Response, Series, TheatreClient
from services.core.contracts.enums import SegmentStep, Stage
from services.core.contracts.errors import Permanent, Refused, Transient
from services.core.contracts.events import ManifestRef, StageRequest, StudyRef
from services.core.runtime.stage import read_manifest
from services.navigation.adapters.results import DurableResults
from services.navigation.ports import Received
from tests.unit.navigation.world import PLAIN, World, running

pytestmark = pytest.mark.unit


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with running(tmp_path, remembered_s=0.3, silent_s=0.2, upload_expires_s=0.6) as found:
        yield found


def series(folder: Path, name: str, text: bytes = b"voxels", **more: object) -> Series:
    path = folder / f"{name}.nii"
    path.write_bytes(text)
    return Series(name=name, files=[path], modality="t1c", **more)  # type: ignore[arg-type]


def told(client: TheatreClient, until: Callable[[Response], bool]) -> list[Response]:
    found = []
    for response in client.answers():
        found.append(response)
        if until(response):
            break
    return found


def last_word(response: Response) -> bool:
    body = response.WhichOneof("body")
    return body in ("degraded", "refused", "cancelled", "ended") or (
        body == "mask" and response.mask.kind == answers_pb2.MASK_KIND_FINAL
    )


def masks(responses: list[Response]) -> list[answers_pb2.MaskAnswer]:
    return [response.mask for response in responses if response.WhichOneof("body") == "mask"]


def test_the_coarse_mask_comes_first_and_both_name_the_series_they_answer(world: World, tmp_path: Path) -> None:
    with TheatreClient(world.address, PLAIN) as client:
        accepted = client.start(deadline_s=10.0)
        assert accepted.resume_token
        assert not accepted.durable
        client.send(series(tmp_path, "first"))
        coarse, final = masks(told(client, last_word))
    assert (coarse.kind, final.kind) == (answers_pb2.MASK_KIND_COARSE, answers_pb2.MASK_KIND_FINAL)
    assert coarse.series_digest == final.series_digest != ""
    assert 0 < final.time_left.ToNanoseconds() / 1e9 < 10
    labels = np.frombuffer(zlib.decompress(final.mask.labels_zlib), np.uint8).reshape(final.mask.grid.shape)
    assert int((labels == 2).sum()) == 27
    assert "research use" in final.notice


def test_a_second_series_is_prepared_onto_the_first(world: World, tmp_path: Path) -> None:
    with TheatreClient(world.address, PLAIN) as client:
        client.start(deadline_s=10.0)
        for name in ("one", "two"):
            client.send(series(tmp_path, name, name.encode()))
            told(client, last_word)
    prepares = [run for run in world.script.runs if run.stage is Stage.PREPARE]
    assert [run.input("prepare") is None for run in prepares] == [True, False]


def test_a_result_is_stored_after_its_final_mask_and_spooled_for_the_gateway(world: World, tmp_path: Path) -> None:
    with TheatreClient(world.address, PLAIN) as client:
        client.start(deadline_s=10.0)
        client.send(series(tmp_path, "kept"))
        final = masks(told(client, last_word))[-1]
        client.end()
        told(client, lambda _: False)
    wait_for(lambda: world.store.sessions() == ["common"])
    assert [path.stem for path in (tmp_path / "spool").glob("*.json")] == [final.run_id]
    assert world.ward.read_named(f"runs/{final.run_id}") is not None


def test_a_session_that_was_ended_counts_as_open_until_its_results_are_stored(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    going_on = threading.Event()
    keep = DurableResults.keep

    def slowly(results: DurableResults, study: StudyRef, received: Received, result: ManifestRef) -> None:
        assert going_on.wait(20)
        keep(results, study, received, result)

    monkeypatch.setattr(DurableResults, "keep", slowly)
    with TheatreClient(world.address, PLAIN) as client:
        client.start(deadline_s=10.0)
        client.send(series(tmp_path, "kept"))
        told(client, last_word)
        client.end()
        told(client, lambda _: False)
    assert len(world.registry.sessions) == 1
    going_on.set()
    wait_for(lambda: not world.registry.sessions)
    assert len(list((tmp_path / "spool").glob("*.json"))) == 1


def test_what_earlier_series_have_left_is_freed_and_their_results_are_stored_all_the_same(
    world: World, tmp_path: Path
) -> None:
    large = 1 << 20
    with TheatreClient(world.address, PLAIN) as client:
        client.start(deadline_s=10.0)
        for number in range(3):
            client.send(series(tmp_path, f"series{number}", bytes([number]) * large))
            told(client, last_word)
        (session,) = set(world.store.sessions()) - {"common"}
        wait_for(lambda: world.store.used_bytes(session) < large / 4)
        client.send(series(tmp_path, "another"))
        assert masks(told(client, last_word))
    wait_for(lambda: len(list((tmp_path / "spool").glob("*.json"))) == 4)


def test_while_series_follow_one_another_nothing_that_is_read_is_freed(world: World, tmp_path: Path) -> None:
    names = [f"series{number}" for number in range(6)]
    with TheatreClient(world.address, PLAIN) as client:
        client.start(deadline_s=20.0)
        for name in names:
            client.send(series(tmp_path, name, name.encode()))
        last_words = [told(client, last_word)[-1] for _ in names]
        assert {response.WhichOneof("body") for response in last_words} == {"mask"}
        wait_for(lambda: len(list((tmp_path / "spool").glob("*.json"))) == len(names))
        (session,) = set(world.store.sessions()) - {"common"}
        prepared = [run for run in world.script.runs if run.stage is Stage.SEGMENT][-1].input("prepare")
        assert prepared is not None
        with world.store.within(session):
            for blob in read_manifest(world.store, prepared).outputs.values():
                assert world.store.read(blob)


def test_a_broken_stream_is_no_cancel_and_its_answers_wait(world: World, tmp_path: Path) -> None:
    going_on = asyncio_gate(world, SegmentStep.FINE)
    with TheatreClient(world.address, PLAIN) as client:
        token = client.start(deadline_s=10.0).resume_token
        client.send(series(tmp_path, "slow"))
        seen = told(client, lambda r: r.WhichOneof("body") == "mask")
        last = seen[-1].sequence
    going_on()
    with TheatreClient(world.address, PLAIN, resume=(token, last)) as client:
        client.start()
        later = told(client, last_word)
    assert [mask.kind for mask in masks(later)] == [answers_pb2.MASK_KIND_FINAL]
    assert min(response.sequence for response in later) > last
    steps = [run.step for run in world.script.runs if run.stage is Stage.SEGMENT]
    assert steps == [SegmentStep.COARSE, SegmentStep.FINE]


def test_a_session_nobody_comes_back_to_ends(world: World) -> None:
    with TheatreClient(world.address, PLAIN) as client:
        token = client.start(deadline_s=10.0).resume_token
    wait_for(lambda: not world.registry.sessions)
    with TheatreClient(world.address, PLAIN, resume=(token, 0)) as client, pytest.raises(Refused) as refusal:
        client.start()
    assert refusal.value.code == "SESSION_LOST"
    assert world.poses.gone == [token]


def test_an_upload_that_broke_off_goes_on_with_the_next_chunk(world: World, tmp_path: Path) -> None:
    item = series(tmp_path, "long", bytes(3 << 20))
    with TheatreClient(world.address, PLAIN) as client:
        token = client.start(deadline_s=10.0).resume_token
        send_part(client, item, chunks_sent=2)
        wait_for(lambda: world.registry.sessions[0].upload_state() == ("long", 2))
    with TheatreClient(world.address, PLAIN, resume=(token, 0)) as client:
        accepted = client.start()
        assert (accepted.upload, accepted.next_chunk) == ("long", 2)
        client.send(item, first_chunk=accepted.next_chunk)
        assert masks(told(client, last_word))


def test_a_second_stream_takes_the_session_over(world: World) -> None:
    with TheatreClient(world.address, PLAIN) as first:
        token = first.start(deadline_s=10.0).resume_token
        with TheatreClient(world.address, PLAIN, resume=(token, 0)) as second:
            second.start()
            with pytest.raises(Transient) as overtaken:
                told(first, lambda _: False)
    assert overtaken.value.code == "SESSION_TAKEN_UP_ELSEWHERE"


def test_cancelling_frees_the_compute_at_once(world: World, tmp_path: Path) -> None:
    asyncio_gate(world, SegmentStep.COARSE)
    with TheatreClient(world.address, PLAIN) as client:
        client.start(deadline_s=10.0)
        client.send(series(tmp_path, "unwanted"))
        told(client, lambda r: r.progress.step == "coarse")
        client.cancel("unwanted")
        assert told(client, last_word)[-1].cancelled.series == "unwanted"
        wait_for(lambda: len(world.script.cancelled) == 1)


def test_a_series_that_is_cancelled_while_it_waits_leaves_no_files(world: World, tmp_path: Path) -> None:
    going_on = asyncio_gate(world, SegmentStep.COARSE)
    large = 1 << 20
    with TheatreClient(world.address, PLAIN) as client:
        client.start(deadline_s=10.0)
        client.send(series(tmp_path, "first"))
        client.send(series(tmp_path, "unwanted", b"x" * large))
        told(client, lambda r: r.progress.series == "unwanted")
        (session,) = set(world.store.sessions()) - {"common"}
        assert world.store.used_bytes(session) >= large
        client.cancel("unwanted")
        wait_for(lambda: world.store.used_bytes(session) < large)
        going_on()
        assert masks(told(client, lambda r: r.mask.kind == answers_pb2.MASK_KIND_FINAL))


def test_a_series_moved_to_the_front_is_computed_next(world: World, tmp_path: Path) -> None:
    going_on = asyncio_gate(world, SegmentStep.COARSE)
    with TheatreClient(world.address, PLAIN) as client:
        client.start(deadline_s=10.0)
        for name in ("a", "b", "c"):
            client.send(series(tmp_path, name, name.encode()))
        told(client, lambda r: r.progress.series == "c")
        client.reprioritise("c")
        wait_for(lambda: world.registry.sessions[0].waiting == ["c", "b"])
        going_on()
        finals: list[str] = []
        while len(finals) < 3:
            finals += [m.series for m in masks(told(client, last_word)) if m.kind == answers_pb2.MASK_KIND_FINAL]
    assert finals == ["a", "c", "b"]


def test_near_the_deadline_the_last_word_is_the_best_mask_so_far(world: World, tmp_path: Path) -> None:
    asyncio_gate(world, SegmentStep.FINE)
    with TheatreClient(world.address, PLAIN) as client:
        client.start(deadline_s=1.0)
        client.send(series(tmp_path, "late"))
        degraded = told(client, last_word)[-1].degraded
    assert degraded.limit.reason in (answers_pb2.REASON_DEADLINE_NEAR, answers_pb2.REASON_INFERENCE_UNAVAILABLE)
    assert degraded.best.kind == answers_pb2.MASK_KIND_COARSE
    assert 0 < degraded.time_left.ToNanoseconds() / 1e9 <= 0.2


def test_what_cannot_be_helped_is_said_at_once(world: World, tmp_path: Path) -> None:
    def broken(request: StageRequest) -> None:
        if request.stage is Stage.SEGMENT:
            raise Permanent("MODEL_BROKEN", "the network cannot be loaded")

    world.script.before = broken
    with TheatreClient(world.address, PLAIN) as client:
        client.start(deadline_s=30.0)
        client.send(series(tmp_path, "hopeless"))
        degraded = told(client, last_word)[-1].degraded
    assert degraded.limit.reason == answers_pb2.REASON_INFERENCE_FAILED
    assert degraded.time_left.ToNanoseconds() / 1e9 > 24


def test_a_passing_failure_is_tried_again(world: World, tmp_path: Path) -> None:
    failures = [Transient("INFERENCE_UNAVAILABLE", "Triton is starting")] * 2

    def away(request: StageRequest) -> None:
        if request.stage is Stage.SEGMENT and failures:
            raise failures.pop()

    world.script.before = away
    with TheatreClient(world.address, PLAIN) as client:
        client.start(deadline_s=20.0)
        client.send(series(tmp_path, "patient"))
        assert len(masks(told(client, last_word))) == 2


def test_changed_anatomy_makes_poses_stale_with_its_header(world: World, tmp_path: Path) -> None:
    with TheatreClient(world.address, PLAIN) as client:
        token = client.start(deadline_s=10.0).resume_token
        client.send(series(tmp_path, "after", anatomy_changed=True))
        told(client, last_word)
    assert world.poses.stale == [token]


def asyncio_gate(world: World, step: SegmentStep) -> Callable[[], None]:
    """Holds the runs of a step back until the function it gives is called."""
    loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
    opened = [False]

    def before(request: StageRequest) -> asyncio.Future[None] | None:
        if request.step is not step or opened[0]:
            return None
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[None] = loop.create_future()
        loops.append((loop, waiting))
        return waiting

    def release() -> None:
        opened[0] = True
        for loop, waiting in loops:
            loop.call_soon_threadsafe(_opened, waiting)

    world.script.before = before
    return release


def _opened(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


def send_part(client: TheatreClient, item: Series, chunks_sent: int) -> None:
    """The header and the first chunks of a series."""
    from services.cli import theatre_client

    whole = list(theatre_client.chunks(item))
    client.send_header(item)
    for chunk in whole[:chunks_sent]:
        client.send_chunk(chunk)


def wait_for(met: Callable[[], bool], within_s: float = 20.0) -> None:
    import threading

    beat = threading.Event()
    for _ in range(int(within_s / 0.02)):
        if met():
            return
        beat.wait(0.02)
    raise AssertionError("it did not come to pass")


def test_a_series_that_waits_keeps_its_own_deadline(world: World, tmp_path: Path) -> None:
    asyncio_gate(world, SegmentStep.COARSE)
    with TheatreClient(world.address, PLAIN) as client:
        client.start(deadline_s=20.0)
        client.send(series(tmp_path, "slow"))
        client.send(series(tmp_path, "urgent", b"other", deadline_s=1.0))
        word = told(client, last_word)[-1].degraded
    assert word.series == "urgent"
    assert word.limit.reason == answers_pb2.REASON_DEADLINE_NEAR
    assert word.time_left.ToNanoseconds() > 0
