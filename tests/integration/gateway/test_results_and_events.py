"""Results with types and tags, progress as Server-Sent Events, an OpenAPI document that is true."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest

from tests.integration.gateway.conftest import Start
from tests.integration.gateway.running import Document, RunningGateway, Stages, eventually, four_sequences

pytestmark = pytest.mark.integration


def finished(gateway: RunningGateway) -> str:
    with Stages(gateway.home):
        study: str = gateway.post_files(four_sequences()).json()["id"]
        gateway.done(study)
    return study


def test_results_have_their_types_sizes_and_tags(gateway: RunningGateway) -> None:
    study = finished(gateway)
    listing = gateway.http.get(f"/studies/{study}/results").json()
    assert listing["revision"] == 1
    kinds = {item["name"]: item["media_type"] for item in listing["results"]}
    assert kinds == {
        "report.json": "application/json",
        "report.pdf": "application/pdf",
        "segmentation.nii.gz": "application/gzip",
    }
    for item in listing["results"]:
        answer = gateway.http.get(item["href"])
        assert answer.headers["content-type"] == item["media_type"]
        assert len(answer.content) == item["size"]
        tag = {"If-None-Match": answer.headers["etag"]}
        assert gateway.http.get(item["href"], headers=tag).status_code == httpx.codes.NOT_MODIFIED
    missing = gateway.http.get(f"/studies/{study}/results/other.pdf")
    assert missing.json()["code"] == "UNKNOWN_RESULT"


def test_a_study_without_a_report_has_no_results_yet(gateway: RunningGateway) -> None:
    study = gateway.post_files(four_sequences()).json()["id"]
    assert gateway.http.get(f"/studies/{study}/results").json()["code"] == "NO_RESULT_YET"


def events(answer: httpx.Response) -> Iterator[tuple[int, Document]]:
    seen = 0
    for line in answer.iter_lines():
        if line.startswith("id:"):
            seen = int(line.removeprefix("id:"))
        if line.startswith("data:"):
            yield seen, json.loads(line.removeprefix("data:"))


def test_progress_is_followed_to_the_end_and_taken_up_again(gateway: RunningGateway) -> None:
    study = gateway.post_files(four_sequences()).json()["id"]
    states: list[str] = []
    with Stages(gateway.home), gateway.http.stream("GET", f"/studies/{study}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        for seen, document in events(stream):
            assert document["change"] == seen
            states.append(document["state"])
            if document["state"] == "done":
                break
    assert states[0] in {"accepted", "running"}
    assert states[-1] == "done"
    resume = {"Last-Event-ID": str(seen)}
    with gateway.http.stream("GET", f"/studies/{study}/events", headers=resume) as stream:
        gateway.http.post(f"/studies/{study}/lane", params={"lane": "stat"})
        later, document = next(events(stream))
    assert later > seen
    assert document["lane"] == "stat"


def test_an_output_that_is_away_is_a_problem_document_and_no_broken_download(gateway: RunningGateway) -> None:
    with Stages(gateway.home):
        study = gateway.post_files(four_sequences()).json()["id"]
        gateway.done(study)
    digest = next(
        item["digest"]
        for item in gateway.http.get(f"/studies/{study}/results").json()["results"]
        if item["name"] == "report.json"
    )
    (path,) = (path for path in gateway.stored() if path.name == digest.removeprefix("sha256:"))
    path.unlink()
    answer = gateway.http.get(f"/studies/{study}/results/report.json")
    assert (answer.status_code, answer.json()["code"]) == (503, "BLOB_MISSING")


def test_a_number_that_is_none_breaks_no_stream(gateway: RunningGateway) -> None:
    study = gateway.post_files(four_sequences()).json()["id"]
    for number in (b"9" * 5000, b"\xb2"):
        with gateway.http.stream("GET", f"/studies/{study}/events", headers={b"Last-Event-ID": number}) as stream:
            assert stream.status_code == httpx.codes.OK


def test_a_silent_stream_has_a_heartbeat_and_the_number_of_streams_is_limited(start: Start) -> None:
    gateway = start(heartbeat_s=0.1, streams=1)
    study = gateway.post_files(four_sequences()).json()["id"]
    with gateway.http.stream("GET", f"/studies/{study}/events") as stream:
        lines = stream.iter_lines()
        assert any(line.startswith(":") for line in (next(lines) for _ in range(12)))
        second = gateway.http.get(f"/studies/{study}/events")
        assert (second.status_code, second.json()["code"]) == (503, "TOO_MANY_STREAMS")


def test_a_stop_ends_open_streams(gateway: RunningGateway) -> None:
    study = gateway.post_files(four_sequences()).json()["id"]
    with gateway.http.stream("GET", f"/studies/{study}/events") as stream:
        lines = stream.iter_lines()
        next(lines)
        gateway.process.stop.set()
        for _ in lines:
            pass


def test_the_list_is_paged_newest_first(gateway: RunningGateway) -> None:
    keys = [gateway.post_files(four_sequences(seed)).json()["id"] for seed in range(3)]
    page = gateway.http.get("/studies", params={"limit": 2}).json()
    rest = gateway.http.get("/studies", params={"limit": 2, "before": page["next"]}).json()
    assert [study["id"] for study in page["studies"] + rest["studies"]] == keys[::-1]
    assert rest["next"] is None


def test_health_and_metrics_have_a_port_of_their_own(gateway: RunningGateway) -> None:
    gateway.post_files(four_sequences())
    metrics = httpx.get(f"http://{gateway.health}/metrics").text
    assert 'glioserve_uploads_total{door="http",result="accepted"} 1.0' in metrics
    assert 'glioserve_http_requests_total{method="POST",route="/studies",status="201"} 1.0' in metrics
    queue = 'glioserve_backlog{lane="routine",stage="prepare"}'
    eventually(lambda: queue in httpx.get(f"http://{gateway.health}/metrics").text)
    assert httpx.get(f"http://{gateway.health}/ready").is_success
    assert gateway.http.get("/health/live").json() == {"live": True}
    assert gateway.http.get("/health/ready").is_success


def test_the_api_description_names_every_answer(gateway: RunningGateway) -> None:
    described = gateway.http.get("/openapi.json").json()
    schemas = described["components"]["schemas"]
    text = json.dumps(described)
    refs = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert refs <= set(schemas)
    uploads = described["paths"]["/studies"]["post"]
    assert set(uploads["requestBody"]["content"]) == {"multipart/form-data", "application/zip", "application/dicom"}
    assert {"200", "201", "400", "409", "413", "415", "422", "503", "507"} <= set(uploads["responses"])
    study = finished(gateway)
    for path, model in [("", "StudyDetail"), ("/history", "HistoryDocument"), ("/results", "ResultsDocument")]:
        answer = gateway.http.get(f"/studies/{study}{path}").json()
        assert set(answer) == set(schemas[model]["properties"])
