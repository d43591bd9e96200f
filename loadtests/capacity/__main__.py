"""`python -m loadtests.capacity`: simulated latencies of 1 to 1000 hospitals; writes capacity.json and capacity.html.

Fed with the documents of real runs (`--steady`, `--theatre`), checked against real runs (`--check`, may be repeated).
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from loadtests.capacity.chart import STARTS_S, read_chart
from loadtests.capacity.demand import Hospital
from loadtests.capacity.measured import FOLDER, read, with_means
from loadtests.capacity.page import page
from loadtests.capacity.study import SIZES, check, day, picked
from loadtests.figures import Row
from loadtests.run import NOTICE
from loadtests.studies import CACHE


def main() -> int:
    """Gives 0; what the figures say is for people."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.capacity", description=__doc__)
    parser.add_argument("--steady", type=Path, default=FOLDER / "steady.json", help="a run with little waiting")
    parser.add_argument("--theatre", type=Path, default=FOLDER / "flood-with-theatre.json")
    parser.add_argument("--check", type=Path, action="append", help="real runs to compare with; default both")
    parser.add_argument("--means", default="", help="s, measured elsewhere: prepare=5.7,segment=1.4,triton=0.94,...")
    parser.add_argument("--means-from", default="--means", help="what the page calls their source")
    parser.add_argument("--hospitals", default=",".join(map(str, SIZES)))
    parser.add_argument("--out", type=Path, default=CACHE / "results")
    given = parser.parse_args()
    theatre = given.theatre if given.theatre.exists() else None
    here, chart, hospital = read(given.steady, theatre), read_chart(), Hospital()
    means = {name: float(value) for name, _, value in (part.partition("=") for part in given.means.split(",") if part)}
    measured = with_means(here, means, given.means_from) if means else here
    compared = given.check or [
        path for path in (given.steady, given.steady.with_name("morning-burst.json"), theatre) if path
    ]
    rows = [day(measured, chart, int(size), hospital) for size in given.hospitals.split(",")]
    document: Row = {
        "notice": NOTICE, "simulated": True, "source": measured.source,
        "assumed": {"hospital": asdict(hospital), "pod_starts_s": STARTS_S},
        "service_s": {
            **{stage: round(times.mean, 2) for stage, times in measured.stages.items()},
            "triton_in_segment": round(measured.triton_s, 2),
            "theatre_coarse": list(measured.coarse_s), "theatre_final": list(measured.final_s),
        },
        "check": [check(here, json.loads(path.read_text())) for path in compared if path.exists()],
        "days": rows, "picked": picked(rows),
    }  # fmt: skip
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "capacity.json").write_text(json.dumps(document, indent=1) + "\n")
    (given.out / "capacity.html").write_text(page(document))
    print(json.dumps({"check": document["check"], "picked": document["picked"]}, indent=2))
    print(given.out / "capacity.html")
    return 0


if __name__ == "__main__":
    sys.exit(main())
