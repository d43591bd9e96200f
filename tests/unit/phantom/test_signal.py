"""Signal equations: what every radiologist expects to be brighter than what, and the scanner chain."""

from __future__ import annotations

import numpy as np
import pytest

from services.core.contracts.enums import Modality
from services.core.imaging.volume import Grid
from services.phantom.scanner import Reception, receive_field, received, resliced, rigid, thick_grid
from services.phantom.signal import PROTOCOLS, TISSUES, Matter, at_field, intensity

pytestmark = pytest.mark.unit


def _bright(modality: Modality, matter: Matter, tesla: float = 3.0) -> float:
    return intensity(PROTOCOLS[modality], at_field(TISSUES[matter], tesla))


def _descending(modality: Modality, *matters: Matter) -> bool:
    values = [_bright(modality, matter) for matter in matters]
    return values == sorted(values, reverse=True)


def test_t1_shows_white_above_grey_above_csf() -> None:
    assert _descending(Modality.T1N, Matter.FAT, Matter.WHITE, Matter.GREY, Matter.CSF)
    assert _bright(Modality.T1N, Matter.OEDEMA) < _bright(Modality.T1N, Matter.GREY)


def test_contrast_agent_brightens_what_enhances_and_little_else() -> None:
    gain = {m: _bright(Modality.T1C, m) / _bright(Modality.T1N, m) for m in (Matter.ENHANCING, Matter.WHITE)}
    assert gain[Matter.ENHANCING] > 2
    assert gain[Matter.WHITE] == pytest.approx(1, abs=0.1)
    assert _bright(Modality.T1C, Matter.ENHANCING) > _bright(Modality.T1C, Matter.WHITE)


def test_t2_shows_fluid_above_oedema_above_grey_above_white() -> None:
    assert _descending(Modality.T2W, Matter.CSF, Matter.CORE, Matter.OEDEMA, Matter.GREY, Matter.WHITE)


def test_flair_suppresses_csf_and_shows_oedema_brightest() -> None:
    order = (
        Matter.OEDEMA, Matter.INFILTRATED, Matter.ENHANCING, Matter.CORE, Matter.GREY, Matter.WHITE, Matter.CSF,
    )  # fmt: skip
    assert _descending(Modality.T2F, *order)


def test_relaxation_is_faster_at_the_lower_field() -> None:
    assert at_field(TISSUES[Matter.GREY], 1.5).t1 < TISSUES[Matter.GREY].t1
    assert _bright(Modality.T1N, Matter.GREY, tesla=1.5) > _bright(Modality.T1N, Matter.GREY)


def test_noise_in_the_air_is_rician_and_absent_under_a_mask() -> None:
    empty = np.zeros((40, 40, 40), dtype=np.float32)
    how = Reception(white_value=400.0, snr=20.0, bias=0.0)
    air = received(np.random.default_rng(1), empty, 0.25, how, None)
    assert air.mean() == pytest.approx(np.sqrt(np.pi / 2) * 20.0, rel=0.02)  # Rayleigh mean, sigma = 400 / 20
    assert received(np.random.default_rng(1), empty, 0.25, how, empty).max() == 0


def test_a_receive_field_is_smooth_and_as_strong_as_asked() -> None:
    field = receive_field(np.random.default_rng(2), (30, 30, 30), 0.3)
    assert np.abs(np.log(field)).max() == pytest.approx(0.3, rel=1e-4)
    assert np.abs(np.diff(np.log(field), axis=0)).max() < 0.1


def test_thick_slices_keep_place_and_mean() -> None:
    thin = Grid(shape=(8, 8, 24), affine=np.diag([1.0, 1.0, 1.0, 1.0]))
    ramp = np.broadcast_to(np.arange(24, dtype=np.float32), thin.shape).copy()
    for slice_mm in (3.0, 4.0):
        thick = thick_grid(thin, slice_mm)
        seen = resliced(ramp, thin, thick, np.eye(4))
        middle = thick.affine[2, 2] * np.arange(thick.shape[2]) + thick.affine[2, 3]
        np.testing.assert_allclose(seen[4, 4, 1:-1], middle[1:-1], atol=1e-3)


def test_a_rigid_motion_keeps_distances() -> None:
    moved = rigid(np.random.default_rng(5), 4.0, 3.0)
    np.testing.assert_allclose(moved[:3, :3] @ moved[:3, :3].T, np.eye(3), atol=1e-12)
    assert np.linalg.norm(moved[:3, 3]) == pytest.approx(4.0)
