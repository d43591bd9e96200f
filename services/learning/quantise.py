"""An INT8 graph of the released coarse network beside its FP16 one, for the OpenVINO executor of CPU sites.

    python -m services.learning.quantise [--repository triton_models] [--cases 12]

NNCF calibrates the convolutions on selection phantoms and, on others, takes back what costs more than half a point of
mean Dice (accuracy control). Everything else stays as it is: the marker head answers differently otherwise. The graph
is kept only where it pays: less than four fifths of the time, in one run, two threads each.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import nncf
import numpy as np
import openvino
from numpy.typing import NDArray

from services.core.imaging.canonical import COARSE_SHAPE
from services.core.triton.catalog import QUANTISED, write_manifest
from services.evaluation.metrics import overall_dice, region_dices
from services.learning.balance import selection_cases
from services.learning.export import remove_quantised
from services.learning.network import QUALITY, SLOTS

CASES, LARGEST_DROP, PAYS, RUNS = 12, 0.005, 0.8, 9
MARKERS_WITHIN = 0.03
"""Largest change of a marker's share of evidence."""
_SHAPES = {"image": (1, SLOTS, *COARSE_SHAPE), "available": (1, SLOTS), "quality": (1, SLOTS, QUALITY)}
Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Example:
    """The inputs of the served graph, the labels that it should find, and where the brain is."""

    inputs: Mapping[str, Array]
    labels: NDArray[np.uint8]
    brain: NDArray[np.bool_]


def examples(count: int) -> list[Example]:
    """Selection phantoms, each with four sequences and with two."""
    found = []
    for case, brain in selection_cases(count):
        inputs: dict[str, Array] = {
            name: np.zeros(shape, np.float16 if name == "image" else np.float32) for name, shape in _SHAPES.items()
        }
        slots = slice(0, len(case.available))
        inputs["image"][0, slots], inputs["available"][0, slots] = case.image, case.available
        inputs["quality"][0, slots] = case.quality
        found.append(Example(inputs=inputs, labels=case.labels, brain=brain))
    return found


def read(path: Path) -> openvino.Model:
    """The released graph with the shapes of the contract."""
    model = openvino.Core().read_model(path)
    model.reshape({name: openvino.PartialShape(list(shape)) for name, shape in _SHAPES.items()})
    return model


def mean_dice(compiled: Any, given: Iterable[Example]) -> float:
    """Of the three regions over the examples."""
    rows = []
    for example in given:
        evidence = compiled(dict(example.inputs))[compiled.output("evidence")]
        rows.append(region_dices((evidence[0].argmax(axis=0) * example.brain).astype(np.uint8), example.labels))
    return overall_dice(rows)


def quantised(model: openvino.Model, calibration: Sequence[Example], validation: Sequence[Example]) -> openvino.Model:
    """The model with its convolutions in INT8, but for those that cost more than `LARGEST_DROP`."""
    others = [
        op.get_friendly_name()
        for op in model.get_ordered_ops()
        if op.get_type_name() not in ("Convolution", "GroupConvolution", "Constant", "Parameter", "Result", "Convert")
    ]
    return nncf.quantize_with_accuracy_control(
        model,
        nncf.Dataset(calibration, lambda example: dict(example.inputs)),
        nncf.Dataset(validation),
        lambda compiled, given: (mean_dice(compiled, given), None),
        max_drop=LARGEST_DROP,
        drop_type=nncf.DropType.ABSOLUTE,
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(calibration),
        ignored_scope=nncf.IgnoredScope(names=others, validate=False),
    )


def compared(before: openvino.Model, after: openvino.Model, given: Sequence[Example]) -> dict[str, Any]:
    """Seconds (medians), mean Dice and the largest change of a marker, of both graphs in one run."""
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 2}
    both = [openvino.compile_model(model, "CPU", options) for model in (before, after)]
    seconds: list[list[float]] = [[], []]
    apart = 0.0
    for run in range(RUNS):
        shares = []
        for compiled, times in zip(both, seconds, strict=True):
            begun = time.perf_counter()
            markers = compiled(dict(given[run % len(given)].inputs))[compiled.output("markers")]
            times.append(time.perf_counter() - begun)
            alpha = markers[0] + 1.0
            shares.append(alpha[:, 1] / alpha.sum(axis=1))
        apart = max(apart, float(np.abs(shares[0] - shares[1]).max()))
    return {
        "seconds": [round(statistics.median(times), 3) for times in seconds],
        "mean_dice": [round(mean_dice(compiled, given), 4) for compiled in both],
        "markers_apart": round(apart, 4),
    }


def released(folder: Path, given: Sequence[Example]) -> dict[str, Any]:
    """Writes the INT8 graph into a version's folder if it pays; one that was there goes. Raises ValueError when the
    graph, as written, would change masks or markers.
    """
    remove_quantised(folder)
    before = read(folder / "model.onnx")
    half = len(given) // 4 * 2  # a phantom's examples stay together
    with tempfile.TemporaryDirectory() as trial:
        written = Path(trial) / QUANTISED
        openvino.save_model(quantised(before, given[:half], given[half:]), written, compress_to_fp16=True)
        told = compared(before, openvino.Core().read_model(written), given[half:])
        if told["markers_apart"] > MARKERS_WITHIN or told["mean_dice"][1] < told["mean_dice"][0] - LARGEST_DROP:
            raise ValueError(f"the INT8 graph answers differently: {told}")
        pays: bool = told["seconds"][1] < PAYS * told["seconds"][0]
        if pays:
            for part in (written.with_suffix(".bin"), written):
                shutil.copy(part, folder)
    return {**told, "kept": pays}


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repository", type=Path, default=Path("triton_models"))
    parser.add_argument("--cases", type=int, default=CASES, help="selection phantoms, two at least")
    options = parser.parse_args()
    try:
        told = released(options.repository / "fusion_coarse" / "1", examples(options.cases))
    finally:
        write_manifest(options.repository)
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
