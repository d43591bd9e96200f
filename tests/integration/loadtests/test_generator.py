"""The Locust users against scripted peers: an open model over HTTP, an operation over gRPC."""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import nibabel
import numpy as np
import pytest
from glioserve.navigation.v1 import answers_pb2, navigation_service_pb2, navigation_service_pb2_grpc

from loadtests.arrivals import Arrival
from loadtests.generator import Generator, hospital
from loadtests.operation import Move, Operation
from loadtests.theatre_client import SeriesFile, TheatreSession
from tests.system.stack import until

pytestmark = pytest.mark.integration

WITHIN_S = 120.0
Response = navigation_service_pb2.SessionResponse
COARSE, FINAL = answers_pb2.MASK_KIND_COARSE, answers_pb2.MASK_KIND_FINAL


def test_a_late_answer_does_not_delay_the_next_upload(tmp_path: Path) -> None:
    everybody = threading.Barrier(3, timeout=WITHIN_S)  # the first answer waits for the third upload
    with _gateway(everybody) as address:
        plan = [Arrival(at_s=0.2 * n, file=str(_file(tmp_path)), kind="nifti", patient=f"p{n}") for n in range(3)]
        with hospital(tmp_path / "load", address, plan) as generator:
            until(lambda: not generator.running(), WITHIN_S, lambda: f"{generator.events()}")
            rows = generator.events()
    assert [row["status"] for row in rows] == [201, 201, 201]
    assert {row["study"] for row in rows} == {"p0", "p1", "p2"}
    assert max(row["began"] for row in rows) <= min(row["ended"] for row in rows)


def test_a_slow_line_brings_every_byte(tmp_path: Path) -> None:
    with _gateway(threading.Barrier(1)) as address:
        plan = [Arrival(at_s=0, file=str(_file(tmp_path)), kind="nifti", patient="slow", bytes_per_s=100_000)]
        with hospital(tmp_path / "load", address, plan) as generator:
            until(lambda: not generator.running(), WITHIN_S, lambda: f"{generator.events()}")
            (row,) = generator.events()
    assert (row["status"], row["study"]) == (201, "slow")
    assert row["ended"] - row["began"] >= 0.4  # 50 kB


def test_a_session_measures_from_its_last_byte_and_knows_every_kind_of_last_word(tmp_path: Path) -> None:
    file = _image(tmp_path)
    with _theatre() as address, TheatreSession(address) as session:
        assert session.opened().resume_token == "token"
        masked = session.wait(session.send(SeriesFile(name="good", path=file, modality="t1c")), WITHIN_S)
        degraded = session.wait(session.send(SeriesFile(name="late", path=file, modality="t1c")), WITHIN_S)
        refused = session.wait(session.send(SeriesFile(name="bad", path=file, modality="t1c")), WITHIN_S)
    assert masked.word == "complete"
    assert masked.coarse_s is not None
    assert masked.final_s is not None
    assert masked.last_word_s is not None
    assert 0 <= masked.coarse_s <= masked.final_s <= masked.last_word_s
    assert (degraded.word, degraded.reasons) == ("degraded", ["DEADLINE_NEAR"])
    assert (refused.word, refused.reasons) == ("refused", ["SERIES_UNREADABLE"])


def test_a_broken_stream_is_an_error_for_whoever_waits(tmp_path: Path) -> None:
    with _theatre() as address, TheatreSession(address) as session:
        session.opened()
        answered = session.send(SeriesFile(name="break", path=_image(tmp_path), modality="t1c"))
        with pytest.raises(grpc.RpcError):
            session.wait(answered, WITHIN_S)


def test_an_operation_runs_under_locust_and_scores_its_masks(tmp_path: Path) -> None:
    file = _image(tmp_path)
    moves = [
        Move(series=name, path=str(file), modality="t1c", anatomy_changed=False, truth=str(file))
        for name in ("good", "late", "bad")
    ]
    with _theatre() as address:
        plan = Operation(address=address, study="", moves=moves, pause_s=0.1).write(tmp_path / "operation.json")
        generator = Generator(tmp_path / "load", "Theatre", ["--operation", str(plan)], "http://-")
        try:
            until(lambda: not generator.running(), WITHIN_S, lambda: f"{generator.events()}")
            rows = generator.events()
        finally:
            generator.stop()
    assert [row["event"] for row in rows] == ["session", *["series"] * 3, "session-end"]
    assert [row["word"] for row in rows[1:4]] == ["complete", "degraded", "refused"]
    assert rows[1]["dice"] == {"WT": 1.0, "TC": 1.0, "ET": 1.0}
    assert rows[1]["names_its_series"]


