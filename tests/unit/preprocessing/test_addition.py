"""A prepared study with one more series: names, facts and words, without an image."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from services.core.contracts.enums import BlobClass, Completeness, Lane, Modality, Stage, Verdict
from services.core.contracts.errors import Refused
from services.core.contracts.events import BlobRef, StudyRef
from services.core.contracts.facts import PrepareFacts, SeriesFacts, Source
from services.core.contracts.ids import BlobDigest, PatientKey, RunId, StudyKey
from services.core.contracts.manifest import Manifest, Reason
from services.core.imaging.volume import Grid, Volume
from services.preprocessing.domain.addition import (
    Added,
    fixed_name,
    judge_addition,
    outputs_with,
    series_with,
    unavailable,
)
from services.preprocessing.domain.quick_placing import check_extent, known_places, shrunk_volume
from services.preprocessing.domain.refusals import theatre_refusal
from services.preprocessing.domain.series import Found

pytestmark = pytest.mark.unit
T1N, T1C, T2W, T2F = Modality.T1N, Modality.T1C, Modality.T2W, Modality.T2F


def blob(name: str) -> BlobRef:
    return BlobRef(digest=BlobDigest(name), size=1, media_type="x", blob_class=BlobClass.DERIVED)


def outputs(*names: str) -> dict[str, BlobRef]:
    return {name: blob(name) for name in names}


BEFORE = outputs("brain_mask", "headers", "volume/t1c", "volume/t2f")


def facts(name: str, modality: Modality, **changes: object) -> SeriesFacts:
    known = SeriesFacts(
        series=name, modality=modality, used=True, reason="", shape=(9, 9, 9), spacing_mm=(1.0, 1.0, 1.0)
    )
    return replace(known, **changes)  # type: ignore[arg-type]


def test_a_new_sequence_is_added_and_the_others_stay_by_reference() -> None:
    after = outputs_with(BEFORE, T1N, blob("new"), changed=False)
    assert after == BEFORE | {"volume/t1n": blob("new")}


def test_a_changed_anatomy_leaves_earlier_sequences_for_registration_only() -> None:
    after = outputs_with(BEFORE, T2F, blob("new"), changed=True)
    assert after == outputs("brain_mask", "headers") | {
        "registration/t1c": blob("volume/t1c"),
        "volume/t2f": blob("new"),
    }
    later = outputs_with(after, T1N, blob("later"), changed=False)
    assert unavailable(later) == (T1C,)
    again = outputs_with(later, T1C, blob("again"), changed=False)
    assert unavailable(again) == ()
    assert again["volume/t1c"] == blob("again")


@pytest.mark.parametrize(
    ("names", "modality", "chosen"),
    [
        (("volume/t1c", "registration/t2f"), T2F, "registration/t2f"),
        (("volume/t2w", "registration/t1c"), T2F, "volume/t2w"),
        (("registration/t1n",), T2F, "registration/t1n"),
        (("brain_mask",), T2F, None),
    ],
)
def test_the_same_sequence_is_registered_to_else_one_of_the_present_anatomy(
    names: tuple[str, ...], modality: Modality, chosen: str | None
) -> None:
    assert fixed_name(outputs(*names), modality) == chosen


def test_series_say_why_they_are_no_input_any_more() -> None:
    before = [facts("a", T1C), facts("b", T2F), facts("c", T2W, used=False, reason="not used: a localizer")]
    new = facts("d", T2F)
    kept = series_with(before, new, changed=False)
    assert [series.used for series in kept] == [True, False, False, True]
    changed = series_with(before, new, changed=True)
    assert [series.used for series in changed] == [False, False, False, True]
    assert "anatomy" in changed[0].reason
    assert changed[2].reason == "not used: a localizer"
    assert series_with(kept, new, changed=False) == kept


def judged(before: tuple[Reason, ...], series: tuple[SeriesFacts, ...], gone: tuple[Modality, ...] = ()) -> set[str]:
    manifest = Manifest(
        run_id=RunId("r"),
        stage=Stage.PREPARE,
        study=StudyRef(patient=PatientKey("p"), study=StudyKey("s"), version=1),
        lane=Lane.ROUTINE,
        settings_hash="",
        verdict=Verdict.NEEDS_REVIEW if before else Verdict.TRUSTED,
        reasons=before,
    )
    volume = Volume(data=np.zeros((1, 1, 1)), affine=np.eye(4), modality=T2F, units="")
    judgement = judge_addition(manifest, series, Added(volume=volume, facts=series[-1], problems=()), gone, 4.0)
    assert judgement.verdict is manifest.verdict
    assert (judgement.completeness is Completeness.COMPLETE) == (not judgement.reasons)
    return {reason.code for reason in judgement.reasons}


def test_what_was_said_of_the_brain_stays_and_what_was_said_of_a_replaced_sequence_goes() -> None:
    before = (
        Reason(code="BRAIN_CUT_OFF", message="the brain meets the edge"),
        Reason(code="T2F_PARTIAL_COVERAGE", message="t2f: half"),
        Reason(code="REGISTRATION_FAILED", message="t2f: it does not show the same head"),
        Reason(code="T1C_PARTIAL_COVERAGE", message="t1c: most"),
        Reason(code="T2F_MISSING", message="no FLAIR"),
    )
    whole = tuple(facts(slot, slot) for slot in (T1N, T1C, T2W, T2F))
    assert judged(before, whole) == {"BRAIN_CUT_OFF", "T1C_PARTIAL_COVERAGE"}
    gone = (*(replace(series, used=False) for series in whole[:3]), whole[3])
    assert judged(before, gone, (T1N, T1C, T2W)) == {
        "ANATOMY_CHANGED", "BRAIN_CUT_OFF", "T1N_MISSING", "T1C_MISSING", "T2W_MISSING", "ONE_SEQUENCE",
    }  # fmt: skip


def test_four_good_sequences_are_complete_again() -> None:
    assert judged((), tuple(facts(slot, slot) for slot in (T1N, T1C, T2W, T2F))) == set()


def test_headers_place_a_series_only_as_others_of_its_frame() -> None:
    shift = tuple(tuple(float(value) for value in row) for row in np.diag([1.0, 1, 1, 1]) + np.eye(4, k=3) * 5)
    series = (
        facts("a", T1C, frame_of_reference="1.2", to_reference=shift),
        facts("b", T2F, frame_of_reference="1.2", to_reference=shift),
        facts("c", T1N, frame_of_reference="", to_reference=shift),
        facts("d", T2W, frame_of_reference="1.2"),
    )
    study = PrepareFacts(
        source=Source.DICOM, acquired_at=None, reference=T1C, reference_series="a", native_shape=(9, 9, 9),
        native_affine=shift, canonical_affine=shift, brain_ml=1.0, series=series,
    )  # fmt: skip
    places = known_places(study, cast("Found", SimpleNamespace(space="1.2")))
    assert len(places) == 1
    np.testing.assert_allclose(places[0][:3, 3], [-5.0, 0.0, 0.0])
    assert known_places(study, cast("Found", SimpleNamespace(space="1.3"))) == ()


@pytest.mark.parametrize("edge_mm", [0.05, 5.0])
def test_a_field_of_view_that_is_no_head_is_refused(edge_mm: float) -> None:
    affine = np.diag([edge_mm, edge_mm, edge_mm, 1.0])
    with pytest.raises(Refused, match="field of view"):
        check_extent(Grid(shape=(240, 240, 155), affine=affine))


def test_blocks_of_voxels_become_their_means_at_their_middle() -> None:
    data = np.arange(5 * 4 * 2, dtype=np.float32).reshape(5, 4, 2)
    small = shrunk_volume(Volume(data=data, affine=np.diag([1.0, 1.0, 3.0, 1.0]), modality=T1C, units=""), 2.0)
    assert small.data.shape == (2, 2, 2)
    assert small.data[0, 0, 0] == data[:2, :2, 0].mean()
    np.testing.assert_allclose(small.affine[:3, 3], [0.5, 0.5, 0.0])
    np.testing.assert_allclose(small.grid.spacing, [2.0, 2.0, 3.0])


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("MISSING_SLICES", "GEOMETRY_MISMATCH"),
        ("IMPLAUSIBLE_SPACING", "GEOMETRY_MISMATCH"),
        ("NIFTI_TRUNCATED", "SERIES_UNREADABLE"),
        ("NO_USABLE_SEQUENCE", "MODALITY_UNKNOWN"),
        ("OTHER_PATIENT", "OTHER_PATIENT"),
        ("SESSION_STORE_FULL", "SESSION_STORE_FULL"),
    ],
)
def test_refusals_use_the_few_words_of_the_theatre(code: str, said: str) -> None:
    refusal = theatre_refusal(code, "why")
    assert (refusal.code, refusal.message) == (said, "why")
    assert refusal.advice or code == "SESSION_STORE_FULL"
