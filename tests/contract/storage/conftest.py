"""Every blob store, real: a local directory, the theatre's bounded directory, and S3 on a VersityGW of its own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.core.contracts.events import BlobRef
from services.core.runtime.home import Home
from services.core.storage.factory import TMPFS_SCHEME, open_blobs, open_sessions
from services.core.storage.port import BlobStore
from services.core.storage.s3_client import Place
from tests.servers import s3
from tests.servers.require import require


@dataclass(frozen=True, kw_only=True)
class Site:
    """One store as a test sees it: how to open it, also a second time, and how to damage it behind its back."""

    setting: str
    home: Home
    environ: dict[str, str]
    server: s3.S3Server | None = None

    def open(self) -> BlobStore:
        if self.setting.startswith(TMPFS_SCHEME):
            return open_sessions(self.setting, self.environ)
        return open_blobs(self.setting, self.home, self.environ)

    def damage(self, store: BlobStore, ref: BlobRef) -> None:
        """Other bytes of the same size where the blob stands."""
        if self.server is not None:
            bucket, _, prefix = self.setting.removeprefix("s3://").partition("/")
            key = Place(bucket=bucket, prefix=prefix).of_blob(ref)
            self.server.client().put_object(Bucket=bucket, Key=key, Body=b"x" * ref.size)
            return
        with store.local_path(ref) as path:
            path.chmod(0o600)
            path.write_bytes(b"x" * ref.size)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3.S3Server]:
    require("s3", s3.missing())
    with s3.S3Server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(params=["local", "tmpfs", "s3"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    home = Home(tmp_path / "home")
    if request.param == "s3":
        server: s3.S3Server = request.getfixturevalue("s3_server")
        setting = f"s3://{s3.BUCKET}/t{uuid.uuid4().hex[:8]}"
        yield Site(setting=setting, home=home, environ=server.environ, server=server)
    elif request.param == "tmpfs":
        yield Site(setting=f"tmpfs://{tmp_path}/theatre", home=home, environ={})
    else:
        yield Site(setting="local", home=home, environ={})


@pytest.fixture
def store(site: Site) -> BlobStore:
    return site.open()
