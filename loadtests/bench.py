"""The numbers of the README, as one JSON document: `python -m loadtests.bench [--rows P1,P2,P6,P7,order] [--repeat N]`.

P1  a raw four-sequence study (240 x 240 x 155, 1 mm) as a ZIP, first byte to last output stored, routine lane
P2  the fusion networks through Triton: coarse, and coarse with two fine crops
P6  the same with identity networks, less the time inside stage handlers: what the system itself costs
P7  peak memory (PSS) while P1 runs: any service with its children, and everything
order  20 studies of 4 patients over both lanes, one forced retry each: one result a study, priors by acquisition
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import shutil
import statistics
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import psutil

from loadtests.fusion import fusion
from loadtests.memory import PeakPss, services_of
from loadtests.order import order
from services.phantom import PhantomSpec, generate, write_nifti
from tests.system.stack import Stack, metrics_of, running

Row: TypeAlias = dict[str, Any]
STAGES = ("preprocessing", "fusion_segmentation", "molecular_subtyping", "monitoring", "reporting")
MIB = 1 << 20


def main() -> None:
    """Runs the rows that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="P1,P2,P6,P7,order")
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    wanted = set(options.rows.split(","))
    document: Row = {"machine": _machine(), "rows": {}}
    if wanted & {"P1", "P7"}:
        document["rows"] |= whole_path(options.repeat)
    if "P2" in wanted:
        document["rows"] |= fusion(options.repeat)
    if "P6" in wanted:
        document["rows"]["P6"] = overhead(options.repeat)
    if "order" in wanted:
        document["rows"]["order"] = order()
    print(json.dumps(document, indent=2))


def whole_path(repeat: int) -> Row:
    """Rows P1 and P7, with the shipped networks."""
    with _stack({"GLIOSERVE_MODELS": str(Path(__file__).parents[1] / "triton_models")}) as (stack, folder):
        with PeakPss(lambda: services_of(stack.supervisor)) as memory:
            runs = [_timed(stack, _study_zip(folder, seed)) for seed in range(repeat)]
        return {
            "P1": {"seconds": _medians(runs, "seconds"), "stages": runs[-1]["stages"], "runs": len(runs)},
            "P7": {
                "peak_mib_by_service": {name: round(size / MIB) for name, size in memory.peaks.items()},
                "peak_mib_total": round(memory.total / MIB),
            },
        }


def overhead(repeat: int) -> Row:
    """Row P6: the clock of P1 less the time that handlers say they took."""
    with _stack({}) as (stack, folder):
        costs = []
        for seed in range(max(repeat, 5)):
            before = _handler_seconds(stack)
            run = _timed(stack, _study_zip(folder, seed))
            inside = _handler_seconds(stack) - before
            costs.append({"seconds": run["seconds"] - inside})
        values = sorted(cost["seconds"] for cost in costs)
        return {"seconds": _medians(costs, "seconds"), "runs": len(values)}


def _timed(stack: Stack, study_zip: Path) -> Row:
    started = time.monotonic()
    study = stack.submit(study_zip)
    document = stack.wait_done(study, within_s=600)
    seconds = time.monotonic() - started
    stages = {stage["stage"]: stage["seconds"] for stage in document["stages"]}
    return {"seconds": seconds, "stages": stages}


def _study_zip(folder: Path, seed: int) -> Path:
    study = folder / f"study-{seed}"
    write_nifti(generate(seed, PhantomSpec()), study)
    target = folder / f"study-{seed}.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(study.iterdir()):
            archive.write(file, file.name)
    return target


def _handler_seconds(stack: Stack) -> float:
    pattern = re.compile(r"^glioserve_stage_seconds_sum\{.*\} (\S+)$", re.MULTILINE)
    return sum(float(value) for service in STAGES for value in pattern.findall(metrics_of(stack.home, service)))


def _medians(runs: list[Row], key: str) -> Row:
    values = [run[key] for run in runs]
    return {name: round(pick(values), 3) for name, pick in (("median", statistics.median), ("min", min), ("max", max))}


@contextmanager
def _stack(environ: Mapping[str, str]) -> Iterator[tuple[Stack, Path]]:
    folder = Path(tempfile.mkdtemp(prefix="glioserve-bench-"))
    try:
        with running(folder, environ, given={}) as stack:
            yield stack, folder
    finally:
        shutil.rmtree(folder)


def _machine() -> Row:
    return {
        "cpus": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / (1 << 30)),
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    main()
