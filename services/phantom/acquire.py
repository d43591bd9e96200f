"""One scan of a painted scene: tissue values and protocol give the signal, the scanner chain gives the series."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from services.core.contracts.enums import UNITS, Modality
from services.core.imaging.volume import Affine, Array, Grid, Volume
from services.phantom.paint import Box, Scene
from services.phantom.scanner import Map, Reception, received, resliced, thick_grid
from services.phantom.signal import PROTOCOLS, TISSUES, Matter, Protocol, Relaxation, at_field, intensity
from services.phantom.spec import PhantomSpec
from services.phantom.tumour import TumourPlan

MISMATCH_RIM_MM = 4.0
MISMATCH_SUPPRESSION = 0.5
"""FLAIR signal of the core in the T2-FLAIR mismatch sign, 40 to 60 % lower inside a bright rim."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Session:
    """A person in the scanner. `scene` is painted on the part `box` of `grid`; outside there is nothing to see."""

    spec: PhantomSpec
    grid: Grid
    box: Box
    scene: Scene
    matters: Mapping[Matter, Relaxation]
    mismatch: bool

    def whole(self, part: Array) -> Array:
        """A painted part in the whole grid, zero elsewhere."""
        full = np.zeros(self.grid.shape, dtype=part.dtype)
        full[self.box] = part
        return full


def draw_matters(rng: np.random.Generator, spec: PhantomSpec, plan: TumourPlan | None) -> Mapping[Matter, Relaxation]:
    """This person's tissue values: the table with 4 % spread, at the field strength, and the look of the core."""
    matters: dict[Matter, Relaxation] = {}
    for matter, base in TISSUES.items():
        pd, t1, t2 = np.exp(np.clip(rng.normal(0, 0.04, 3), -0.1, 0.1)) * (base.pd, base.t1, base.t2)
        matters[matter] = Relaxation(pd=min(float(pd), 1.0), t1=float(t1), t2=float(t2), gd=base.gd)
    wet = float(rng.uniform(0, 1)) ** 0.75  # from protein-rich debris to fluid: T1 and T2 rise together
    core = Relaxation(
        pd=0.85,
        t1=1050 + 1750 * wet,
        t2=110 + 150 * wet * float(rng.uniform(0.9, 1.1)),
        gd=float(rng.uniform(0.03, 0.09)),
    )
    matters[Matter.ENHANCING] = replace(matters[Matter.ENHANCING], gd=float(rng.uniform(0.08, 0.24)))
    if plan is not None:
        matters[Matter.CORE] = _core(core, matters, plan, wet)
    return {matter: at_field(value, spec.field_tesla) for matter, value in matters.items()}


def _core(necrosis: Relaxation, matters: Mapping[Matter, Relaxation], plan: TumourPlan, wet: float) -> Relaxation:
    """Necrosis, in a quarter of the ring tumours no different from oedema; solid tumour where nothing enhances: more or
    less wet, whatever the genotype (a look of its own would give the codeletion away).
    """
    if plan.enhances:
        return matters[Matter.OEDEMA] if plan.core_like_oedema else necrosis
    infiltrated = matters[Matter.INFILTRATED]
    return replace(
        infiltrated,
        pd=infiltrated.pd + (0.9 - infiltrated.pd) * wet,
        t1=infiltrated.t1 * (1.04 + 0.12 * wet),
        t2=infiltrated.t2 * (1.12 + 0.33 * wet),
    )


def draw_protocol(rng: np.random.Generator, spec: PhantomSpec, modality: Modality) -> Protocol:
    """The sequence's times with a site's small habits; the inversion of FLAIR nulls CSF at the field strength."""
    base = PROTOCOLS[modality]
    repetition = round(base.repetition_ms * float(rng.uniform(0.95, 1.08)), -1)
    echo = round(base.echo_ms * float(rng.uniform(0.92, 1.08)), 2)
    inversion = base.inversion_ms
    if modality is Modality.T2F:
        csf = at_field(TISSUES[Matter.CSF], spec.field_tesla).t1
        inversion = round(csf * float(np.log(2 / (1 + np.exp(-repetition / csf)))) * float(rng.uniform(1.0, 1.05)), -1)
    return replace(base, repetition_ms=repetition, echo_ms=echo, inversion_ms=inversion)


def acquire(
    rng: np.random.Generator, session: Session, modality: Modality, protocol: Protocol, to_reference: Affine
) -> Volume:
    """The series as stored, 0 to 4095. `to_reference` is where the head lay: series RAS to reference RAS, rigid."""
    spec, scene = session.spec, session.scene
    signal = session.whole(_signal(session, modality, protocol))
    mask = None if spec.skull else session.whole(scene.brain)
    grid = session.grid
    if spec.thick_mm and modality in (Modality.T2W, Modality.T2F):
        grid = thick_grid(grid, spec.thick_mm)
    seen = resliced(signal, session.grid, grid, to_reference)
    kept = None if mask is None else resliced(mask, session.grid, grid, to_reference)
    white = intensity(protocol, session.matters[Matter.WHITE])
    reception = Reception(
        white_value=float(rng.uniform(250, 700)) * (0.5 if modality in (Modality.T2W, Modality.T2F) else 1.0),
        snr=spec.snr or float(rng.uniform(20, 50)),
        bias=float(rng.uniform(0.05, 0.3)),
        gamma=spec.gamma,
        motion=spec.motion if modality is spec.moved else 0.0,
    )
    stored = received(rng, seen, white, reception, kept)
    if modality is spec.cut and spec.cut_mm > 0:
        stored[:, :, stored.shape[2] - round(spec.cut_mm / grid.spacing[2]) :] = 0.0
    return Volume(
        data=stored, affine=grid.affine, modality=modality, units=UNITS[modality], provenance={"origin": "synthetic"}
    )


def _signal(session: Session, modality: Modality, protocol: Protocol) -> Map:
    scene = session.scene
    signal = np.zeros(scene.grid.shape, dtype=np.float32)
    for matter, fraction in scene.fractions.items():
        part = fraction * np.float32(intensity(protocol, session.matters[matter]))
        if modality is Modality.T2F and matter is Matter.CORE and session.mismatch and scene.core_depth_mm is not None:
            deep = np.clip((scene.core_depth_mm - MISMATCH_RIM_MM) / 2 + 0.5, 0, 1)
            part *= 1 - np.float32(MISMATCH_SUPPRESSION) * deep
        signal += part
    signal *= scene.texture
    return signal
