"""Names of documents: relative paths of `[A-Za-z0-9._-]` parts, none beginning with a dot, so none leaves its place."""

from __future__ import annotations

import re

_NAME = re.compile(r"(?!\.)[A-Za-z0-9._-]+(/(?!\.)[A-Za-z0-9._-]+)*")


def is_document_name(name: str) -> bool:
    """True for such a path."""
    return _NAME.fullmatch(name) is not None


def checked_document_name(name: str) -> str:
    """The name itself. Raises ValueError on any other than such a path."""
    if not is_document_name(name):
        raise ValueError(f"not a document name: {name[:80]!r}")
    return name
