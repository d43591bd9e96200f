"""Versions, identity and time order of DICOM studies, through the real gateway."""

from __future__ import annotations

import sqlite3
from typing import Any

import httpx
import pytest

from services.core.contracts.enums import OutcomeStatus, Stage
from services.core.contracts.events import StageRequest
from services.core.contracts.manifest import Manifest
from services.core.runtime.stage import read_manifest
from services.core.storage.local import LocalBlobStore
from tests.integration.gateway.dicom_files import CT, mr_instance, mr_study
from tests.integration.gateway.running import (
    Document,
    RunningGateway,
    Stages,
    eventually,
    four_sequences,
    nifti,
    zipped,
)

pytestmark = pytest.mark.integration
PLANTED = (b"Sommerfeld", b"Adalbert", b"ID-4711", b"19501224")


def accepted(answer: httpx.Response) -> Document:
    assert answer.is_success, answer.text
    document: Document = answer.json()
    return document


def intake_of(gateway: RunningGateway, stages: Stages, version: int) -> Manifest:
    asked = next(r for r in stages.seen if r.stage is Stage.PREPARE and r.study.version == version)
    return read_manifest(LocalBlobStore(gateway.home.blobs), asked.inputs[0])


def test_more_instances_of_a_study_make_a_new_version_over_the_union(gateway: RunningGateway) -> None:
    with Stages(gateway.home) as stages:
        first = accepted(gateway.post_files(mr_study(3, 1)))
        gateway.done(first["id"])
        second = accepted(gateway.post_zip(zipped({**mr_study(2, 1), **mr_study(2, 2)})))
        assert second["id"] == first["id"]
        assert second["version"] == 2
        assert second["upload"]["added"] == 2
        assert second["upload"]["duplicates"] == 2
        eventually(lambda: gateway.study(first["id"])["revision"] and gateway.study(first["id"])["state"] == "done")
        manifest = intake_of(gateway, stages, 2)
    assert len(manifest.outputs) == 5
    assert manifest.facts["source"] == "dicom"
    assert manifest.facts["acquired_at"] == "2024-05-01T10:11:12"
    assert [v["instances"] for v in gateway.study(first["id"])["versions"]] == [3, 5]


def test_what_is_no_mr_image_is_left_out_and_named(gateway: RunningGateway) -> None:
    extra = {"ct.dcm": mr_instance(9, 9, SOPClassUID=CT), "DICOMDIR": b"x", ".DS_Store": b"x", "readme.txt": b"x"}
    answer = accepted(gateway.post_zip(zipped({**mr_study(2, 1), **extra})))
    assert answer["upload"]["added"] == 2
    assert answer["upload"]["ignored"]["not an MR image"] == 1


def test_the_same_patient_id_is_the_same_patient_in_both_formats(gateway: RunningGateway) -> None:
    dicom = accepted(gateway.post_files(mr_study(2, 1, IssuerOfPatientID="")))
    image = accepted(gateway.post_files(four_sequences(), patient="ID-4711"))
    header = {"GlioServe-Patient": "ID-4711"}
    other = gateway.http.post("/studies", files=[("t1c", ("scan.nii.gz", nifti(9)))], headers=header)
    assert dicom["patient"] == image["patient"] == accepted(other)["patient"]
    nobody = accepted(gateway.post_files(four_sequences(3)))
    assert nobody["patient"] != image["patient"]


def test_identity_lies_in_the_vault_and_the_original_instances_only(gateway: RunningGateway) -> None:
    with Stages(gateway.home):
        study = accepted(gateway.post_files(mr_study(2, 1)))
        gateway.done(study["id"])
    gateway.process.stop.set()
    allowed = (gateway.home.vault, gateway.home.blobs / "identified")
    for path in gateway.home.root.rglob("*"):
        if path.is_file() and not any(folder in path.parents for folder in allowed):
            assert not [name for name in PLANTED if name in path.read_bytes()], path
    assert gateway.home.vault.stat().st_mode & 0o077 == 0
    assert (gateway.home.vault / "pseudonym.key").stat().st_mode & 0o177 == 0
    with sqlite3.connect(gateway.home.vault / "identities.sqlite") as vault:
        rows = vault.execute("SELECT patient, patient_id, name FROM identities").fetchall()
    vault.close()
    assert rows == [(study["patient"], "ID-4711", "Sommerfeld^Adalbert")]


