"""The released networks in process, as the segmentation service runs them: its crops, cleaning and judgement.

OpenVINO as in the CPU backend of Triton: the INT8 graph where a model has one, all else in FP32. What is not here is
preparation: cases come prepared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from services.core.contracts.enums import STRUCTURAL, Modality
from services.core.contracts.facts import MarkerEvidence
from services.core.imaging.canonical import COARSE_SHAPE
from services.core.triton.catalog import QUANTISED, ModelCatalog
from services.evaluation.origin import Origin, settings_digest
from services.evaluation.thinning import Case
from services.fusion_segmentation.domain import crops as cropping
from services.fusion_segmentation.domain.answer import CoarseAnswer, coarse_answer, fine_reading
from services.fusion_segmentation.domain.box import Window, pooled
from services.fusion_segmentation.domain.evidence import (
    CropReading,
    Reading,
    evidence_crop,
    merged,
    read_coarse,
)
from services.fusion_segmentation.domain.postprocess import (
    finished,
    mean_vacuity,
    touches_edge,
)
from services.fusion_segmentation.settings import FusionSettings

SLOTS = tuple(Modality)
NAMES = ("fusion_coarse", "fusion_fine")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """What serving says of one case, at 1 mm, and the coarse evidence (class, x, y, z) at 2 mm behind it."""

    labels: NDArray[np.uint8]
    vacuity: NDArray[np.uint8]
    coarse_labels: NDArray[np.uint8]
    evidence: NDArray[np.float32]
    markers: tuple[MarkerEvidence, ...]
    gates: Mapping[str, float]
    mean_vacuity: float | None
    touches_edge: bool


def graph_in(version: Path) -> Path:
    """The graph of a model version that CPU sites run."""
    quantised = version / QUANTISED
    return quantised if quantised.exists() else version / "model.onnx"


class ServedModels:
    """Both networks of a model repository, compiled once. Raises Permanent when its manifest disagrees with it."""

    def __init__(self, repository: Path, threads: int = 1, settings: FusionSettings | None = None) -> None:
        catalog = ModelCatalog.load(repository)
        self.digests = {name: catalog.ref(name).digest for name in NAMES}
        self.settings = settings or FusionSettings()
        self.origin = Origin(models=self.digests, settings=settings_digest(self.settings))
        options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
        self._coarse, self._fine = (
            openvino.compile_model(str(graph_in(repository / name / catalog.ref(name).version)), "CPU", options)
            for name in NAMES
        )

    def coarse(self, case: Case) -> CoarseAnswer:
        """The coarse network's answer to a case at 1 or 2 mm."""
        image = np.zeros((1, len(SLOTS), *COARSE_SHAPE), np.float16)
        for slot in np.flatnonzero(case.available):
            voxels = case.image[slot]
            image[0, slot] = voxels if voxels.shape == COARSE_SHAPE else pooled(voxels)
        outputs = self._run(
            self._coarse, {"image": image, "available": case.available[None], "quality": case.quality[None]}
        )
        return coarse_answer(outputs, tuple(SLOTS[slot] for slot in np.flatnonzero(case.available)))

    def answer(self, case: Case) -> Answer:
        """The whole segmentation of a case at 1 mm."""
        coarse = self.coarse(case)
        first = self._clean(read_coarse(coarse.evidence), case, coarse)
        readings = [self._looked(case, window, coarse) for window in self._windows(first, case)]
        final = self._clean(merged(first, readings), case, coarse)
        return Answer(
            labels=final.labels, vacuity=final.vacuity, coarse_labels=first.labels, evidence=coarse.evidence,
            markers=coarse.markers, gates=coarse.gates, mean_vacuity=mean_vacuity(final.labels, final.vacuity),
            touches_edge=touches_edge(final.labels),
        )  # fmt: skip

    def _windows(self, reading: Reading, case: Case) -> tuple[Window, ...]:
        if not case.available[: len(STRUCTURAL)].any():
            return ()
        return cropping.crops_around(reading.labels, self.settings.crop_margin_mm, self.settings.max_crops)

    def _looked(self, case: Case, window: Window, coarse: CoarseAnswer) -> CropReading:
        structural = slice(0, len(STRUCTURAL))
        inputs: dict[str, NDArray[Any]] = {
            "image": np.ascontiguousarray(case.image[(structural, *window.fine)])[None],
            "available": case.available[structural][None],
            "coarse": evidence_crop(coarse.evidence, window)[None],
        }
        return CropReading(window=window, reading=fine_reading(self._run(self._fine, inputs)))

    def _clean(self, reading: Reading, case: Case, coarse: CoarseAnswer) -> Reading:
        return finished(reading, case.brain, coarse.evidence, self.settings.mask_rules)

    @staticmethod
    def _run(model: Any, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        result = model(dict(inputs))
        return {port.get_any_name(): np.array(result[port]) for port in model.outputs}
