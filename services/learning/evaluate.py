"""Dice of the released models on held-out synthetic cases and phantoms; on the reference case once per weights.

    python -m services.learning.evaluate synthetic --cases 24 [--out FILE]
    python -m services.learning.evaluate phantoms --cases 12 [--out FILE]
    python -m services.learning.evaluate reference         # needs GLIOSERVE_REFERENCE_DATA; appends to the log

Nothing is chosen by these figures: the test seeds are used nowhere else, the reference case is read and written down.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from services.core.imaging.canonical import canonical_grid
from services.core.imaging.labels import volumes_ml
from services.learning.cases import phantom_case, reference_case
from services.learning.feeder import TEST_SEEDS, Packed, fixed_cases
from services.learning.metrics import mean_dices, region_dices
from services.learning.released import ReleasedModels

REFERENCE_LOG = Path(__file__).with_name("reference_log.jsonl")
NOTICE = "research use; synthetic training data; not for diagnosis"


def evaluate_cases(models: ReleasedModels, cases: Iterable[Packed]) -> dict[str, Any]:
    """Dice of WT, TC and ET at 1 mm of both steps: mean and every case."""
    rows: dict[str, list[dict[str, float]]] = {"coarse": [], "fine": []}
    for case in cases:
        for step, labels in models.labels(case).items():
            rows[step].append(region_dices(labels, case.labels))
    return {step: {"mean": mean_dices(found), "cases": found} for step, found in rows.items()}


def synthetic(models: ReleasedModels, count: int) -> dict[str, Any]:
    """Held-out randomised cases at 1 mm; all four sequences, and t1c + t2f alone."""
    cases = fixed_cases(TEST_SEEDS, count, spacing_mm=1.0)
    return {"all": evaluate_cases(models, cases[0::2]), "t1c+t2f": evaluate_cases(models, cases[1::2])}


def phantoms(models: ReleasedModels, count: int, first: int = 0) -> dict[str, Any]:
    """Grown phantoms number `first` and on, four sequences."""
    return {"all": evaluate_cases(models, (phantom_case(n) for n in range(first, first + count)))}


def reference(models: ReleasedModels, data: Path, log: Path) -> dict[str, Any]:
    """One line to `log` for these weights. Raises ValueError when they have one already."""
    seen = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    if any(line["models"] == models.digests for line in seen):
        raise ValueError("these weights were read on the reference case before; see the log")
    case = reference_case(data)
    grid = canonical_grid(np.zeros(3))
    found = models.labels(case)
    entry = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "models": models.digests,
        "dice": {step: region_dices(labels, case.labels) for step, labels in found.items()},
        "ml": {step: volumes_ml(labels, grid) for step, labels in {**found, "reference": case.labels}.items()},
        "reference": "an algorithm's segmentation, not a person's",
        "notice": NOTICE,
    }
    with log.open("a") as file:
        file.write(json.dumps(entry, sort_keys=True) + "\n")
    return entry


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("what", choices=("synthetic", "phantoms", "reference"))
    parser.add_argument("--repository", type=Path, default=Path("triton_models"))
    parser.add_argument("--cases", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    models = ReleasedModels(options.repository, options.threads)
    if options.what == "reference":
        folder = os.environ.get("GLIOSERVE_REFERENCE_DATA")
        if not folder:
            sys.exit("set GLIOSERVE_REFERENCE_DATA to the folder that holds glioma_case")
        result = reference(models, Path(folder), REFERENCE_LOG)
    else:
        measure = synthetic if options.what == "synthetic" else phantoms
        result = {"models": models.digests, "notice": NOTICE, **measure(models, options.cases)}
    text = json.dumps(result, indent=1, sort_keys=True)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
