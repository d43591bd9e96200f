"""`POST /studies`: a study as multipart, as a ZIP or as one DICOM instance, streamed to staging and then examined."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Annotated
from urllib.parse import unquote

from anyio import to_thread
from fastapi import APIRouter, Header, Query, Request, Response

from services.core.contracts.errors import GlioServeError
from services.gateway.domain.upload import FileKind, StagedFile, Statements, parse_statements
from services.gateway.entrypoints.body import announced_bytes, drained, fed
from services.gateway.entrypoints.context import Context, HttpContext, known_study
from services.gateway.entrypoints.multipart import MultipartReceiver
from services.gateway.entrypoints.problems import problems
from services.gateway.entrypoints.schemas import AcceptedDocument, accepted_document
from services.gateway.errors import BadRequest, Unsupported
from services.gateway.handlers.examine import examine
from services.gateway.handlers.intake import Accepted, accept
from services.gateway.ports import Upload

router = APIRouter(tags=["studies"])
DOOR = "http"

_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {
                    "files": {"type": "array", "items": {"type": "string", "format": "binary"}},
                    "lane": {"type": "string", "enum": ["stat", "routine"]},
                    "patient": {"type": "string", "maxLength": 64},
                    "acquired": {"type": "string"},
                    "sequence": {"type": "array", "items": {"type": "string"}},
                },
            }
        },
        "application/zip": {"schema": {"type": "string", "format": "binary"}},
        "application/dicom": {"schema": {"type": "string", "format": "binary"}},
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stated:
    """Statements beside the files, from query and headers; fields of a form come on top."""

    lane: str | None
    patient: str | None
    acquired: str | None
    sequences: list[str]

    def with_fields(self, fields: dict[str, list[str]]) -> Statements:
        def last(name: str, otherwise: str | None) -> str | None:
            return fields[name][-1] if fields.get(name) else otherwise

        return parse_statements(
            last("lane", self.lane),
            last("patient", self.patient),
            last("acquired", self.acquired),
            [*self.sequences, *fields.get("sequence", [])],
        )


@router.post(
    "/studies",
    status_code=HTTPStatus.CREATED,
    response_model=AcceptedDocument,
    responses={
        200: {"model": AcceptedDocument, "description": "Nothing new: the study is known with these images."},
        **problems(
            HTTPStatus.BAD_REQUEST,
            HTTPStatus.CONFLICT,
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            HTTPStatus.UNPROCESSABLE_ENTITY,
            HTTPStatus.INSUFFICIENT_STORAGE,
            HTTPStatus.SERVICE_UNAVAILABLE,
        ),
    },
    openapi_extra={"requestBody": _BODY},
)
async def create_study(  # noqa: PLR0913 - parameters of the API
    *,
    request: Request,
    response: Response,
    context: Context,
    lane: Annotated[str | None, Query(description="`stat` or `routine`.")] = None,
    acquired: Annotated[str | None, Query(description="When NIfTI files were acquired: YYYY-MM-DD[THH:MM:SS].")] = None,
    sequence: Annotated[list[str] | None, Query(description="SLOT=FILE, for names that do not say it.")] = None,
    patient: Annotated[str | None, Query(description="Whose NIfTI files these are; better sent as header.")] = None,
    glioserve_patient: Annotated[str | None, Header(description="As `patient`, percent-encoded.")] = None,
) -> AcceptedDocument:
    """Takes one study of one patient in. The answer comes when every byte is durable."""
    told = _Stated(
        lane=lane,
        patient=unquote(glioserve_patient) if glioserve_patient else patient,
        acquired=acquired,
        sequences=sequence or [],
    )
    body = request.stream()
    try:
        accepted = await _received(request, body, told, context)
    except GlioServeError as error:
        context.metrics.uploads.labels(DOOR, "refused").inc()
        await drained(body)
        raise error from None
    context.metrics.uploads.labels(DOOR, "accepted" if accepted.new_version else "known").inc()
    response.status_code = HTTPStatus.CREATED if accepted.new_version else HTTPStatus.OK
    response.headers["Location"] = f"/studies/{accepted.study}"
    view = await to_thread.run_sync(known_study, context, accepted.study)
    return accepted_document(view, accepted)


async def _received(request: Request, body: AsyncIterator[bytes], told: _Stated, context: HttpContext) -> Accepted:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    with context.staging.receive(announced_bytes(request)) as upload:
        if kind == "multipart/form-data":
            receiver = MultipartReceiver(request.headers["content-type"], upload)
            await fed(body, receiver.feed, context.metrics, DOOR)
            receiver.finish()
            statements = told.with_fields(receiver.fields)
        elif kind in ("application/zip", "application/x-zip-compressed", "application/dicom"):
            upload.begin("upload.zip" if "zip" in kind else "upload.dcm")
            await fed(body, upload.write, context.metrics, DOOR)
            upload.end()
            statements = told.with_fields({})
        else:
            raise Unsupported(
                "UNSUPPORTED_UPLOAD", "an upload is multipart/form-data, application/zip or application/dicom"
            )
        taken = partial(_take, upload, statements, context, zipped="zip" in kind)
        return await to_thread.run_sync(taken, limiter=context.examining)


def _take(upload: Upload, statements: Statements, context: HttpContext, *, zipped: bool) -> Accepted:
    files = _unpacked(upload, context, zipped=zipped)
    submission = examine(files, statements, context.inspector)
    return accept(submission, statements.lane, DOOR, context.intake)


def _unpacked(upload: Upload, context: HttpContext, *, zipped: bool) -> tuple[StagedFile, ...]:
    files = upload.files
    if not files or (zipped and files[0].size == 0):
        raise BadRequest("EMPTY_UPLOAD", "the upload holds no file")
    alone = len(files) == 1 and context.inspector.kind(files[0].path) is FileKind.ZIP
    return upload.unpack(files[0]) if zipped or alone else files
