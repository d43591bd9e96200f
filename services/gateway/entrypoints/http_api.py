"""The HTTP application: routers, problems, guard. Web pages and DICOMweb mount their own routers beside these."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from fastapi import APIRouter, FastAPI
from fastapi.responses import JSONResponse

from services.gateway.entrypoints import events, results, studies, uploads
from services.gateway.entrypoints.context import HttpContext
from services.gateway.entrypoints.guard import Guard
from services.gateway.entrypoints.problems import Problem, add_problem_handlers

DESCRIPTION = """Glioma MRI studies in, one consistent result set out.

Research use; synthetic training data; not for diagnosis. Errors are problem documents (RFC 9457) with a stable `code`.
"""


def create_app(
    context: HttpContext, checks: Mapping[str, Callable[[], bool]], extra: Sequence[APIRouter] = ()
) -> FastAPI:
    """The application. `checks` decide readiness; `extra` routers come with their own paths."""
    app = FastAPI(
        title="GlioServe gateway",
        version="1",
        description=DESCRIPTION,
        docs_url=None,  # its pages load scripts from elsewhere
        redoc_url=None,
        openapi_url="/openapi.json",
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.context = context
    add_problem_handlers(app)
    for router in (uploads.router, studies.router, events.router, results.router, _health(checks), *extra):
        app.include_router(router)
    app.add_middleware(Guard, tokens=context.tokens, metrics=context.metrics)
    _name_problem(app)
    return app


def _health(checks: Mapping[str, Callable[[], bool]]) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get("/health/live")
    def live() -> dict[str, bool]:
        """Answers while the process runs."""
        return {"live": True}

    @router.get("/health/ready", responses={503: {"description": "Not ready; which check fails."}})
    def ready() -> JSONResponse:
        """Every check by name."""
        found = {name: check() for name, check in checks.items()}
        return JSONResponse(found, status_code=200 if all(found.values()) else 503)

    return router


def _name_problem(app: FastAPI) -> None:
    """The schema of problem documents is referred to by every route; FastAPI only lists models of its own answers."""
    described = app.openapi()
    schemas = described.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = Problem.model_json_schema()
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    for path in described["paths"].values():
        for operation in path.values():
            invalid = operation.get("responses", {}).get("422")
            if invalid is not None:
                invalid["description"] = "Unprocessable Entity"
                invalid["content"] = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
