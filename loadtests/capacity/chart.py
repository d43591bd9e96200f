"""The scaling rules of helm/glioserve, read from its values: what KEDA and the autoscaler would do."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from loadtests.capacity.measured import STAGES

VALUES = Path(__file__).parents[2] / "helm" / "glioserve" / "values.yaml"
SERVICES = {
    "prepare": "preprocessing", "segment": "fusion_segmentation", "subtype": "molecular_subtyping",
    "compare": "monitoring", "report": "reporting",
}  # fmt: skip
STARTS_S = {"stage": 30.0, "triton": 90.0, "theatre": 120.0}
"""Assumed: from the wish for a pod to its readiness, images on the node."""
UP_PODS, UP_EVERY_S, DOWN_EVERY_S = 2, 15.0, 60.0
"""The policies of the chart's autoscaler."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How one component is scaled: pods at least and at most, and the load that one pod may have before it."""

    least: int
    most: int
    per_pod: float
    starts_s: float

    def wanted(self, load: float) -> int:
        """Pods for this load."""
        return min(self.most, max(self.least, math.ceil(load / self.per_pod)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """The rules of all components. `spare`: warm theatre pods; `sessions`: of one theatre pod."""

    stages: dict[str, Rule]
    triton: Rule
    theatre: Rule
    spare: int
    sessions: int
    poll_s: float
    down_s: float
    theatre_down_s: float

    def unbounded(self, most: int = 10_000) -> Chart:
        """The same rules without a most: how many pods would be asked for."""
        stages = {name: replace(rule, most=most) for name, rule in self.stages.items()}
        return replace(
            self, stages=stages, triton=replace(self.triton, most=most), theatre=replace(self.theatre, most=most)
        )


def read_chart(path: Path = VALUES) -> Chart:
    """The chart's defaults. Raises KeyError where a value is not there any more."""
    values: dict[str, Any] = yaml.safe_load(path.read_text())
    auto, pool, theatre = values["autoscaling"], values["triton"]["scale"], values["theatre"]["scale"]
    partitions = values["bus"]["partitions"]
    stages = {}
    for stage in STAGES:
        scale = values["stages"][SERVICES[stage]]["scale"]
        most = min(scale["max"], partitions)
        stages[stage] = Rule(least=scale["min"], most=most, per_pod=scale["lag"], starts_s=STARTS_S["stage"])
    return Chart(
        stages=stages,
        triton=Rule(least=pool["min"], most=pool["max"], per_pod=pool["pending"], starts_s=STARTS_S["triton"]),
        theatre=Rule(
            least=theatre["spare"], most=theatre["max"], per_pod=theatre["sessions"], starts_s=STARTS_S["theatre"]
        ),
        spare=theatre["spare"], sessions=theatre["sessions"], poll_s=auto["pollingSeconds"],
        down_s=auto["scaleDownSeconds"], theatre_down_s=auto["theatreScaleDownSeconds"],
    )  # fmt: skip
