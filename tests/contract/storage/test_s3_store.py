"""What an object store can do to blobs, and what is made of it."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from services.core.contracts.errors import Permanent, Transient
from services.core.contracts.events import BlobRef
from services.core.contracts.ids import digest_of
from services.core.runtime.home import Home
from services.core.storage.factory import Writes, open_blobs
from services.core.storage.port import BlobStore
from tests.servers import s3

pytestmark = pytest.mark.contract
ONE_TRY = {"GLIOSERVE_S3__ATTEMPTS": "1", "GLIOSERVE_S3__CONNECT_S": "2"}


@pytest.fixture
def environ(s3_server: s3.S3Server) -> dict[str, str]:
    return {**s3_server.environ, **ONE_TRY}


@pytest.fixture
def setting() -> str:
    return f"s3://{s3.BUCKET}/t{uuid.uuid4().hex[:8]}"


@pytest.fixture
def store(setting: str, environ: dict[str, str], tmp_path: Path) -> BlobStore:
    return open_blobs(setting, Home(tmp_path), environ)


def test_what_was_acknowledged_survives_the_death_of_the_server(store: BlobStore, s3_server: s3.S3Server) -> None:
    ref = store.put(b"acknowledged", "a/b")
    store.put_named("runs/r", b"{}")
    s3_server.kill()
    try:
        for attempt in (
            lambda: store.read(ref),
            lambda: store.open(ref),
            lambda: store.exists(ref),
            lambda: store.put(b"other", "a/b"),
            lambda: store.put_named("runs/other", b"{}"),
            lambda: list(store.list_named("runs/")),
            lambda: store.delete_named("runs/r"),
        ):
            with pytest.raises(Transient) as caught:
                attempt()
            assert caught.value.code == "STORE_UNAVAILABLE"
    finally:
        s3_server.start()
    assert store.read(ref) == b"acknowledged"
    assert store.read_named("runs/r") == b"{}"


def test_a_wrong_key_is_about_the_store_and_not_about_a_study(
    setting: str, environ: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(Transient) as caught:
        open_blobs(setting, Home(tmp_path), {**environ, "GLIOSERVE_S3__SECRET_ACCESS_KEY": "wrong"})
    assert caught.value.code == "STORE_DENIED"
    assert "wrong" not in str(caught.value)


def test_a_bucket_that_is_not_there_is_about_the_store_too(environ: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(Transient) as caught:
        open_blobs("s3://no-such-bucket", Home(tmp_path), environ)
    assert caught.value.code == "STORE_UNAVAILABLE"


def test_keys_are_read_from_the_folder_of_a_mounted_secret(
    setting: str, s3_server: s3.S3Server, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "access-key-id").write_text(f"{s3_server.key_id}\n")
    (secret / "secret-access-key").write_text(f"{s3_server.key}\n")
    environ = {"GLIOSERVE_S3__ENDPOINT": s3_server.endpoint, "GLIOSERVE_S3__CREDENTIALS": str(secret)}
    store = open_blobs(setting, Home(tmp_path), environ)
    assert store.read(store.put(b"by reference", "a/b")) == b"by reference"


def test_a_large_blob_is_sent_once(store: BlobStore, s3_server: s3.S3Server, setting: str) -> None:
    """The second time its parts are not sent: the object keeps the time of the first."""
    data = b"v" * (17 << 20)
    ref = store.put(data, "a/b")
    prefix = setting.rpartition("/")[2]
    key = f"{prefix}/derived/{ref.digest[7:9]}/{ref.digest[7:]}"
    first = s3_server.client().head_object(Bucket=s3.BUCKET, Key=key)["LastModified"]
    assert store.put(data, "a/b") == ref
    assert s3_server.client().head_object(Bucket=s3.BUCKET, Key=key)["LastModified"] == first


def test_every_durable_write_passes_the_failpoints(setting: str, environ: dict[str, str], tmp_path: Path) -> None:
    passed: list[str] = []
    writes = Writes(before=lambda: passed.append("before"), after=lambda: passed.append("after"))
    store = open_blobs(setting, Home(tmp_path), environ, writes)
    source = tmp_path / "file"
    source.write_bytes(b"x")
    store.put(b"y", "a/b")
    store.put_files([source], "a/b")
    store.put_named("runs/r", b"{}")
    assert passed == ["before", "after"] * 3


def test_a_truncated_answer_is_worth_another_try(environ: dict[str, str], tmp_path: Path) -> None:
    ref = BlobRef(digest=digest_of(b"whole"), size=5, media_type="a/b")
    with pretender(body=b"wh", announced=5) as endpoint:
        store = open_blobs("s3://bucket", Home(tmp_path), {**environ, "GLIOSERVE_S3__ENDPOINT": endpoint})
        for attempt in (lambda: store.read(ref), lambda: store.open(ref)):
            with pytest.raises(Transient):
                attempt()


def test_a_store_that_ignores_conditions_is_refused_at_the_start(environ: dict[str, str], tmp_path: Path) -> None:
    with (
        pretender(conditional=False) as endpoint,
        pytest.raises(Permanent) as caught,
    ):
        open_blobs("s3://bucket", Home(tmp_path), {**environ, "GLIOSERVE_S3__ENDPOINT": endpoint})
    assert caught.value.code == "STORE_UNFIT"


@contextmanager
def pretender(*, conditional: bool = True, body: bytes = b"", announced: int = 0) -> Iterator[str]:
    """An HTTP server that only looks like an object store."""

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            if conditional and self.headers["If-None-Match"] == "*":
                self._answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
            else:
                self._answer(200, b"")

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(announced))
            self.end_headers()
            self.wfile.write(body)

        def _answer(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
