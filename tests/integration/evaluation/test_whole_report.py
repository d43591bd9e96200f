"""A frozen phantom and a randomised case, measured at 1 mm by the command that releases are measured with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from services.evaluation.command import main

pytestmark = pytest.mark.integration

REPOSITORY = Path(__file__).parents[3] / "triton_models"


def test_a_phantom_and_a_randomised_case_end_up_in_one_report(tmp_path: Path) -> None:
    arguments = ["--cases", "1", "--models", str(REPOSITORY), "--out", str(tmp_path)]
    assert main(["phantoms", "--deep", "0", *arguments]) == 0
    assert main(["synthetic", *arguments]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    found = report["phantoms"]
    assert 0.0 <= found["baseline"]["WT"] < 1.0
    assert 0.0 <= found["ece"] <= 1.0
    assert set(report["synthetic"]["protocols"]) == {"four structural", "t1c t2f"}
    html = (tmp_path / "report.html").read_text()
    assert html.count("data:image/png;base64,") == 1
    assert "phantom 0:" in html
