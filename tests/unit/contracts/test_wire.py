"""Events survive the wire, and equal questions have equal identities."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.contracts.enums import BlobClass, Lane, OutcomeStatus, SegmentStep, Stage
from services.core.contracts.events import (
    BlobRef,
    ManifestRef,
    Problem,
    StageOutcome,
    StageRequest,
    StudyRef,
    canonical_request,
    request_id_for,
    run_id_for,
)
from services.core.contracts.ids import PatientKey, RequestId, RunId, StudyKey, digest_of
from services.core.contracts.wire import decode_outcome, decode_request, encode_outcome, encode_request

pytestmark = pytest.mark.unit

texts = st.text(max_size=40)
times = st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
blobs = st.builds(
    BlobRef,
    digest=st.binary(max_size=8).map(digest_of),
    size=st.integers(0, 2**40),
    media_type=texts,
    blob_class=st.sampled_from(BlobClass),
)
manifests = st.builds(ManifestRef, role=texts, run_id=texts.map(RunId), blob=blobs)
problems = st.builds(
    Problem,
    stage=st.sampled_from(Stage),
    status=st.sampled_from(OutcomeStatus),
    code=texts,
    message=texts,
    advice=texts,
)
studies = st.builds(StudyRef, patient=texts.map(PatientKey), study=texts.map(StudyKey), version=st.integers(1, 2**31))
requests = st.builds(
    StageRequest,
    request_id=texts.map(RequestId),
    stage=st.sampled_from(Stage),
    study=studies,
    lane=st.sampled_from(Lane),
    inputs=st.lists(manifests, max_size=4).map(tuple),
    requested_at=times,
    replay=st.integers(0, 9),
    revision=st.integers(0, 9),
    step=st.none() | st.sampled_from(SegmentStep),
    problems=st.lists(problems, max_size=2).map(tuple),
)
outcomes = st.builds(
    StageOutcome,
    request_id=texts.map(RequestId),
    stage=st.sampled_from(Stage),
    study=studies,
    lane=st.sampled_from(Lane),
    status=st.sampled_from(OutcomeStatus),
    run_id=texts.map(RunId),
    emitted_at=times,
    manifest=st.none() | manifests,
    problem=st.none() | problems,
)


@given(requests)
def test_a_request_survives_the_wire(request_: StageRequest) -> None:
    assert decode_request(encode_request(request_)) == request_


@given(outcomes)
def test_an_outcome_survives_the_wire(outcome: StageOutcome) -> None:
    assert decode_outcome(encode_outcome(outcome)) == outcome


@given(requests, times, st.sampled_from(Lane))
def test_time_and_lane_do_not_change_the_identity_of_a_run(request_: StageRequest, when: datetime, lane: Lane) -> None:
    later = replace(request_, requested_at=when, lane=lane, request_id=RequestId("another"))
    assert run_id_for(later, "s", []) == run_id_for(request_, "s", [])


@given(requests)
def test_replay_settings_and_models_change_the_identity_of_a_run(request_: StageRequest) -> None:
    digest = digest_of(b"weights")
    asked_again = replace(request_, replay=request_.replay + 1)
    ids = {
        run_id_for(request_, "s", []),
        run_id_for(asked_again, "s", []),
        run_id_for(request_, "t", []),
        run_id_for(request_, "s", [digest]),
    }
    assert len(ids) == 4
    assert request_id_for(canonical_request(asked_again)) != request_id_for(canonical_request(request_))


@pytest.mark.parametrize("data", [b"\xff\xff", b"", b"\x10\x63"])
def test_bytes_that_are_no_event_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - several messages, one reaction
        decode_request(data)
    with pytest.raises(ValueError):  # noqa: PT011
        decode_outcome(data)
