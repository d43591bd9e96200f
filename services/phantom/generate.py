"""The seam: `generate(seed, spec)` makes a study, `followup(study, months, seed)` the same person later,
`after_resection(study, days, seed)` the same person after surgery.

Deterministic: the same seed and spec give the same voxels, whatever was made before.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np

from services.core.contracts.enums import STRUCTURAL, Modality
from services.core.imaging.volume import Affine, Array, Grid, Volume
from services.phantom.acquire import Session, acquire, draw_matters, draw_protocol
from services.phantom.anatomy import FIELD_SPACING_MM, Anatomy, load_atlas, random_anatomy
from services.phantom.deformation import grid_points, transform
from services.phantom.functional import draw_values, functional_map
from services.phantom.paint import Box, Lesion, box_around, paint, subgrid
from services.phantom.scanner import inverse_rigid, rigid
from services.phantom.spec import Kind, PhantomSpec, PhantomStudy, Surgery, Visit, stream
from services.phantom.surgery import operated
from services.phantom.tumour import TumourPlan, draw_plan, grow_in

DAYS_PER_MONTH = 30.44


def generate(seed: int, spec: PhantomSpec | None = None) -> PhantomStudy:
    """A synthetic study of person `seed`. Raises ValueError when the seed is negative."""
    if seed < 0:
        raise ValueError("a seed is not negative")
    draw = stream("date", seed)
    first = datetime(2031, 1, 6, 8, 0, tzinfo=UTC) + timedelta(
        days=int(draw.integers(0, 700)), minutes=int(draw.integers(0, 540))
    )
    return _visit(seed, spec or PhantomSpec(), Visit(number=0, seed=0, acquired_at=first))


def followup(study: PhantomStudy, months: float, seed: int, *, response: bool = False) -> PhantomStudy:
    """The same person `months` later: the tumour grown by its own front speed, or shrunk by treatment.

    `seed` draws what is new at that visit: position in the scanner, noise, hour. Raises ValueError for months <= 0 and
    for an operated study: how a cavity and what was left around it change is not modelled.
    """
    if months <= 0:
        raise ValueError("a follow-up lies after its study")
    if study.visit.surgery is not None:
        raise ValueError("what follows a resection is not modelled")
    draw = stream("followup", study.seed, seed)
    later = study.acquired_at + timedelta(days=round(months * DAYS_PER_MONTH), minutes=int(draw.integers(-120, 120)))
    plan = _plan(study.seed, study.spec, study.visit)
    volume, factor = None, study.visit.core_factor
    if plan is not None and response:
        shrunk = float(np.exp(-months * draw.uniform(0.1, 0.25)))
        volume, factor = max(0.5, plan.volume_ml * shrunk), max(0.1, factor * shrunk)
    elif plan is not None:
        radius = (3 * plan.volume_ml * 1000 / (4 * np.pi)) ** (1 / 3)
        radius += 0.5 * plan.law.front_mm_per_day * months * DAYS_PER_MONTH
        volume = min(220.0, float(4 / 3 * np.pi * radius**3 / 1000))
    visit = replace(
        study.visit, number=study.visit.number + 1, seed=seed, acquired_at=later, volume_ml=volume, core_factor=factor
    )
    return _visit(study.seed, study.spec, visit)


def after_resection(study: PhantomStudy, days: int, seed: int, surgery: Surgery | None = None) -> PhantomStudy:
    """The same person `days` after the tumour's core was taken out: cavity, residual tumour, oedema around it.

    `seed` draws what is new at that visit. Raises ValueError for days < 1 and for a study without a tumour or with a
    cavity.
    """
    if days < 1:
        raise ValueError("the study after a resection lies at least a day later")
    if study.genotype is None:
        raise ValueError("there is nothing to resect in a healthy brain")
    if study.visit.surgery is not None:
        raise ValueError("a second resection is not modelled")
    draw = stream("resection", study.seed, seed)
    surgery = surgery or Surgery(
        extent=float(draw.uniform(0.7, 1.0)),
        margin_mm=float(draw.uniform(0.0, 4.0)),
        collapsed=float(draw.uniform(0, 0.5)),
    )
    visit = replace(
        study.visit, number=study.visit.number + 1, seed=seed, surgery=surgery,
        acquired_at=study.acquired_at + timedelta(days=days, minutes=int(draw.integers(-120, 120))),
    )  # fmt: skip
    return _visit(study.seed, study.spec, visit)


def _plan(seed: int, spec: PhantomSpec, visit: Visit) -> TumourPlan | None:
    if spec.kind is Kind.HEALTHY:
        return None
    plan = draw_plan(stream("tumour", seed), spec.kind)
    volume = visit.volume_ml or spec.volume_ml or plan.volume_ml
    pushing = 1.0 if visit.surgery is None else 1.0 - visit.surgery.relaxed
    return replace(
        plan, volume_ml=volume, core_fraction=max(0.02, plan.core_fraction * visit.core_factor),
        push_mm=plan.push_mm * pushing,
    )  # fmt: skip


def _visit(seed: int, spec: PhantomSpec, visit: Visit) -> PhantomStudy:
    anatomy = random_anatomy(stream("anatomy", seed), load_atlas())
    plan = _plan(seed, spec, visit)
    lesion = None
    if plan is not None:
        anatomy, growth = grow_in(stream("growth", seed), anatomy, plan, spec.spacing_mm)
        lesion = Lesion(plan=plan, growth=growth)
    grid, to_head, box = _position(seed, spec, visit, anatomy)
    scene = paint(seed, anatomy, lesion, subgrid(grid, box), to_head, skull=spec.skull)
    if visit.surgery is not None:
        scene = operated(stream("operated", seed, visit.seed), scene, visit.surgery)
    session = Session(
        spec=spec, grid=grid, box=box, scene=scene, matters=draw_matters(stream("matters", seed), spec, plan),
        mismatch=plan is not None and plan.mismatch,
    )  # fmt: skip
    structural = [name for name in spec.sequences if name in STRUCTURAL]
    protocols = {name: draw_protocol(stream(f"protocol-{name}", seed), spec, name) for name in structural}
    motions = {name: _motion(seed, spec, visit, name) for name in spec.sequences}
    volumes = {
        name: acquire(
            stream(f"series-{name}", seed, visit.seed, visit.number), session, name, protocols[name], motions[name]
        )
        for name in structural
    }
    volumes.update(_maps(seed, spec, session, plan))
    brain = (scene.brain > 0.5).astype(np.uint8)
    return PhantomStudy(
        seed=seed, spec=spec, visit=visit, volumes=volumes,
        labels=_mask(session.whole(scene.labels), grid, "labels"),
        brain_mask=_mask(session.whole(brain), grid, "brain_mask"),
        genotype=None if plan is None else plan.genotype,
        protocols=protocols, head_to_scanner=inverse_rigid(to_head), to_reference=motions,
    )  # fmt: skip


def _position(seed: int, spec: PhantomSpec, visit: Visit, anatomy: Anatomy) -> tuple[Grid, Affine, Box]:
    """The reference grid (scanner RAS), the rigid map from scanner to head, and the box that must be painted."""
    rng = stream("position", seed, visit.seed, visit.number)
    points = grid_points(anatomy.deformation.grid)
    inside = points[:, anatomy.brain_at(points) > 0.5]
    low, high = inside.min(axis=1), inside.max(axis=1)
    centre = (low + high) / 2
    if spec.skull:  # the crown must be seen; what is missing is missing at the neck
        edge = spec.shape[2] * spec.spacing_mm
        centre[2] = min(centre[2], high[2] + 20.0 - edge / 2)
    centre[:2] += rng.uniform(-5, 5, 2)
    to_head = rigid(rng, float(rng.uniform(0, 8)), 6.0)
    affine = np.diag([*(spec.spacing_mm,) * 3, 1.0])
    to_scanner = inverse_rigid(to_head)
    middle = to_scanner[:3, :3] @ centre + to_scanner[:3, 3]
    affine[:3, 3] = middle - (np.array(spec.shape) - 1) / 2 * spec.spacing_mm
    grid = Grid(shape=spec.shape, affine=affine)
    if spec.skull:
        return grid, to_head, (slice(0, grid.shape[0]), slice(0, grid.shape[1]), slice(0, grid.shape[2]))
    index = transform(np.linalg.inv(affine) @ to_scanner, inside)
    return grid, to_head, box_around(index, 1.5 * FIELD_SPACING_MM / spec.spacing_mm, grid.shape)


def _maps(seed: int, spec: PhantomSpec, session: Session, plan: TumourPlan | None) -> dict[Modality, Volume]:
    """The functional maps that the spec asks for, on the grid of the reference (a scanner's software aligns them)."""
    values = None if plan is None else draw_values(stream("functional", seed), plan)
    maps = {}
    for name in (n for n in spec.sequences if n not in STRUCTURAL):
        necrotic = plan is not None and plan.enhances
        made = functional_map(stream(f"map-{name}", seed), session.scene, name, values, necrotic=necrotic)
        maps[name] = Volume(
            data=session.whole(made.data), affine=session.grid.affine, modality=name, units=made.units,
            provenance=made.provenance,
        )  # fmt: skip
    return maps


def _motion(seed: int, spec: PhantomSpec, visit: Visit, modality: Modality) -> Affine:
    if modality is spec.reference or modality not in STRUCTURAL or spec.misalignment_mm == 0.0:
        return np.eye(4)
    rng = stream(f"motion-{modality}", seed, visit.seed, visit.number)
    return rigid(rng, spec.misalignment_mm, 0.5 * spec.misalignment_mm)


def _mask(data: Array, grid: Grid, name: str) -> Volume:
    return Volume(data=data, affine=grid.affine, modality=name, units="1", provenance={"origin": "synthetic"})
