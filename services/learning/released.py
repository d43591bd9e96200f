"""The released ONNX files, run as the CPU backend of Triton runs them: OpenVINO in FP32, tensors of the contract."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import torch
from numpy.typing import NDArray

from services.core.imaging.canonical import COARSE_SHAPE
from services.core.imaging.labels import Label
from services.core.triton.catalog import ModelCatalog
from services.learning.chain import Corner, corners_over, cut, pooled, raised
from services.learning.feeder import Packed
from services.learning.network import FINE_SLOTS, QUALITY, SLOTS


class ReleasedModels:
    """Both networks of a model repository, compiled once. Raises Permanent when its manifest disagrees with it."""

    def __init__(self, repository: Path, threads: int = 1) -> None:
        catalog = ModelCatalog.load(repository)
        self.digests = {name: catalog.ref(name).digest for name in ("fusion_coarse", "fusion_fine")}
        options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
        self._coarse, self._fine = (
            openvino.compile_model(str(repository / name / catalog.ref(name).version / "model.onnx"), "CPU", options)
            for name in ("fusion_coarse", "fusion_fine")
        )

    def evidence(self, case: Packed) -> NDArray[np.float16]:
        """Evidence (class, x, y, z) at 2 mm of a case at 1 or 2 mm."""
        image = torch.from_numpy(case.image.astype(np.float32))[None]
        if image.shape[2:] != COARSE_SHAPE:
            image = pooled(image)
        slots = np.zeros((1, SLOTS, *COARSE_SHAPE), dtype=np.float16)
        slots[:, :FINE_SLOTS] = image.numpy().astype(np.float16)
        available = np.zeros((1, SLOTS), dtype=np.float32)
        available[0, :FINE_SLOTS] = case.available
        quality = np.zeros((1, SLOTS, QUALITY), dtype=np.float32)
        quality[0, :FINE_SLOTS] = case.quality
        answer = self._coarse({"image": slots, "available": available, "quality": quality})
        return np.asarray(answer["evidence"][0], dtype=np.float16)

    def labels(self, case: Packed) -> dict[str, NDArray[np.uint8]]:
        """Label maps at 1 mm of a 1 mm case: `coarse`, and `fine` (crops over what the coarse network found)."""
        evidence = raised(torch.from_numpy(self.evidence(case).astype(np.float32))[None])
        coarse: NDArray[np.uint8] = evidence[0].argmax(dim=0).numpy().astype(np.uint8)
        fine, certain = coarse.copy(), np.full(coarse.shape, 255, dtype=np.uint8)
        for corner in corners_over(coarse != Label.BACKGROUND):
            given = {
                "image": cut(torch.from_numpy(case.image), corner)[None].numpy(),
                "available": case.available[None],
                "coarse": cut(evidence, corner).numpy().astype(np.float16),
            }
            _merge(fine, certain, corner, self._fine(given))
        return {"coarse": coarse, "fine": fine}


def _merge(
    labels: NDArray[np.uint8], vacuity: NDArray[np.uint8], corner: Corner, answer: Mapping[str, NDArray[Any]]
) -> None:
    """Writes one crop's answer where it is less vacuous than what is there."""
    where = tuple(slice(c, c + n) for c, n in zip(corner, answer["label"].shape[1:], strict=True))
    better = answer["vacuity"][0] <= vacuity[where]
    labels[where] = np.where(better, answer["label"][0], labels[where])
    vacuity[where] = np.where(better, answer["vacuity"][0], vacuity[where])
