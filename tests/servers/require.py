"""Servers that tests need and a machine may lack: skipped by name, or a failure where they are required.

GLIOSERVE_REQUIRE is a comma-separated list of names; a test that needs one of them then fails instead of being skipped.
"""

from __future__ import annotations

import os
from typing import Literal

import pytest

Server = Literal["cluster", "dicom3tools", "helm", "kafka", "postgres", "prometheus", "s3", "triton"]
COMMANDS: dict[Server, str] = {
    "cluster": "make cluster-test",
    "dicom3tools": "make servers",
    "helm": "make chart",
    "kafka": "make servers",
    "postgres": "make servers",
    "prometheus": "make servers",
    "s3": "make servers",
    "triton": "make setup",
}


def require(name: Server, missing: str | None) -> None:
    """Passes when nothing is missing; else skips, or fails where GLIOSERVE_REQUIRE names the server."""
    if missing is None:
        return
    message = f"needs {name}: {missing}; enable it with `{COMMANDS[name]}`"
    if name in os.environ.get("GLIOSERVE_REQUIRE", "").split(","):
        pytest.fail(message, pytrace=False)
    pytest.skip(message)
