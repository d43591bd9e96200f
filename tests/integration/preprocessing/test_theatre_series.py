"""The operating room: one more series for a prepared study. Only it is computed, and what does not fit is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom import dcmread

from services.core.contracts.enums import Completeness, Lane, Modality
from services.core.contracts.errors import Refused
from services.core.contracts.events import StageRequest
from services.core.imaging.volume import Affine, Volume
from services.core.runtime.stage import StageResult
from services.phantom import PhantomStudy, invented_patient, write_dicom
from services.phantom.nifti import write_nifti
from services.preprocessing.settings import PrepareSettings
from tests.integration.preprocessing.studies import Site, facts_of, of_slot

pytestmark = pytest.mark.integration
QUICK = PrepareSettings(n4=False)
T1N, T1C, T2W, T2F = Modality.T1N, Modality.T1C, Modality.T2W, Modality.T2F


@pytest.fixture(scope="module")
def theatre(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("theatre") / "blobs")


@pytest.fixture(scope="module")
def prepared(theatre: Site, head: PhantomStudy, tmp_path_factory: pytest.TempPathFactory) -> StageResult:
    """The ward's preparation of the study before the operation."""
    folder = tmp_path_factory.mktemp("before")
    write_nifti(head, folder)
    return theatre.prepare(theatre.nifti({slot: folder / f"{slot}.nii.gz" for slot in (T1N, T1C, T2W, T2F)}), QUICK)


@pytest.fixture(scope="module")
def after(operated: PhantomStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("after")
    write_nifti(operated, folder / "nifti")
    write_dicom(operated, folder / "dicom", invented_patient(4))
    return folder


@pytest.fixture(scope="module")
def flair(theatre: Site, prepared: StageResult, after: Path) -> StageResult:
    """The first series after the resection."""
    return theatre.add(series(theatre, after, T2F, changed=True), theatre.stored(prepared), QUICK)


def series(site: Site, after: Path, slot: Modality, *, changed: bool = False) -> StageRequest:
    return site.nifti({slot: after / "nifti" / f"{slot}.nii.gz"}, name="theatre", changed=changed)


def truth(head: PhantomStudy, operated: PhantomStudy, slot: Modality) -> Affine:
    """RAS mm of the reference before to RAS mm of the series after: the head lies elsewhere in the scanner."""
    moved = operated.head_to_scanner @ np.linalg.inv(head.head_to_scanner)
    return np.asarray(np.linalg.inv(operated.to_reference[slot]) @ moved, np.float64)


def error_mm(result: StageResult, slot: Modality, wanted: Affine, brain: Volume) -> float:
    place = next(s for s in facts_of(result).series if s.used and s.modality is slot).to_reference
    index = np.argwhere(brain.data > 0)[::97]
    points = brain.affine @ np.vstack([index.T, np.ones(len(index))])
    apart = np.linalg.inv(np.array(place)) @ points - wanted @ points
    return float(np.linalg.norm(apart[:3], axis=0).mean())


def test_a_series_after_the_resection_finds_its_place_and_stands_alone(
    theatre: Site, prepared: StageResult, flair: StageResult, head: PhantomStudy, operated: PhantomStudy
) -> None:
    assert error_mm(flair, T2F, truth(head, operated, T2F), head.brain_mask) < 0.5
    assert set(flair.outputs) == {
        "brain_mask",
        "volume/t2f",
        "registration/t1n",
        "registration/t1c",
        "registration/t2w",
    }
    assert flair.completeness is Completeness.DEGRADED
    changed = next(reason for reason in flair.reasons if reason.code == "ANATOMY_CHANGED")
    assert all(slot in changed.message for slot in (T1N, T1C, T2W))
    volume = theatre.volume(flair, "volume/t2f")
    mask = theatre.volume(flair, "brain_mask")
    assert volume.data.dtype == np.float16
    assert volume.grid.same_as(mask.grid)
    assert not volume.data[mask.data == 0].any()
    assert abs(float(volume.data[mask.data > 0].astype(np.float64).mean())) < 0.05
    assert facts_of(flair).canonical_affine == facts_of(prepared).canonical_affine
    assert facts_of(flair).reference is T1C


def test_everything_but_the_new_series_is_named_by_reference(prepared: StageResult, flair: StageResult) -> None:
    for slot in (T1N, T1C, T2W):
        assert flair.outputs[f"registration/{slot}"] == prepared.outputs[f"volume/{slot}"]
    assert flair.outputs["brain_mask"] == prepared.outputs["brain_mask"]


def test_the_next_series_joins_the_first_and_its_old_one_is_forgotten(
    theatre: Site, flair: StageResult, after: Path, head: PhantomStudy, operated: PhantomStudy
) -> None:
    both = theatre.add(series(theatre, after, T1C), theatre.stored(flair), QUICK)
    assert both.outputs["volume/t2f"] == flair.outputs["volume/t2f"]
    assert set(both.outputs) == {"brain_mask", "volume/t2f", "volume/t1c", "registration/t1n", "registration/t2w"}
    assert error_mm(both, T1C, truth(head, operated, T1C), head.brain_mask) < 0.5
    assert {s.modality for s in facts_of(both).series if s.used} == {T1C, T2F}
    assert "T1C_MISSING" not in {reason.code for reason in both.reasons}


def test_the_same_series_again_lies_where_its_header_says(theatre: Site, flair: StageResult, after: Path) -> None:
    again = theatre.add(series(theatre, after, T2F), theatre.stored(flair), QUICK)
    assert "where its header says" in of_slot_used(again, T2F)
    assert [s.modality for s in facts_of(again).series if s.used] == [T2F]


def test_without_a_change_the_other_sequences_stay_inputs(theatre: Site, prepared: StageResult, after: Path) -> None:
    result = theatre.add(series(theatre, after, T2F), theatre.stored(prepared), QUICK)
    assert {name for name in result.outputs if name.startswith("volume/")} == {
        f"volume/{s}" for s in (T1N, T1C, T2W, T2F)
    }
    assert result.reasons == ()
    assert not of_slot(result, T2F).used  # the earlier one comes first


def test_a_dicom_series_is_named_by_its_headers(theatre: Site, prepared: StageResult, after: Path) -> None:
    files = sorted(next((after / "dicom").glob("*-t1c")).iterdir())
    result = theatre.add(theatre.dicom([files]), theatre.stored(prepared), QUICK)
    assert "acquisition" in of_slot_used(result, T1C) or "description" in of_slot_used(result, T1C)
    assert next(s for s in facts_of(result).series if s.used and s.modality is T1C).frame_of_reference


def test_a_first_series_without_a_study_leads(theatre: Site, after: Path) -> None:
    request = replace(series(theatre, after, T2F), lane=Lane.THEATRE)
    result = theatre.prepare(request, QUICK)
    assert facts_of(result).reference is T2F
    assert set(result.outputs) == {"brain_mask", "volume/t2f"}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("beside", "GEOMETRY_MISMATCH"),
        ("one slice", "GEOMETRY_MISMATCH"),
        ("tenfold", "GEOMETRY_MISMATCH"),
        ("corner", "GEOMETRY_MISMATCH"),
        ("noise", "REGISTRATION_FAILED"),
        ("flat", "SERIES_UNREADABLE"),
        ("cut off", "SERIES_UNREADABLE"),
    ],
)
def test_what_does_not_fit_is_refused_with_advice(
    theatre: Site, prepared: StageResult, after: Path, tmp_path: Path, change: str, code: str
) -> None:
    bad = tmp_path / "t2f.nii.gz"
    spoil(after / "nifti" / "t2f.nii.gz", bad, change)
    with pytest.raises(Refused) as refusal:
        theatre.add(theatre.nifti({T2F: bad}, name="bad"), theatre.stored(prepared), QUICK)
    assert refusal.value.code == code
    assert refusal.value.advice


