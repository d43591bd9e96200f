"""A model for tests of scheduling and faults: it sleeps as long as its input says, and ends its process when told to.

Runs inside Triton's python stub. Input `seconds` FP32 [1, 1]: below zero the stub dies without a word, above 1000 the
model answers with an error. Output: the same number.
"""

from __future__ import annotations

import os
import time
from typing import Any

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """One request at a time."""

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self._one(request) for request in requests]

    def _one(self, request: Any) -> Any:
        seconds = pb_utils.get_input_tensor_by_name(request, "seconds").as_numpy()
        if seconds[0, 0] < 0:
            os._exit(1)
        if seconds[0, 0] > 1000:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError("told to fail"))
        time.sleep(float(seconds[0, 0]))
        return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor("slept", seconds)])
