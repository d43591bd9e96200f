"""Studies of two patients come in disorder, on both lanes; every stage of each fails once. What holds in the end."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtests.order import send_and_check
from tests.system.stack import Stack

pytestmark = pytest.mark.system


def test_reports_name_the_latest_earlier_study_whatever_came_first(stack: Stack, tmp_path: Path) -> None:
    assert send_and_check(stack, tmp_path, seed=5, patients=2, visits=3)["holds"]
