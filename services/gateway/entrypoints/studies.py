"""Studies over HTTP: list, state, history, replay, lane, close."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query

from services.core.contracts.enums import Lane, Stage
from services.core.contracts.ids import StudyKey
from services.gateway.entrypoints.context import Context, known_study
from services.gateway.entrypoints.problems import problems
from services.gateway.entrypoints.schemas import (
    HistoryDocument,
    StudyDetail,
    StudyDocument,
    StudyList,
    history_document,
    study_detail,
    study_document,
)
from services.gateway.handlers import progress
from services.gateway.handlers.intake import close_study

router = APIRouter(tags=["studies"])
UNKNOWN = problems(HTTPStatus.NOT_FOUND)


@router.get("/studies", response_model=StudyList)
def list_studies(
    context: Context,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    before: Annotated[datetime | None, Query(description="`next` of the page before.")] = None,
) -> StudyList:
    """Studies, newest first."""
    views = context.views.studies(limit, before)
    more = views[-1].row.created_at.isoformat().replace("+00:00", "Z") if len(views) == limit else None
    return StudyList(studies=[study_document(view) for view in views], next=more)


@router.get("/studies/{study}", response_model=StudyDetail, responses=UNKNOWN)
def get_study(study: str, context: Context) -> StudyDetail:
    """State, stages with their times, current result, versions."""
    view = known_study(context, study)
    key = view.row.study
    return study_detail(view, context.views.versions(key), context.views.intraoperative(key))


@router.get("/studies/{study}/history", response_model=HistoryDocument, responses=UNKNOWN)
def get_history(study: str, context: Context) -> HistoryDocument:
    """Everything that happened to a study, oldest first."""
    known_study(context, study)
    return history_document(study, context.views.history(StudyKey(study)))


@router.post(
    "/studies/{study}/replay",
    status_code=HTTPStatus.ACCEPTED,
    response_model=StudyDocument,
    responses=problems(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
)
def replay_study(
    study: str,
    context: Context,
    stage: Annotated[Stage | None, Query(description="Default: the first that gave no result, else all.")] = None,
) -> StudyDocument:
    """Runs a stage once more, and what follows from it. The current result stands until a new one is there."""
    progress.replay(StudyKey(study), stage, context.intake.flow)
    return study_document(known_study(context, study))


@router.post(
    "/studies/{study}/lane",
    response_model=StudyDocument,
    responses=problems(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
)
def change_lane(study: str, lane: Annotated[Lane, Query()], context: Context) -> StudyDocument:
    """Changes the lane of the requests still to be made; those on the bus stay where they are."""
    progress.change_lane(StudyKey(study), lane, context.intake.flow)
    return study_document(known_study(context, study))


@router.post("/studies/{study}/close", response_model=StudyDocument, responses=UNKNOWN)
def close(study: str, context: Context) -> StudyDocument:
    """Closes a study now, without waiting for its quiet period."""
    close_study(StudyKey(study), context.intake)
    return study_document(known_study(context, study))
