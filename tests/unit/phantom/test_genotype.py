"""Genotypes: as frequent as the rules say, and no better predictable from the images than published bands allow."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from numpy.typing import NDArray

from services.core.contracts.enums import Modality
from services.phantom.acquire import draw_matters
from services.phantom.functional import FUNCTIONAL, draw_values
from services.phantom.genotype import Type, draw_type, genotype_of, share_of_look, type_of
from services.phantom.signal import Matter
from services.phantom.spec import Kind, PhantomSpec, stream
from services.phantom.tumour import draw_plan

pytestmark = pytest.mark.unit

TUMOURS = tuple(kind for kind in Kind if kind is not Kind.HEALTHY)
Array = NDArray[np.float64]


@functools.cache
def population(count: int = 6000) -> tuple[Array, Array, Array]:
    """What the images carry of each tumour (look, signs, place, map values), its markers, and the relaxation times of
    a core that is solid tumour (logarithms; zero where a ring enhances).
    """
    shares = np.array([share_of_look(kind) for kind in TUMOURS])
    signs, markers, cores = [], [], []
    for number in range(count):
        rng = np.random.default_rng([number, 7])
        plan = draw_plan(rng, TUMOURS[int(rng.choice(len(TUMOURS), p=shares))])
        values = draw_values(rng, plan).cells
        maps = [values[m] * 30 if m is Modality.QSM else np.log(values[m]) for m in FUNCTIONAL]
        look = [float(plan.kind is kind) for kind in TUMOURS[:3]]
        place = [float(plan.site == site) for site in ("frontal", "temporal", "thalamus", "pons")]
        flags = [plan.mismatch, plan.calcified, plan.enhances, plan.patchy, plan.core_fraction]
        signs.append([*look, *place, *flags, *maps])
        g = plan.genotype
        markers.append([g.idh_mutant, g.codel_1p19q, g.mgmt_methylated, g.h3k27m])
        core = draw_matters(np.random.default_rng([number, 8]), PhantomSpec(kind=plan.kind), plan)[Matter.CORE]
        cores.append([0.0, 0.0] if plan.enhances else [np.log(core.t1 / 1500), np.log(core.t2 / 150)])
    return np.array(signs, dtype=float), np.array(markers, dtype=float), np.array(cores, dtype=float)


def ideal_auc(signs: Array, marker: Array) -> float:
    """AUC on the second half of a logistic regression fitted to the first (Newton's method, light ridge)."""
    half = len(signs) // 2
    middle, spread = signs[:half].mean(axis=0), signs[:half].std(axis=0) + 1e-9
    design = np.c_[np.ones(len(signs)), (signs - middle) / spread]
    weights = np.zeros(design.shape[1])
    known, truth = design[:half], marker[:half]
    for _ in range(40):
        p = 1 / (1 + np.exp(-known @ weights))
        hessian = known.T @ (known * (p * (1 - p))[:, None]) + 0.1 * np.eye(len(weights))
        weights += np.linalg.solve(hessian, known.T @ (truth - p) - 0.1 * weights)
    score, unseen = design[half:] @ weights, marker[half:] > 0
    ranks = np.empty(len(score))
    ranks[np.argsort(score)] = np.arange(1, len(score) + 1)
    hits = unseen.sum()
    return float((ranks[unseen].sum() - hits * (hits + 1) / 2) / (hits * (len(score) - hits)))


def test_an_ideal_reader_tells_idh_as_well_as_published_readers_do() -> None:
    signs, markers, _ = population()
    assert 0.90 <= ideal_auc(signs, markers[:, 0]) <= 0.95


def test_an_ideal_reader_tells_1p19q_among_idh_mutants_as_well_as_published_readers_do() -> None:
    signs, markers, _ = population()
    mutant = markers[:, 0] > 0
    assert 0.80 <= ideal_auc(signs[mutant], markers[mutant, 1]) <= 0.88


def test_a_solid_core_does_not_give_1p19q_away() -> None:
    signs, markers, cores = population()
    mutant = markers[:, 0] > 0
    assert ideal_auc(np.c_[signs, cores][mutant], markers[mutant, 1]) <= 0.88


def test_nobody_can_read_mgmt_off_the_images() -> None:
    signs, markers, _ = population()
    assert ideal_auc(signs, markers[:, 2]) <= 0.62


def test_half_of_all_tumours_are_idh_wildtype() -> None:
    _, markers, _ = population()
    assert markers[:, 0].mean() == pytest.approx(0.47, abs=0.03)
    assert sum(share_of_look(kind) for kind in TUMOURS) == pytest.approx(1.0)


def test_a_look_is_no_proof_of_a_type() -> None:
    rng = stream("test", 1)
    found = {kind: [draw_type(rng, kind) for _ in range(1500)] for kind in TUMOURS}
    for kind in (Kind.GLIOBLASTOMA, Kind.ASTROCYTOMA):
        assert {Type.WILD, Type.ASTROCYTOMA, Type.OLIGODENDROGLIOMA} <= set(found[kind])
    assert np.mean([t is Type.WILD for t in found[Kind.GLIOBLASTOMA]]) > 0.8
    assert np.mean([t is Type.MIDLINE for t in found[Kind.MIDLINE]]) > 0.5


@pytest.mark.parametrize("found", list(Type))
def test_codeletion_implies_idh_mutation_and_no_tumour_has_both_idh_and_h3(found: Type) -> None:
    genotype = genotype_of(stream("test", 2), found)
    assert type_of(genotype) is found
    assert genotype.idh_mutant or not genotype.codel_1p19q
    assert not (genotype.idh_mutant and genotype.h3k27m)
