"""The model repository: configs, graphs and manifest say the same, and are what the services rely on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import onnx
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from loadtests.identity_models import write_identity_repository
from services.core.contracts.errors import Permanent
from services.core.imaging.canonical import COARSE_SHAPE, FINE_CROP_SHAPE
from services.core.triton.catalog import ModelCatalog, write_manifest
from services.core.triton.server import BACKEND, MODELS

pytestmark = pytest.mark.unit

REPOSITORY = Path(__file__).parents[3] / "triton_models"
# architecture, section 4, without the leading batch axis
CONTRACT = {
    "fusion_coarse": (
        {"image": ("FP16", (10, *COARSE_SHAPE)), "available": ("FP32", (10,)), "quality": ("FP32", (10, 3))},
        {"evidence": ("FP16", (5, *COARSE_SHAPE)), "markers": ("FP32", (8, 2)), "gates": ("FP32", (10,))},
    ),
    "fusion_fine": (
        {
            "image": ("FP16", (4, *FINE_CROP_SHAPE)),
            "available": ("FP32", (4,)),
            "coarse": ("FP16", (5, *FINE_CROP_SHAPE)),
        },
        {"label": ("UINT8", FINE_CROP_SHAPE), "vacuity": ("UINT8", FINE_CROP_SHAPE)},
    ),
}
ONNX_KINDS: dict[Any, str] = {
    onnx.TensorProto.FLOAT16: "FP16",
    onnx.TensorProto.FLOAT: "FP32",
    onnx.TensorProto.UINT8: "UINT8",
}
Tensors = dict[str, tuple[str, tuple[int, ...]]]


@pytest.fixture(params=["released", "identity"])
def repository(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return REPOSITORY if request.param == "released" else write_identity_repository(tmp_path)


def config(repository: Path, model: str, variant: str) -> Any:
    path = repository / model / ("config.pbtxt" if variant == "gpu" else "configs/cpu.pbtxt")
    return text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())


def tensors(items: Any) -> Tensors:
    kind: Any = model_config_pb2.DataType.Name
    return {item.name: (kind(item.data_type).removeprefix("TYPE_"), tuple(item.dims)) for item in items}


@pytest.mark.parametrize("variant", ["gpu", "cpu"])
@pytest.mark.parametrize("model", MODELS)
def test_configs_declare_the_tensor_contract(repository: Path, model: str, variant: str) -> None:
    parsed = config(repository, model, variant)
    assert (tensors(parsed.input), tensors(parsed.output)) == CONTRACT[model]
    assert parsed.name == model
    assert parsed.max_batch_size == 1


@pytest.mark.parametrize("model", MODELS)
def test_gpu_and_cpu_sites_differ_in_the_executor_only(repository: Path, model: str) -> None:
    gpu, cpu = config(repository, model, "gpu"), config(repository, model, "cpu")
    assert (gpu.backend, cpu.backend) == ("onnxruntime", BACKEND)
    for field in ("backend", "default_model_filename", "instance_group", "parameters"):
        gpu.ClearField(field)
        cpu.ClearField(field)
    assert gpu == cpu


@pytest.mark.parametrize("variant", ["gpu", "cpu"])
@pytest.mark.parametrize("model", MODELS)
def test_scheduling_gives_the_theatre_priority_and_bounds_every_queue(
    repository: Path, model: str, variant: str
) -> None:
    batching = config(repository, model, variant).dynamic_batching
    assert (batching.priority_levels, batching.default_priority_level) == (2, 2)
    for policy in (batching.default_queue_policy, batching.priority_queue_policy[1]):
        assert policy.default_timeout_microseconds > 0  # with zero Triton ignores a request's own timeout
        assert policy.allow_timeout_override
        assert 0 < policy.max_queue_size <= 16


@pytest.mark.parametrize("model", MODELS)
def test_versions_are_always_named(repository: Path, model: str) -> None:
    served = ModelCatalog.load(repository).ref(model).version
    for variant in ("gpu", "cpu"):
        policy = config(repository, model, variant).version_policy
        assert policy.WhichOneof("policy_choice") == "specific"
        assert int(served) in policy.specific.versions


@pytest.mark.parametrize("model", MODELS)
def test_every_model_is_warmed_up_with_all_its_inputs(repository: Path, model: str) -> None:
    for variant in ("gpu", "cpu"):
        parsed = config(repository, model, variant)
        assert set(parsed.model_warmup[0].inputs) == {item.name for item in parsed.input}


@pytest.mark.parametrize("model", MODELS)
def test_the_graph_fits_the_config_and_leaves_the_batch_open(repository: Path, model: str) -> None:
    version = ModelCatalog.load(repository).ref(model).version
    graph = onnx.load(repository / model / version / "model.onnx").graph
    weights = {item.name for item in graph.initializer}
    declared = ([i for i in graph.input if i.name not in weights], graph.output)
    for values, expected in zip(declared, CONTRACT[model], strict=True):
        found: Tensors = {}
        for value in values:
            lead, *dims = value.type.tensor_type.shape.dim
            assert not lead.HasField("dim_value"), f"{value.name}: ONNX Runtime refuses a fixed batch axis"
            kind = ONNX_KINDS[value.type.tensor_type.elem_type]
            found[value.name] = (kind, tuple(dim.dim_value for dim in dims))
        assert found == expected


@pytest.mark.parametrize("model", MODELS)
def test_every_model_has_a_card_that_says_what_it_was_trained_on(model: str) -> None:
    card = (REPOSITORY / model / "README.md").read_text()
    for phrase in ("research use", "synthetic training data", "not for diagnosis"):
        assert phrase in card.lower()


def test_the_manifest_states_the_digests_of_the_files(repository: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(repository, again, ignore=shutil.ignore_patterns("again"))
    assert write_manifest(again).read_bytes() == (repository / "manifest.json").read_bytes()


def test_a_changed_weight_file_is_refused(tmp_path: Path) -> None:
    write_identity_repository(tmp_path)
    weights = tmp_path / "fusion_fine" / "1" / "model.onnx"
    weights.write_bytes(weights.read_bytes() + b"\0")
    with pytest.raises(Permanent) as caught:
        ModelCatalog.load(tmp_path)
    assert caught.value.code == "MODEL_MANIFEST_UNREADABLE"
    assert "fusion_fine" in caught.value.message


def test_a_distant_caller_needs_the_manifest_only(tmp_path: Path) -> None:
    catalog = ModelCatalog.load(write_identity_repository(tmp_path / "there"))
    (tmp_path / "here").mkdir()
    shutil.copy(tmp_path / "there" / "manifest.json", tmp_path / "here")
    assert ModelCatalog.load(tmp_path / "here").ref("fusion_fine") == catalog.ref("fusion_fine")


def test_a_new_version_is_served_only_when_the_manifest_says_so(tmp_path: Path) -> None:
    write_identity_repository(tmp_path)
    first = ModelCatalog.load(tmp_path).ref("fusion_fine")
    shutil.copytree(tmp_path / "fusion_fine" / "1", tmp_path / "fusion_fine" / "2")
    write_manifest(tmp_path)
    assert ModelCatalog.load(tmp_path).ref("fusion_fine") == first
    document = json.loads((tmp_path / "manifest.json").read_text())
    document["models"]["fusion_fine"]["serve"] = "2"
    (tmp_path / "manifest.json").write_text(json.dumps(document))
    assert ModelCatalog.load(tmp_path).ref("fusion_fine").version == "2"


def test_missing_or_foreign_manifests_and_unknown_models_are_permanent(tmp_path: Path) -> None:
    with pytest.raises(Permanent):
        ModelCatalog.load(tmp_path)
    (tmp_path / "manifest.json").write_text('{"schema": "other", "models": {}}')
    with pytest.raises(Permanent):
        ModelCatalog.load(tmp_path)
    with pytest.raises(Permanent) as caught:
        ModelCatalog({}).ref("fusion_coarse")
    assert caught.value.code == "MODEL_UNKNOWN"
