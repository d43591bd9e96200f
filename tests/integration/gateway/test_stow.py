"""STOW-RS as hospitals send it: real requests to a real gateway (PS3.18 10.5)."""

from __future__ import annotations

import httpx
import pytest

from services.core.contracts.ids import derived_uid
from services.core.runtime.failpoints import arm
from services.core.runtime.home import Home
from tests.integration.gateway.conftest import Start
from tests.integration.gateway.dicom_files import CT, STUDY, mr_instance, mr_study
from tests.integration.gateway.running import RunningGateway, Stages, eventually, zipped
from tests.integration.gateway.senders import BOUNDARY, RELATED, related, stow

pytestmark = pytest.mark.integration
NEVER = 3600
OTHER = derived_uid("study", 2)


def name_of(number: int, series: int = 1, study: str = STUDY) -> str:
    return derived_uid("instance", study, series, number)


def instances_of(gateway: RunningGateway, study: str) -> list[int]:
    return [version["instances"] for version in gateway.study(study)["versions"]]


def test_stored_instances_become_a_study_when_it_is_closed(start: Start) -> None:
    gateway = start(quiet_s=NEVER)
    with Stages(gateway.home):
        answer = stow(gateway, mr_study(3, 2).values())
        assert answer.status == httpx.codes.OK, answer.http.text
        assert sorted(answer.stored) == sorted(name_of(n, s) for n in (1, 2, 3) for s in (1, 2))
        assert not answer.failed
        assert "warning" not in answer.http.headers
        assert gateway.study(answer.study)["version"] == 0
        closed = gateway.http.post(f"/studies/{answer.study}/close").json()
        assert closed["version"] == 1
        gateway.done(answer.study)
    assert instances_of(gateway, answer.study) == [6]
    assert not gateway.leftovers()


def test_a_study_closes_by_itself_after_its_quiet_period(start: Start) -> None:
    gateway = start(quiet_s=0.2)
    study = stow(gateway, mr_study(2, 1).values()).study
    assert eventually(lambda: instances_of(gateway, study)) == [2]


def test_the_same_study_by_upload_and_by_stow_is_one_study_and_more_make_a_new_version(start: Start) -> None:
    gateway = start(quiet_s=NEVER)
    uploaded = gateway.post_zip(zipped(mr_study(3, 1))).json()
    again = stow(gateway, mr_study(3, 1).values(), STUDY)
    assert again.status == httpx.codes.OK
    assert len(again.stored) == 3
    assert again.study == uploaded["id"]
    assert gateway.http.post(f"/studies/{again.study}/close").json()["version"] == 1
    assert stow(gateway, mr_study(3, 2).values()).study == uploaded["id"]
    assert gateway.http.post(f"/studies/{again.study}/close").json()["version"] == 2
    assert instances_of(gateway, again.study) == [3, 6]


def test_a_changed_pixel_under_a_known_uid_fails_and_keeps_the_others_in(start: Start) -> None:
    gateway = start(quiet_s=NEVER)
    stow(gateway, [mr_instance(n) for n in (1, 2, 3)])
    before = len(gateway.stored())
    mixed = [mr_instance(n, seed=7 if n in (2, 5) else 0) for n in range(1, 7)]
    answer = stow(gateway, [*mixed, mr_instance(5)])
    assert answer.status == httpx.codes.ACCEPTED
    assert answer.failed == {name_of(2): 0x0111, name_of(5): 0x0111}
    assert sorted(answer.stored) == sorted(name_of(n) for n in (1, 3, 4, 5, 6))
    assert answer.http.headers["warning"] == '299 glioserve "2 of 7 instances were not stored: INSTANCE_CONFLICT 2"'
    assert len(gateway.stored()) == before + 3


def test_every_instance_is_told_why_it_is_not_stored(start: Start) -> None:
    gateway = start(quiet_s=NEVER)
    twin = name_of(4)[:-1] + ("1" if name_of(4)[-1] == "0" else "0")
    twisted = mr_instance(4).replace(name_of(4).encode(), twin.encode(), 1)  # in the file's header, not in its data set
    sent = [mr_instance(1, SOPClassUID=CT), mr_instance(2, Rows=99), mr_instance(3)[:-40], b"nonsense", twisted]
    answer = stow(gateway, sent)
    assert answer.status == httpx.codes.CONFLICT
    assert answer.failed == {name_of(1): 0x0122, name_of(2): 0xA900, name_of(3): 0xC000, twin: 0xA900}
    assert answer.unreadable == [0xC000]
    assert not answer.stored
    assert "CONTRADICTORY_HEADER 1" in answer.http.headers["warning"]
    assert not gateway.leftovers()
    assert gateway.http.get("/studies").json()["studies"] == []


