"""Writes a trained network as ONNX with the tensors of the Triton contract, weights kept in FP16.

    python -m services.learning.export coarse --weights DIR/best.pt --repository triton_models

The graph computes in FP32 (the weights are widened when it is loaded), so it is the same on every CPU. Before the
file replaces its predecessor it must agree with torch, in OpenVINO and ONNX Runtime, to 1e-3 in probability. An INT8
graph of the predecessor goes (services.learning.quantise makes a new one).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import Tensor, nn

from services.core.imaging.canonical import COARSE_SHAPE, FINE_CROP_SHAPE
from services.core.triton.catalog import QUANTISED, write_manifest
from services.learning.network import CLASSES, FINE_SLOTS, QUALITY, SLOTS, CoarseNet, FineNet
from services.learning.store import load_state, widened

TOLERANCE = 1e-3
OPSET = 18
_CLASS_AXIS = {"evidence": 1, "markers": 2}
_SMALL = 64  # tensors below this many values stay FP32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Exported:
    """A network ready for export: module, example inputs by name, names of the outputs."""

    module: nn.Module
    inputs: Mapping[str, Tensor]
    outputs: tuple[str, ...]


class _CoarseContract(nn.Module):
    """FP16 at the border, FP32 inside."""

    def __init__(self, net: CoarseNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor, available: Tensor, quality: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        evidence, markers, gates = self.net(image.float(), available, quality)
        return evidence.half(), markers, gates


class _FineContract(nn.Module):
    def __init__(self, net: FineNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor, available: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        label, vacuity = self.net(image.float(), available, coarse.float())
        return label, vacuity


def coarse_exported(net: CoarseNet, seed: int = 0) -> Exported:
    """The coarse network with a random example: the four structural sequences, ADC and Cho/NAA."""
    rng = np.random.default_rng(seed)
    given = [0, 1, 2, 3, 4, 9]
    image = np.zeros((1, SLOTS, *COARSE_SHAPE), dtype=np.float16)
    image[:, given] = rng.standard_normal((1, len(given), *COARSE_SHAPE)).astype(np.float16)
    available = np.zeros((1, SLOTS), dtype=np.float32)
    available[:, given] = 1.0
    quality = np.zeros((1, SLOTS, QUALITY), dtype=np.float32)
    quality[:, given] = (3.0, 0.1, 1.0)
    inputs = {"image": image, "available": available, "quality": quality}
    return Exported(module=_CoarseContract(net), inputs=_tensors(inputs), outputs=("evidence", "markers", "gates"))


def fine_exported(net: FineNet, seed: int = 0) -> Exported:
    """The fine network with a random example."""
    rng = np.random.default_rng(seed)
    image = rng.standard_normal((1, FINE_SLOTS, *FINE_CROP_SHAPE)).astype(np.float16)
    coarse = np.exp(rng.uniform(-3, 5, (1, CLASSES, *FINE_CROP_SHAPE))).astype(np.float16)
    inputs = {"image": image, "available": np.ones((1, FINE_SLOTS), dtype=np.float32), "coarse": coarse}
    return Exported(module=_FineContract(net), inputs=_tensors(inputs), outputs=("label", "vacuity"))


def _tensors(arrays: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def write_onnx(exported: Exported, path: Path) -> None:
    """Exports through torch.export, stores the weights as FP16 and checks the graph."""
    program = torch.onnx.export(
        exported.module.eval(),
        tuple(exported.inputs.values()),
        dynamo=True,
        opset_version=OPSET,
        input_names=list(exported.inputs),
        output_names=list(exported.outputs),
        verbose=False,
    )
    model = program.model_proto
    _store_half(model)
    _forget_origin(model)
    _open_batch(model)
    onnx.checker.check_model(model, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    onnx.save(model, part)
    part.replace(path)


def _store_half(model: onnx.ModelProto) -> None:
    """FP32 weights become FP16 plus a Cast, which every runtime folds when it loads the graph."""
    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != onnx.TensorProto.FLOAT or values.size < _SMALL:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), name + "_half"))
        casts.append(helper.make_node("Cast", [name + "_half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]


def _open_batch(model: onnx.ModelProto) -> None:
    """Declares the first axis open, as Triton's ONNX Runtime backend asks; the graph itself takes one case."""
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"


def _forget_origin(model: onnx.ModelProto) -> None:
    """Drops traces of the exporting machine (source paths of torch's modules)."""
    del model.metadata_props[:]
    model.doc_string = model.graph.doc_string = ""
    del model.graph.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]


