"""A study from upload to result, over HTTP and the embedded bus."""

from __future__ import annotations

import httpx
import pytest

from services.core.contracts.enums import Stage
from tests.integration.gateway.running import RunningGateway, Stages, four_sequences, zipped

pytestmark = pytest.mark.integration


def test_a_set_of_nifti_files_becomes_a_study_with_a_report(gateway: RunningGateway) -> None:
    with Stages(gateway.home) as stages:
        answer = gateway.post_files(four_sequences(), lane="stat", acquired="2024-05-01")
        assert answer.status_code == httpx.codes.CREATED, answer.text
        accepted = answer.json()
        assert accepted["version"] == 1
        assert accepted["upload"] == {"new_version": True, "added": 4, "duplicates": 0, "ignored": {}}
        study = gateway.done(accepted["id"])
    assert [stage["status"] for stage in study["stages"]] == ["completed"] * 5
    assert all(stage["seconds"] >= 0 for stage in study["stages"])
    assert study["completeness"] == "complete"
    assert study["lane"] == "stat"
    assert [request.stage for request in stages.seen] == list(Stage)
    assert not gateway.leftovers()


def test_the_same_upload_again_is_the_same_study_and_runs_nothing(gateway: RunningGateway) -> None:
    first = gateway.post_zip(zipped(four_sequences())).json()
    again = gateway.post_zip(zipped(four_sequences(prefix="other/sub-01_")))
    assert again.status_code == httpx.codes.OK
    assert again.json()["id"] == first["id"]
    assert again.json()["version"] == 1
    assert again.json()["upload"]["duplicates"] == 4
    events = [row["event"] for row in gateway.http.get(f"/studies/{first['id']}/history").json()["events"]]
    assert events.count("stage.requested") == 1
