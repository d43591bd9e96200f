"""The system tests' stack, for tests that break it."""

from __future__ import annotations

from tests.system.conftest import stack as stack  # noqa: PLC0414 - a fixture is used by its name
