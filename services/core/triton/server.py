"""Command line and environment of a local `tritonserver` on CPU, from a runtime environment made with pip.

The runtime (`nvidia-pytriton`, numpy < 2, OpenVINO) is apart from ours: its Python stub needs numpy 1. Whoever starts
the command must reap it, stop it with SIGTERM, and call `sweep_shared_memory` before each start and after each end.
"""

from __future__ import annotations

import json
import secrets
import shutil
import socket
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from services.core.contracts.errors import Permanent
from services.core.runtime.home import Home
from services.core.triton.shared_memory import SERVER_REGION

BACKEND = "openvino_cpu"
MODELS = ("fusion_coarse", "fusion_fine")
LOOPBACK = "127.0.0.1"
DEFAULT_RUNTIME = Path(__file__).parents[3] / ".venv-triton"
_SETUP = "Run `make setup`, or point GLIOSERVE_TRITON_RUNTIME at an environment with nvidia-pytriton."
_ASK = (
    "import json, sys, sysconfig; print(json.dumps({'minor': '%d.%d' % sys.version_info[:2],"
    " 'lib': sysconfig.get_config_var('LIBDIR'), 'site': sysconfig.get_path('purelib')}))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TritonSpec:
    """What to serve, from where. A port of 0 means: take a free one."""

    home: Home
    models: Path
    runtime: Path = DEFAULT_RUNTIME
    load: tuple[str, ...] = MODELS
    config_name: str = "cpu"
    grpc_port: int = 0
    http_port: int = 0
    metrics_port: int = 0
    exit_timeout_s: int = 5
    otlp_traces_url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How to start it and where it will listen (host:port). `env` is the whole environment, nothing is inherited.

    Ready, with its models warm, when `http://<http_address>/v2/health/ready` answers 200: 1 to 10 s.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    grpc_address: str
    http_address: str
    metrics_address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """A Python environment that carries tritonserver."""

    root: Path
    site: Path
    libraries: Path
    minor: str

    @property
    def server(self) -> Path:
        """The folder of tritonserver inside the wheel."""
        return self.site / "pytriton" / "tritonserver"

    @property
    def stub(self) -> Path:
        """The Python stub of this runtime's own minor version."""
        return self.server / "python_backend_stubs" / self.minor / "triton_python_backend_stub"


def find_runtime(root: Path = DEFAULT_RUNTIME) -> Runtime:
    """Looks into a runtime environment. Raises Permanent, with what to do, when it cannot serve."""
    root = root.absolute()
    python = root / "bin" / "python"
    if not python.exists():
        raise Permanent("TRITON_RUNTIME_MISSING", f"there is no Triton runtime at {root}", _SETUP)
    answer = subprocess.run([str(python), "-I", "-c", _ASK], capture_output=True, text=True, check=False, timeout=60)
    if answer.returncode:
        said = answer.stderr[-300:]
        raise Permanent("TRITON_RUNTIME_BROKEN", f"the Python of the Triton runtime fails: {said}", _SETUP)
    facts = json.loads(answer.stdout)
    libraries = Path(facts["lib"])
    runtime = Runtime(root=root, site=Path(facts["site"]), libraries=libraries, minor=facts["minor"])
    for needed in (runtime.server / "bin" / "tritonserver", runtime.stub, runtime.site / "openvino"):
        if not needed.exists():
            raise Permanent("TRITON_RUNTIME_INCOMPLETE", f"the Triton runtime lacks {needed.name}", _SETUP)
    if not _has_libpython(libraries, facts["minor"]):
        raise Permanent(
            "LIBPYTHON_MISSING",
            f"libpython{facts['minor']}.so.1.0, which Triton's Python stub links, is not installed",
            f"apt-get install libpython{facts['minor']}",
        )
    return runtime


def triton_command(spec: TritonSpec) -> Launch:
    """Prepares the backend folder under the home and says what to start. Raises Permanent without a usable runtime."""
    runtime = find_runtime(spec.runtime)
    if not (spec.models / "backends" / BACKEND / "model.py").exists():
        raise Permanent("MODEL_REPOSITORY_INCOMPLETE", f"{spec.models} holds no backends/{BACKEND}/model.py")
    folder = spec.home.root.absolute() / "run" / "triton"
    backends = _prepare_backends(runtime, spec.models, folder / "backends")
    grpc, http, metrics = _ports(spec.grpc_port, spec.http_port, spec.metrics_port)
    locked = secrets.token_urlsafe(24)  # nobody is told: the models of a running server are not to be changed
    argv = [
        str(runtime.server / "bin" / "tritonserver"),
        f"--model-repository={spec.models.absolute()}",
        f"--model-config-name={spec.config_name}",
        "--model-control-mode=explicit",
        *(f"--load-model={name}" for name in spec.load),
        "--disable-auto-complete-config",
        f"--backend-directory={backends}",
        f"--backend-config=python,shm-region-prefix-name={spec.home.shm_prefix}{SERVER_REGION}",
        f"--cache-directory={runtime.server / 'caches'}",
        *(f"--{door}-address={LOOPBACK}" for door in ("grpc", "http", "metrics")),
        f"--grpc-port={grpc}",
        f"--http-port={http}",
        f"--metrics-port={metrics}",
        "--allow-gpu-metrics=false",
        f"--grpc-restricted-protocol=model-repository,trace,logging:glioserve-{locked}={locked}",
        f"--http-restricted-api=inference,shared-memory,model-repository,trace,logging:glioserve-{locked}={locked}",
        "--http-thread-count=2",
        "--pinned-memory-pool-byte-size=0",
        f"--exit-timeout-secs={spec.exit_timeout_s}",
        *_tracing(spec.otlp_traces_url),
    ]
    return Launch(
        argv=tuple(argv),
        env=_environment(runtime),
        grpc_address=f"{LOOPBACK}:{grpc}",
        http_address=f"{LOOPBACK}:{http}",
        metrics_address=f"{LOOPBACK}:{metrics}",
    )


def _environment(runtime: Runtime) -> dict[str, str]:
    return {
        "PATH": f"{runtime.root / 'bin'}:/usr/local/bin:/usr/bin:/bin",
        "LD_LIBRARY_PATH": f"{runtime.libraries}:{runtime.site / 'nvidia_pytriton.libs'}",
        "PYTHONPATH": str(runtime.site),
        "PYTHONNOUSERSITE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "LANG": "C.UTF-8",
    }


def _prepare_backends(runtime: Runtime, models: Path, folder: Path) -> Path:
    """Triton finds a python-based backend as a folder with model.py and the stub, beside the folder `python`."""
    shutil.rmtree(folder, ignore_errors=True)
    python = shutil.copytree(runtime.server / "backends" / "python", folder / "python")
    shutil.copy2(runtime.stub, python)
    ours = shutil.copytree(models / "backends" / BACKEND, folder / BACKEND)
    shutil.copy2(runtime.stub, ours)
    return folder


def _ports(*wanted: int) -> list[int]:
    """Free ports in place of the zeros. All are held until the last one is found, so that no two are equal."""
    with ExitStack() as stack:
        ports = []
        for port in wanted:
            holder = stack.enter_context(socket.socket())
            if not port:
                holder.bind((LOOPBACK, 0))
            ports.append(port or holder.getsockname()[1])
        return ports


def _tracing(url: str | None) -> list[str]:
    """Off by default. With a collector only calls that carry a sampled `traceparent` are worth a trace: rate 0."""
    if url is None:
        return []
    return [
        "--trace-config=mode=opentelemetry",
        f"--trace-config=opentelemetry,url={url}",
        "--trace-config=rate=0",
        "--trace-config=level=TIMESTAMPS",
    ]


def _has_libpython(libraries: Path, minor: str) -> bool:
    name = f"libpython{minor}.so.1.0"
    if (libraries / name).exists():
        return True
    known = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=False)
    return name in known.stdout
