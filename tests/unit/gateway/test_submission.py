"""One patient, one study, one date: the rules that make files a study."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.core.contracts.enums import Lane, Modality
from services.core.contracts.errors import Refused
from services.gateway.domain.identity import Identity
from services.gateway.domain.intake import content_digest, study_key
from services.gateway.domain.submission import Item, earliest, nifti_submission, one_patient
from services.gateway.domain.upload import parse_statements
from tests.unit.gateway.flow_world import PATIENT

pytestmark = pytest.mark.unit
ANNA = Identity(patient_id="1", issuer="H", name="Berg^Anna", birth_date="19700101")


def test_one_patient_may_be_written_in_two_ways_but_not_named_in_two() -> None:
    assert one_patient(
        [ANNA, Identity(patient_id="1", issuer="H", name="BERG^ANNA^", birth_date="19700101")], None, "1"
    )
    for other in (
        Identity(patient_id="2", issuer="H", name="Berg^Anna", birth_date="19700101"),
        Identity(patient_id="1", issuer="X", name="Berg^Anna", birth_date="19700101"),
        Identity(patient_id="1", issuer="H", name="Berg^Eva", birth_date="19700101"),
        Identity(patient_id="1", issuer="H", name="Berg^Anna", birth_date="19710101"),
    ):
        with pytest.raises(Refused) as caught:
            one_patient([ANNA, other], None, "1.2")
        assert caught.value.code == "TWO_PATIENTS"


def test_instances_without_a_patient_id_never_share_a_patient_by_accident() -> None:
    empty = Identity(patient_id="", name="")
    first, second = one_patient([empty], None, "1.2.3"), one_patient([empty], None, "1.2.4")
    assert first.patient_id != second.patient_id
    assert one_patient([empty], "stated", "1.2.3") == Identity(patient_id="stated")


def test_a_stated_patient_must_not_contradict_the_headers() -> None:
    assert one_patient([ANNA], "1", "1.2").patient_id == "1"
    with pytest.raises(Refused) as caught:
        one_patient([ANNA], "2", "1.2")
    assert caught.value.code == "PATIENT_CONTRADICTS"


def test_a_header_cannot_claim_to_be_nobodys() -> None:
    for issuer in ("glioserve:study", "glioserve:glioserve:study"):
        sly = Identity(patient_id="x", issuer=issuer)
        assert one_patient([sly], None, "1.2").issuer == "study"


def test_an_identity_never_prints_itself() -> None:
    assert "Berg" not in repr(ANNA)
    assert "Berg" not in repr([ANNA])


def test_the_study_begins_at_its_earliest_instance() -> None:
    assert earliest(["2024-01-02T10:00:00", None, "2024-01-02T09:00:00"], None) == "2024-01-02T09:00:00"
    assert earliest([None], "2024-01-02") == "2024-01-02"
    assert earliest(["2024-01-02T09:00:00"], "2024-01-02") == "2024-01-02T09:00:00"
    with pytest.raises(Refused):
        earliest(["2024-01-02"], "2024-01-03")


def item(slot: Modality, fingerprint: str) -> Item:
    return Item(
        instance=slot, series=f"nifti-{slot}", slot=slot, fingerprint=fingerprint, path=Path("x"), media_type="x"
    )


def test_equal_content_is_one_study_whatever_its_order() -> None:
    images = [item(Modality.T1C, "a"), item(Modality.T2F, "b")]
    forward, back = (nifti_submission(i, None, None, {}) for i in (images, images[::-1]))
    assert forward.own_identity == back.own_identity
    assert forward.identity == back.identity
    assert not forward.has_identity
    swapped = nifti_submission([item(Modality.T1C, "b"), item(Modality.T2F, "a")], "p", None, {})
    assert swapped.own_identity != forward.own_identity
    assert swapped.has_identity
    assert study_key(PATIENT, "a") != study_key(PATIENT, "b")
    assert content_digest([("t1c", "a")]) == content_digest([("t1c", "a")])


def test_dates_are_written_in_one_way() -> None:
    given = ["2024-01-02", "20240102", "2024-01-02T03:04", "20240102T030405", None]
    told = [parse_statements("stat", None, date, []).acquired_at for date in given]
    assert told == ["2024-01-02", "2024-01-02", "2024-01-02T03:04:00", "2024-01-02T03:04:05", None]
    assert parse_statements("", " x ", None, []).lane is Lane.ROUTINE
    assert parse_statements(None, " x ", None, []).patient == "x"
