from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; `make learning` makes its environment")

from services.core.imaging.canonical import COARSE_SHAPE, FINE_CROP_SHAPE  # noqa: E402
from services.core.triton.catalog import QUANTISED  # noqa: E402
from services.learning.export import (  # noqa: E402
    TOLERANCE,
    Exported,
    coarse_exported,
    fine_exported,
    largest_difference,
    release,
    run_onnxruntime,
    write_onnx,
)
from services.learning.network import CoarseNet, CoarseWidths, FineNet  # noqa: E402

pytestmark = [
    pytest.mark.unit,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]


def small_coarse() -> Exported:
    torch.manual_seed(4)
    return coarse_exported(CoarseNet(CoarseWidths(stem=2, levels=(4, 6, 8))))


def disturbed_fine() -> Exported:
    torch.manual_seed(4)
    net = FineNet((4, 6, 8))
    torch.nn.init.normal_(net.head.weight, std=0.5)
    return fine_exported(net)


@pytest.mark.parametrize(
    ("name", "make", "shapes"),
    [
        ("fusion_coarse", small_coarse, {"evidence": [5, *COARSE_SHAPE], "markers": [8, 2], "gates": [10]}),
        ("fusion_fine", disturbed_fine, {"label": [*FINE_CROP_SHAPE], "vacuity": [*FINE_CROP_SHAPE]}),
    ],
)
def test_a_release_agrees_with_torch_keeps_the_contract_and_half_precision(
    tmp_path: Path, name: str, make: Callable[[], Exported], shapes: dict[str, list[int]]
) -> None:
    exported = make()
    (tmp_path / name / "1").mkdir(parents=True)
    (tmp_path / name / "1" / QUANTISED).write_text("of the weights before")
    (tmp_path / name / "config.pbtxt").write_text(f'name: "{name}"')
    differences = release(exported, tmp_path, name)
    assert max(differences.values()) <= TOLERANCE
    path = tmp_path / name / "1" / "model.onnx"
    graph = onnx.load(path).graph
    assert [i.name for i in graph.input] == list(exported.inputs)
    found = {o.name: [d.dim_value for d in o.type.tensor_type.shape.dim[1:]] for o in graph.output}
    assert found == shapes
    stored = [t for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT]
    assert sum(int(np.prod(t.dims)) for t in stored) < 2000
    assert b"site-packages" not in path.read_bytes()
    assert name in json.loads((tmp_path / "manifest.json").read_text())["models"]
    assert not (path.parent / QUANTISED).exists()


def test_evidence_is_compared_as_probability_of_labels_and_of_markers_alike() -> None:
    for name, shape in (("evidence", (1, 5, 2, 2, 2)), ("markers", (1, 8, 2))):
        much = np.full(shape, 500.0)
        assert largest_difference({name: much}, [much * 1.0001]) < 1e-6
        assert largest_difference({name: np.zeros(shape)}, [np.eye(1, much.size).reshape(shape)]) > 0.1


def test_a_release_that_differs_from_torch_leaves_the_served_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = tmp_path / "fusion_fine" / "1" / "model.onnx"
    served.parent.mkdir(parents=True)
    served.write_bytes(b"what was served")
    monkeypatch.setattr("services.learning.export.TOLERANCE", -1.0)
    with pytest.raises(ValueError, match="differs from torch"):
        release(disturbed_fine(), tmp_path, "fusion_fine")
    assert served.read_bytes() == b"what was served"
    assert [p.name for p in served.parent.iterdir()] == ["model.onnx"]


def test_what_stands_in_a_missing_slot_does_not_count_in_the_released_graph_either(tmp_path: Path) -> None:
    exported = small_coarse()
    write_onnx(exported, tmp_path / "model.onnx")
    given = dict(exported.inputs)
    expected = run_onnxruntime(tmp_path / "model.onnx", given)
    given["image"] = given["image"].clone()
    given["image"][:, 5] = 3.0
    found = run_onnxruntime(tmp_path / "model.onnx", given)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-3, atol=1e-3)
    assert not found[2][:, 5].any()
    assert found[2][:, 4].all()
