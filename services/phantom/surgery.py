"""A resection: where the tumour's core was there is fluid, with a rim of what was left behind.

Truth stays exact: the cavity carries label RC (not part of WT), residual enhancing tumour ET, oedema SNFH.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.core.imaging.labels import Label
from services.phantom.deformation import smooth_noise
from services.phantom.paint import Scene
from services.phantom.signal import Matter
from services.phantom.spec import Surgery

Mask = NDArray[np.bool_]


def operated(rng: np.random.Generator, scene: Scene, surgery: Surgery) -> Scene:
    """The scene after the resection; the scene itself where there was no core."""
    core = np.isin(scene.labels, (Label.NCR, Label.ET))
    if not core.any():
        return scene
    edge = scene.grid.spacing[0]
    taken = _taken(rng, scene, core, surgery)
    hole = _shrunk(taken, surgery.collapsed, edge)
    labels = scene.labels.copy()
    labels[taken] = Label.SNFH  # the brain that filled the hole is swollen
    labels[hole] = Label.RC
    soft = np.clip(ndimage.gaussian_filter(hole.astype(np.float32), 0.5 / edge), 0, 1)
    filled = ndimage.gaussian_filter((taken & ~hole).astype(np.float32), 0.5 / edge)
    return replace(scene, labels=labels, fractions=_fractions(rng, scene, soft, filled), core_depth_mm=None)


def _taken(rng: np.random.Generator, scene: Scene, core: Mask, surgery: Surgery) -> Mask:
    """The core but its most lopsided rest, and a margin inside the brain."""
    edge = scene.grid.spacing[0]
    index = np.argwhere(core).astype(np.float32)
    side = rng.standard_normal(3)
    along = (index - index.mean(axis=0)) @ (side / np.linalg.norm(side)).astype(np.float32)
    score = along + smooth_noise(rng, scene.grid, 12.0)[core] * np.float32(6.0 / edge)
    left = score > np.quantile(score, surgery.extent)
    rest = np.zeros_like(core)
    rest[core] = left
    taken = core & ~rest
    if surgery.margin_mm >= edge / 2:
        distance = ndimage.distance_transform_edt(~taken, sampling=edge)
        taken = (distance <= surgery.margin_mm) & (scene.brain > 0.5) & ~rest
    return taken


def _shrunk(taken: Mask, collapsed: float, edge: float) -> Mask:
    """The inner part that holds the share 1 - collapsed."""
    depth = ndimage.distance_transform_edt(taken, sampling=edge)
    inside = depth[taken]
    if inside.size == 0 or collapsed == 0.0:
        return taken
    hole: Mask = depth > np.quantile(inside, collapsed)
    return hole if hole.any() else taken


def _fractions(
    rng: np.random.Generator, scene: Scene, soft: NDArray[np.float32], filled: NDArray[np.float32]
) -> dict[Matter, NDArray[np.float32]]:
    fractions = {matter: part * (1 - soft) * (1 - filled) for matter, part in scene.fractions.items()}
    swollen = filled * (1 - soft)
    shell = np.clip(4 * soft * (1 - soft), 0, 1) * np.float32(rng.uniform(0.0, 0.12))  # a thin line that enhances
    brain = scene.brain
    for matter, part in (
        (Matter.CAVITY, soft * brain),
        (Matter.OEDEMA, 0.6 * swollen * brain),
        (Matter.GREY, 0.4 * swollen * brain),
        (Matter.VESSEL, shell * brain),
    ):
        old = fractions.get(matter)
        fractions[matter] = (part if old is None else old + part).astype(np.float32)
    return fractions
