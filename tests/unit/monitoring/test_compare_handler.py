"""The comparison as a stage: the latest study acquired earlier, volumes only, limits said aloud."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from services.core.contracts.documents import from_document
from services.core.contracts.enums import Completeness, Lane, Modality, Stage, Verdict
from services.core.contracts.errors import Permanent
from services.core.contracts.events import StageRequest
from services.core.contracts.facts import CompareFacts
from services.core.contracts.ids import RequestId
from services.core.contracts.manifest import Manifest
from services.core.runtime.clock import SystemClock
from services.core.runtime.failpoints import Failpoints
from services.core.runtime.stage import RunPorts, read_manifest, run
from services.core.storage.local import LocalBlobStore
from services.core.telemetry.metrics import Metrics
from services.monitoring.domain.change import BASELINE, NO_CATEGORY
from services.monitoring.handlers import NO_VOLUMES, CompareHandler
from services.monitoring.settings import MonitoringSettings
from tests.unit.monitoring.history import Visit, store_visit

pytestmark = pytest.mark.unit

NOW = Visit(study="now", acquired_at="2026-06-01", volumes={"WT": 44.0, "TC": 12.0, "ET": 9.12})
BEFORE = Visit(study="before", acquired_at="2026-03-09")
LONG_AGO = Visit(study="long-ago", acquired_at="2025-01-01", volumes={"WT": 1.0, "TC": 1.0, "ET": 1.0})


class World:
    """The stage over a real blob store."""

    def __init__(self, home: Path) -> None:
        self.blobs = LocalBlobStore(home / "blobs")
        self.ports = RunPorts(
            blobs=self.blobs,
            clock=SystemClock(),
            failpoints=Failpoints(home),
            metrics=Metrics(CollectorRegistry()),
        )

    def compare(self, current: Visit, *priors: Visit) -> Manifest:
        segment, prepare = store_visit(self.blobs, current)
        named = [replace(store_visit(self.blobs, prior)[0], role="prior") for prior in priors]
        asked = StageRequest(
            request_id=RequestId("q"),
            stage=Stage.COMPARE,
            study=current.ref(),
            lane=Lane.ROUTINE,
            inputs=(segment, prepare, *named),
            requested_at=datetime(2026, 6, 2, tzinfo=UTC),
        )
        outcome = run(CompareHandler(self.blobs, MonitoringSettings()), asked, self.ports, lambda: None)
        assert outcome.manifest is not None
        return read_manifest(self.blobs, outcome.manifest)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def facts_of(manifest: Manifest) -> CompareFacts:
    return from_document(CompareFacts, manifest.facts)


def codes(manifest: Manifest) -> set[str]:
    return {reason.code for reason in manifest.reasons}


def test_a_first_study_is_the_baseline(world: World) -> None:
    manifest = world.compare(NOW)
    assert facts_of(manifest) == CompareFacts(statement=BASELINE)
    assert manifest.completeness is Completeness.COMPLETE


def test_growth_beyond_the_threshold_is_said_in_numbers_without_a_category(world: World) -> None:
    manifest = world.compare(NOW, LONG_AGO, BEFORE)
    facts = facts_of(manifest)
    assert (facts.prior_study, facts.prior_run, facts.prior_acquired_at, facts.interval_days) == (
        "before",
        "segment-before",
        "2026-03-09",
        84,
    )
    assert facts.statement == (
        "Compared with the study of 2026-03-09 (84 days earlier). "
        "Enhancing volume (ET) increased by 52 % (6.0 to 9.1 ml), "
        "at or above the 40 % volumetric threshold for an increase. "
        "Tumour core (TC) increased by 20 % (10.0 to 12.0 ml), below the volumetric thresholds. "
        "Whole tumour (WT) increased by 10 % (40.0 to 44.0 ml), below the volumetric thresholds. " + NO_CATEGORY
    )
    assert {change.region: change.change_percent for change in facts.changes} == {"ET": 52.0, "TC": 20.0, "WT": 10.0}
    assert (manifest.completeness, manifest.verdict, manifest.reasons) == (Completeness.COMPLETE, Verdict.TRUSTED, ())


def test_the_latest_acquisition_wins_whatever_the_order_of_the_request(world: World) -> None:
    assert facts_of(world.compare(NOW, BEFORE, LONG_AGO)).prior_study == "before"


def test_a_study_acquired_later_is_no_prior(world: World) -> None:
    later = replace(BEFORE, study="later", acquired_at="2026-07-01")
    manifest = world.compare(NOW, BEFORE, later)
    assert facts_of(manifest).prior_study == "before"
    assert codes(manifest) == {"PRIOR_NOT_EARLIER"}


def test_times_of_one_day_are_told_apart(world: World) -> None:
    current = replace(NOW, acquired_at="2026-06-01T15:00:00")
    morning = replace(BEFORE, study="morning", acquired_at="2026-06-01T09:30:00")
    facts = facts_of(world.compare(current, BEFORE, morning))
    assert (facts.prior_study, facts.interval_days) == ("morning", 0)


def test_an_insufficient_prior_is_passed_over_and_named(world: World) -> None:
    empty = replace(BEFORE, completeness=Completeness.INSUFFICIENT)
    manifest = world.compare(NOW, LONG_AGO, empty)
    assert facts_of(manifest).prior_study == "long-ago"
    assert codes(manifest) == {"PRIOR_INSUFFICIENT"}
    assert manifest.completeness is Completeness.DEGRADED
    assert facts_of(world.compare(NOW, empty)).statement.startswith("Baseline: no earlier study that could be compared")


def test_a_flagged_prior_is_used_and_flags_the_comparison(world: World) -> None:
    manifest = world.compare(NOW, replace(BEFORE, verdict=Verdict.NEEDS_REVIEW))
    assert facts_of(manifest).prior_study == "before"
    assert codes(manifest) == {"PRIOR_FLAGGED"}
    assert manifest.verdict is Verdict.NEEDS_REVIEW


@pytest.mark.parametrize(
    ("now", "before", "whose"),
    [
        (None, "2026-03-09", "this study"),
        ("2026-06-01", None, "the earlier study"),
        (None, None, "this study and the earlier study"),
        ("once upon a time", "2026-03-09", "this study"),
    ],
)
def test_unknown_dates_are_stated(world: World, now: str | None, before: str | None, whose: str) -> None:
    manifest = world.compare(replace(NOW, acquired_at=now), replace(BEFORE, acquired_at=before))
    facts = facts_of(manifest)
    assert (facts.prior_study, facts.interval_days) == ("before", None)
    assert "interval unknown" in facts.statement
    assert [reason.code for reason in manifest.reasons] == ["DATE_UNKNOWN"]
    assert f"date of {whose} is unknown" in manifest.reasons[0].message


def test_an_undated_prior_never_displaces_a_dated_one(world: World) -> None:
    manifest = world.compare(NOW, BEFORE, replace(LONG_AGO, acquired_at=None))
    assert facts_of(manifest).prior_study == "before"
    assert codes(manifest) == {"PRIOR_UNDATED"}


def test_without_t1c_enhancement_is_not_compared(world: World) -> None:
    manifest = world.compare(NOW, replace(BEFORE, used=(Modality.T2W, Modality.T2F)))
    facts = facts_of(manifest)
    assert [change.region for change in facts.changes] == ["WT"]
    assert "Enhancing volume is not comparable" in facts.statement
    assert codes(manifest) == {"T1C_MISSING"}


def test_another_model_is_named_as_a_cause_of_change(world: World) -> None:
    assert codes(world.compare(NOW, replace(BEFORE, model="sha256:b"))) == {"MODELS_DIFFER"}


def test_other_labels_are_not_compared(world: World) -> None:
    manifest = world.compare(NOW, replace(BEFORE, schema="other.labels"))
    assert facts_of(manifest).prior_study is None
    assert codes(manifest) == {"PRIOR_OTHER_LABELS"}


def test_without_volumes_there_is_no_comparison(world: World) -> None:
    manifest = world.compare(replace(NOW, completeness=Completeness.INSUFFICIENT), BEFORE)
    assert facts_of(manifest) == CompareFacts(statement=NO_VOLUMES)
    assert manifest.completeness is Completeness.INSUFFICIENT


def test_limits_of_the_current_study_are_passed_on(world: World) -> None:
    manifest = world.compare(
        replace(NOW, completeness=Completeness.DEGRADED, verdict=Verdict.NEEDS_REVIEW), replace(BEFORE)
    )
    assert (manifest.completeness, manifest.verdict) == (Completeness.DEGRADED, Verdict.NEEDS_REVIEW)
    assert codes(manifest) == {"SEGMENTATION_DEGRADED", "SEGMENTATION_FLAGGED"}


def test_a_study_of_another_patient_stops_everything(world: World) -> None:
    with pytest.raises(Permanent) as caught:
        world.compare(NOW, replace(BEFORE, patient="patient-2"))
    assert caught.value.code == "PRIOR_OF_OTHER_PATIENT"
