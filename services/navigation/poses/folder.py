"""A session's folder between its process, which writes, and the pose process, which maps (both on one machine).

`state.json` is replaced last and names every other file; files it no longer names are removed at once: a reader keeps
what it has mapped, and one that comes too late reads the state again. All of it lies in memory-backed storage.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from services.core.imaging.labels import Label, region_mask
from services.core.imaging.volume import Array, Grid
from services.navigation.domain.fields import Level, distance_levels
from services.navigation.domain.pose_answer import OUTSIDE
from services.navigation.domain.pose_state import PoseState, unpacked
from services.navigation.poses.shown import OUTDATED, STATE


def open_folder(folder: Path) -> None:
    """The session exists and has no mask yet. A folder that is there stays as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / STATE).exists():
        _replace(folder / STATE, {"mask": None})


def publish(folder: Path, state: PoseState) -> bool:
    """Writes the fields of a mask and shows them; False when the session has ended meanwhile.

    Takes about a second of compute at 1 mm: call it in a process of its own. One call at a time a session. Raises
    ValueError when the parts do not fit the mask's box, OSError when there is no room.
    """
    name = f"{state.arrived_at:.6f}-{os.getpid()}-{os.urandom(4).hex()}"
    try:
        arrays = _arrays(state)
        files = {role: f"{name}-{role}.npy" for role in arrays}
        for role, array in arrays.items():
            np.save(folder / files[role], array, allow_pickle=False)
        _replace(folder / STATE, {"mask": _described(state, files, arrays)})
        _sweep(folder, set(files.values()))
    except FileNotFoundError:
        return False
    except OSError:
        _sweep(folder, _named(folder))
        raise
    return True


def prepare_writer(niceness: int = 5) -> None:
    """First call in the writing process: it gives way to the theatre's stages, and what it imports is imported."""
    os.nice(niceness)
    region = np.zeros((4, 4, 4), np.bool_)
    region[1:3] = True
    distance_levels(region, 1.0)


def mark_outdated(folder: Path, since: float) -> None:
    """The anatomy has changed: masks of series that arrived before `since` (monotonic) are shown as stale."""
    _replace(folder / OUTDATED, {"since": since})


def forget(folder: Path) -> None:
    """The session is over: its token is unknown from now on."""
    gone = folder.with_name(f"{folder.name}.gone")
    try:
        folder.rename(gone)
    except FileNotFoundError:
        return
    shutil.rmtree(gone)


class _Map(dict[str, Array]):
    """Arrays by role, with the levels that they stand for."""

    levels: dict[str, Level]


def _arrays(state: PoseState) -> _Map:
    mask = state.mask
    labels = unpacked(mask.labels_zlib, mask.shape)
    grid = Grid(shape=mask.shape, affine=mask.affine)
    arrays = _Map(tissue=_tissue(labels, state), vacuity=unpacked(mask.vacuity_zlib, mask.shape))
    arrays.levels = {}
    if state.tumour is not None:
        _factor(mask.shape, state.tumour.shape)
        arrays["tumour"] = state.tumour.voxels()
    regions = {"wt": region_mask(labels, "WT"), "et": region_mask(labels, "ET"), "rc": labels == Label.RC}
    for region, voxels in regions.items():
        for number, level in enumerate(distance_levels(voxels, grid.spacing[0])):
            role = f"{region}-{number}"
            arrays[role] = level.values
            arrays.levels[role] = level
    return arrays


def _tissue(labels: Array, state: PoseState) -> Array:
    """Labels, and OUTSIDE where neither brain nor lesion is."""
    if state.brain is None:
        return labels
    brain: Array = np.asarray(state.brain.voxels() > 0)
    factor = _factor(state.mask.shape, state.brain.shape)
    if factor < 1:  # the brain mask is finer than the labels: a voxel with any brain in it is brain
        step = round(1 / factor)
        x, y, z = state.mask.shape
        brain = np.asarray(brain.reshape(x, step, y, step, z, step).any(axis=(1, 3, 5)))
    for axis in range(3):
        brain = brain.repeat(round(max(factor, 1)), axis=axis)
    return np.where(brain | (labels > 0), labels, np.uint8(OUTSIDE))


def _factor(mask: tuple[int, int, int], field: tuple[int, int, int]) -> float:
    """Voxels of the mask along one of the field. Raises ValueError when they cannot cover one box."""
    factors = {m / f for m, f in zip(mask, field, strict=True)}
    factor = factors.pop()
    if factors or (factor != round(factor) and 1 / factor != round(1 / factor)):
        raise ValueError(f"a field of shape {field} does not cover the box of a mask of shape {mask}")
    return factor


def _described(state: PoseState, files: Mapping[str, str], arrays: _Map) -> dict[str, Any]:
    plain = {role: files[role] for role in ("tissue", "vacuity", "tumour") if role in files}
    levels = [
        {"region": role.partition("-")[0], "file": files[role], "corner": level.corner, "factor": level.factor}
        for role, level in arrays.levels.items()
    ]
    return {
        "affine": state.mask.affine.tolist(),
        "shape": state.mask.shape,
        "series_digest": state.series_digest,
        "arrived_at": state.arrived_at,
        "registered_at": state.registered_at,
        "files": plain,
        "levels": levels,
    }


def _named(folder: Path) -> set[str]:
    try:
        mask = json.loads((folder / STATE).read_text())["mask"] or {"files": {}, "levels": []}
    except FileNotFoundError:
        return set()
    return {*mask["files"].values(), *(level["file"] for level in mask["levels"])}


def _sweep(folder: Path, keep: set[str]) -> None:
    for path in folder.glob("*.npy"):
        if path.name not in keep:
            path.unlink(missing_ok=True)


def _replace(path: Path, document: Mapping[str, Any]) -> None:
    fresh = path.with_name(f"{path.name}.{os.urandom(4).hex()}.new")
    fresh.write_text(json.dumps(document))
    fresh.replace(path)
