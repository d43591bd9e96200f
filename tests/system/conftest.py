"""A stack for each module of system tests, and small studies to send."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.require import require
from tests.servers.triton import runtime_present
from tests.system.stack import Stack, running


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    require("triton", runtime_present(), "make setup")
    with running(tmp_path_factory.mktemp("stack")) as started:
        yield started