def test_the_first_series_of_a_session_is_refused_in_the_same_words(theatre: Site, after: Path, tmp_path: Path) -> None:
    bad = tmp_path / "t2f.nii.gz"
    spoil(after / "nifti" / "t2f.nii.gz", bad, "one slice")
    with pytest.raises(Refused) as refusal:
        theatre.prepare(replace(theatre.nifti({T2F: bad}), lane=Lane.THEATRE), QUICK)
    assert (refusal.value.code, bool(refusal.value.advice)) == ("GEOMETRY_MISMATCH", True)


def test_a_series_of_two_patients_is_refused(theatre: Site, prepared: StageResult, after: Path, tmp_path: Path) -> None:
    files = sorted(next((after / "dicom").glob("*-t1c")).iterdir())
    stranger = dcmread(files[-1])
    stranger.PatientID = "another"
    stranger.save_as(tmp_path / "stranger.dcm")
    with pytest.raises(Refused) as refusal:
        theatre.add(theatre.dicom([[*files[:-1], tmp_path / "stranger.dcm"]]), theatre.stored(prepared), QUICK)
    assert refusal.value.code == "OTHER_PATIENT"
    assert "another" not in refusal.value.message


def test_a_sequence_that_nothing_names_is_refused(theatre: Site, prepared: StageResult, after: Path) -> None:
    request = theatre.nifti({Modality.ADC: after / "nifti" / "t2f.nii.gz"}, name="map")
    with pytest.raises(Refused) as refusal:
        theatre.add(request, theatre.stored(prepared), QUICK)
    assert refusal.value.code == "MODALITY_UNKNOWN"


def of_slot_used(result: StageResult, slot: Modality) -> str:
    return next(s for s in facts_of(result).series if s.used and s.modality is slot).reason


def spoil(good: Path, bad: Path, change: str) -> None:
    if change == "cut off":
        bad.write_bytes(good.read_bytes()[:20_000])
        return
    image = nib.load(good)
    assert isinstance(image, nib.Nifti1Image)
    data, affine = np.asarray(image.dataobj), image.affine.copy()
    if change == "beside":
        affine[:3, 3] += 900.0
    elif change == "one slice":
        data = data[:, :, 40:41]
    elif change == "tenfold":
        affine[:3, :3] *= 5
    elif change == "corner":
        data = data[:18, :18, :18]
    elif change == "noise":
        data = np.random.default_rng(1).integers(0, 900, data.shape).astype(np.int16)
    elif change == "flat":
        data = np.full_like(data, 7)
    nib.save(nib.Nifti1Image(data, affine), bad)
