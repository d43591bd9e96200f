"""Errors as RFC 9457 problem documents, with a stable `code`. One table says which error is which status."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from services.core.contracts.errors import GlioServeError, Permanent, Refused, Transient
from services.gateway.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    NoSpace,
    NotFound,
    TooLarge,
    Unauthenticated,
    Unsupported,
)
from services.gateway.handlers.examine import UnknownNames

PROBLEM_MEDIA_TYPE = "application/problem+json"
STATUS_OF: Mapping[type[GlioServeError], HTTPStatus] = {  # the first that fits, from the special to the general
    BadRequest: HTTPStatus.BAD_REQUEST,
    Unauthenticated: HTTPStatus.UNAUTHORIZED,
    Forbidden: HTTPStatus.FORBIDDEN,
    NotFound: HTTPStatus.NOT_FOUND,
    Conflict: HTTPStatus.CONFLICT,
    TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Unsupported: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    NoSpace: HTTPStatus.INSUFFICIENT_STORAGE,
    Refused: HTTPStatus.UNPROCESSABLE_ENTITY,
    Transient: HTTPStatus.SERVICE_UNAVAILABLE,
    Permanent: HTTPStatus.INTERNAL_SERVER_ERROR,
}
_FULL = frozenset({"DISK_FULL"})
log = logging.getLogger(__name__)


class Problem(BaseModel):
    """A problem document. `code` is stable; `advice` says what the reader can do."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    advice: str = ""
    names: list[str] | None = Field(default=None, description="Files of this very upload that are meant.")


def status_of(error: GlioServeError) -> HTTPStatus:
    """The status of an error, by its class; a full disk is 507 whoever notices it."""
    if error.code in _FULL:
        return HTTPStatus.INSUFFICIENT_STORAGE
    return next(status for kind, status in STATUS_OF.items() if isinstance(error, kind))


def problem_response(error: GlioServeError) -> JSONResponse:
    """The answer to an error."""
    status = status_of(error)
    body = Problem(title=status.phrase, status=status, detail=error.message, code=error.code, advice=error.advice)
    if isinstance(error, UnknownNames):
        body = body.model_copy(update={"names": list(error.names)[:100]})
    headers = {"WWW-Authenticate": "Bearer"} if status is HTTPStatus.UNAUTHORIZED else {}
    if status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.INSUFFICIENT_STORAGE):
        headers["Retry-After"] = "30"
    return JSONResponse(
        body.model_dump(exclude_none=True), status_code=status, headers=headers, media_type=PROBLEM_MEDIA_TYPE
    )


def add_problem_handlers(app: FastAPI) -> None:
    """Every error of this application becomes a problem document, also a route that does not exist."""
    app.add_exception_handler(GlioServeError, _known)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


def problems(*statuses: HTTPStatus) -> dict[int | str, dict[str, object]]:
    """For `responses=` of a route: these statuses answer with a problem document."""
    content = {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {int(status): {"description": status.phrase, "content": content} for status in statuses}


async def _known(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, GlioServeError):
        raise error
    log.info("http.problem", extra={"code": error.code, "status": int(status_of(error))})
    return problem_response(error)


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    places = sorted({".".join(str(part) for part in item["loc"]) for item in error.errors()})
    return problem_response(Refused("INVALID_PARAMETER", f"not valid: {', '.join(places)[:500]}"))


async def _http(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    status = HTTPStatus(error.status_code)
    body = Problem(title=status.phrase, status=status, detail=status.description or status.phrase, code=status.name)
    headers = dict(error.headers or {})
    return JSONResponse(
        body.model_dump(exclude_none=True), status_code=status, headers=headers, media_type=PROBLEM_MEDIA_TYPE
    )


async def _unexpected(_: Request, error: Exception) -> JSONResponse:
    log.error("http.unexpected", exc_info=error)
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    body = Problem(title=status.phrase, status=status, detail="an error of ours; it is in the log", code="UNEXPECTED")
    return JSONResponse(body.model_dump(exclude_none=True), status_code=status, media_type=PROBLEM_MEDIA_TYPE)
