"""Phantom studies that several tests share: made once a run, never changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.phantom import PhantomSpec, PhantomStudy, after_resection, generate
from tests.integration.preprocessing.studies import Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "blobs")


@pytest.fixture(scope="session")
def stripped() -> PhantomStudy:
    """Four aligned, stripped sequences of 2 mm."""
    return generate(3, PhantomSpec(spacing_mm=2.0))


@pytest.fixture(scope="session")
def head() -> PhantomStudy:
    """Four sequences of a whole head at 2 mm, three of them shifted by 6 mm and turned by 3 degrees."""
    return generate(4, PhantomSpec(spacing_mm=2.0, skull=True, misalignment_mm=6.0))


@pytest.fixture(scope="session")
def operated(head: PhantomStudy) -> PhantomStudy:
    """The person of `head` a day later, the tumour's core taken out, lying in another position."""
    return after_resection(head, days=1, seed=7)
