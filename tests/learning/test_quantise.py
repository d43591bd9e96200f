"""The INT8 graph that CPU sites run instead of the released one."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("nncf", reason="nncf is not installed; `make learning` makes its environment")

import openvino

from services.core.triton.catalog import QUANTISED, ModelCatalog, write_manifest
from services.evaluation.served import graph_in
from services.learning import quantise
from services.learning.quantise import LARGEST_DROP, MARKERS_WITHIN, examples, released

pytestmark = [
    pytest.mark.unit,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]

REPOSITORY = Path(__file__).parents[2] / "triton_models"


def test_the_int8_graph_of_the_released_weights_answers_as_they_do_and_is_part_of_the_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantise, "PAYS", float("inf"))  # how fast it is belongs to a measurement, not to a test
    version = tmp_path / "fusion_coarse" / "1"
    version.mkdir(parents=True)
    shutil.copy(REPOSITORY / "fusion_coarse" / "1" / "model.onnx", version)
    shutil.copy(REPOSITORY / "fusion_coarse" / "config.pbtxt", version.parent)
    before = ModelCatalog.load(write_manifest(tmp_path).parent).ref("fusion_coarse").digest
    given = examples(2)

    told = released(version, given)

    assert told["kept"]
    assert told["mean_dice"][1] > told["mean_dice"][0] - 2 * LARGEST_DROP
    assert told["markers_apart"] <= MARKERS_WITHIN
    assert graph_in(version) == version / QUANTISED
    served = openvino.compile_model(str(version / QUANTISED), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    answer = served(dict(given[0].inputs))[served.output("evidence")]
    assert answer.dtype == np.float16
    assert np.isfinite(answer).all()
    assert ModelCatalog.load(write_manifest(tmp_path).parent).ref("fusion_coarse").digest != before


def test_a_graph_that_does_not_pay_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantise, "quantised", lambda model, *_: model)
    shutil.copy(REPOSITORY / "fusion_coarse" / "1" / "model.onnx", tmp_path)
    (tmp_path / QUANTISED).write_text("of an earlier attempt")
    monkeypatch.setattr(quantise, "PAYS", 0.0)
    assert not released(tmp_path, examples(1))["kept"]
    assert graph_in(tmp_path) == tmp_path / "model.onnx"
