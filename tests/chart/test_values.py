"""What the chart refuses, and that it says what each value is for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.chart.chart import CHART, VALUE_SETS, objects, refusal

pytestmark = pytest.mark.integration


def test_installed_as_it_comes_it_names_what_is_missing_and_starts_nothing() -> None:
    assert "bus.bootstrapServers" in refusal(values=None)


@pytest.mark.parametrize(
    "name",
    [
        "gateway.tlsSecret",
        "gateway.tokensSecret",
        "state.existingSecret",
        "vault.existingSecret",
        "vault.databaseSecret",
        "blobs.existingSecret",
        "theatre.tlsSecret",
        "gateway.dicom.tlsSecret",
        "image.registry",
    ],
)
def test_each_secret_must_be_named(name: str) -> None:
    assert name in refusal(values="production", sets=[f"{name}="])


@pytest.mark.parametrize(
    "name",
    [
        "state.password=glioserve",
        "gateway.password=admin",
        "blobs.secretAccessKey=minioadmin",
        "gateway.tokens=secret",
        "image.tag=latest",
        "stages.preprocessing.replicas=3",
        "gpu.mode=shared",
        "stages.preprocessing.resources.memoryMiB=1Gi",
        "bus.bootstrapServers={kafka}",
        "theatre.scale.spare=0",
        "triton.gpuImage=nvcr.io/nvidia/tritonserver:latest",
    ],
)
def test_passwords_and_unknown_or_loose_values_are_refused_by_the_schema(name: str) -> None:
    assert "values don't meet the specifications of the schema" in refusal(values="production", sets=[name])


def test_a_password_is_not_taken_through_the_environment_of_a_process_either() -> None:
    assert "invalid propertyName" in refusal(values="production", sets=["gateway.env.PGPASSWORD=postgres"])


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (["stages.preprocessing.scale.max=9"], "bus.partitions"),
        (["gateway.scale.min=5"], "scale.max is below scale.min"),
        (["gpu.mode=timeslice", "gpu.theatreMode="], "isolates neither memory nor faults"),
        (["gateway.dicom.calling=null"], "AE titles"),
        (["vault.databaseSecret=postgresql"], "a database of their own"),
        (["shape=single", "blobs.bucket="], "out of their reach"),
    ],
)
def test_combinations_that_cannot_work_are_refused_with_the_reason(sets: list[str], said: str) -> None:
    assert said in refusal(values="production", sets=sets)


def test_a_digest_wins_over_the_tag() -> None:
    digest = "sha256:" + "2" * 64
    found = objects("production", f"image.digests.reporting={digest}")
    images = {
        c["image"] for o in found if o["kind"] == "Deployment" for c in o["spec"]["template"]["spec"]["containers"]
    }
    assert f"registry.example/glioserve/reporting@{digest}" in images
    assert "registry.example/glioserve/monitoring:0.1.0" in images


def paths(node: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in node.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from paths(value, f"{prefix}{key}.")


def test_the_schema_knows_every_value_and_no_other() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())

    def known(node: dict[str, Any]) -> dict[str, Any]:
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rpartition("/")[2]]
        return node

    def compare(values: dict[str, Any], node: dict[str, Any], place: str) -> None:
        node = known(node)
        if "properties" not in node:
            return
        assert node["additionalProperties"] is False, place
        assert set(values) <= set(node["properties"]), place
        if place != ".image.digests":
            assert set(node["properties"]) - {"global"} == set(values), place
        for name, value in values.items():
            if isinstance(value, dict):
                compare(value, node["properties"][name], f"{place}.{name}")

    compare(yaml.safe_load((CHART / "values.yaml").read_text()), schema, "")


def test_every_group_and_every_value_with_more_than_a_plain_meaning_is_explained() -> None:
    text = (CHART / "values.yaml").read_text()
    undocumented, documented, indents = [], False, [-1]
    for line in text.splitlines():
        if not line.strip():
            documented = False
            continue
        if line.lstrip().startswith("#"):
            documented = True
            continue
        found = re.match(r"^( *)([A-Za-z_][\w./-]*):", line)
        if not found:
            continue
        depth = len(found[1])
        indents = [*[i for i in indents if i < depth], depth]
        if not documented and found[2] not in PLAIN and not line.rstrip().endswith(":"):
            undocumented.append(line.strip())
        documented = line.rstrip().endswith(":") and documented
    assert not undocumented


PLAIN = {
    *("pullPolicy", "region", "type", "annotations", "env", "resources", "scale", "scratchMiB", "models"),
    *("full", "mig", "timeslice", "nvidia.com/gpu.present", "value", "gateway", "dicom", "navigation"),
    *("postgresql", "s3", "otlp", "triton", "prometheusRule", "tolerations", "priorityClass"),
}


@pytest.mark.parametrize("values", VALUE_SETS)
def test_every_value_set_says_what_it_is_for(values: str) -> None:
    assert (CHART / "ci" / f"{values}-values.yaml").read_text().startswith("# ")
