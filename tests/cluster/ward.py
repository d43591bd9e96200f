"""The ward of one machine without one of its stages, on a real Kafka: that one's processes follow the cluster's pods.

Gateway, blobs, Triton (identity networks) and the other stages are real and run outside the cluster.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from loadtests.identity_models import write_identity_repository
from services.cli.supervisor import WARD
from services.core.contracts.manifest import Manifest
from services.core.runtime.home import Home
from services.phantom import SMALL, generate, invented_patient, write_dicom
from tests.system.stack import ENDED, Stack, assert_nothing_left

STAGE = "preprocessing"


@contextmanager
def ward_without_stage(root: Path, bus: str) -> Iterator[Stack]:
    """Starts the others; leaves no process and no shared memory behind."""
    models = write_identity_repository(root / "models")
    stack = Stack(
        Home(root / "home"),
        {"GLIOSERVE_MODELS": str(models), "GLIOSERVE_BUS": bus, "OMP_NUM_THREADS": "1"},
        tuple(name for name in WARD if name != STAGE),
    )
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()
    assert_nothing_left(stack.home)


def submit_phantoms(stack: Stack, folder: Path, seeds: Sequence[int]) -> list[str]:
    """Sends one small study of one invented patient for each seed; gives their ids."""
    for seed in seeds:
        write_dicom(generate(seed, SMALL), folder / str(seed), invented_patient(seed))
    return [stack.submit(folder / str(seed)) for seed in seeds]


def starts_of_runs(home: Home) -> dict[str, list[str]]:
    """Run id -> how each of its starts ended: an error's code, or `no end noted` (finished, at work, or dead)."""
    runs = home.blobs / "named" / "runs"
    found: dict[str, list[str]] = {}
    for path in sorted(runs.glob("*.attempt-*")):
        run, _, number = path.name.partition(".attempt-")
        if not number.endswith(".ended"):
            ended = path.with_name(f"{path.name}.ended")
            found.setdefault(run, []).append(ended.read_text() if ended.exists() else "no end noted")
    return found


def manifest_of(home: Home, run: str) -> Manifest | None:
    """The manifest of a run, once it stands."""
    path = home.blobs / "named" / "runs" / run
    return Manifest.from_bytes(path.read_bytes()) if path.exists() else None


def has_ended(stack: Stack, studies: Sequence[str]) -> bool:
    """Whether all of these have come to an end."""
    return all(stack.study(study)["state"] in ENDED for study in studies)
