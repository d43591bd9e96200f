"""Settings: unknown names stop the start, and only marked fields change the identity of a run."""

from __future__ import annotations

import pytest
from pydantic import Field

from services.core.runtime.settings import (
    ServiceSettings,
    SettingsError,
    affects_result,
    load,
    load_shared,
)

pytestmark = pytest.mark.unit


class Group(ServiceSettings):
    threshold: float = Field(default=0.5, json_schema_extra={"affects_result": True})


class Example(ServiceSettings):
    threads: int = 2
    steps: int = Field(default=3, json_schema_extra={"affects_result": True})
    group: Group = Group()


def test_values_come_from_the_environment_also_into_groups() -> None:
    settings = load(Example, "example", {"GLIOSERVE_EXAMPLE__STEPS": "5", "GLIOSERVE_EXAMPLE__GROUP__THRESHOLD": "0.7"})
    assert (settings.steps, settings.group.threshold) == (5, 0.7)


@pytest.mark.parametrize(
    ("name", "value"),
    [("GLIOSERVE_EXAMPLE__STPES", "5"), ("GLIOSERVE_EXAMPLE__STEPS", "many"), ("GLIOSERVE_EXAMPLE__GROUP__X", "1")],
)
def test_an_unknown_or_invalid_name_is_refused_and_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        load(Example, "example", {name: value})


def test_an_unknown_shared_name_is_refused() -> None:
    with pytest.raises(SettingsError, match="GLIOSERVE_BUZ"):
        load_shared({"GLIOSERVE_BUZ": "kafka://x"})


@pytest.mark.parametrize(("name", "value"), [("GLIOSERVE_BUS", "rabbit://x"), ("GLIOSERVE_LOG_LEVEL", "silly")])
def test_a_shared_value_without_a_meaning_is_refused_before_anything_starts(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        load_shared({name: value})


def test_names_of_other_services_are_none_of_ours() -> None:
    assert load(Example, "example", {"GLIOSERVE_OTHER__X": "1", "PATH": "/bin"}) == Example()
    assert load_shared({"GLIOSERVE_OTHER__X": "1", "GLIOSERVE_BUS": "embedded"}).bus == "embedded"


def test_only_marked_fields_enter_the_settings_hash() -> None:
    base = affects_result(Example())
    assert affects_result(Example(threads=9)) == base
    assert affects_result(Example(steps=4)) != base
    assert affects_result(Example(group=Group(threshold=0.9))) != base
