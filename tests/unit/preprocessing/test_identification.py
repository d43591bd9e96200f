"""Sequences are known by their times, refined by words, and never guessed when the two disagree."""

from __future__ import annotations

from typing import Any

import pytest

from services.core.contracts.enums import Modality
from services.preprocessing.domain.choice import Candidate, choose, reference_of
from services.preprocessing.domain.identification import identify
from services.preprocessing.domain.traits import Extent, Traits

pytestmark = pytest.mark.unit

T1_SE = {"tr_ms": 550.0, "te_ms": 10.0, "scanning": ("SE",)}
MPRAGE = {"tr_ms": 2300.0, "te_ms": 2.3, "ti_ms": 900.0, "scanning": ("GR", "IR")}
SPGR = {"tr_ms": 8.2, "te_ms": 3.2, "ti_ms": 450.0, "scanning": ("GR",)}
TSE = {"tr_ms": 4500.0, "te_ms": 95.0, "scanning": ("SE",)}
FLAIR = {"tr_ms": 9000.0, "te_ms": 120.0, "ti_ms": 2500.0, "scanning": ("SE", "IR")}
SPACE_FLAIR = {"tr_ms": 5000.0, "te_ms": 390.0, "ti_ms": 1800.0, "scanning": ("SE", "IR")}
T1_FLAIR = {"tr_ms": 2500.0, "te_ms": 24.0, "ti_ms": 860.0, "scanning": ("SE", "IR")}


@pytest.mark.parametrize(
    ("slot", "traits"),
    [
        ("t1n", {"words": "t1_se_tra", **T1_SE}),
        ("t1n", {"words": "ax 3d bravo | brain tumor | bravo", **SPGR}),
        ("t1n", {"words": "", **MPRAGE}),
        ("t1n", {"words": "sag t1 flair", **T1_FLAIR}),
        ("t1n", {"words": "t1_mprage_pre", "contrast": True, **MPRAGE}),
        ("t1c", {"words": "t1_mprage", "contrast": True, **MPRAGE}),
        ("t1c", {"words": "t1_mprage_tra_p2_iso_km", **MPRAGE}),
        ("t1c", {"words": "ax 3d bravo +c", **SPGR}),
        ("t1c", {"words": "ax t1 post gd", **T1_SE}),
        ("t1c", {"words": "t1w_3d_tfe_gd"}),
        ("t2w", {"words": "t2_tse_tra", **TSE}),
        ("t2w", {"words": "", **TSE}),
        ("t2f", {"words": "t2_tirm_tra_dark-fluid", **FLAIR}),
        ("t2f", {"words": "3d flair space", **SPACE_FLAIR}),
        ("t2f", {"words": "", **FLAIR}),
        ("t2f", {"words": "flair_longtr"}),
    ],
)
def test_structural_sequences_are_recognised(slot: str, traits: dict[str, Any]) -> None:
    found = identify(Traits(**traits))
    assert found.modality == slot, found.reason


@pytest.mark.parametrize(
    ("why", "traits"),
    [
        ("localizer", {"words": "3-plane loc", **T1_SE}),
        ("localizer", {"words": "x", "image_type": ("ORIGINAL", "PRIMARY", "LOCALIZER"), **T1_SE}),
        ("derived map", {"words": "adc (10^-6 mm2/s)", **TSE}),
        ("derived map", {"words": "ep2d_diff", "image_type": ("DERIVED", "PRIMARY", "DIFFUSION", "ADC"), **TSE}),
        ("diffusion", {"words": "x", "b_value": 1000.0, **TSE}),
        ("diffusion", {"words": "ax dwi b1000", **TSE}),
        ("perfusion", {"words": "ep2d_perf", "tr_ms": 1500.0, "te_ms": 30.0, "scanning": ("EP",)}),
        ("angiography", {"words": "tof_3d", "tr_ms": 22.0, "te_ms": 3.0, "scanning": ("GR",)}),
        ("susceptibility", {"words": "t2*_gre", "tr_ms": 600.0, "te_ms": 20.0, "scanning": ("GR",)}),
        ("subtraction", {"words": "t1 sub", **T1_SE}),
        ("echo-planar", {"words": "x", "scanning": ("EP", "GR"), "tr_ms": 2000.0, "te_ms": 60.0}),
        ("do not say", {"words": "pd tse", "tr_ms": 3000.0, "te_ms": 15.0, "scanning": ("SE",)}),
        ("do not say", {"words": "series 4"}),
        ("times point to T2", {"words": "t1 se", **TSE}),
        ("times point to FLAIR", {"words": "t2 tse", **FLAIR}),
    ],
)
def test_what_is_not_used_is_named(why: str, traits: dict[str, Any]) -> None:
    found = identify(Traits(**traits))
    assert found.modality is None
    assert why in found.reason


def test_no_reason_quotes_the_free_text_of_a_header() -> None:
    for times in (T1_SE, TSE, FLAIR, {}):
        traits = Traits(words="t1 for mrs zymbrant", **times)  # type: ignore[arg-type]
        assert "zymbrant" not in identify(traits).reason


def candidate(series: str, **changes: Any) -> Candidate:
    values: dict[str, Any] = {
        "series": series,
        "modality": Modality.T1C,
        "extent": Extent(slices=30, across_mm=5.0, within_mm=0.9),
        "three_d": False,
        "original": True,
        "order": 1,
    }
    return Candidate(**{**values, **changes})


def test_the_thinner_series_fills_the_slot_and_the_other_says_why_not() -> None:
    thin = candidate("thin", extent=Extent(slices=180, across_mm=1.0, within_mm=1.0), order=0)
    chosen = choose([thin, candidate("thick"), candidate("other", modality=Modality.T2W)])
    assert chosen.chosen[Modality.T1C].series == "thin"
    assert "thinner slices" in chosen.left["thick"]
    assert set(chosen.chosen) == {Modality.T1C, Modality.T2W}


def test_an_original_beats_a_thinner_reformat_and_the_later_of_two_equals_wins() -> None:
    reformat = candidate("mpr", extent=Extent(slices=180, across_mm=1.0, within_mm=1.0), original=False)
    assert choose([reformat, candidate("original")]).chosen[Modality.T1C].series == "original"
    assert choose([candidate("first", order=1), candidate("second", order=2)]).chosen[Modality.T1C].series == "second"


def test_the_reference_is_t1c_else_the_next_in_order() -> None:
    assert reference_of({Modality.T2W: 1, Modality.T1C: 1}) is Modality.T1C
    assert reference_of({Modality.T2W: 1, Modality.T1N: 1, Modality.T2F: 1}) is Modality.T2F
    with pytest.raises(ValueError, match="no structural"):
        reference_of({})
