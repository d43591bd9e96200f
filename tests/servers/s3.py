"""A real S3 server (VersityGW) for tests: its own folder, its own key, a bucket, a free port.

    with S3Server(folder) as server:
        environ = server.environ          # GLIOSERVE_BLOBS and GLIOSERVE_S3__*

It is built by `tests/servers/install_versitygw.sh`. `kill` is SIGKILL, `start` brings it back with the same data.
"""

from __future__ import annotations

import secrets
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import boto3

from tests.servers.processes import die_with_parent, free_ports

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 30.0
BUCKET = "glioserve-tests"


def binary(root: Path = ROOT) -> Path | None:
    """The newest VersityGW that was built, or None."""
    return next(iter(sorted((root / ".cache" / "versitygw").glob("*/versitygw"), reverse=True)), None)


def missing() -> str | None:
    """What a server lacks on this machine, or None."""
    return None if binary() else "no VersityGW"


class S3Server:
    """One server with one bucket. It never outlives its context, nor the process that started it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (self._port,) = free_ports(1)
        self._process: subprocess.Popen[bytes] | None = None
        self.key_id, self.key = "tests", secrets.token_urlsafe(24)
        (folder / "data").mkdir(parents=True)

    @property
    def endpoint(self) -> str:
        """Its URL, the same after a restart."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def environ(self) -> dict[str, str]:
        """Settings of a process that keeps its blobs here."""
        return {
            "GLIOSERVE_BLOBS": f"s3://{BUCKET}/site",
            "GLIOSERVE_S3__ENDPOINT": self.endpoint,
            "GLIOSERVE_S3__ACCESS_KEY_ID": self.key_id,
            "GLIOSERVE_S3__SECRET_ACCESS_KEY": self.key,
        }

    def client(self) -> Any:
        """A client of its own, to look behind a store."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.key_id,
            aws_secret_access_key=self.key,
        )

    def start(self) -> None:
        """Starts or restarts the server and waits until it accepts connections."""
        program = binary()
        assert program is not None
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(program), "--port", f"127.0.0.1:{self._port}", "posix", str(self._folder.absolute() / "data")],
                env={"ROOT_ACCESS_KEY": self.key_id, "ROOT_SECRET_KEY": self.key, "HOME": str(self._folder)},
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._accepts():
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = (self._folder / "server.log").read_text(errors="replace")[-2000:]
                self.kill()
                raise RuntimeError(f"the S3 server did not start:\n{said}")
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL; what it has acknowledged stays. Its own stop would wait for idle connections to go."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        self.client().create_bucket(Bucket=BUCKET)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def _accepts(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
        except OSError:
            return False
        return True
