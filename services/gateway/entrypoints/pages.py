"""Web pages: the list of studies and a page per study that follows its progress. No script or style from elsewhere."""

from __future__ import annotations

import base64
import json
import secrets
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, select_autoescape

from services.core.contracts.result_model import DISCLAIMER
from services.gateway.entrypoints.context import Context, HttpContext, known_study
from services.gateway.entrypoints.problems import problems
from services.gateway.entrypoints.schemas import ResultItem, results_document, study_document
from services.gateway.ports import IdentityVault, StudyView

TEMPLATES = Path(__file__).with_name("templates")
LISTED = 200
MARKERS = {"idh": "IDH mutation", "codel_1p19q": "1p/19q codeletion", "mgmt": "MGMT methylation", "h3k27m": "H3 K27M"}
REGIONS = {
    "WT": "Whole tumour (WT)",
    "TC": "Tumour core (TC)",
    "ET": "Enhancing (ET)",
    "NCR": "Necrotic core (NCR)",
    "SNFH": "Non-enhancing FLAIR hyperintensity (SNFH)",
    "RC": "Resection cavity (RC)",
}


def pages_router(vault: IdentityVault) -> APIRouter:
    """`/` and `/studies/{study}/page`. Pages name the patient: they are for the people who may see the study."""
    router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)
    templates = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=select_autoescape(["html"]), trim_blocks=True, lstrip_blocks=True
    )
    templates.globals.update(disclaimer=DISCLAIMER, marker_names=MARKERS, region_names=REGIONS)

    def rendered(name: str, **values: Any) -> HTMLResponse:
        nonce = secrets.token_urlsafe(12)
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        text = templates.get_template(name).render(nonce=nonce, **values)
        return HTMLResponse(text, headers={"Content-Security-Policy": policy})

    def named(view: StudyView) -> dict[str, str]:
        identity = vault.identity(view.row.patient)
        if identity is None:
            return {"name": "", "id": ""}
        family, _, given = identity.name.split("=")[0].partition("^")
        return {
            "name": ", ".join(part for part in (family, given.replace("^", " ")) if part),
            "id": identity.patient_id,
        }

    @router.get("/")
    def list_page(context: Context) -> HTMLResponse:
        """All studies, newest first."""
        views = context.views.studies(LISTED)
        return rendered("list.html", studies=[(study_document(view), named(view)) for view in views])

    @router.get("/studies/{study}/page", responses=problems(HTTPStatus.NOT_FOUND))
    def study_page(study: str, context: Context) -> HTMLResponse:
        """One study: progress while it runs, then its result."""
        view = known_study(context, study)
        results = results_document(view.result).results if view.result else []
        return rendered(
            "study.html",
            study=study_document(view),
            patient=named(view),
            report=_report(context, view),
            results=results,
            images=_images(context, view, results),
        )

    return router


def _report(context: HttpContext, view: StudyView) -> Any:
    blob = view.result.outputs.get("report.json") if view.result else None
    return json.loads(context.blobs.read(blob)) if blob else None


def _images(context: HttpContext, view: StudyView, results: list[ResultItem]) -> list[str]:
    """Pictures as data URIs, so that a saved copy of the page is whole."""
    if view.result is None:
        return []
    pictures = [view.result.outputs[item.name] for item in results if item.media_type == "image/png"]
    return [f"data:image/png;base64,{base64.b64encode(context.blobs.read(blob)).decode()}" for blob in pictures]
