from __future__ import annotations

from dataclasses import replace
from itertools import repeat
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; `make learning` makes its environment")

from services.core.imaging.labels import Label  # noqa: E402
from services.learning.feeder import TRAINING_SEEDS, Diet, Packed, case_stream, smallest_ml  # noqa: E402
from services.learning.losses import distillation, evidential_loss, misleading_evidence, region_dice, softmax_loss  # noqa: E402
from services.learning.network import CLASSES, CoarseWidths  # noqa: E402
from services.learning.trainer import Plan, Selection, Trainer, cropped, thinned  # noqa: E402

pytestmark = pytest.mark.unit

SPACE = (16, 16, 16)
PLAN = Plan(
    budget_cases=10**6, warm_up_cases=1, rate=1e-2, accumulate=(1,), widths=CoarseWidths(stem=2, levels=(4, 6, 8))
)


def ball_case() -> Packed:
    grid = np.stack(np.meshgrid(*(np.arange(n) - 7.5 for n in SPACE), indexing="ij"))
    radius = np.sqrt((grid**2).sum(axis=0))
    labels = np.zeros(SPACE, dtype=np.uint8)
    labels[radius < 6.5] = Label.SNFH
    labels[radius < 4.0] = Label.ET
    labels[radius < 2.0] = Label.NCR
    rng = np.random.default_rng(0)
    image = rng.normal(0.0, 0.3, (4, *SPACE))
    image[1][labels == Label.ET] += 3.0
    image[3][labels > 0] += 2.0
    quality = np.tile(np.array([3.0, 0.1, 1.0], dtype=np.float32), (4, 1))
    return Packed(
        image=image.astype(np.float16), available=np.ones(4, dtype=np.float32), quality=quality, labels=labels
    )


def test_the_loss_falls_on_a_case_that_can_be_learnt(tmp_path: Path) -> None:
    trainer = Trainer(PLAN, tmp_path, "cpu")
    cases = repeat(ball_case())
    trainer.step(cases)
    first = trainer.progress.loss
    for _ in range(25):
        trainer.step(cases)
    trainer.progress.cases = 0
    trainer.step(cases)
    assert trainer.progress.loss < 0.7 * first


def test_training_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    trainer = Trainer(PLAN, tmp_path, "cpu")
    cases = repeat(ball_case())
    for _ in range(3):
        trainer.step(cases)
    trainer.save()
    resumed = Trainer(PLAN, tmp_path, "cpu")
    assert resumed.progress == trainer.progress
    trainer.step(cases)
    resumed.step(cases)
    for a, b in zip(trainer.net.parameters(), resumed.net.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_the_learning_rate_ends_at_zero_and_accumulation_grows() -> None:
    plan = Plan(budget_cases=100)
    rates = [plan.rate_at(share, 1000) for share in (0.0, 0.5, 1.0)]
    assert rates[0] == pytest.approx(plan.rate)
    assert rates[2] == pytest.approx(0.0, abs=1e-9)
    assert [plan.accumulate_at(share) for share in (0.0, 0.4, 1.0)] == [1, 2, 4]


def test_a_training_crop_holds_the_middle_of_the_tumour() -> None:
    case = ball_case()
    for seed in range(5):
        part = cropped(case, (8, 8, 8), np.random.default_rng(seed))
        assert part.image.shape == (4, 8, 8, 8)
        assert part.labels[4, 4, 4] > 0


def test_cases_come_from_another_process_in_the_order_of_their_seeds() -> None:
    with case_stream(TRAINING_SEEDS, Diet(phantom_share=0.0)) as stream:
        first = next(stream.cases)
    with case_stream(TRAINING_SEEDS, Diet(phantom_share=0.0)) as stream:
        again = next(stream.cases)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.labels, again.labels)


