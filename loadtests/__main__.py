"""`python -m loadtests SCENARIO`: runs a scenario on a home of its own, writes SCENARIO.json and SCENARIO.html."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from loadtests.page import page
from loadtests.scenarios import SCENARIOS, Options
from loadtests.studies import CACHE


def main() -> int:
    """Gives 0 when every accepted study was finished or explained."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtests", description="Load tests on one machine, loopback only."
    )
    parser.add_argument("scenario", choices=SCENARIOS)
    parser.add_argument("--minutes", type=float, default=10.0, help="bound of the whole run (default 10)")
    parser.add_argument("--spacing", type=float, default=1.0, help="voxel size of the studies, mm (default 1)")
    parser.add_argument("--studies", type=int, help="at most so many (flood: exactly; default 50)")
    parser.add_argument("--per-hour", type=float, help="mean rate (steady, slow-clients) or peak (morning-burst)")
    parser.add_argument(
        "--pose-seconds", type=float, default=300.0, help="poses at 50 Hz in the flood (row P5); 0: none"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=CACHE / "results", help="folder for the JSON and the page")
    given = parser.parse_args()
    options = Options(
        spacing_mm=given.spacing,
        minutes=given.minutes,
        studies=given.studies,
        per_hour=given.per_hour,
        pose_s=given.pose_seconds,
        seed=given.seed,
    )
    scenario = SCENARIOS[given.scenario]
    document = scenario.play(options)
    given.out.mkdir(parents=True, exist_ok=True)
    target = given.out / f"{given.scenario}.json"
    target.write_text(json.dumps(document, indent=1) + "\n")
    target.with_suffix(".html").write_text(page(document, scenario.title, scenario.words))
    print(json.dumps({name: document[name] for name in ("account", "lanes", "cpu")}, indent=2))
    print(target.with_suffix(".html"))
    return 0 if document["account"]["holds"] else 1


if __name__ == "__main__":
    sys.exit(main())
