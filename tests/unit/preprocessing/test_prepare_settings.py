"""Settings come from text, and those that change results change the settings hash."""

from __future__ import annotations

import pytest

from services.core.runtime.settings import SettingsError, affects_result, load
from services.preprocessing.settings import PrepareSettings

pytestmark = pytest.mark.unit


def loaded(**values: str) -> PrepareSettings:
    environ = {f"GLIOSERVE_PREPROCESSING__{name.upper()}": value for name, value in values.items()}
    return load(PrepareSettings, "preprocessing", environ)


def test_every_setting_can_be_written_as_text() -> None:
    found = loaded(n4="false", n4_iterations="20,10", thick_mm="5")
    assert (found.n4, found.n4_iterations, found.thick_mm) == (False, "20,10", 5.0)


@pytest.mark.parametrize("wrong", ["", "0", "10,,10", "ten", "1,2,3,4,5"])
def test_iterations_that_are_no_list_of_counts_fail_the_start(wrong: str) -> None:
    with pytest.raises(SettingsError):
        loaded(n4_iterations=wrong)


def test_threads_are_no_part_of_the_settings_hash_and_n4_is() -> None:
    assert affects_result(loaded(threads="4")) == affects_result(loaded())
    assert affects_result(loaded(n4="false")) != affects_result(loaded())
