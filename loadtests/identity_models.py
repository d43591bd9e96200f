"""Writes a model repository whose networks do next to nothing, with the names, tensors and configs of the real ones.

For measuring what the system costs without the networks, and for kill tests. The masks are deterministic thresholds of
the image (z-scores): WT where t2f > 1, ET where also t1c > 1.5. Markers are constant zeros: "does not know".

    python loadtests/identity_models.py FOLDER        then GLIOSERVE_MODELS=FOLDER
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from services.core.triton.catalog import write_manifest

REPOSITORY = Path(__file__).parents[1] / "triton_models"
OPSET = 17
IR_VERSION = 9
BATCH = "batch"  # symbolic: ONNX Runtime on GPU sites refuses a fixed leading dimension when max_batch_size is 1
T1C, T2F = 1, 3  # slots, in the order of the contract
EVIDENCE = 50.0
MARKERS = (8, 2)


def write_identity_repository(folder: Path, source: Path = REPOSITORY) -> Path:
    """Configs and backend as in `source`, identity networks instead of its weights. Gives `folder` back."""
    for name, graph in (("fusion_coarse", coarse_graph()), ("fusion_fine", fine_graph())):
        shutil.copytree(source / name / "configs", folder / name / "configs", dirs_exist_ok=True)
        shutil.copyfile(source / name / "config.pbtxt", folder / name / "config.pbtxt")
        (folder / name / "1").mkdir(exist_ok=True)
        onnx.save(graph, folder / name / "1" / "model.onnx")
    shutil.copytree(source / "backends", folder / "backends", dirs_exist_ok=True)
    write_manifest(folder)
    return folder


def coarse_graph() -> onnx.ModelProto:
    """`evidence` = 50 for the label that the thresholds choose, 0 elsewhere; `gates` = `available`; `markers` = 0."""
    half = TensorProto.FLOAT16
    nodes = [
        *_thresholds("image"),
        helper.make_node("Sub", ["one", "wt"], ["background"]),
        helper.make_node("Sub", ["wt", "et"], ["snfh"]),
        helper.make_node("Mul", ["wt", "nought"], ["empty"]),
        helper.make_node("Concat", ["background", "empty", "snfh", "et", "empty"], ["chosen"], axis=1),
        helper.make_node("Mul", ["chosen", "strength"], ["evidence"]),
        helper.make_node("ReduceSum", ["quality", "axes_last"], ["quality_sum"], keepdims=0),
        helper.make_node("Mul", ["quality_sum", "nought32"], ["quality_nothing"]),
        helper.make_node("Add", ["available", "quality_nothing"], ["gates"]),
        helper.make_node("ReduceSum", ["quality_nothing", "axes_last1"], ["nothing"], keepdims=1),
        helper.make_node("Unsqueeze", ["nothing", "axes_last"], ["nothing3"]),
        helper.make_node("Add", ["nothing3", "markers_zero"], ["markers"]),
    ]
    constants = {
        "strength": np.float16(EVIDENCE),
        "nought": np.float16(0),
        "nought32": np.float32(0),
        "axes_last": np.array([2], np.int64),
        "axes_last1": np.array([1], np.int64),
        "markers_zero": np.zeros((1, *MARKERS), np.float32),
    }
    inputs = [
        _tensor("image", half, 10, 80, 96, 80),
        _tensor("available", TensorProto.FLOAT, 10),
        _tensor("quality", TensorProto.FLOAT, 10, 3),
    ]
    outputs = [
        _tensor("evidence", half, 5, 80, 96, 80),
        _tensor("markers", TensorProto.FLOAT, *MARKERS),
        _tensor("gates", TensorProto.FLOAT, 10),
    ]
    return _model("identity_coarse", nodes, inputs, outputs, constants)


def fine_graph() -> onnx.ModelProto:
    """`label` from the same thresholds (0 where nothing is available); `vacuity` = 255 * 5 / (5 + evidence)."""
    half, byte = TensorProto.FLOAT16, TensorProto.UINT8
    nodes = [
        *_thresholds("image"),
        helper.make_node("Add", ["wt", "wt"], ["twice"]),
        helper.make_node("Add", ["twice", "et"], ["numbers"]),  # 2 = SNFH, 3 = ET
        helper.make_node("ReduceMax", ["available"], ["any32"], axes=[1], keepdims=1),
        helper.make_node("Sign", ["any32"], ["sign32"]),
        helper.make_node("Cast", ["sign32"], ["any"], to=half),
        helper.make_node("Unsqueeze", ["any", "axes_space"], ["any5"]),
        helper.make_node("Mul", ["numbers", "any5"], ["seen"]),
        helper.make_node("Squeeze", ["seen", "axes_channel"], ["label16"]),
        helper.make_node("Cast", ["label16"], ["label"], to=byte),
        helper.make_node("ReduceSum", ["coarse", "axes_channel"], ["total"], keepdims=0),
        helper.make_node("Add", ["total", "classes"], ["strength"]),
        helper.make_node("Div", ["scale", "strength"], ["vacuity16"]),
        helper.make_node("Cast", ["vacuity16"], ["vacuity"], to=byte),
    ]
    constants = {
        "axes_space": np.array([2, 3, 4], np.int64),
        "axes_channel": np.array([1], np.int64),
        "classes": np.float16(5),
        "scale": np.float16(5 * 255),
    }
    inputs = [
        _tensor("image", half, 4, 96, 96, 96),
        _tensor("available", TensorProto.FLOAT, 4),
        _tensor("coarse", half, 5, 96, 96, 96),
    ]
    outputs = [_tensor("label", byte, 96, 96, 96), _tensor("vacuity", byte, 96, 96, 96)]
    return _model("identity_fine", nodes, inputs, outputs, constants)


def _thresholds(image: str) -> list[onnx.NodeProto]:
    """Nodes that give `wt` and `et`, both FP16 [batch, 1, x, y, z] of 0 and 1."""
    return [
        helper.make_node("Gather", [image, "slot_t2f"], ["t2f"], axis=1),
        helper.make_node("Gather", [image, "slot_t1c"], ["t1c"], axis=1),
        helper.make_node("Greater", ["t2f", "bright_t2f"], ["wt_bool"]),
        helper.make_node("Greater", ["t1c", "bright_t1c"], ["t1c_bool"]),
        helper.make_node("And", ["wt_bool", "t1c_bool"], ["et_bool"]),
        helper.make_node("Cast", ["wt_bool"], ["wt"], to=TensorProto.FLOAT16),
        helper.make_node("Cast", ["et_bool"], ["et"], to=TensorProto.FLOAT16),
    ]


def _model(
    name: str,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    constants: Mapping[str, Any],
) -> onnx.ModelProto:
    shared = {
        "slot_t1c": np.array([T1C], np.int64),
        "slot_t2f": np.array([T2F], np.int64),
        "bright_t1c": np.float16(1.5),
        "bright_t2f": np.float16(1),
        "one": np.float16(1),
    }
    used = {wire for node in nodes for wire in node.input}
    initializers = [
        numpy_helper.from_array(np.asarray(value), key) for key, value in {**shared, **constants}.items() if key in used
    ]
    graph = helper.make_graph(list(nodes), name, list(inputs), list(outputs), initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="glioserve")
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    return model


def _tensor(name: str, kind: int, *dims: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, [BATCH, *dims])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Write a repository of identity models.")
    parser.add_argument("folder", type=Path)
    print(write_identity_repository(parser.parse_args().folder))


if __name__ == "__main__":
    main()
