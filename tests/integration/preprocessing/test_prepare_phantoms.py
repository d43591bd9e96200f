"""The whole stage on phantoms: what comes out is aligned, boxed, standardised and honest about what was missing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from services.core.contracts.enums import STRUCTURAL, Completeness, Modality, Verdict
from services.core.imaging.resample import resample
from services.phantom import PhantomStudy
from services.phantom.dicom import write_dicom
from services.phantom.nifti import write_nifti
from services.phantom.patient import invented_patient
from services.phantom.vendors import Vendor
from services.preprocessing.settings import PrepareSettings
from tests.integration.preprocessing.studies import Site, facts_of, of_slot

pytestmark = pytest.mark.integration


def files(study: PhantomStudy, folder: Path, *slots: Modality) -> dict[Modality, Path]:
    write_nifti(study, folder)
    return {slot: folder / f"{slot}.nii.gz" for slot in slots or STRUCTURAL}


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def brain_dice(site: Site, result: object, study: PhantomStudy) -> float:
    mask = site.volume(result, "brain_mask")  # type: ignore[arg-type]
    truth = resample(study.brain_mask.with_data(study.brain_mask.data.astype(np.float32)), mask.grid)
    return dice(mask.data > 0, truth.data >= 0.5)


def registration_error_mm(to_reference: np.ndarray, truth: np.ndarray, study: PhantomStudy) -> float:
    """Mean distance over the brain between where the two transforms take the same points of the reference."""
    index = np.argwhere(study.brain_mask.data > 0)[::97]
    points = study.brain_mask.affine @ np.vstack([index.T, np.ones(len(index))])
    apart = np.linalg.inv(to_reference) @ points - np.linalg.inv(truth) @ points
    return float(np.linalg.norm(apart[:3], axis=0).mean())


def test_a_stripped_study_is_boxed_standardised_and_complete(
    site: Site, stripped: PhantomStudy, tmp_path: Path
) -> None:
    result = site.prepare(site.nifti(files(stripped, tmp_path)))
    assert (result.completeness, result.verdict, result.reasons) == (Completeness.COMPLETE, Verdict.TRUSTED, ())
    mask = site.volume(result, "brain_mask")
    for slot in STRUCTURAL:
        volume = site.volume(result, f"volume/{slot}")
        assert volume.data.shape == (160, 192, 160)
        assert volume.data.dtype == np.float16
        assert volume.grid.same_as(mask.grid)
        inside = volume.data[mask.data > 0].astype(np.float64)
        assert abs(inside.mean()) < 0.05
        assert 0.85 < inside.std() < 1.05
        assert np.abs(inside).max() <= 5
        assert not volume.data[mask.data == 0].any()
        assert "already aligned" in of_slot(result, slot).reason or slot is Modality.T1C
    assert brain_dice(site, result, stripped) > 0.97
    facts = facts_of(result)
    assert facts.native_shape == stripped.volumes[Modality.T1C].data.shape
    np.testing.assert_allclose(facts.native_affine, stripped.volumes[Modality.T1C].affine, atol=1e-4)
    assert site.checkpoints > 20


def test_the_same_study_gives_the_same_bytes(site: Site, stripped: PhantomStudy, tmp_path: Path) -> None:
    request = site.nifti(files(stripped, tmp_path, Modality.T1C, Modality.T2F))
    assert site.prepare(request).outputs == site.prepare(request).outputs


def series_folders(folder: Path) -> list[list[Path]]:
    return [sorted(series.iterdir()) for series in sorted(folder.iterdir())]


@pytest.mark.parametrize("vendor", list(Vendor))
def test_the_sequences_of_any_vendor_are_recognised(
    site: Site, stripped: PhantomStudy, tmp_path: Path, vendor: Vendor
) -> None:
    write_dicom(stripped, tmp_path / "dicom", invented_patient(4), vendor)
    result = site.prepare(site.dicom(series_folders(tmp_path / "dicom")), PrepareSettings(n4=False))
    assert result.completeness is Completeness.COMPLETE, result.reasons
    assert brain_dice(site, result, stripped) > 0.97


def test_a_head_that_moved_between_series_is_found_again(site: Site, head: PhantomStudy, tmp_path: Path) -> None:
    patient = invented_patient(4)
    write_dicom(head, tmp_path / "dicom", patient, Vendor.SIEMENS, sagittal=[Modality.T1N])
    result = site.prepare(site.dicom(series_folders(tmp_path / "dicom")))
    assert result.completeness is Completeness.COMPLETE, result.reasons
    assert result.verdict is Verdict.TRUSTED
    for slot in STRUCTURAL:
        series = of_slot(result, slot)
        assert series.used, series.reason
        assert registration_error_mm(np.array(series.to_reference), head.to_reference[slot], head) < 0.3
    assert brain_dice(site, result, head) > 0.9
    assert facts_of(result).reference is Modality.T1C
    texts = [site.blobs.read(result.outputs["headers"]).decode(), json.dumps(result.facts, default=str)]
    for planted in patient.identity:
        assert not any(planted in text for text in texts), planted
    headers = [Dataset.from_json(document) for document in json.loads(texts[0])]
    heights = [float(header.ImagePositionPatient[2]) for header in headers]
    assert len(heights) == facts_of(result).native_shape[2]
    assert heights == sorted(heights)


def test_a_missing_t1c_degrades_and_flair_leads(site: Site, stripped: PhantomStudy, tmp_path: Path) -> None:
    result = site.prepare(site.nifti(files(stripped, tmp_path, Modality.T1N, Modality.T2W, Modality.T2F)))
    assert result.completeness is Completeness.DEGRADED
    assert [reason.code for reason in result.reasons] == ["T1C_MISSING"]
    assert facts_of(result).reference is Modality.T2F
    assert "volume/t1c" not in result.outputs


def test_a_single_sequence_is_prepared_and_says_so(site: Site, stripped: PhantomStudy, tmp_path: Path) -> None:
    result = site.prepare(site.nifti(files(stripped, tmp_path, Modality.T2F)), PrepareSettings(n4=False))
    assert {reason.code for reason in result.reasons} == {"T1N_MISSING", "T1C_MISSING", "T2W_MISSING", "ONE_SEQUENCE"}
    assert {name for name in result.outputs if name.startswith("volume/")} == {"volume/t2f"}


def test_a_series_of_another_head_is_dropped_with_a_reason(site: Site, stripped: PhantomStudy, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    noise = stripped.volumes[Modality.T2F]
    other = {
        **stripped.volumes,
        Modality.T2F: noise.with_data(rng.normal(300, 90, noise.data.shape).astype(np.float32)),
    }
    result = site.prepare(site.nifti(files(replace(stripped, volumes=other), tmp_path)))
    assert {reason.code for reason in result.reasons} == {"REGISTRATION_FAILED", "T2F_MISSING"}
    assert not of_slot(result, Modality.T2F).used
    assert "volume/t2f" not in result.outputs


def test_thick_slices_are_used_and_degrade(site: Site, stripped: PhantomStudy, tmp_path: Path) -> None:
    native = stripped.volumes[Modality.T2F]
    affine = native.affine.copy()
    affine[:3, 2] *= 3
    thick = replace(native, data=np.ascontiguousarray(native.data[:, :, ::3]), affine=affine)
    study = replace(stripped, volumes={**stripped.volumes, Modality.T2F: thick})
    result = site.prepare(site.nifti(files(study, tmp_path)))
    assert [reason.code for reason in result.reasons] == ["T2F_THICK_SLICES"]
    assert of_slot(result, Modality.T2F).slice_thickness_mm == pytest.approx(6.0)
