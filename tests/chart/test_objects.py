"""Every value set renders, and every object fits the schema of its kind with nothing unknown in it."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest

from tests.chart.chart import OPERATORS, VALUE_SETS, helm, objects

pytestmark = pytest.mark.integration
SCHEMAS = Path(__file__).with_name("schemas")
KUBERNETES = ("1.30", "1.37")
FOREIGN = {"keda.sh", "monitoring.coreos.com"}


@cache
def foreign_schema(kind: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((SCHEMAS / f"{kind}.json").read_text())
    return schema


@pytest.mark.parametrize("values", VALUE_SETS)
def test_helm_finds_nothing_to_complain_about(values: str) -> None:
    answer = helm("lint", ".", "--strict", "--kube-version", "1.36.0", "-f", f"ci/{values}-values.yaml")
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize("apis", [OPERATORS, ()], ids=["operators", "bare"])
@pytest.mark.parametrize("values", VALUE_SETS)
def test_every_object_fits_its_schema_strictly(values: str, apis: tuple[str, ...]) -> None:
    if not apis and values == "production":
        apis = ("keda.sh/v1alpha1",)  # it asks for KEDA by name
    wrong = []
    for item in objects(values, apis=apis):
        named = f"{item['kind']} {item['metadata']['name']}"
        if item["apiVersion"].partition("/")[0] in FOREIGN:
            schema = foreign_schema(item["kind"])
            assert schema["x-api-version"] == item["apiVersion"], named
            wrong += [
                f"{named}: {error.message}" for error in jsonschema.Draft202012Validator(schema).iter_errors(item)
            ]
            continue
        for version in KUBERNETES:
            try:
                kubernetes_validate.validate(item, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                wrong.append(f"{named} ({version}): {list(error.path)} {error.message}")
    assert not wrong


@pytest.mark.parametrize("values", VALUE_SETS)
def test_no_two_objects_have_one_name_and_none_is_too_long(values: str) -> None:
    names = [(item["kind"], item["metadata"]["name"]) for item in objects(values)]
    assert len(names) == len(set(names))
    assert all(len(name) <= 63 for _, name in names)


@pytest.mark.parametrize("values", VALUE_SETS)
def test_every_object_belongs_to_the_release_by_its_labels(values: str) -> None:
    for item in objects(values):
        labels = item["metadata"]["labels"]
        assert labels["app.kubernetes.io/part-of"] == "glioserve"
        assert labels["app.kubernetes.io/instance"] == "hospital"


def test_a_schema_would_find_a_name_that_nobody_knows() -> None:
    scaled = next(item for item in objects("production") if item["kind"] == "ScaledObject")
    changed = {**scaled, "spec": {**scaled["spec"], "maxReplicas": 3}}
    assert list(jsonschema.Draft202012Validator(foreign_schema("ScaledObject")).iter_errors(changed))
    service = next(item for item in objects("production") if item["kind"] == "Service")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**service, "specs": {}}, KUBERNETES[0], strict=True)
