"""MR signal of the structural sequences from proton density, T1, T2 and contrast agent.

T1-weighted: inversion-prepared gradient echo (MPRAGE). T2: turbo spin echo. FLAIR: inversion-prepared turbo spin echo.
Values at 3 T; at 1.5 T T1 is 0.8 and T2 1.05 times as long. Relaxivities r1 4.5 and r2 5.5 per s and mM.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType

import numpy as np

from services.core.contracts.enums import Modality

R1_PER_S_MM, R2_PER_S_MM = 4.5, 5.5


class Matter(StrEnum):
    """What a voxel may hold. The first twelve lie inside the skull, the others around the brain."""

    WHITE = "white"
    GREY = "grey"
    CSF = "csf"
    OEDEMA = "oedema"
    INFILTRATED = "infiltrated"
    ENHANCING = "enhancing"
    CORE = "core"
    CALCIFIED = "calcified"
    VESSEL = "vessel"
    CAVITY = "cavity"
    LESION = "lesion"
    DEEP = "deep"
    DURA = "dura"
    BONE = "bone"
    MARROW = "marrow"
    FAT = "fat"
    MUSCLE = "muscle"
    VITREOUS = "vitreous"


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaxation:
    """Proton density (0-1), T1 and T2 in ms, contrast agent after injection in mM."""

    pd: float
    t1: float
    t2: float
    gd: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """Times in ms; `inversion_ms` is None where nothing is inverted; `contrast` after injection."""

    repetition_ms: float
    echo_ms: float
    inversion_ms: float | None = None
    gradient_echo: bool = False
    contrast: bool = False


TISSUES: Mapping[Matter, Relaxation] = MappingProxyType(
    {
        Matter.WHITE: Relaxation(pd=0.70, t1=830, t2=75, gd=0.01),
        Matter.GREY: Relaxation(pd=0.82, t1=1330, t2=95, gd=0.02),
        Matter.CSF: Relaxation(pd=1.0, t1=4000, t2=1800),
        Matter.OEDEMA: Relaxation(pd=0.90, t1=1500, t2=160, gd=0.02),
        Matter.INFILTRATED: Relaxation(pd=0.86, t1=1500, t2=140, gd=0.03),
        Matter.ENHANCING: Relaxation(pd=0.88, t1=1500, t2=130, gd=0.4),
        Matter.CORE: Relaxation(pd=0.95, t1=2600, t2=350, gd=0.05),
        Matter.CALCIFIED: Relaxation(pd=0.30, t1=800, t2=40),
        Matter.VESSEL: Relaxation(pd=0.6, t1=1700, t2=50, gd=0.6),
        Matter.CAVITY: Relaxation(pd=1.0, t1=3600, t2=1200),
        Matter.LESION: Relaxation(pd=0.84, t1=1350, t2=135, gd=0.01),
        Matter.DEEP: Relaxation(pd=0.76, t1=1150, t2=78, gd=0.02),
        Matter.DURA: Relaxation(pd=0.6, t1=1100, t2=45, gd=0.15),
        Matter.BONE: Relaxation(pd=0.05, t1=500, t2=5),
        Matter.MARROW: Relaxation(pd=0.55, t1=450, t2=60),
        Matter.FAT: Relaxation(pd=0.85, t1=350, t2=70),
        Matter.MUSCLE: Relaxation(pd=0.75, t1=1350, t2=38, gd=0.05),
        Matter.VITREOUS: Relaxation(pd=1.0, t1=3800, t2=1200),
    }
)

PROTOCOLS: Mapping[Modality, Protocol] = MappingProxyType(
    {
        Modality.T1N: Protocol(repetition_ms=2300, echo_ms=3.0, inversion_ms=900, gradient_echo=True),
        Modality.T1C: Protocol(repetition_ms=2300, echo_ms=3.0, inversion_ms=900, gradient_echo=True, contrast=True),
        Modality.T2W: Protocol(repetition_ms=4500, echo_ms=100),
        Modality.T2F: Protocol(repetition_ms=9000, echo_ms=120, inversion_ms=2500),
    }
)


def intensity(protocol: Protocol, matter: Relaxation) -> float:
    """Signal per voxel, in units of the fully relaxed magnetisation; never negative (magnitude image)."""
    t1, t2 = matter.t1, matter.t2
    if protocol.contrast:
        t1 = 1.0 / (1.0 / t1 + R1_PER_S_MM * matter.gd / 1000.0)
        t2 = 1.0 / (1.0 / t2 + R2_PER_S_MM * matter.gd / 1000.0)
    recovered = float(np.exp(-protocol.repetition_ms / t1))
    echo = float(np.exp(-protocol.echo_ms / t2))
    if protocol.inversion_ms is None:
        return matter.pd * (1.0 - recovered) * echo
    inverted = float(np.exp(-protocol.inversion_ms / t1))
    if protocol.gradient_echo:
        return matter.pd * abs(1.0 - 2.0 * inverted / (1.0 + recovered)) * echo
    return matter.pd * abs(1.0 - 2.0 * inverted + recovered) * echo


def at_field(matter: Relaxation, tesla: float) -> Relaxation:
    """The values at another field strength; the table holds at 3 T."""
    return matter if tesla > 2.0 else replace(matter, t1=matter.t1 * 0.8, t2=matter.t2 * 1.05)
