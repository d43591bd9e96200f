"""A real pose process in a home of its own, and sessions of a round head with a lesion of three shells to ask about."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from services.core.imaging.canonical import canonical_grid
from services.core.imaging.labels import LABEL_SCHEMA, Label
from services.core.imaging.volume import Affine
from services.core.runtime.home import Home, read_endpoints
from services.navigation.domain.answers import Mask
from services.navigation.domain.pose_state import BoxField, PoseState
from services.navigation.domain.token import Token, folder_name
from services.navigation.poses.folder import forget, open_folder, publish

T = TypeVar("T")
CENTRE_MM = np.array([11.0, -7.0, 23.0])
CAVITY_MM, ENHANCING_MM, TUMOUR_MM, BRAIN_MM = 8.0, 16.0, 28.0, 70.0
TOKEN = Token(address="127.0.0.1:1", boot="b0", session="s0", secret="0" * 48).text()
DIGEST = "sha256:" + "5a" * 32
PLAIN: Mapping[str, str] = {"GLIOSERVE_TLS__PLAIN": "true"}
WITHIN_S = 60.0


def eventually(found: Callable[[], T | None], within_s: float = WITHIN_S) -> T:
    """Waits for a condition."""
    deadline = time.monotonic() + within_s
    while True:
        value = found()
        if value:
            return value
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def frame(degrees: float = 0.0, shift_mm: float = 0.0) -> Affine:
    """RAS mm of the reference to RAS mm of a series: turned about z through the lesion's centre, shifted along x."""
    angle = np.deg2rad(degrees)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    turn[:3, 3] = CENTRE_MM - turn[:3, :3] @ CENTRE_MM + [shift_mm, 0, 0]
    return turn


def radius_mm(spacing_mm: float) -> NDArray[np.float64]:
    """Distance of each voxel of the canonical box to the lesion's centre."""
    grid = canonical_grid(CENTRE_MM, spacing_mm)
    steps = [np.arange(n) * spacing_mm + grid.affine[a, 3] - CENTRE_MM[a] for a, n in enumerate(grid.shape)]
    radius: NDArray[np.float64] = np.sqrt(sum(part**2 for part in np.ix_(*steps)))
    return radius


def shells(radius: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Cavity inside enhancing tissue inside oedema."""
    labels = np.zeros(radius.shape, np.uint8)
    for reach, label in ((TUMOUR_MM, Label.SNFH), (ENHANCING_MM, Label.ET), (CAVITY_MM, Label.RC)):
        labels[radius < reach] = label
    return labels


def state(spacing_mm: float = 1.0, to_series: Affine | None = None, arrived_at: float | None = None) -> PoseState:
    """A mask of the lesion with the brain around it; probability and vacuity fall linearly with the radius."""
    radius = radius_mm(spacing_mm)
    moment = time.monotonic() if arrived_at is None else arrived_at
    grid = canonical_grid(CENTRE_MM, spacing_mm)
    mask = Mask(
        shape=grid.shape,
        affine=(np.eye(4) if to_series is None else to_series) @ grid.affine,
        label_schema=LABEL_SCHEMA,
        labels_zlib=zlib.compress(shells(radius).tobytes(), 1),
        vacuity_zlib=zlib.compress(np.clip(radius, 0, 255).astype(np.uint8).tobytes(), 1),
        volumes_ml={},
        mean_vacuity=None,
    )
    return PoseState(
        mask=mask,
        series_digest=DIGEST,
        arrived_at=moment,
        registered_at=moment,
        brain=BoxField.packed((radius_mm(1.0) < BRAIN_MM).astype(np.uint8)),
        tumour=BoxField.packed((255 - np.clip(radius_mm(2.0), 0, 255)).astype(np.uint8)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseSite:
    """The process and where its sessions lie."""

    process: subprocess.Popen[bytes]
    home: Home
    address: str
    health: str

    def folder(self, token: str = TOKEN) -> Path:
        return self.home.theatre_poses / folder_name(token)

    def open(self, shown: PoseState | None = None, token: str = TOKEN) -> Path:
        """A session, with a mask if one is given. Gives its folder."""
        open_folder(self.folder(token))
        if shown is not None:
            assert publish(self.folder(token), shown)
        return self.folder(token)

    def close(self, token: str = TOKEN) -> None:
        forget(self.folder(token))

    def log(self) -> str:
        return (self.home.logs / "poses.jsonl").read_text()


@contextmanager
def running_poses(root: Path, environ: Mapping[str, str] = PLAIN) -> Iterator[PoseSite]:
    """The process, until the context ends; nothing of it stays in shared memory."""
    home = Home(root)
    home.prepare()
    passed = {name: value for name, value in os.environ.items() if not name.startswith("GLIOSERVE_")}
    with (home.logs / "poses.jsonl").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.navigation.poses"],
            env={**passed, "GLIOSERVE_HOME": str(root), "OMP_NUM_THREADS": "1", **environ},
            stderr=log,
        )
    try:
        found = eventually(lambda: _listening(process, home))
        yield PoseSite(process=process, home=home, address=found["grpc"], health=found["health"])
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(home.theatre_poses, ignore_errors=True)


def _listening(process: subprocess.Popen[bytes], home: Home) -> dict[str, str] | None:
    assert process.poll() is None, (home.logs / "poses.jsonl").read_text()
    return read_endpoints(home).get("navigation_poses")
