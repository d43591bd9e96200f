"""Current results over HTTP: the list, and each output with its media type and an ETag.

Where an output carries an identity, the stamper puts it in here, at the last moment before it leaves (rule 10).
"""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import BinaryIO

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from services.core.contracts.ids import digest_of
from services.gateway.entrypoints.context import Context, known_study
from services.gateway.entrypoints.problems import problems
from services.gateway.entrypoints.schemas import ResultsDocument, media_type_of, results_document
from services.gateway.errors import NotFound
from services.gateway.ports import ResultRow, StudyView

router = APIRouter(tags=["results"])
CHUNK = 1 << 20
_ANY = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}


@router.get("/studies/{study}/results", response_model=ResultsDocument, responses=problems(HTTPStatus.NOT_FOUND))
def list_results(study: str, context: Context) -> ResultsDocument:
    """Outputs of the current result: the highest revision of the current version."""
    return results_document(_current(known_study(context, study)))


@router.get(
    "/studies/{study}/results/{name}",
    response_class=Response,
    responses={
        200: {"content": _ANY, "description": "The output; its type is that of the list."},
        304: {"description": "Not changed."},
        **problems(HTTPStatus.NOT_FOUND),
    },
)
def get_result(study: str, name: str, request: Request, context: Context) -> Response:
    """One output of the current result."""
    view = known_study(context, study)
    blob = _current(view).outputs.get(name)
    if blob is None:
        raise NotFound("UNKNOWN_RESULT", "the current result has no output of this name")
    if context.stamper.applies(name):
        stamped = context.stamper.stamp(view, name, context.blobs.read(blob))
        headers = _headers(name, digest_of(stamped), len(stamped))
        unchanged = _unchanged(request, headers)
        return unchanged or Response(stamped, media_type=media_type_of(name, blob.media_type), headers=headers)
    headers = _headers(name, blob.digest, blob.size)
    if (unchanged := _unchanged(request, headers)) is not None:
        return unchanged
    stream = context.blobs.open(blob)  # before the answer begins: a blob that is away is a problem document
    return StreamingResponse(_chunks(stream), media_type=media_type_of(name, blob.media_type), headers=headers)


def _current(view: StudyView) -> ResultRow:
    if view.result is None:
        raise NotFound("NO_RESULT_YET", "the current version of the study has no result yet", "Follow its events.")
    return view.result


def _headers(name: str, digest: str, size: int) -> dict[str, str]:
    return {
        "ETag": f'"{digest}"',
        "Cache-Control": "private, no-cache",
        "Content-Length": str(size),
        "Content-Disposition": f'inline; filename="{name}"',
    }


def _unchanged(request: Request, headers: dict[str, str]) -> Response | None:
    known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
    if headers["ETag"] not in known and "*" not in known:
        return None
    kept = {name: value for name, value in headers.items() if name in ("ETag", "Cache-Control")}
    return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=kept)


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    with stream:
        while chunk := stream.read(CHUNK):
            yield chunk
