"""The subtyping as a stage: it abstains unless there is reason not to, and never invents."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from services.core.contracts.documents import from_document
from services.core.contracts.enums import Completeness, Lane, Marker, Stage, Verdict
from services.core.contracts.errors import Permanent
from services.core.contracts.events import ManifestRef, StageRequest
from services.core.contracts.facts import Decision, SubtypeFacts
from services.core.contracts.ids import RequestId
from services.core.contracts.manifest import Manifest
from services.core.runtime.clock import SystemClock
from services.core.runtime.failpoints import Failpoints
from services.core.runtime.stage import RunPorts, read_manifest, run
from services.core.storage.local import LocalBlobStore
from services.core.telemetry.metrics import Metrics
from services.molecular_subtyping.bootstrap import shipped_calibration
from services.molecular_subtyping.domain.calibration import Calibration, Scaling
from services.molecular_subtyping.domain.who import NOTHING_DECIDED
from services.molecular_subtyping.handlers import SubtypeHandler
from services.molecular_subtyping.settings import SubtypeSettings
from tests.unit.molecular_subtyping.segmented import STUDY, Segmented, store_segmented

pytestmark = pytest.mark.unit


class World:
    """The stage over a real blob store."""

    def __init__(self, home: Path) -> None:
        self.calibration = shipped_calibration()
        self.blobs = LocalBlobStore(home / "blobs")
        self.ports = RunPorts(
            blobs=self.blobs,
            clock=SystemClock(),
            failpoints=Failpoints(home),
            metrics=Metrics(CollectorRegistry()),
        )

    def subtype(self, what: Segmented, settings: SubtypeSettings | None = None) -> Manifest:
        return self.run(store_segmented(self.blobs, what), settings=settings)

    def run(self, *inputs: ManifestRef, settings: SubtypeSettings | None = None) -> Manifest:
        asked = StageRequest(
            request_id=RequestId("q"),
            stage=Stage.SUBTYPE,
            study=STUDY,
            lane=Lane.ROUTINE,
            inputs=inputs,
            requested_at=datetime(2026, 1, 1, tzinfo=UTC),
        )
        handler = SubtypeHandler(self.blobs, self.calibration, settings or SubtypeSettings())
        outcome = run(handler, asked, self.ports, lambda: None)
        assert outcome.manifest is not None
        return read_manifest(self.blobs, outcome.manifest)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def facts_of(manifest: Manifest) -> SubtypeFacts:
    return from_document(SubtypeFacts, manifest.facts)


def decisions(manifest: Manifest) -> dict[str, Decision]:
    return {fact.marker: fact.decision for fact in facts_of(manifest).markers}


def test_no_evidence_abstains_on_every_marker(world: World) -> None:
    manifest = world.subtype(Segmented())
    assert set(decisions(manifest).values()) == {Decision.ABSTAINED}
    assert list(decisions(manifest)) == list(Marker)
    assert facts_of(manifest).who_2021 == NOTHING_DECIDED
    assert facts_of(manifest).calibration_version == shipped_calibration().version
    assert manifest.completeness is Completeness.COMPLETE


def test_strong_evidence_is_worded_as_a_suggestion(world: World) -> None:
    manifest = world.subtype(
        Segmented(evidence={Marker.IDH: (0.5, 40.0), Marker.CODEL_1P19Q: (40.0, 0.5), Marker.H3K27M: (30.0, 0.0)}),
        SubtypeSettings(decide_h3k27m=True),
    )
    assert decisions(manifest) == {
        "idh": Decision.POSITIVE,
        "codel_1p19q": Decision.NEGATIVE,
        "mgmt": Decision.ABSTAINED,
        "h3k27m": Decision.NEGATIVE,
    }
    said = facts_of(manifest).who_2021
    assert said == "Imaging suggests astrocytoma, IDH-mutant; tissue confirmation needed."
    for fact in facts_of(manifest).markers:
        assert "imaging suggests" in fact.statement or "not decided" in fact.statement


def test_mgmt_is_decided_only_where_a_setting_says_so(world: World) -> None:
    what = Segmented(evidence={Marker.MGMT: (0.0, 500.0)})
    world.calibration = replace(world.calibration, markers={Marker.MGMT: Scaling(temperature=1.0, bias=0.0)})
    assert decisions(world.subtype(what))["mgmt"] is Decision.ABSTAINED
    allowed = world.subtype(what, SubtypeSettings(decide_mgmt=True))
    assert decisions(allowed)["mgmt"] is Decision.POSITIVE
    assert facts_of(allowed).who_2021 == NOTHING_DECIDED  # methylation defines no type


def test_the_shipped_calibration_takes_no_evidence_on_mgmt_for_more_than_noise(world: World) -> None:
    what = Segmented(evidence={Marker.MGMT: (0.0, 20.0)})
    assert decisions(world.subtype(what, SubtypeSettings(decide_mgmt=True)))["mgmt"] is Decision.ABSTAINED


def test_a_marker_that_is_only_known_to_be_rare_is_not_called_absent(world: World) -> None:
    assert decisions(world.subtype(Segmented(evidence={Marker.H3K27M: (30.0, 0.0)})))["h3k27m"] is Decision.ABSTAINED


def test_without_a_tumour_nothing_is_available(world: World) -> None:
    manifest = world.subtype(Segmented(evidence={Marker.IDH: (0.0, 40.0)}, whole_ml=0.0))
    assert set(decisions(manifest).values()) == {Decision.NOT_AVAILABLE}
    assert {fact.probability for fact in facts_of(manifest).markers} == {None}
    assert manifest.completeness is Completeness.COMPLETE


def test_an_insufficient_segmentation_gives_no_number(world: World) -> None:
    manifest = world.subtype(Segmented(completeness=Completeness.INSUFFICIENT))
    assert manifest.completeness is Completeness.INSUFFICIENT
    assert set(decisions(manifest).values()) == {Decision.NOT_AVAILABLE}


def test_limits_and_doubts_of_the_segmentation_are_passed_on(world: World) -> None:
    manifest = world.subtype(Segmented(completeness=Completeness.DEGRADED, verdict=Verdict.NEEDS_REVIEW))
    assert (manifest.completeness, manifest.verdict) == (Completeness.DEGRADED, Verdict.NEEDS_REVIEW)
    assert {reason.code for reason in manifest.reasons} == {"SEGMENTATION_DEGRADED", "SEGMENTATION_FLAGGED"}


def test_a_request_without_a_segmentation_is_a_mistake(world: World) -> None:
    with pytest.raises(Permanent) as caught:
        world.run()
    assert caught.value.code == "INPUT_MISSING"


def test_another_calibration_is_another_run() -> None:
    shipped = shipped_calibration()
    other = Calibration(
        schema=shipped.schema,
        version="fitted-1",
        fitted_on="phantoms",
        markers={**shipped.markers, "idh": Scaling(temperature=2.0, bias=0.0)},
    )

    def digest(table: Calibration, settings: SubtypeSettings) -> str:
        return SubtypeHandler(None, table, settings).settings_hash  # type: ignore[arg-type]

    hashes = {
        digest(shipped, SubtypeSettings()),
        digest(other, SubtypeSettings()),
        digest(shipped, SubtypeSettings(decide_mgmt=True)),
    }
    assert len(hashes) == 3
