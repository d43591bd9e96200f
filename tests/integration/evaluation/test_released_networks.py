"""The evaluation end to end on the released networks, at small cost."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from services.core.contracts.enums import STRUCTURAL, Modality
from services.core.imaging.labels import region_mask
from services.evaluation.command import main
from services.evaluation.metrics import dice
from services.evaluation.served import ServedModels
from services.evaluation.thinning import with_only
from services.phantom import frozen
from services.phantom.prepared import prepared

pytestmark = pytest.mark.integration

REPOSITORY = Path(__file__).parents[3] / "triton_models"


@pytest.fixture(scope="module")
def models() -> ServedModels:
    return ServedModels(REPOSITORY)


def test_the_released_networks_find_grown_tumours_that_they_never_saw(models: ServedModels) -> None:
    """Guards against broken weights; how good they are stands in the model card."""
    found = []
    for number in range(4):
        case = prepared(frozen.selection_study(number, 2.0), 1.0)
        found.append(dice(region_mask(models.answer(case).labels, "WT"), region_mask(case.labels, "WT")))
    assert np.median(found) > 0.5


def test_a_case_of_two_millimetres_is_read_as_it_is(models: ServedModels) -> None:
    answer = models.coarse(with_only(prepared(frozen.selection_study(0, 2.0), 2.0), STRUCTURAL))
    assert set(answer.gates) == {str(m) for m in STRUCTURAL}
    assert sum(answer.gates.values()) == pytest.approx(1.0, abs=1e-3)


def test_an_evaluation_goes_on_where_it_stopped_and_writes_its_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--models", str(REPOSITORY), "--out", str(tmp_path)]
    assert main(["markers", "--cases", "1", *arguments]) == 0
    assert main(["markers", "--cases", "2", *arguments]) == 0
    assert len((tmp_path / "markers.jsonl").read_text().splitlines()) == 2
    report = json.loads((tmp_path / "report.json").read_text())
    assert set(report["markers"]) == {"all ten", "four structural"}
    assert "MGMT abstained" in capsys.readouterr().out
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")


def test_a_repository_that_is_not_there_is_said_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--models", str(tmp_path), "--out", str(tmp_path)]) == 1
    assert "evaluate:" in capsys.readouterr().err


def test_without_reference_data_the_reference_case_is_not_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reference", "--models", str(REPOSITORY)]) == 2
    assert "GLIOSERVE_REFERENCE_DATA" in capsys.readouterr().err


def test_a_missing_sequence_is_really_gone(models: ServedModels) -> None:
    case = prepared(frozen.selection_study(1, 2.0), 2.0)
    only = with_only(case, (Modality.T2F,))
    assert only.available.tolist() == [0, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    assert not only.image[[0, 1, 2]].any()
    assert case.image[0].any()
    assert set(models.coarse(only).gates) == {"t2f"}
