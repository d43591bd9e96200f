"""Writes tests/chart/schemas again: the schemas of the foreign kinds that the chart uses, out of their Go modules.

Run from the repository root with Go at hand. Descriptions go; what a schema does not name becomes an error, as it would
be pruned without a word on a cluster. Both modules are Apache-2.0.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

KEDA = "github.com/kedacore/keda/v2@v2.21.0"
OPERATOR = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
SOURCES = {
    "ScaledObject": (KEDA, "config/crd/bases/keda.sh_scaledobjects.yaml"),
    "TriggerAuthentication": (KEDA, "config/crd/bases/keda.sh_triggerauthentications.yaml"),
    "PodMonitor": (OPERATOR, "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml"),
    "PrometheusRule": (OPERATOR, "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml"),
}
FOLDER = Path(__file__).with_name("schemas")


def main() -> int:
    """Gives the exit code."""
    for kind, (module, path) in SOURCES.items():
        crd = yaml.safe_load((_module(module) / path).read_text())
        version = next(version for version in crd["spec"]["versions"] if version["storage"])
        schema = strict(version["schema"]["openAPIV3Schema"])
        schema["properties"]["metadata"] = {"type": "object"}
        schema["$comment"] = f"{module} {path}"
        schema["x-api-version"] = f"{crd['spec']['group']}/{version['name']}"
        (FOLDER / f"{kind}.json").write_text(json.dumps(schema, sort_keys=True, separators=(",", ":")) + "\n")
    return 0


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without descriptions, with unknown names refused, as JSON Schema understands it."""
    out = {key: value for key, value in schema.items() if key not in {"description", "properties", "items"}}
    if "properties" in schema:
        out["properties"] = {name: strict(value) for name, value in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            out.setdefault("additionalProperties", False)
    if isinstance(schema.get("items"), dict):
        out["items"] = strict(schema["items"])
    if isinstance(schema.get("additionalProperties"), dict):
        out["additionalProperties"] = strict(schema["additionalProperties"])
    if schema.get("x-kubernetes-int-or-string"):
        out.pop("anyOf", None)
        out["type"] = ["integer", "string"]
    return out


def _module(name: str) -> Path:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "go.mod").write_text("module vendor\n")
        told = subprocess.run(
            ["go", "mod", "download", "-json", name], cwd=folder, capture_output=True, text=True, check=True
        )
    return Path(json.loads(told.stdout)["Dir"])


if __name__ == "__main__":
    sys.exit(main())