def test_an_operation_that_breaks_ends_the_generator_and_is_not_begun_again(tmp_path: Path) -> None:
    file = _image(tmp_path)
    moves = [Move(series="break", path=str(file), modality="t1c", anatomy_changed=False, truth=str(file))]
    with _theatre() as address:
        plan = Operation(address=address, study="", moves=moves).write(tmp_path / "operation.json")
        generator = Generator(tmp_path / "load", "Theatre", ["--operation", str(plan)], "http://-")
        try:
            with pytest.raises(RuntimeError, match="generator ended"):
                until(lambda: not generator.running(), WITHIN_S, lambda: f"{generator.events()}")
        finally:
            generator.stop()
        assert [row["event"] for row in generator.events()] == ["session"]


@contextmanager
def _gateway(barrier: threading.Barrier) -> Iterator[str]:
    """Takes uploads, and answers when as many are there as the barrier wants."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            if self.headers.get("Transfer-Encoding") == "chunked":
                while size := int(self.rfile.readline(), 16):
                    self.rfile.read(size + 2)
                self.rfile.readline()
            else:
                self.rfile.read(int(self.headers["Content-Length"]))
            barrier.wait()
            body = json.dumps({"id": self.headers["GlioServe-Patient"]}).encode()
            self.send_response(201)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Script(navigation_service_pb2_grpc.NavigationServiceServicer):
    """Answers by the name of the series."""

    def Session(  # noqa: N802 - the name is the proto's
        self, request_iterator: Iterator[navigation_service_pb2.SessionRequest], context: grpc.ServicerContext
    ) -> Iterator[Response]:
        yield Response(accepted=answers_pb2.Accepted(resume_token="token"))
        for request in request_iterator:
            if request.WhichOneof("body") == "end":
                return
            chunk = request.chunk
            if not chunk.sha256:
                continue
            if chunk.series == "break":
                context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
            yield from _answers(chunk.series, f"sha256:{chunk.sha256.hex()}")


def _answers(series: str, digest: str) -> Iterator[Response]:
    yield Response(mask=_mask(series, digest, COARSE))
    if series.startswith("good"):
        yield Response(mask=_mask(series, digest, FINAL))
    elif series == "late":
        limit = answers_pb2.Limit(reason=answers_pb2.REASON_DEADLINE_NEAR)
        yield Response(degraded=answers_pb2.Degraded(series=series, limit=limit))
    else:
        limit = answers_pb2.Limit(reason=answers_pb2.REASON_SERIES_UNREADABLE)
        yield Response(refused=answers_pb2.SeriesRefused(series=series, limit=limit))


def _mask(series: str, digest: str, kind: answers_pb2.MaskKind.ValueType) -> answers_pb2.MaskAnswer:
    grid = answers_pb2.Grid(shape=(12, 10, 8), affine=_AFFINE.ravel().tolist())
    mask = answers_pb2.Mask(grid=grid, labels_zlib=zlib.compress(_labels().tobytes()))
    complete = answers_pb2.COMPLETENESS_COMPLETE
    return answers_pb2.MaskAnswer(series=series, series_digest=digest, kind=kind, completeness=complete, mask=mask)


_AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])


def _labels() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    labels = np.zeros((12, 10, 8), np.uint8)
    labels[3:8, 2:7, 2:6] = 2
    labels[4:6, 3:5, 3:5] = 3
    return labels


@contextmanager
def _theatre() -> Iterator[str]:
    server = grpc.server(futures.ThreadPoolExecutor(4))
    navigation_service_pb2_grpc.add_NavigationServiceServicer_to_server(_Script(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(grace=None).wait()


def _file(folder: Path) -> Path:
    file = folder / "study.zip"
    file.write_bytes(bytes(50_000))
    return file


def _image(folder: Path) -> Path:
    file = folder / "labels.nii.gz"
    nibabel.save(nibabel.Nifti1Image(_labels(), _AFFINE), file)
    return file
