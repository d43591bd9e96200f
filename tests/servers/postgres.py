"""A real PostgreSQL for tests, as an unprivileged user, in a folder of its own, on a free port.

    with PostgresServer() as server:
        url = server.database()            # a new, empty database

Programs: those on the path, or Debian's below /usr/lib/postgresql. `kill` is SIGKILL, `start` brings it back.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pg8000.dbapi

from tests.servers.processes import die_with_parent, free_ports, stop

START_TIMEOUT_S = 60.0
USER = "glioserve"
CONFIGURATION = """\
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
max_connections = 60
shared_buffers = 16MB
dynamic_shared_memory_type = mmap
log_destination = stderr
"""


def programs() -> Path | None:
    """The folder with initdb and postgres, or None."""
    found = shutil.which("initdb")
    folders = (
        [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    )
    return next((folder for folder in folders if (folder / "postgres").exists()), None)


def missing() -> str | None:
    """What a server lacks on this machine, or None."""
    return None if programs() else "no initdb and postgres"


class PostgresServer:
    """One server, which asks for its password. It never outlives `stop`, nor the process that started it."""

    def __init__(self) -> None:
        folder = programs()
        assert folder is not None
        self._programs = folder
        self._folder = Path(tempfile.mkdtemp(prefix="glioserve-postgres-"))
        self._owner = "nobody" if os.getuid() == 0 else None  # it refuses to run as root
        (self.port,) = free_ports(1)
        self.password = secrets.token_urlsafe(18)
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str) -> str:
        """The address of a database, password included."""
        return f"postgresql://{USER}:{self.password}@127.0.0.1:{self.port}/{database}"

    def database(self) -> str:
        """Makes an empty database and gives its URL."""
        name = f"t{uuid.uuid4().hex[:12]}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        return self.url(name)

    def execute(self, statement: str) -> None:
        """Runs a statement outside of any transaction."""
        with closing(self._connection()) as connection:
            connection.autocommit = True
            connection.cursor().execute(statement)

    def start(self) -> None:
        """Starts or restarts the server and waits until it answers."""
        with (self._folder / "server.log").open("ab") as log:
            self._process = self._run("postgres", "-D", str(self._folder / "data"), output=log)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = (self._folder / "server.log").read_text(errors="replace")[-2000:]
                self.kill()
                raise RuntimeError(f"PostgreSQL did not start:\n{said}")
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL to the postmaster; its children end themselves."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """At once, without a checkpoint: nobody reads its files again, or `start` recovers them."""
        if self._process is not None:
            stop(self._process, signal.SIGQUIT)
            self._process = None

    def __enter__(self) -> Self:
        try:
            self._prepare()
            self.start()
        except BaseException:
            shutil.rmtree(self._folder)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    def _prepare(self) -> None:
        secret = self._folder / "password"
        secret.write_text(self.password)
        if self._owner is not None:
            user = pwd.getpwnam(self._owner)
            for path in (self._folder, secret):
                os.chown(path, user.pw_uid, user.pw_gid)
        made = self._run(
            "initdb", "-D", str(self._folder / "data"), "-U", USER, "--pwfile", str(secret), "--auth=scram-sha-256",
            "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions", output=subprocess.PIPE,
        )  # fmt: skip
        said, _ = made.communicate()
        if made.returncode:
            raise RuntimeError(f"initdb failed:\n{said.decode(errors='replace')}")
        with (self._folder / "data" / "postgresql.conf").open("a") as settings:
            settings.write(CONFIGURATION.format(port=self.port))

    def _run(self, program: str, *arguments: str, output: Any) -> subprocess.Popen[bytes]:
        user = pwd.getpwnam(self._owner) if self._owner else None
        return subprocess.Popen(
            [str(self._programs / program), *arguments],
            cwd=self._folder,
            env={"PATH": f"{self._programs}:/usr/bin:/bin", "HOME": str(self._folder), "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            user=user.pw_uid if user else None,
            group=user.pw_gid if user else None,
            extra_groups=[] if user else None,
            preexec_fn=die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509
        )

    def _connection(self) -> Any:
        return pg8000.dbapi.connect(
            user=USER, password=self.password, host="127.0.0.1", port=self.port, database="postgres", timeout=10
        )

    def _answers(self) -> bool:
        try:
            self._connection().close()
        except (pg8000.dbapi.Error, OSError):
            return False
        return True
