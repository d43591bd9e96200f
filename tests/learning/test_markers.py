from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; `make learning` makes its environment")

from services.core.contracts.enums import Marker  # noqa: E402
from services.learning.larder import kept_cases, make_cases, markers_of  # noqa: E402
from services.learning.markers import HABITAT, habitats, tumour_ml  # noqa: E402
from services.learning.network import CLASSES, SLOTS, CoarseNet, CoarseWidths  # noqa: E402
from services.learning.train_markers import (  # noqa: E402
    Summaries,
    answers,
    calibration,
    decided,
    marker_loss,
    sequences_of,
    summarised,
    train_head,
)
from services.molecular_subtyping.domain.calibration import calibration_from  # noqa: E402
from services.phantom.spec import Genotype  # noqa: E402

pytestmark = pytest.mark.unit


def test_a_habitat_holds_mean_size_and_place_of_its_class() -> None:
    image = torch.zeros(1, 4, 16, 16, 16)
    image[0, 1, 8:, 4:12, 4:12] = 2.0
    probability = torch.zeros(1, CLASSES, 16, 16, 16)
    probability[0, 3, 8:, 4:12, 4:12] = 1.0
    probability[0, 0] = 1.0 - probability[0, 3]
    found = habitats(image, torch.ones(1, 4), probability)
    assert found.shape == (CLASSES, HABITAT)
    assert float(found[3, 1]) == pytest.approx(2.0, rel=0.05)
    assert float(found[3, 3 * SLOTS]) == pytest.approx(np.log(512 * 0.008 + 0.01), abs=0.01)
    assert float(found[3, 3 * SLOTS + 1]) == pytest.approx(0.2, abs=0.01)  # 8 mm right of the middle
    assert float(tumour_ml(probability)) == pytest.approx(512 * 0.008, rel=1e-4)


def test_every_variant_leaves_at_least_one_sequence() -> None:
    available = np.ones(SLOTS, dtype=np.float32)
    for seed in range(50):
        assert sequences_of("some", available, np.random.default_rng(seed)).any()
    assert sequences_of("structural", available, np.random.default_rng(0)).sum() == 4


def test_confident_and_right_costs_less_than_ignorant_and_that_less_than_wrong() -> None:
    truth = torch.tensor([[1, 0]])
    right = torch.tensor([[[0.0, 9.0], [9.0, 0.0]]])
    costs = [float(marker_loss(evidence, truth)) for evidence in (right, torch.zeros_like(right), right.flip(2))]
    assert costs[0] < costs[1] < costs[2]


def test_the_head_learns_a_sign_and_is_calibrated_on_cases_it_never_saw(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = CoarseNet(CoarseWidths(stem=2, levels=(4, 6, 8)))
    count = 240
    truth = torch.randint(0, 2, (count, len(Marker)))
    habitat = 0.2 * torch.randn(count, CLASSES, HABITAT)
    habitat[:, 3, 4:8] += 3.0 * truth[:, :1]
    data = Summaries(
        habitat=habitat, bottom=torch.randn(count, 5, 8).half(), ml=torch.full((count,), 40.0), truth=truth,
        number=np.arange(count),
    )  # fmt: skip
    check = train_head(net, data, tmp_path / "log.jsonl")
    evidence = answers(net, check)
    guess = evidence[:, 0, 1] > evidence[:, 0, 0]
    assert float((guess == check.truth[:, 0].bool()).float().mean()) > 0.75
    table = calibration(evidence, check.truth, "test-1", "made up")
    assert set(calibration_from(table).markers) == {str(marker) for marker in Marker}
    rows = decided(evidence, check.truth, table)[str(Marker.IDH)]
    shares = [share or 0.0 for share, _ in rows.values()]
    assert shares == sorted(shares, reverse=True)
    assert all(right is None or right > 0.75 for _, right in rows.values())


def test_nothing_that_is_answered_is_neither_right_nor_wrong() -> None:
    table = {"markers": {"idh": {"temperature": 1.0, "bias": 0.0}}}
    doubtful = decided(torch.zeros(3, 1, 2), torch.ones(3, 1, dtype=torch.long), table)["idh"]
    assert set(map(tuple, doubtful.values())) == {(0.0, None)}
    sure = torch.tensor([[[0.0, 99.0]], [[99.0, 0.0]]])
    assert decided(sure, torch.tensor([[1], [1]]), table)["idh"]["0.35"] == [1.0, 0.5]


def test_kept_phantoms_come_back_with_all_ten_sequences_and_their_markers(tmp_path: Path) -> None:
    make_cases(tmp_path, 1, 77)
    (case,) = kept_cases(tmp_path)
    assert case.number >= 77
    assert case.available.sum() == SLOTS
    assert case.truth.shape == (len(Marker),)


def test_an_interrupted_summary_goes_on_where_it_stopped(tmp_path: Path) -> None:
    make_cases(tmp_path / "kept", 1, 77)
    torch.manual_seed(0)
    net = CoarseNet(CoarseWidths(stem=2, levels=(4, 6, 8))).eval()
    first = summarised(net, kept_cases(tmp_path / "kept"), tmp_path / "summaries", ("all", "structural"))
    assert first.number.shape == (2,)
    for stored in (tmp_path / "kept").iterdir():
        stored.touch()
    again = summarised(
        CoarseNet(CoarseWidths(stem=2, levels=(4, 6, 8))), kept_cases(tmp_path / "kept"), tmp_path / "summaries"
    )
    torch.testing.assert_close(again.habitat, first.habitat)


def test_markers_are_in_the_order_of_the_contract() -> None:
    genotype = Genotype(idh_mutant=True, codel_1p19q=False, mgmt_methylated=True, h3k27m=False)
    assert markers_of(genotype).tolist() == [1, 0, 1, 0]
