"""Two homes on one machine: neither sees, breaks or outlives the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.core.runtime.home import read_endpoints
from services.phantom import SMALL, generate, write_nifti
from tests.system.invariants import assert_one_current_result
from tests.system.stack import Stack, assert_nothing_left, leftovers, orphans, running

pytestmark = pytest.mark.system


def test_two_homes_run_side_by_side_and_one_outlives_the_other(stack: Stack, tmp_path: Path) -> None:
    write_nifti(generate(31, SMALL), tmp_path / "study")
    with running(tmp_path) as other:
        here, there = read_endpoints(stack.home), read_endpoints(other.home)
        assert not {*_addresses(here)} & {*_addresses(there)}
        ours, theirs = (one.submit(tmp_path / "study", patient="p-31") for one in (stack, other))
        other.kill("triton")
        for one, study in ((stack, ours), (other, theirs)):
            assert_one_current_result(one, [study])
            assert one.studies() == {study}
        assert ours != theirs, "the homes share a key of pseudonyms"
        other.stop()
        assert_nothing_left(other.home)
    assert orphans(stack.home)
    assert leftovers(stack.home)
    again = stack.submit(tmp_path / "study", patient="p-32")
    assert_one_current_result(stack, [again])


def _addresses(endpoints: dict[str, dict[str, str]]) -> list[str]:
    return [address for service in endpoints.values() for address in service.values()]
