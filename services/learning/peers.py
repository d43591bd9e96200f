"""The usual networks, exported to the same runtime and threads as ours: how long a whole brain takes them.

    python -m services.learning.peers [--threads 2] [--out FILE]     # needs monai beside the learning environment

Sliding windows of 128^3 with half overlap over the canonical box at 1 mm, as those networks are used. Untrained: time
only. Ours is timed on the same machine in the same run, in FP16 as they are.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
import tempfile
import time
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import torch
from torch import nn

from services.core.imaging.canonical import BOX_MM, COARSE_SHAPE, FINE_CROP_SHAPE

PATCH = 128
OPSET = 18


def windows() -> int:
    """How many patches half-overlapping windows need."""
    return int(np.prod([max(1, ceil((edge - PATCH) / (PATCH // 2)) + 1) for edge in BOX_MM]))


def swin_unetr() -> nn.Module:
    """SwinUNETR with 48 features (Hatamizadeh 2022)."""
    from monai.networks.nets import SwinUNETR

    net: nn.Module = SwinUNETR(in_channels=4, out_channels=4, feature_size=48)
    return net


def dyn_unet() -> nn.Module:
    """A plain U-Net of the size that nnU-Net plans for BraTS: 32 to 320 channels, six levels (Isensee 2021)."""
    from monai.networks.nets import DynUNet

    levels = 6
    net: nn.Module = DynUNet(
        3, 4, 4, kernel_size=[3] * levels, strides=[1] + [2] * (levels - 1), upsample_kernel_size=[2] * (levels - 1),
        filters=[32, 64, 128, 256, 320, 320], res_block=False,
    )  # fmt: skip
    return net


def seconds_per_patch(net: nn.Module, threads: int, repeat: int = 3) -> float:
    """Median time of one patch in OpenVINO, FP32."""
    example = torch.randn(1, 4, PATCH, PATCH, PATCH)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "peer.onnx"
        program = torch.onnx.export(net.eval(), (example,), dynamo=True, opset_version=OPSET, verbose=False)
        assert program is not None
        program.save(str(path), external_data=True)
        return _timed(path, {0: example.numpy()}, threads, repeat)


def ours(repository: Path, threads: int) -> dict[str, float]:
    """Coarse, and coarse with two crops, from the released FP16 files."""
    shapes = {"fusion_coarse": (COARSE_SHAPE, 10), "fusion_fine": (FINE_CROP_SHAPE, 4)}
    found = {}
    for name, (shape, slots) in shapes.items():
        path = repository / name / "1" / "model.onnx"
        inputs: dict[Any, Any] = {
            "image": np.zeros((1, slots, *shape), np.float16), "available": np.ones((1, slots), np.float32)
        }  # fmt: skip
        if name == "fusion_coarse":
            inputs["quality"] = np.ones((1, slots, 3), np.float32)
        else:
            inputs["coarse"] = np.ones((1, 5, *shape), np.float16)
        found[name] = _timed(path, inputs, threads, 5)
    return {**found, "whole_brain": found["fusion_coarse"] + 2 * found["fusion_fine"]}


def _timed(path: Path, inputs: dict[Any, Any], threads: int, repeat: int) -> float:
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    model = openvino.compile_model(str(path), "CPU", options)
    model(inputs)
    seconds = []
    for _ in range(repeat):
        started = time.monotonic()
        model(inputs)
        seconds.append(time.monotonic() - started)
    return statistics.median(seconds)


def main() -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repository", type=Path, default=Path("triton_models"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if importlib.util.find_spec("monai") is None:
        sys.stderr.write("peers: type  .venv-learning/bin/uv pip install --no-deps monai==1.6.1 einops\n")
        return 2
    mine = ours(options.repository, options.threads)
    rows: dict[str, Any] = {"ours": mine, "threads": options.threads, "patches": windows()}
    for name, make in (("SwinUNETR-48", swin_unetr), ("DynUNet", dyn_unet)):
        patch = seconds_per_patch(make(), options.threads)
        whole = patch * windows()
        rows[name] = {
            "seconds_per_patch": patch, "whole_brain": whole, "times_ours": whole / mine["whole_brain"],
            "dice": "untrained: time only",
        }  # fmt: skip
    text = json.dumps(rows, indent=1)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
