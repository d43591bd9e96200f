"""20 studies of 4 patients, shuffled over both lanes, each stage of each forced
to retry once: what holds when all are done.
"""

from __future__ import annotations

import json
import random
import tempfile
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from services.core.runtime.failpoints import arm_each
from services.phantom import SMALL, generate, write_nifti
from tests.system.invariants import assert_one_current_result
from tests.system.stack import Stack, running

PATIENTS, VISITS = 4, 5
FIRST = date(2024, 1, 15)


def order(seed: int = 5) -> dict[str, Any]:
    """Runs the scenario on a stack of its own; raises AssertionError where something does not hold."""
    with tempfile.TemporaryDirectory(prefix="glioserve-order-") as folder, running(Path(folder)) as stack:
        return send_and_check(stack, Path(folder), seed)


def send_and_check(
    stack: Stack, folder: Path, seed: int, patients: int = PATIENTS, visits: int = VISITS
) -> dict[str, Any]:
    """Sends the studies in random order and checks results, runs and priors."""
    rng = random.Random(seed)
    planned = [(patient, visit) for patient in range(patients) for visit in range(visits)]
    rng.shuffle(planned)
    arm_each(stack.home.root, "stage.before_manifest")
    ids: dict[tuple[int, int], str] = {}
    for patient, visit in planned:
        study = folder / f"{patient}-{visit}"
        write_nifti(generate(1000 + 10 * patient + visit, SMALL), study)
        ids[patient, visit] = stack.submit(
            study,
            patient=f"order-{seed}-{patient}",
            acquired=str(FIRST + timedelta(days=90 * visit)),
            lane=rng.choice(["stat", "routine"]),
        )
    for study_id in ids.values():  # then every segmentation is there, and every comparison that follows is asked for
        stack.wait_done(study_id, within_s=600)
    assert_one_current_result(stack, list(ids.values()))
    wrong = [key for key in ids if _prior_named(stack, folder, ids[key]) != _latest_earlier(ids, *key)]
    assert not wrong, f"reports that do not name the latest earlier study: {wrong}"
    return {"studies": len(ids), "patients": patients, "forced_retries": "one a stage of each study", "holds": True}


def _prior_named(stack: Stack, folder: Path, study: str) -> str | None:
    client = stack.client()
    target = folder / f"{study}.json"
    client.fetch(f"/studies/{study}/results/report.json", target)
    client.close()
    comparison = json.loads(target.read_text())["comparison"]
    prior: str | None = comparison["prior_study"]
    return prior


def _latest_earlier(ids: dict[tuple[int, int], str], patient: int, visit: int) -> str | None:
    return ids.get((patient, visit - 1))