def run_onnxruntime(path: Path, inputs: Mapping[str, Tensor]) -> list[NDArray[Any]]:
    """Outputs in the order of the graph."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    outputs: list[NDArray[Any]] = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    return outputs


def run_openvino(path: Path, inputs: Mapping[str, Tensor]) -> list[NDArray[Any]]:
    """Outputs in the order of the graph, computed in FP32 as the Triton backend does."""
    import openvino

    compiled = openvino.compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    result = compiled({name: value.numpy() for name, value in inputs.items()})
    return [np.asarray(result[port]) for port in compiled.outputs]


def largest_difference(expected: Mapping[str, NDArray[Any]], given: list[NDArray[Any]]) -> float:
    """The worst output: evidence (of labels, of markers) as probability alpha / S, labels as share of voxels that
    differ, the vacuity beyond one step of its rounding, the rest as it is.
    """
    return max(_difference(name, a, b) for (name, a), b in zip(expected.items(), given, strict=True))


def _difference(name: str, expected: NDArray[Any], given: NDArray[Any]) -> float:
    a, b = expected.astype(np.float64), given.astype(np.float64)
    if name == "label":
        return float((a != b).mean())
    if name == "vacuity":
        return max(float(np.abs(a - b).max()) - 1.0, 0.0) / 255.0
    if name in _CLASS_AXIS:
        a, b = ((x + 1.0) / (x + 1.0).sum(axis=_CLASS_AXIS[name], keepdims=True) for x in (a, b))
    return float(np.abs(a - b).max())


@torch.no_grad()
def parity(exported: Exported, path: Path) -> dict[str, float]:
    """Largest difference to torch of each runtime."""
    outputs = exported.module(*exported.inputs.values())
    expected = {name: value.numpy() for name, value in zip(exported.outputs, outputs, strict=True)}
    return {
        "onnxruntime": largest_difference(expected, run_onnxruntime(path, exported.inputs)),
        "openvino": largest_difference(expected, run_openvino(path, exported.inputs)),
    }


def load_coarse(weights: Path) -> CoarseNet:
    """Network with FP16 weights widened to FP32, in evaluation mode."""
    net = CoarseNet()
    net.load_state_dict(widened(load_state(weights)))
    return net.eval()


def load_fine(weights: Path) -> FineNet:
    """Network with FP16 weights widened to FP32, in evaluation mode."""
    net = FineNet()
    net.load_state_dict(widened(load_state(weights)))
    return net.eval()


def release(exported: Exported, repository: Path, name: str, version: str = "1") -> dict[str, float]:
    """Exports beside the served file, checks parity, then replaces the file and rewrites the manifest.

    Raises ValueError, leaving the served file alone, when a runtime differs from torch by more than 1e-3.
    """
    path = repository / name / version / "model.onnx"
    trial = path.with_name("trial.onnx")
    write_onnx(exported, trial)
    try:
        differences = parity(exported, trial)
        if max(differences.values()) > TOLERANCE:
            raise ValueError(f"{name} differs from torch: {differences}")
        trial.replace(path)
        remove_quantised(path.parent)  # of the weights before
    finally:
        trial.unlink(missing_ok=True)
    write_manifest(repository)
    return differences


def remove_quantised(folder: Path) -> None:
    """Removes the INT8 graph of a model version, if it has one."""
    for part in folder.glob(f"{Path(QUANTISED).stem}.*"):
        part.unlink()


def _tempered(net: CoarseNet, temperature: float) -> CoarseNet:
    """Log evidence divided by a temperature that was chosen on selection phantoms (Guo 2017)."""
    net.temperature = temperature
    return net


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", choices=("coarse", "fine"))
    parser.add_argument("--weights", type=Path, help="FP16 state; without it fine is exported as 'trust the coarse'")
    parser.add_argument("--temperature", type=float, default=1.0, help="coarse: divides the log evidence")
    parser.add_argument("--repository", type=Path, default=Path("triton_models"))
    options = parser.parse_args()
    if options.model == "coarse":
        exported = coarse_exported(
            _tempered(load_coarse(options.weights) if options.weights else CoarseNet(), options.temperature)
        )
    else:
        exported = fine_exported(load_fine(options.weights) if options.weights else FineNet())
    print(release(exported, options.repository, f"fusion_{options.model}"))


if __name__ == "__main__":
    main()
