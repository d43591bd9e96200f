"""`GET /studies/{id}/events`: Server-Sent Events (WHATWG HTML 9.2). Each event is the study document after a change.

First the current state comes, then every change; changes in quick succession may share an event. The id of an event
is the document's `change`; with `Last-Event-ID` the first event waits until something has changed since.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Header
from fastapi.responses import StreamingResponse

from services.core.contracts.errors import Transient
from services.core.contracts.ids import StudyKey
from services.gateway.entrypoints.body import whole_number
from services.gateway.entrypoints.context import Context, HttpContext, known_study
from services.gateway.entrypoints.problems import problems
from services.gateway.entrypoints.schemas import study_document

router = APIRouter(tags=["studies"])
LOOK_EVERY_S = 1.0
"""Another gateway process may change the study: this one looks for itself so often."""


@router.get(
    "/studies/{study}/events",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "Study documents."},
        **problems(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE),
    },
)
async def study_events(
    study: str, context: Context, last_event_id: Annotated[str | None, Header()] = None
) -> StreamingResponse:
    """The study document, now and after every change, until the client goes or the gateway stops."""
    view = await to_thread.run_sync(known_study, context, study)
    if context.streams.count >= context.limits.streams:
        raise Transient("TOO_MANY_STREAMS", "too many event streams are open", "Ask for the study instead.")
    known = whole_number(last_event_id)
    seen = -1 if known is None else known
    return StreamingResponse(
        _events(view.row.study, seen, context),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _events(study: StudyKey, seen: int, context: HttpContext) -> AsyncIterator[str]:
    context.streams.count += 1
    silent_s = 0.0
    try:
        yield "retry: 2000\n\n"
        while not context.stop.is_set():
            if await to_thread.run_sync(context.views.last_change, study) != seen:
                view = await to_thread.run_sync(known_study, context, study)
                seen, silent_s = view.last_change, 0.0
                yield f"id: {seen}\nevent: study\ndata: {study_document(view).model_dump_json()}\n\n"
            pause = min(LOOK_EVERY_S, context.limits.heartbeat_s)
            await context.changes.wait(pause)
            silent_s += pause
            if silent_s >= context.limits.heartbeat_s:
                silent_s = 0.0
                yield ": still here\n\n"
    finally:
        context.streams.count -= 1
