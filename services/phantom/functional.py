"""Functional maps of a painted scene: ADC, rCBV, APTw, susceptibility, FA and Cho/NAA, in the units of the contract.

Maps as a scanner's software would send them; raw diffusion, perfusion and spectra are not simulated. They are coarse
(a point spread of 3 to 9 mm) and noisy: sharp clean maps would show the tumour by themselves, and a network trained on
them would look at nothing else. Tissue values at 3 T; those of tumour depend on the molecular type and overlap widely.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.core.contracts.enums import STRUCTURAL, UNITS, Modality
from services.core.imaging.volume import Volume
from services.phantom.genotype import Type, type_of
from services.phantom.paint import Scene
from services.phantom.signal import Matter
from services.phantom.tumour import TumourPlan

Map = NDArray[np.float32]
FUNCTIONAL = tuple(modality for modality in Modality if modality not in STRUCTURAL)

_M = Modality
# ADC 1e-3 mm2/s, rCBV ratio to white matter, APTw %, susceptibility ppm, FA, Cho/NAA
_HEALTHY: Mapping[Matter, tuple[float, float, float, float, float, float]] = MappingProxyType(
    {
        Matter.WHITE: (0.75, 1.0, 0.3, -0.03, 0.45, 0.5),
        Matter.GREY: (0.85, 1.8, 0.6, 0.02, 0.12, 0.6),
        Matter.CSF: (3.0, 0.1, 0.5, 0.0, 0.05, 0.5),
        Matter.OEDEMA: (1.5, 0.7, 0.8, 0.0, 0.15, 0.7),
        Matter.CALCIFIED: (0.6, 0.6, 0.5, -0.35, 0.1, 0.6),
        Matter.VESSEL: (1.5, 8.0, 0.5, 0.15, 0.05, 0.5),
        Matter.DEEP: (0.78, 1.6, 0.6, 0.05, 0.2, 0.55),
        Matter.LESION: (1.3, 0.8, 0.5, 0.0, 0.2, 0.6),
        Matter.DURA: (0.9, 3.0, 0.5, 0.0, 0.1, 0.5),
        Matter.CAVITY: (2.9, 0.1, 0.5, 0.0, 0.05, 0.5),
    }
)
# the same for cells: solid or infiltrating tumour of each type
_CELLS: Mapping[Type, tuple[float, float, float, float, float, float]] = MappingProxyType(
    {
        Type.WILD: (1.15, 2.0, 1.75, 0.01, 0.15, 1.6),
        Type.ASTROCYTOMA: (1.35, 1.4, 1.35, 0.0, 0.16, 1.3),
        Type.OLIGODENDROGLIOMA: (1.22, 1.7, 1.4, -0.01, 0.15, 1.4),
        Type.MIDLINE: (1.0, 1.6, 1.9, 0.0, 0.17, 1.7),
    }
)
_NECROSIS = (2.0, 0.4, 1.0, 0.05, 0.05, 1.2)
_RIM_GAIN = (0.95, 1.8, 1.4, 1.0, 0.8, 1.35)
SPREAD: Mapping[Modality, float] = MappingProxyType(
    {_M.ADC: 0.22, _M.RCBV: 0.55, _M.APT: 0.42, _M.QSM: 0.0, _M.FA: 0.25, _M.CHO_NAA: 0.42}
)
"""Standard deviation of the logarithm of a tumour's value from person to person."""
_QSM_SPREAD = 0.025
_BLUR_MM: Mapping[Modality, tuple[float, float]] = MappingProxyType(
    {_M.ADC: (2.5, 4.0), _M.RCBV: (3.0, 5.0), _M.APT: (3.5, 5.5), _M.QSM: (1.5, 3.0), _M.FA: (2.5, 4.0),
     _M.CHO_NAA: (8.0, 10.0)}
)  # fmt: skip
_NOISE: Mapping[Modality, tuple[float, float]] = MappingProxyType(
    {_M.ADC: (0.05, 0.15), _M.RCBV: (0.2, 0.6), _M.APT: (0.3, 0.7), _M.QSM: (0.01, 0.03), _M.FA: (0.03, 0.08),
     _M.CHO_NAA: (0.08, 0.2)}
)  # fmt: skip
_RANGES: Mapping[Modality, tuple[float, float]] = MappingProxyType(
    {_M.ADC: (0.0, 4.0), _M.RCBV: (0.0, 15.0), _M.APT: (-5.0, 5.0), _M.QSM: (-0.5, 0.5), _M.FA: (0.0, 1.0),
     _M.CHO_NAA: (0.0, 10.0)}
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class TumourValues:
    """One person's values per map: of tumour cells and of necrosis."""

    cells: Mapping[Modality, float]
    necrosis: Mapping[Modality, float]


def draw_values(rng: np.random.Generator, plan: TumourPlan) -> TumourValues:
    """Log-normal about the type's value (normal for susceptibility), independent from map to map."""
    usual = _CELLS[type_of(plan.genotype)]
    cells: dict[Modality, float] = {}
    necrosis: dict[Modality, float] = {}
    for index, modality in enumerate(FUNCTIONAL):
        z = float(rng.standard_normal())
        if modality is Modality.QSM:
            cells[modality] = usual[index] + _QSM_SPREAD * z
        else:
            cells[modality] = usual[index] * float(np.exp(SPREAD[modality] * z))
        necrosis[modality] = _NECROSIS[index] * float(np.exp(0.15 * rng.standard_normal()))
    return TumourValues(cells=cells, necrosis=necrosis)


def functional_map(
    rng: np.random.Generator, scene: Scene, modality: Modality, values: TumourValues | None, *, necrotic: bool
) -> Volume:
    """One map on the scene's grid; zero outside the brain. `necrotic`: the core is necrosis, else solid tumour."""
    index = FUNCTIONAL.index(modality)
    total = np.zeros(scene.grid.shape, dtype=np.float32)
    for matter, fraction in scene.fractions.items():
        value = _value(matter, index, values, necrotic)
        if value:
            total += fraction * np.float32(value)
    edge = scene.grid.spacing[0]
    sigma = float(rng.uniform(*_BLUR_MM[modality])) / 2.355 / edge
    brain = scene.brain > 0.5
    blurred: Map = ndimage.gaussian_filter(total, sigma, truncate=2.5)
    grain = rng.standard_normal(total.shape, dtype=np.float32)
    if sigma > 0.4:
        grain = ndimage.gaussian_filter(grain, 0.6 * sigma, truncate=2.5)
        grain /= max(float(grain.std()), 1e-6)
    blurred += grain * np.float32(rng.uniform(*_NOISE[modality]))
    low, high = _RANGES[modality]
    data = np.where(brain, np.clip(blurred, low, high), np.float32(0.0))
    return Volume(
        data=data, affine=scene.grid.affine, modality=modality, units=UNITS[modality],
        provenance={"origin": "synthetic"},
    )  # fmt: skip


def _value(matter: Matter, index: int, values: TumourValues | None, necrotic: bool) -> float:
    modality = FUNCTIONAL[index]
    if values is not None:
        cells = values.cells[modality]
        if matter is Matter.INFILTRATED or (matter is Matter.CORE and not necrotic):
            return cells
        if matter is Matter.ENHANCING:
            return cells * _RIM_GAIN[index]
        if matter is Matter.CORE:
            return values.necrosis[modality]
    return _HEALTHY[matter][index] if matter in _HEALTHY else 0.0
