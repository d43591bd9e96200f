"""Twenty studies of four patients over both lanes, with replays, in the order that chance gives."""

from __future__ import annotations

import random
import threading
from functools import partial

import httpx
import pytest

from services.core.contracts.enums import OutcomeStatus, Stage
from services.core.contracts.events import StageRequest
from services.core.storage.local import LocalBlobStore
from tests.integration.gateway.running import Document, RunningGateway, Stages, eventually, nifti, outcome_of

pytestmark = pytest.mark.integration
PATIENTS, VISITS = 4, 5


def post(gateway: RunningGateway, patient: int, visit: int) -> Document:
    files = {"t1c.nii.gz": nifti(100 * patient + visit, (4, 4, 4))}
    lane = "stat" if visit % 2 else "routine"
    answer = gateway.post_files(files, patient=f"P{patient}", acquired=f"2024-0{visit + 1}-01", lane=lane)
    assert answer.status_code == httpx.codes.CREATED, answer.text
    document: Document = answer.json()
    return document


def replayed(gateway: RunningGateway, study: str, stage: str) -> bool:
    """False while the stage has not answered."""
    return gateway.http.post(f"/studies/{study}/replay", params={"stage": stage}).is_success


def segment_run(stages: Stages, study: str) -> str:
    """The run of the newest segmentation, as the stage double made it."""
    newest = [r for r in stages.seen if r.stage is Stage.SEGMENT and r.study.study == study][-1]
    manifest = outcome_of(newest, OutcomeStatus.COMPLETED, LocalBlobStore(stages.home.blobs)).manifest
    assert manifest is not None
    return manifest.run_id


def last(stages: Stages, stage: Stage, study: str) -> StageRequest:
    return max((r for r in stages.seen if r.stage is stage and r.study.study == study), key=lambda r: r.revision)


def test_each_ends_with_one_current_result_that_names_the_latest_earlier_study(gateway: RunningGateway) -> None:
    chance = random.Random(3)
    order = [(patient, visit) for patient in range(PATIENTS) for visit in range(VISITS)]
    chance.shuffle(order)
    studies: dict[tuple[int, int], str] = {}
    with Stages(gateway.home) as stages:
        for place in order:
            studies[place] = post(gateway, *place)["id"]
        for study in studies.values():
            eventually(partial(replayed, gateway, study, chance.choice(["prepare", "segment", "compare"])))
        eventually(lambda: all(gateway.study(key)["state"] == "done" for key in studies.values()), 120)
    for (patient, visit), study in studies.items():
        report, compare = last(stages, Stage.REPORT, study), last(stages, Stage.COMPARE, study)
        assert gateway.study(study)["revision"] == report.revision
        reports = [r for r in stages.seen if r.stage is Stage.REPORT and r.study.study == study]
        assert bool(report.input("predecessor")) == (len(reports) > 1)
        expected = [segment_run(stages, studies[patient, earlier]) for earlier in range(visit)]
        assert [ref.run_id for ref in compare.priors()] == expected


def test_the_same_study_sent_by_many_at_once_is_one_version(gateway: RunningGateway) -> None:
    answers: list[httpx.Response] = []
    files = {"t1c.nii.gz": nifti(1), "t2f.nii.gz": nifti(2)}
    threads = [threading.Thread(target=lambda: answers.append(gateway.post_files(files))) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 200, 201]
    assert {answer.json()["version"] for answer in answers} == {1}
    assert len({answer.json()["id"] for answer in answers}) == 1