def _visit(day: str) -> dict[str, bytes]:
    return mr_study(2, 1, StudyInstanceUID=f"1.2.{day}", StudyDate=day)


def test_an_older_study_that_comes_later_gives_the_newer_one_a_new_revision(gateway: RunningGateway) -> None:
    with Stages(gateway.home) as stages:
        newer = accepted(gateway.post_files(_visit("20240601")))
        gateway.done(newer["id"])
        older = accepted(gateway.post_files(_visit("20240101")))
        gateway.done(older["id"])
        gateway.done(newer["id"], revision=2)
        compared = [r for r in stages.seen if r.stage is Stage.COMPARE and r.study.study == newer["id"]]
        reports = [r for r in stages.seen if r.stage is Stage.REPORT and r.study.study == newer["id"]]
    assert [len(request.priors()) for request in compared] == [0, 1]
    assert [request.revision for request in reports] == [1, 2]
    assert reports[1].input("predecessor") is not None


def test_a_study_without_a_mask_ends_with_an_insufficient_result_that_says_why(gateway: RunningGateway) -> None:
    def fails(request: StageRequest) -> OutcomeStatus:
        return OutcomeStatus.REFUSED if request.stage is Stage.PREPARE else OutcomeStatus.COMPLETED

    with Stages(gateway.home, answer=fails):
        study = gateway.done(accepted(gateway.post_files(four_sequences()))["id"])
    assert study["completeness"] == "insufficient"
    assert [stage["status"] for stage in study["stages"]] == [
        "refused",
        "skipped",
        "skipped",
        "skipped",
        "completed",
    ]
    assert study["stages"][0]["problem"]["code"] == "BAD_DAY"


def test_a_replay_gives_a_new_revision_and_needs_something_to_replay(gateway: RunningGateway) -> None:
    with Stages(gateway.home):
        study = accepted(gateway.post_files(four_sequences()))["id"]
        gateway.done(study)
        answer = gateway.http.post(f"/studies/{study}/replay", params={"stage": "segment"})
        assert answer.status_code == httpx.codes.ACCEPTED
        done = gateway.done(study, revision=2)
    assert done["stages"][1]["replay"] == 1
    assert gateway.http.post(f"/studies/{study}/replay", params={"stage": "x"}).status_code == 422


def test_a_stage_that_has_not_answered_cannot_be_replayed(gateway: RunningGateway) -> None:
    study = accepted(gateway.post_files(four_sequences()))["id"]
    for stage in ("prepare", "report"):
        answer = gateway.http.post(f"/studies/{study}/replay", params={"stage": stage})
        assert (answer.status_code, answer.json()["code"]) == (409, "NOTHING_TO_REPLAY")


def test_the_lane_can_be_changed_for_what_is_still_to_come(gateway: RunningGateway) -> None:
    study = accepted(gateway.post_files(four_sequences()))["id"]
    assert gateway.http.post(f"/studies/{study}/lane", params={"lane": "stat"}).json()["lane"] == "stat"
    assert gateway.http.post(f"/studies/{study}/lane", params={"lane": "theatre"}).status_code == 409
    with Stages(gateway.home) as stages:
        gateway.done(study)
    assert [request.lane for request in stages.seen] == ["routine", *["stat"] * 4]


def test_nifti_content_has_one_date(gateway: RunningGateway) -> None:
    accepted(gateway.post_files(four_sequences(), acquired="2024-01-01"))
    assert accepted(gateway.post_files(four_sequences()))["upload"]["duplicates"] == 4
    answer = gateway.post_files(four_sequences(), acquired="2024-02-01")
    assert (answer.status_code, answer.json()["code"]) == (409, "DATE_CONFLICT")


def test_explicit_sequences_win_over_names(gateway: RunningGateway) -> None:
    files = {"a/scan1.nii.gz": nifti(1), "b/t2.nii.gz": nifti(2), "c/x-seg.nii.gz": nifti(3)}
    with Stages(gateway.home) as stages:
        told: Any = ["t1c=scan1.nii.gz", "t2f=b/t2.nii.gz"]
        study = accepted(gateway.post_files(files, sequence=told))
        gateway.done(study["id"])
        assert set(intake_of(gateway, stages, 1).outputs) == {"nifti/t1c", "nifti/t2f"}
    assert study["upload"]["ignored"] == {"a segmentation, not a sequence": 1}
