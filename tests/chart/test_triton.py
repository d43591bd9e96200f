"""The chart's Triton is the one that the product starts on one machine, and has the room that its models need."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from services.core.runtime.home import Home
from services.core.triton.server import MODELS, TritonSpec, triton_command
from tests.chart.chart import CHART, ROOT, Container, containers, objects
from tests.servers.triton import require_triton, runtime_path

pytestmark = pytest.mark.integration
BYTES = {"TYPE_FP16": 2, "TYPE_FP32": 4, "TYPE_UINT8": 1}
ON_ITS_OWN_MACHINE = {"--backend-directory", "--cache-directory"}  # the image's start script gives them


def server(values: str, component: str) -> Container:
    return next(
        c
        for c in containers(objects(values))
        if c.spec["name"] == "triton" and c.workload["metadata"]["name"].endswith(component)
    )


def flags(words: list[str]) -> set[str]:
    return {word.partition("=")[0] for word in words if word.startswith("--")}


def test_on_cpu_it_is_started_with_the_same_options_as_on_one_machine(tmp_path: Path) -> None:
    require_triton()
    spec = TritonSpec(
        home=Home(tmp_path), models=ROOT / "triton_models", runtime=runtime_path(), otlp_traces_url="http://c:4318"
    )
    ours = flags(list(triton_command(spec).argv)) - ON_ITS_OWN_MACHINE
    command = server("minimal", "machine").spec["command"]
    traced = [
        word
        for c in containers(objects("minimal", "otlpEndpoint=http://c:4318"))
        if c.spec["name"] == "triton"
        for word in c.spec["command"]
    ]
    inline = {word.strip('" \\').partition("=")[0] for word in command[2].split() if word.startswith('"--')}
    assert flags(traced) | inline == ours


def test_all_models_of_the_repository_are_loaded_and_nothing_else() -> None:
    words = server("production", "-triton").spec["command"]
    assert {word for word in words if word.startswith("--load-model=")} == {f"--load-model={m}" for m in MODELS}
    assert "--model-control-mode=explicit" in words


def test_models_cannot_be_changed_by_whoever_reaches_the_port() -> None:
    for values, component in (("minimal", "machine"), ("production", "-triton"), ("production", "-theatre")):
        script = server(values, component).spec["command"][2]
        assert "--grpc-restricted-protocol=model-repository,trace,logging:glioserve-$key=$key" in script
        assert "/dev/urandom" in script


def test_the_gpu_server_computes_with_the_gpu_configuration() -> None:
    words = server("production", "-triton").spec["command"]
    assert not any(word.startswith("--model-config-name") for word in words)
    assert "--allow-gpu-metrics=false" not in words


def test_only_callers_in_the_pod_reach_the_sidecar() -> None:
    assert "--grpc-address=127.0.0.1" in server("production", "-theatre").spec["command"]
    assert "--grpc-address=0.0.0.0" in server("production", "-triton").spec["command"]


def test_the_tensor_set_of_the_formula_holds_the_largest_call_of_any_model() -> None:
    stated = yaml.safe_load((CHART / "values.yaml").read_text())["triton"]["sharedMemory"]["tensorSetMiB"]
    largest = 0
    for path in (ROOT / "triton_models").glob("*/config.pbtxt"):
        config: Any = text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())
        kind: Any = model_config_pb2.DataType.Name
        sizes = [math.prod(item.dims) * BYTES[kind(item.data_type)] for item in [*config.input, *config.output]]
        largest = max(largest, sum(sizes))
    assert largest / 2**20 <= stated < 1.5 * largest / 2**20
