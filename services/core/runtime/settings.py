"""Settings: one frozen model per service, read once from the environment, unknown names refused.

Shared names carry the prefix GLIOSERVE_ (the table below); a service's own carry GLIOSERVE_<SERVICE>__. Fields marked
`affects_result` enter the settings hash and so the identity of every run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.core.contracts.ids import canonical_json

PREFIX = "GLIOSERVE_"
NOT_SETTINGS = frozenset({"GLIOSERVE_KAFKA_LIBS", "GLIOSERVE_REFERENCE_DATA", "GLIOSERVE_REQUIRE"})


class SettingsError(Exception):
    """The environment does not make valid settings; the message says which name and why, never a secret's value."""


class SharedSettings(BaseModel):
    """What several services read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path = Field(default=Path(".glioserve"), description="Everything this installation writes lies below it.")
    bus: str = Field(
        default="embedded",
        pattern=r"^(embedded|kafka://.+)$",
        description="`embedded`, or `kafka://host:port[,host:port]`.",
    )
    blobs: str = Field(
        default="local",
        pattern=r"^(local|s3://.+|tmpfs:///.+)$",
        description="`local` (below the home), `s3://bucket[/prefix]`, or in the theatre `tmpfs:///directory`.",
    )
    triton_url: str | None = Field(default=None, description="gRPC address of an external Triton, host:port.")
    triton_runtime: Path = Field(
        default=Path(__file__).parents[3] / ".venv-triton", description="Environment that holds `tritonserver`."
    )
    models: Path = Field(
        default=Path(__file__).parents[3] / "triton_models", description="The Triton model repository."
    )
    log_level: str = Field(
        default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="DEBUG, INFO, WARNING or ERROR."
    )
    otlp_endpoint: str | None = Field(default=None, description="OTLP/HTTP traces go there; none: not exported.")
    retry_budget_s: float = Field(
        default=900.0, gt=0, description="How long a transient failure is tried again before the dead letters."
    )


class ServiceSettings(BaseModel):
    """Base of a service's own settings: frozen, nothing unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid")


S = TypeVar("S", bound=ServiceSettings)


def load_shared(environ: Mapping[str, str]) -> SharedSettings:
    """Shared settings. Raises SettingsError on an unknown or invalid shared name."""
    names = {
        name: value
        for name, value in environ.items()
        if name.startswith(PREFIX) and "__" not in name and name not in NOT_SETTINGS
    }
    return _validated(
        SharedSettings, {name.removeprefix(PREFIX).lower(): value for name, value in names.items()}, PREFIX
    )


def load(model: type[S], service: str, environ: Mapping[str, str]) -> S:
    """A service's own settings, from GLIOSERVE_<SERVICE>__<FIELD>[__<FIELD>]. Raises SettingsError."""
    prefix = f"{PREFIX}{service.upper()}__"
    tree: dict[str, Any] = {}
    for name, value in environ.items():
        if name.startswith(prefix):
            *groups, leaf = name.removeprefix(prefix).lower().split("__")
            node = tree
            for group in groups:
                node = node.setdefault(group, {})
            node[leaf] = value
    return _validated(model, tree, prefix)


def affects_result(settings: BaseModel) -> str:
    """Digest over the fields marked with `json_schema_extra={"affects_result": True}`, nested groups included."""
    return hashlib.sha256(canonical_json(_marked(settings))).hexdigest()


def _marked(settings: BaseModel) -> dict[str, Any]:
    dumped = settings.model_dump(mode="json")
    chosen: dict[str, Any] = {}
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            chosen[name] = _marked(value)
        elif isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("affects_result"):
            chosen[name] = dumped[name]
    return chosen


M = TypeVar("M", bound=BaseModel)


def _said(kind: str, message: str) -> str:
    return "there is no such setting" if kind == "extra_forbidden" else message


def _validated(model: type[M], values: Mapping[str, Any], prefix: str) -> M:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = [
            f"{prefix}{'__'.join(str(p).upper() for p in e['loc'])}: {_said(e['type'], e['msg'])}"
            for e in error.errors()
        ]
        raise SettingsError("; ".join(lines)) from None
