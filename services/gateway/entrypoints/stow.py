"""STOW-RS (PS3.18 10.5): instances as multipart/related, streamed to staging, each with its own receipt.

Success means durable (rule 1). Instances of several studies may come in one request; each study closes after its quiet
period, or by `POST /studies/{id}/close`: the answer's Link headers name the studies.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse
from python_multipart.multipart import parse_options_header

from services.core.contracts.errors import GlioServeError, Transient
from services.core.imaging.dicom_file import is_uid
from services.gateway.domain.upload import parse_statements
from services.gateway.entrypoints.body import announced_bytes, drained, fed
from services.gateway.entrypoints.context import Context, HttpContext
from services.gateway.entrypoints.dicom_status import status_number
from services.gateway.entrypoints.parts import PartReceiver
from services.gateway.entrypoints.problems import problems
from services.gateway.errors import BadRequest, Unsupported
from services.gateway.handlers.instances import Delivery, Receipt, take_instances
from services.gateway.ports import InstanceName, Upload

DOOR = "stow"
DICOM_JSON = "application/dicom+json"
MAX_LINKS = 20
router = APIRouter(prefix="/dicomweb", tags=["dicomweb"])
_BODY = {
    "required": True,
    "content": {
        'multipart/related; type="application/dicom"': {
            "schema": {"type": "array", "items": {"type": "string", "format": "binary"}}
        }
    },
}
_PAYLOAD = {DICOM_JSON: {"schema": {"type": "object", "description": "Store Instances Response Module, PS3.18 I.2."}}}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "Every instance is stored.", "content": _PAYLOAD},
    202: {"description": "Some instances are stored; FailedSOPSequence says which are not.", "content": _PAYLOAD},
    409: {"description": "No instance is stored; FailedSOPSequence says why.", "content": _PAYLOAD},
    **problems(
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.NOT_ACCEPTABLE,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.INSUFFICIENT_STORAGE,
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
}


class DicomJson(JSONResponse):
    """The DICOM JSON model (PS3.18 F)."""

    media_type = DICOM_JSON


class InstanceReceiver(PartReceiver):
    """Each part is one instance and goes straight to staging."""

    def __init__(self, content_type: str, upload: Upload) -> None:
        super().__init__(content_type)
        self._upload = upload

    def began(self, headers: Mapping[str, bytes]) -> None:
        """A new instance. Raises Unsupported when the part is something else."""
        kind, _ = parse_options_header(headers.get("content-type", b"application/dicom"))
        if kind != b"application/dicom":
            raise _unsupported()
        self._upload.begin("instance.dcm")

    def data(self, data: bytes) -> None:
        """More of it. Raises TooLarge, NoSpace."""
        self._upload.write(data)

    def ended(self) -> None:
        """It is whole."""
        self._upload.end()


Lane = Annotated[str | None, Query(description="`stat` or `routine`; not part of DICOMweb.")]


@router.post("/studies", response_class=DicomJson, responses=_RESPONSES, openapi_extra={"requestBody": _BODY})
async def store_instances(request: Request, context: Context, lane: Lane = None) -> Response:
    """Stores instances of any studies."""
    return await _answered(request, context, Delivery(door=DOOR, lane=parse_statements(lane, None, None, []).lane))


@router.post(
    "/studies/{study_uid}", response_class=DicomJson, responses=_RESPONSES, openapi_extra={"requestBody": _BODY}
)
async def store_study_instances(study_uid: str, request: Request, context: Context, lane: Lane = None) -> Response:
    """Stores instances of one study, named by its StudyInstanceUID; others fail."""
    if not is_uid(study_uid):
        raise BadRequest("BAD_UID", "the address names no StudyInstanceUID")
    stated = parse_statements(lane, None, None, [])
    return await _answered(request, context, Delivery(door=DOOR, lane=stated.lane, study_uid=study_uid))


async def _answered(request: Request, context: HttpContext, delivery: Delivery) -> Response:
    _require_acceptable(request.headers.get("accept", ""))
    body = request.stream()
    try:
        receipts = await _received(request, body, delivery, context)
        _raise_if_all_may_retry(receipts)
    except GlioServeError as error:
        context.metrics.uploads.labels(DOOR, "refused").inc()
        await drained(body)
        raise error from None
    stored = sum(receipt.error is None for receipt in receipts)
    context.metrics.uploads.labels(DOOR, "accepted" if stored else "refused").inc()
    return _response(receipts, stored)


async def _received(
    request: Request, body: AsyncIterator[bytes], delivery: Delivery, context: HttpContext
) -> list[Receipt]:
    content_type = request.headers.get("content-type", "")
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/related" or options.get(b"type", b"application/dicom").lower() != b"application/dicom":
        raise _unsupported()
    with context.staging.receive(announced_bytes(request)) as upload:
        receiver = InstanceReceiver(content_type, upload)
        await fed(body, receiver.feed, context.metrics, DOOR)
        receiver.finish()
        if not upload.files:
            raise BadRequest("EMPTY_UPLOAD", "the request holds no instance")
        taken = partial(take_instances, upload.files, delivery, context.inspector, context.intake)
        return await to_thread.run_sync(taken, limiter=context.examining)


def _raise_if_all_may_retry(receipts: Sequence[Receipt]) -> None:
    """Nothing was wrong with the instances: the sender is told to come again, not that they failed."""
    errors = [receipt.error for receipt in receipts]
    if errors[0] is not None and all(isinstance(error, Transient) for error in errors):
        raise errors[0]


def _response(receipts: Sequence[Receipt], stored: int) -> Response:
    status = HTTPStatus.OK if stored == len(receipts) else HTTPStatus.ACCEPTED if stored else HTTPStatus.CONFLICT
    response = DicomJson(_payload(receipts), status_code=status)
    if stored < len(receipts):
        codes = Counter(receipt.error.code for receipt in receipts if receipt.error is not None)
        told = ", ".join(f"{code} {count}" for code, count in sorted(codes.items()))
        response.headers["Warning"] = (
            f'299 glioserve "{len(receipts) - stored} of {len(receipts)} instances were not stored: {told}"'
        )
    studies = dict.fromkeys(receipt.study for receipt in receipts if receipt.study is not None)
    for study in list(studies)[:MAX_LINKS]:
        response.headers.append("Link", f'</studies/{study}>; rel="related"')
    return response


def _payload(receipts: Sequence[Receipt]) -> dict[str, object]:
    """Store Instances Response Module (PS3.18 I.2). Retrieve URLs are empty: nothing is given out by WADO-RS."""
    stored, failed, other = [], [], []
    for receipt in receipts:
        if receipt.error is None and receipt.name is not None:
            stored.append({**_reference(receipt.name), "00081190": {"vr": "UR"}})
        elif receipt.error is not None:
            reason = {"00081197": {"vr": "US", "Value": [status_number(receipt.error)]}}
            if receipt.name is None:
                other.append(reason)
            else:
                failed.append({**_reference(receipt.name), **reason})
    sequences = {"00081198": failed, "00081199": stored, "0008119A": other}
    filled = {tag: {"vr": "SQ", "Value": items} for tag, items in sequences.items() if items}
    return {"00081190": {"vr": "UR"}, **filled}


def _reference(name: InstanceName) -> dict[str, object]:
    return {
        "00081150": {"vr": "UI", "Value": [name.sop_class]},
        "00081155": {"vr": "UI", "Value": [name.instance]},
    }


def _require_acceptable(accept: str) -> None:
    kinds = {part.partition(";")[0].strip().lower() for part in accept.split(",")} - {""}
    if kinds and not kinds & {DICOM_JSON, "application/json", "application/*", "*/*"}:
        raise HTTPException(HTTPStatus.NOT_ACCEPTABLE)


def _unsupported() -> Unsupported:
    return Unsupported(
        "UNSUPPORTED_UPLOAD", 'STOW-RS takes multipart/related; type="application/dicom", one instance a part'
    )
