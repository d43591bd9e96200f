"""A real Apache Kafka (KRaft, one node) for tests and benches: started from jars on free ports, in a folder of its own.

    with KafkaBroker(folder) as broker:
        bus = KafkaBus([broker.address])

`kill` is SIGKILL, `start` brings it back on the same ports with the same data. The jars come from
`tests/servers/install_kafka.sh`, or from the folder that GLIOSERVE_KAFKA_LIBS names.
"""

from __future__ import annotations

import base64
import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.servers.processes import die_with_parent, free_ports, stop

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 90.0
JAVA = ("java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")
PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{broker}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
num.partitions=1
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
num.network.threads=2
num.io.threads=2
num.recovery.threads.per.data.dir=1
log.segment.bytes=16777216
log.index.size.max.bytes=1048576
log.cleaner.dedupe.buffer.size=4194304
log.cleaner.threads=1
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
"""
LOGGING = """\
Configuration:
  status: ERROR
  appenders:
    Console: {name: console, PatternLayout: {pattern: "%d %p %c %m%n"}}
  Loggers:
    Root: {level: WARN, AppenderRef: {ref: console}}
"""


def libs_folder(root: Path = ROOT) -> Path:
    """Where the broker's jars are looked for."""
    named = os.environ.get("GLIOSERVE_KAFKA_LIBS")
    return Path(named) if named else root / ".cache" / "kafka" / "libs"


def missing() -> str | None:
    """What a broker lacks on this machine, or None."""
    if shutil.which("java") is None:
        return "no java on the path"
    if not any(libs_folder().glob("kafka_2.13-*.jar")):
        return "no broker jars"
    return None


class KafkaBroker:
    """One broker. It gets its own process group and never outlives `stop`, nor the process that started it."""

    def __init__(self, folder: Path, libs: Path | None = None) -> None:
        self._folder = folder
        self._libs = libs or libs_folder()
        self._process: subprocess.Popen[bytes] | None = None
        self._port, controller = free_ports(2)
        folder.mkdir(parents=True, exist_ok=True)
        self._properties = folder / "server.properties"
        self._properties.write_text(
            PROPERTIES.format(broker=self._port, controller=controller, data=(folder / "data").absolute())
        )
        (folder / "log4j2.yaml").write_text(LOGGING)

    @property
    def address(self) -> str:
        """host:port of the broker, the same after a restart."""
        return f"127.0.0.1:{self._port}"

    @property
    def setting(self) -> str:
        """The value of GLIOSERVE_BUS for this broker."""
        return f"kafka://{self.address}"

    @property
    def pid(self) -> int:
        """Process id of the running broker."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Starts or restarts the broker and waits until it accepts connections."""
        if not (self._folder / "data").exists():
            self._format()
        with (self._folder / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *JAVA,
                    "-Xms128m",
                    "-Xmx128m",
                    f"-Dlog4j2.configurationFile={(self._folder / 'log4j2.yaml').absolute()}",
                    "-cp",
                    f"{self._libs.absolute()}/*",
                    "kafka.Kafka",
                    str(self._properties.absolute()),
                ],
                cwd=self._folder,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._accepts():
            if self._process.poll() is not None or time.monotonic() > deadline:
                tail = (self._folder / "broker.log").read_text(errors="replace")[-2000:]
                self.kill()
                raise RuntimeError(f"the broker did not start:\n{tail}")
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL: what was not acknowledged may be lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """SIGTERM, and SIGKILL when that takes too long."""
        if self._process is not None:
            stop(self._process)
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _format(self) -> None:
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        done = subprocess.run(
            [
                *JAVA,
                "-Xmx64m",
                f"-Dlog4j2.configurationFile={(self._folder / 'log4j2.yaml').absolute()}",
                "-cp",
                f"{self._libs.absolute()}/*",
                "kafka.tools.StorageTool",
                "format",
                f"--cluster-id={cluster}",  # one word: an id may begin with a dash
                "-c",
                str(self._properties.absolute()),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"the broker's storage could not be formatted:\n{done.stdout}{done.stderr}")

    def _accepts(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
        except OSError:
            return False
        return True
