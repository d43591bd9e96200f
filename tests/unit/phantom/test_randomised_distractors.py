from __future__ import annotations

import numpy as np
import pytest

from services.core.contracts.enums import Modality
from services.phantom.anatomy import load_atlas
from services.phantom.randomised import CaseOptions, randomised_case
from services.phantom.randomised_atlas import TissueAtlas, tissue_atlas
from services.phantom.randomised_distractors import DISTRACTORS, Ground, Spot, blood, draw_distractors
from services.phantom.randomised_outside import MASK_FAULTS, Outside, brain_mask, draw_outside

pytestmark = pytest.mark.unit

SPACING = 4.0


@pytest.fixture(scope="module")
def atlas() -> TissueAtlas:
    return tissue_atlas(load_atlas(), SPACING)


@pytest.fixture(scope="module")
def ground(atlas: TissueAtlas) -> Ground:
    labels = np.zeros(atlas.maps.shape[1:], dtype=np.uint8)
    labels[10:20, 20:30, 15:25] = 2
    return Ground(tissues=atlas.maps, labels=labels, spacing_mm=SPACING)


@pytest.fixture(scope="module")
def heads(atlas: TissueAtlas) -> list[Outside | None]:
    return [draw_outside(np.random.default_rng(seed), atlas.maps[0], SPACING) for seed in range(120)]


@pytest.mark.parametrize("name", DISTRACTORS)
def test_every_distractor_is_drawn_and_keeps_away_from_the_tumour(ground: Ground, name: str) -> None:
    found = [draw_distractors(np.random.default_rng(seed), ground, {name: 1.0}) for seed in range(12)]
    spots = [spot for drawn in found for spot in drawn]
    assert len(spots) >= 4
    for spot in spots:
        assert spot.name == name
        assert not ground.labels.reshape(-1)[spot.at].any()
        assert any(abs(change) > 0.0 for change in spot.change.values()) or spot.fluid > 0.0


def test_a_distractor_changes_the_image_and_no_label(atlas: TissueAtlas) -> None:
    for seed in range(8):
        case = randomised_case(seed, atlas, CaseOptions(healthy_share=1.0))
        assert not case.labels.any()
    image = np.zeros((3, 3, 3), dtype=np.float32)
    spot = Spot(name="cyst", at=np.array([13]), change={Modality.T2F: 0.5}, fluid=1.0)
    spot.paint(image, Modality.T2F, -2.0)
    assert image[1, 1, 1] == np.float32(-1.5)
    assert np.count_nonzero(image) == 1


def test_the_shares_are_those_of_the_table(ground: Ground) -> None:
    rng = np.random.default_rng(0)
    shares = {"vessels": DISTRACTORS["vessels"], "haemorrhage": DISTRACTORS["haemorrhage"]}
    drawn = [{spot.name for spot in draw_distractors(rng, ground, shares)} for _ in range(150)]
    for name, share in shares.items():
        assert abs(np.mean([name in names for names in drawn]) - share) < 0.12
    assert draw_distractors(rng, ground, dict.fromkeys(shares, 0.0)) == ()


def test_blood_is_as_bright_with_contrast_as_without() -> None:
    rng = np.random.default_rng(2)
    draws = [blood(rng) for _ in range(100)]
    assert all(abs(d[Modality.T1C] - d[Modality.T1N]) < 0.8 for d in draws)
    assert np.mean([d[Modality.T1N] > 0.7 for d in draws]) > 0.6


def test_some_masks_keep_skull_and_scalp(atlas: TissueAtlas, heads: list[Outside | None]) -> None:
    there = [head for head in heads if head is not None]
    expected = 1.0 - np.prod([1.0 - MASK_FAULTS[name] for name in ("remnant", "oversized", "eyes")])
    assert abs(len(there) / len(heads) - expected) < 0.1
    brain = atlas.maps[0]
    kept = [head.kept for head in there if head.kept.any()]
    assert kept
    for mask in kept:
        assert not mask[brain > 0.5].any()
    for head in there:
        assert (brain[head.layer > 0] <= 0.5).all()
    layers = set(np.concatenate([np.unique(head.layer[head.kept]) for head in there]).tolist())
    assert {1.0, 2.0, 3.0, 4.0, 5.0} <= layers


def test_fat_is_bright_and_bone_dark_where_they_are_kept(heads: list[Outside | None]) -> None:
    rng = np.random.default_rng(1)
    for head in [h for h in heads if h is not None][:6]:
        image = np.zeros(head.layer.shape, dtype=np.float32)
        head.paint(rng, image, Modality.T1N, -2.0)
        assert image[head.layer == 4.0].mean() > 1.0
        assert image[head.layer == 3.0].mean() < -2.0
        assert not image[head.layer == 0.0].any()


def test_masks_err_in_every_way_that_the_table_lists(atlas: TissueAtlas, heads: list[Outside | None]) -> None:
    brain = atlas.maps[0]
    truth = brain > 0.5
    sizes = []
    for seed, head in enumerate(heads[:80]):
        mask = brain_mask(np.random.default_rng(1000 + seed), brain, head, SPACING)
        sizes.append((float((mask & ~truth).sum()) / truth.sum(), float((truth & ~mask).sum()) / truth.sum()))
    extra, missing = np.array(sizes).T
    assert (extra > 0.02).sum() >= 5
    assert (missing > 0.02).sum() >= 10
    assert ((extra < 0.01) & (missing < 0.01)).mean() > 0.35
