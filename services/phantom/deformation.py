"""Smooth invertible maps of space: stationary velocity fields integrated by scaling and squaring.

Points and displacements are RAS mm. A field is a pull-back: it says where the value of a point is taken from.
Arsigny et al. 2006, "A log-Euclidean framework for statistics on diffeomorphisms".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.core.imaging.volume import Affine, Array, Grid

Points = NDArray[np.float32]
"""RAS mm, shape (3, n)."""
Field = NDArray[np.float32]
"""Vectors in RAS mm on a grid, shape (3, x, y, z)."""


def box_grid(low_mm: tuple[float, float, float], high_mm: tuple[float, float, float], spacing_mm: float) -> Grid:
    """Axis-aligned RAS grid whose first voxel centre is `low_mm` and whose last reaches at least `high_mm`."""
    x, y, z = (int(np.ceil((high - low) / spacing_mm)) + 1 for low, high in zip(low_mm, high_mm, strict=True))
    affine: Affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = low_mm
    return Grid(shape=(x, y, z), affine=affine)


def transform(affine: Array, points: Array) -> Points:
    """Points (3, n) under a 4x4 matrix. Written out: a product of libraries would differ with their threads."""
    matrix, offset = affine[:3, :3].astype(np.float32), affine[:3, 3].astype(np.float32)
    moved = np.empty(points.shape, dtype=np.float32)
    for row in range(3):
        np.multiply(points[row], matrix[row, row], out=moved[row])
        for column in range(3):
            if column != row and matrix[row, column] != 0:
                moved[row] += matrix[row, column] * points[column]
        moved[row] += offset[row]
    return moved


def sample(values: Array, grid: Grid, points: Array, outside: float = 0.0) -> NDArray[np.float32]:
    """Values at RAS points (3, n), trilinear; `outside` beyond the grid."""
    index = transform(np.linalg.inv(grid.affine), points)
    taken: NDArray[np.float32] = ndimage.map_coordinates(
        values, index, output=np.float32, order=1, mode="constant", cval=outside, prefilter=False
    )
    return taken


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Deformation:
    """x -> x + u(x); beyond the grid the displacement of its border holds."""

    grid: Grid
    displacement: Field

    def at(self, points: Points) -> Points:
        """Points (3, n) moved, RAS mm."""
        index = transform(np.linalg.inv(self.grid.affine), points)
        moved = points.copy()
        for axis in range(3):
            moved[axis] += ndimage.map_coordinates(
                self.displacement[axis], index, output=np.float32, order=1, mode="nearest", prefilter=False
            )
        return moved

    def jacobian(self) -> NDArray[np.float32]:
        """Determinant of the map's derivative at every voxel; positive everywhere for an invertible map."""
        spacing = self.grid.spacing
        rows = [np.stack(np.gradient(self.displacement[i], *spacing)) for i in range(3)]
        matrix = np.moveaxis(np.stack(rows), (0, 1), (-2, -1)) + np.eye(3, dtype=np.float32)
        determinant: NDArray[np.float32] = np.linalg.det(matrix).astype(np.float32)
        return determinant

    def largest_mm(self) -> float:
        """Length of the longest displacement, mm."""
        return float(np.sqrt((self.displacement**2).sum(axis=0)).max())


def integrate(velocity: Field, grid: Grid) -> Deformation:
    """exp(velocity): halved until no step exceeds a quarter of a voxel, then composed with itself as often."""
    longest = float(np.abs(velocity).max()) / min(grid.spacing)
    squarings = max(0, int(np.ceil(np.log2(max(longest, 1e-9) / 0.25))))
    displacement = (velocity / 2.0**squarings).astype(np.float32)
    half = Deformation(grid=grid, displacement=displacement)
    for _ in range(squarings):
        half = after(half, half)
    return half


def after(first: Deformation, second: Deformation) -> Deformation:
    """X -> second(first(x)) on the grid of `first`."""
    points = grid_points(first.grid)
    there = second.at(points + first.displacement.reshape(3, -1))
    return Deformation(grid=first.grid, displacement=(there - points).reshape(3, *first.grid.shape))


def grid_points(grid: Grid) -> Points:
    """RAS mm of every voxel centre, (3, n), in C-order."""
    axes = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in grid.shape), indexing="ij")
    return transform(grid.affine, np.stack([axis.reshape(-1) for axis in axes]))


def smooth_noise(rng: np.random.Generator, grid: Grid, scale_mm: float) -> NDArray[np.float32]:
    """Zero mean, unit variance, correlated over about `scale_mm`: quadratic B-splines over random coefficients."""
    steps = [spacing / scale_mm for spacing in grid.spacing]
    knots = [int(np.ceil(n * step)) + 4 for n, step in zip(grid.shape, steps, strict=True)]
    noise = rng.standard_normal(knots, dtype=np.float32)
    for axis, start in enumerate(rng.uniform(1.0, 1.5, 3)):
        noise = _spline(noise, axis, start + steps[axis] * np.arange(grid.shape[axis]))
    noise -= noise.mean()
    noise /= noise.std() + np.float32(1e-9)
    return noise


def _spline(coefficients: NDArray[np.float32], axis: int, position: NDArray[np.float64]) -> NDArray[np.float32]:
    """Quadratic B-spline along one axis at fractional positions, at least 0.5 from either end."""
    middle = np.rint(position).astype(int)
    t = (position - middle).astype(np.float32)
    shape = [1, 1, 1]
    shape[axis] = t.size
    weights = (0.5 * (0.5 - t) ** 2, 0.75 - t**2, 0.5 * (0.5 + t) ** 2)
    values = np.zeros((), dtype=np.float32)
    for step, weight in zip((-1, 0, 1), weights, strict=True):
        part = coefficients.take(middle + step, axis=axis)
        part *= weight.reshape(shape)
        values = part if values.ndim == 0 else np.add(values, part, out=values)
    return values


def random_velocity(rng: np.random.Generator, grid: Grid, scale_mm: float, deviation_mm: float) -> Field:
    """A random smooth velocity field whose components have standard deviation `deviation_mm`."""
    field: Field = np.stack([smooth_noise(rng, grid, scale_mm) for _ in range(3)]) * np.float32(deviation_mm)
    return field