def test_a_generator_that_dies_ends_the_training_instead_of_starving_it(tmp_path: Path) -> None:
    (tmp_path / "not_a_folder").write_text("")
    broken = Diet(phantom_share=1.0, keep=tmp_path / "not_a_folder" / "kept")
    with case_stream(TRAINING_SEEDS, broken) as stream, pytest.raises(RuntimeError, match="generator process has died"):
        next(stream.cases)


def test_lesions_are_large_at_first_and_any_size_from_half_of_the_schedule() -> None:
    assert [smallest_ml(share) for share in (0.0, 0.5, 1.0)] == pytest.approx([10.0, 0.5, 0.5])


def test_a_thinned_case_keeps_one_sequence_at_least() -> None:
    for seed in range(20):
        case = thinned(ball_case(), np.random.default_rng(seed))
        assert 1 <= case.available.sum() < 4
        assert not case.image[case.available == 0].any()
        assert case.image[case.available == 1].any(axis=(1, 2, 3)).all()


def test_a_student_that_agrees_with_its_teacher_has_nothing_to_learn_from_it() -> None:
    scores = torch.randn((1, CLASSES, *SPACE), generator=torch.Generator().manual_seed(1))
    assert float(distillation(scores, scores)) == pytest.approx(0.0, abs=1e-3)
    assert float(distillation(-scores, scores)) > 0.1


def test_students_are_taught_in_the_second_half_too(tmp_path: Path) -> None:
    plan = replace(PLAN, budget_cases=4, distil_from=0.0, distil_share=1.0)
    trainer = Trainer(plan, tmp_path, "cpu")
    while trainer.done < 1.0:
        trainer.step(repeat(ball_case()))
    assert np.isfinite(trainer.progress.loss)


def test_the_best_weights_are_kept_and_a_new_schedule_starts_from_them(tmp_path: Path) -> None:
    trainer = Trainer(PLAN, tmp_path, "cpu")
    trainer.keep_best(trainer.score(Selection(randomised=[ball_case()] * 2, phantoms=[ball_case()])))
    later = Trainer(PLAN, tmp_path / "other", "cpu")
    later.start_from(tmp_path / "best.pt")
    for a, b in zip(trainer.average.parameters(), later.net.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-3)


def test_what_is_claimed_of_an_empty_region_costs_and_nothing_claimed_costs_nothing() -> None:
    labels = torch.zeros((1, *SPACE), dtype=torch.int64)
    labels[:, 4:8] = int(Label.SNFH)
    guess = torch.zeros((1, CLASSES, *SPACE))
    guess[:, int(Label.SNFH)] = labels.float() / int(Label.SNFH)
    clean = float(region_dice(guess, labels))
    assert clean < 0.01
    guess[:, int(Label.ET), 4:6], guess[:, int(Label.SNFH), 4:6] = 1.0, 0.0
    assert float(region_dice(guess, labels)) > clean + 0.3
    assert float(region_dice(torch.zeros_like(guess), torch.zeros_like(labels))) == 0.0


def test_both_losses_prefer_the_truth() -> None:
    labels = torch.from_numpy(ball_case().labels.astype(np.int64))[None]
    right = 8.0 * torch.nn.functional.one_hot(labels, CLASSES).movedim(-1, 1).float() - 4.0
    for loss in (softmax_loss, lambda a, b: evidential_loss(a, b, 0.02)):
        assert float(loss(right, labels)) < float(loss(torch.zeros_like(right), labels))
        assert float(loss(right, labels)) < float(loss(-right, labels))


def test_only_evidence_for_wrong_classes_is_misleading() -> None:
    labels = torch.zeros((1, 2, 2, 2), dtype=torch.int64)
    alpha = torch.ones((1, CLASSES, 2, 2, 2))
    alpha[:, 0] = 500.0
    assert float(misleading_evidence(alpha, labels)) == pytest.approx(0.0, abs=1e-5)
    alpha[:, 2] = 20.0
    assert float(misleading_evidence(alpha, labels)) > 0.5
