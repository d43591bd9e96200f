"""How fast one stream of poses is answered."""

from __future__ import annotations

import pytest

from services.navigation.poses.pace import BURST_S, Pace

pytestmark = pytest.mark.unit


def test_poses_that_come_in_time_never_wait_and_those_that_come_too_fast_keep_to_the_rate() -> None:
    pace = Pace(a_second=100.0)
    assert [pace.wait_s(0.02 * n) for n in range(50)] == [0.0] * 50
    slow = Pace(a_second=2.0)
    assert [slow.wait_s(0.5 * n) for n in range(20)] == [0.0] * 20
    hasty = Pace(a_second=100.0)
    waits = [hasty.wait_s(1.0) for _ in range(120)]
    burst = round(BURST_S * 100)
    assert waits[:burst] == pytest.approx([0.0] * burst)
    assert waits[-1] == pytest.approx((120 - burst) / 100)
    assert hasty.wait_s(1.0 + waits[-1] + BURST_S) == 0.0
