"""Records to JSON documents and back, strictly: unknown keys, missing keys and wrong types are ValueErrors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, cast

from cattrs import BaseValidationError, transform_error
from cattrs.preconf.json import make_converter

from services.core.contracts.ids import JsonValue

R = TypeVar("R")

_converter = make_converter(forbid_extra_keys=True, omit_if_default=False)


def to_document(record: object) -> dict[str, JsonValue]:
    """A frozen dataclass as a JSON object."""
    return cast("dict[str, JsonValue]", _converter.unstructure(record))


def from_document(kind: type[R], document: Mapping[str, Any]) -> R:
    """The inverse of `to_document`. Raises ValueError that names what does not fit."""
    try:
        return _converter.structure(document, kind)
    except (BaseValidationError, KeyError, TypeError) as error:
        raise ValueError(f"not a {kind.__name__}: {'; '.join(transform_error(error))}") from error