def test_instances_of_several_studies_and_patients_go_each_to_its_own(start: Start) -> None:
    gateway = start(quiet_s=NEVER)
    other = mr_instance(1, StudyInstanceUID=OTHER, PatientID="ID-9", PatientName="Winterfeld^Irma")
    answer = stow(gateway, [mr_instance(1), other, mr_instance(2)])
    assert answer.status == httpx.codes.OK
    assert len(answer.studies) == 2
    uids = {study["study_uid"] for study in gateway.http.get("/studies").json()["studies"]}
    assert uids == {STUDY, OTHER}


def test_where_the_address_names_a_study_others_fail(start: Start) -> None:
    gateway = start(quiet_s=NEVER)
    answer = stow(gateway, [mr_instance(1), mr_instance(1, StudyInstanceUID=OTHER)], STUDY)
    assert answer.status == httpx.codes.ACCEPTED
    assert answer.stored == [name_of(1)]
    assert answer.failed == {name_of(1, study=OTHER): 0xA900}


def test_one_patient_named_in_two_ways_is_not_mixed_into_one_study(start: Start) -> None:
    gateway = start(quiet_s=NEVER)
    answer = stow(gateway, [mr_instance(1), mr_instance(2, PatientName="Winterfeld^Irma")])
    assert answer.status == httpx.codes.CONFLICT
    assert set(answer.failed.values()) == {0xC000}


def test_requests_that_are_no_stow_are_refused_as_problems(gateway: RunningGateway) -> None:
    instance = mr_instance(1)
    whole = related([instance])
    wrong = [
        ("another type", RELATED.replace("application/dicom", "application/dicom+json"), whole, 415),
        ("a form", "multipart/form-data; boundary=x", whole, 415),
        ("another part", RELATED, related([instance], "image/png"), 415),
        ("no boundary", 'multipart/related; type="application/dicom"', whole, 400),
        ("a boundary without end", RELATED.replace(BOUNDARY, "x" * 5000), whole, 400),
        ("another boundary", RELATED.replace(BOUNDARY, "other"), whole, 400),
        ("cut off", RELATED, whole[:-60], 400),
        ("no part", RELATED, f"--{BOUNDARY}--\r\n".encode(), 400),
        ("nothing", RELATED, b"", 400),
    ]
    for what, kind, body, status in wrong:
        answer = gateway.http.post("/dicomweb/studies", content=body, headers={"Content-Type": kind})
        assert answer.status_code == status, (what, answer.text)
        assert answer.headers["content-type"] == "application/problem+json", what
    headers = {"Content-Type": RELATED, "Accept": "application/dicom+xml"}
    assert gateway.http.post("/dicomweb/studies", content=whole, headers=headers).status_code == 406
    assert gateway.http.post("/dicomweb/studies/a-b", content=whole, headers=headers).status_code == 400
    assert not gateway.leftovers()
    assert gateway.http.get("/studies").json()["studies"] == []


def test_limits_are_kept_while_instances_arrive(start: Start) -> None:
    gateway = start(upload_bytes=4000, quiet_s=NEVER)
    answer = gateway.http.post(
        "/dicomweb/studies", content=iter([related([mr_instance(1, edge=64)])]), headers={"Content-Type": RELATED}
    )
    assert (answer.status_code, answer.json()["code"]) == (413, "UPLOAD_TOO_LARGE")
    assert not gateway.leftovers()


def test_a_store_that_cannot_be_used_now_says_come_again(home: Home, start: Start) -> None:
    arm(home.root, "gateway.before_row", ["transient"])
    gateway = start(quiet_s=NEVER)
    answer = stow(gateway, [mr_instance(1)])
    assert answer.status == httpx.codes.SERVICE_UNAVAILABLE
    assert answer.http.headers["retry-after"]
    assert stow(gateway, [mr_instance(1)]).status == httpx.codes.OK


def test_an_urgent_study_travels_on_the_urgent_lane(start: Start) -> None:
    gateway = start(quiet_s=NEVER)
    answer = gateway.http.post(
        "/dicomweb/studies?lane=stat", content=related([mr_instance(1)]), headers={"Content-Type": RELATED}
    )
    assert answer.status_code == httpx.codes.OK
    assert gateway.http.get("/studies").json()["studies"][0]["lane"] == "stat"
