"""A stack for each module of system tests, and small studies to send."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.triton import require_triton
from tests.system.stack import Stack, running


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    require_triton()
    with running(tmp_path_factory.mktemp("stack")) as started:
        yield started
