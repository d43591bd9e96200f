"""Triton backend for CPU sites: runs `<version>/int8.xml` of any model with OpenVINO, or `model.onnx` without one.

One file serves every model whose config names `backend: "openvino_cpu"`. Config parameters: `threads` (0: as many as
the process may use) and `precision` of what is not INT8 (f32: the same on every CPU; bf16: faster where the CPU has
it, less exact).
Loaded by Triton's python stub, never imported by GlioServe. A request that fails is answered with an error: raising
would lose the whole batch and may leak shared memory.
"""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import numpy as np
import openvino as ov
import triton_python_backend_utils as pb_utils

DTYPES = {"TYPE_FP16": np.float16, "TYPE_FP32": np.float32, "TYPE_UINT8": np.uint8}


class TritonPythonModel:
    """One instance of one version of one model."""

    def initialize(self, args: dict[str, str]) -> None:
        """Compiles the graph with the shapes that the config declares. Raises when they do not fit: the load fails."""
        threading.Thread(target=_end_with_server, daemon=True).start()
        _make_region_private()
        config = json.loads(args["model_config"])
        self._compiled = None
        folder = Path(args["model_repository"]) / args["model_version"]
        quantised = folder / "int8.xml"  # the same weights; ADR 14 says what it costs and gains
        graph = ov.Core().read_model(quantised if quantised.exists() else folder / "model.onnx")
        lead = [1] if config["max_batch_size"] else []
        self._inputs = {item["name"]: lead + [int(d) for d in item["dims"]] for item in config["input"]}
        self._outputs = {item["name"]: DTYPES[item["data_type"]] for item in config["output"]}
        graph.reshape({name: ov.PartialShape(shape) for name, shape in self._inputs.items()})
        compiled = ov.compile_model(graph, "CPU", _options(config.get("parameters", {})))
        self._ports = {name: compiled.output(name) for name in self._outputs}
        self._request = compiled.create_infer_request()
        self._compiled = compiled

    def is_ready(self) -> bool:
        """Servers newer than 2.51 ask this per model: true once the graph is compiled."""
        return self._compiled is not None

    def execute(self, requests: list) -> list:
        """One response a request, in order."""
        return [self._respond(request) for request in requests]

    def finalize(self) -> None:
        """Frees the graph before the stub exits."""
        self._request = self._ports = self._compiled = None

    def _respond(self, request: object) -> object:
        if request.is_cancelled():  # its caller gave up while it queued: do not compute for nobody
            return _error("the request was cancelled", pb_utils.TritonError.CANCELLED)
        try:
            feed = {name: self._tensor(request, name) for name in self._inputs}
            self._request.infer(feed, share_inputs=True)
            wanted = set(request.requested_output_names())
            tensors = [self._output(name) for name in self._outputs if name in wanted]
        except Exception as error:  # noqa: BLE001 - a top-level loop: the next request must still be served
            return _error(f"{type(error).__name__}: {error}", pb_utils.TritonError.INTERNAL)
        return pb_utils.InferenceResponse(output_tensors=tensors)

    def _tensor(self, request: object, name: str) -> np.ndarray:
        tensor = pb_utils.get_input_tensor_by_name(request, name)
        if tensor is None:
            raise ValueError(f"input {name!r} is missing")
        return tensor.as_numpy()

    def _output(self, name: str) -> object:
        array = self._request.get_tensor(self._ports[name]).data
        return pb_utils.Tensor(name, np.ascontiguousarray(array, dtype=self._outputs[name]))


def _end_with_server() -> None:
    """Ends this stub when tritonserver was killed.

    The stub's own watch asks whether the server's process number exists, and a killed server that nobody reaps (in a
    container without an init) keeps it: the stub would stay for ever. A dead parent is seen here at once.
    """
    server = os.getppid()
    orphan = server == 1 and Path("/proc/1/comm").read_text().strip() != "tritonserver"
    while not orphan:
        time.sleep(0.2)
        orphan = os.getppid() != server
    os._exit(1)


def _make_region_private() -> None:
    """The stub's shared memory, through which images pass, is made readable for all; only its owner needs it."""
    maps = Path("/proc/self/maps").read_text()
    for name in {line.split()[-1] for line in maps.splitlines() if " /dev/shm/" in line}:
        Path(name).chmod(0o600)


def _options(parameters: dict[str, dict[str, str]]) -> dict[str, object]:
    threads = int(parameters.get("threads", {}).get("string_value", "0"))
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads or len(os.sched_getaffinity(0)),
        "INFERENCE_PRECISION_HINT": parameters.get("precision", {}).get("string_value", "f32"),
    }


def _error(message: str, code: int) -> object:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))
