"""Row P2: the fusion networks through Triton, four sequences, shared memory, machine otherwise idle.

coarse        the whole box at 2 mm
coarse_fine   the same, then two 96 mm crops at 1 mm, one after the other
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from services.core.contracts.enums import STRUCTURAL, Lane, Modality
from services.core.imaging.canonical import COARSE_SHAPE, FINE_CROP_SHAPE
from services.core.triton.client import TritonClient
from services.phantom.frozen import tumour_study
from services.phantom.prepared import prepared
from tests.servers.triton import triton_server

MODELS = Path(__file__).parents[1] / "triton_models"
DEADLINE_S = 60.0


def fusion(repeat: int) -> dict[str, Any]:
    """Row P2."""
    case = prepared(tumour_study(0, 2.0), 2.0)
    coarse = {"image": case.image[None], "available": case.available[None], "quality": case.quality[None]}
    assert case.image.shape == (len(Modality), *COARSE_SHAPE)
    with (
        tempfile.TemporaryDirectory(prefix="glioserve-p2-") as folder,
        triton_server(Path(folder), models=MODELS) as server,
    ):
        client = server.client()

        def once() -> None:
            _infer(client, "fusion_coarse", coarse, ("evidence", "markers", "gates"))

        def both() -> None:
            once()
            for _ in range(2):
                _infer(client, "fusion_fine", _crop(), ("label", "vacuity"))

        return {"P2": {"coarse": _timed(once, repeat), "coarse_fine": _timed(both, repeat), "runs": repeat}}


def _infer(client: TritonClient, name: str, inputs: dict[str, Any], outputs: tuple[str, ...]) -> None:
    version = client.model_ref(name).version
    client.infer(name, version, inputs, outputs, priority=Lane.ROUTINE, deadline_s=DEADLINE_S)


def _crop() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "image": rng.standard_normal((1, len(STRUCTURAL), *FINE_CROP_SHAPE), dtype=np.float32).astype(np.float16),
        "available": np.ones((1, len(STRUCTURAL)), np.float32),
        "coarse": rng.uniform(0, 50, (1, 5, *FINE_CROP_SHAPE)).astype(np.float16),
    }


def _timed(call: Callable[[], None], repeat: int) -> dict[str, float]:
    call()
    seconds = []
    for _ in range(max(repeat, 5)):
        started = time.monotonic()
        call()
        seconds.append(time.monotonic() - started)
    return {"median": round(statistics.median(seconds), 3), "max": round(max(seconds), 3)}
