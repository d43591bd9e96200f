from __future__ import annotations

from pathlib import Path

import pytest

from services.core.contracts.documents import from_document, to_document
from services.core.contracts.enums import Completeness, Modality, OutcomeStatus, Stage, Verdict
from services.core.contracts.errors import Permanent
from services.core.contracts.events import ManifestRef, Problem, StudyRef
from services.core.contracts.ids import PatientKey, StudyKey, canonical_json, digest_of
from services.core.contracts.manifest import Reason
from services.core.contracts.result_model import DISCLAIMER, StudyResult
from services.core.runtime.stage import read_manifest
from services.core.storage.local import LocalBlobStore
from services.reporting.domain.assemble import assemble
from services.reporting.domain.evidence import Evidence, evidence_of
from tests.builders import Shelf, failed, followed_up, report_request

pytestmark = pytest.mark.unit

LINEAGE = digest_of(b"lineage")


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(blobs=LocalBlobStore(tmp_path))


def evidence(shelf: Shelf, inputs: list[ManifestRef], *problems: Problem) -> Evidence:
    manifests = {ref.role: read_manifest(shelf.blobs, ref) for ref in inputs}
    return evidence_of(report_request(inputs, problems=problems), manifests)


def result(shelf: Shelf, inputs: list[ManifestRef], *problems: Problem, lost: tuple[Reason, ...] = ()) -> StudyResult:
    request = report_request(inputs, problems=problems)
    return assemble(request, evidence(shelf, inputs, *problems), LINEAGE, lost=lost)


def test_all_stages_done_make_a_complete_and_trusted_result(shelf: Shelf) -> None:
    made = result(shelf, [shelf.intake(), shelf.prepare(), shelf.segment(), shelf.subtype(), shelf.compare()])
    assert (made.completeness, made.verdict, made.reasons) == (Completeness.COMPLETE, Verdict.TRUSTED, ())
    assert made.volumes_ml is not None
    assert made.volumes_ml["WT"] > made.volumes_ml["TC"] > made.volumes_ml["ET"] > 0
    assert [marker.marker for marker in made.markers] == ["idh", "codel_1p19q", "mgmt", "h3k27m"]
    assert made.reference is Modality.T1C
    assert [model.name for model in made.models] == ["fusion_coarse", "fusion_fine"]
    assert made.lineage == LINEAGE
    assert made.disclaimer == DISCLAIMER


@pytest.mark.parametrize("stage", [Stage.PREPARE, Stage.SEGMENT])
@pytest.mark.parametrize("status", [OutcomeStatus.FAILED, OutcomeStatus.REFUSED])
def test_without_preparation_or_segmentation_there_is_no_number_and_the_reason_is_said(
    shelf: Shelf, stage: Stage, status: OutcomeStatus
) -> None:
    inputs = [shelf.intake(), *([shelf.prepare()] if stage is Stage.SEGMENT else [])]
    problem = Problem(stage=stage, status=status, code="NO_GOOD", message="it did not work", advice="Send it again")
    made = result(shelf, inputs, problem)
    assert made.completeness is Completeness.INSUFFICIENT
    assert (made.volumes_ml, made.mean_vacuity, made.markers, made.comparison) == (None, None, (), None)
    assert [reason.code for reason in made.reasons] == ["NO_GOOD"]
    assert "it did not work. Send it again. Nothing was measured." in made.reasons[0].message
    assert all(item.log_snr is None and item.spacing_mm is None for item in made.sequences)


def test_numbers_of_a_later_stage_never_survive_an_insufficient_segmentation(shelf: Shelf) -> None:
    poor = shelf.segment(completeness=Completeness.INSUFFICIENT)
    made = result(shelf, [shelf.prepare(), poor, shelf.subtype(), shelf.compare(followed_up({"WT": (1.0, 2.0)}))])
    assert made.completeness is Completeness.INSUFFICIENT
    assert (made.volumes_ml, made.markers, made.comparison, made.who_2021) == (None, (), None, None)
    assert "SEGMENT_INSUFFICIENT" in {reason.code for reason in made.reasons}


@pytest.mark.parametrize("stage", [Stage.SUBTYPE, Stage.COMPARE])
def test_a_failed_subtyping_or_comparison_degrades_and_leaves_the_rest(shelf: Shelf, stage: Stage) -> None:
    inputs = {Stage.SUBTYPE: shelf.subtype(), Stage.COMPARE: shelf.compare()}
    del inputs[stage]
    made = result(shelf, [shelf.prepare(), shelf.segment(), *inputs.values()], failed(stage))
    assert made.completeness is Completeness.DEGRADED
    assert made.volumes_ml is not None
    assert [reason.code for reason in made.reasons] == ["BROKEN"]
    assert (made.markers == ()) == (stage is Stage.SUBTYPE)
    assert (made.comparison is None) == (stage is Stage.COMPARE)


def test_a_stage_that_is_silently_absent_is_named(shelf: Shelf) -> None:
    made = result(shelf, [shelf.prepare(), shelf.segment(), shelf.subtype()])
    assert made.completeness is Completeness.DEGRADED
    assert [reason.code for reason in made.reasons] == ["COMPARE_MISSING"]


def test_nothing_at_all_is_an_insufficient_result_with_a_reason(shelf: Shelf) -> None:
    made = result(shelf, [])
    assert made.completeness is Completeness.INSUFFICIENT
    assert [reason.code for reason in made.reasons] == ["PREPARE_MISSING"]


def test_the_verdict_is_the_worst_of_all_stages(shelf: Shelf) -> None:
    flagged = shelf.segment(verdict=Verdict.NEEDS_REVIEW)
    made = result(shelf, [shelf.prepare(), flagged, shelf.subtype(), shelf.compare()])
    assert (made.completeness, made.verdict) == (Completeness.COMPLETE, Verdict.NEEDS_REVIEW)


def test_reasons_of_the_stages_are_kept_in_order_and_said_once(shelf: Shelf) -> None:
    motion = Reason(code="MOTION", message="t2f moved")
    unsure = Reason(code="UNSURE", message="the mask is uncertain")
    prepared = shelf.prepare(completeness=Completeness.DEGRADED, reasons=(motion,))
    segmented = shelf.segment(completeness=Completeness.DEGRADED, reasons=(motion, unsure))
    made = result(shelf, [prepared, segmented, shelf.subtype(), shelf.compare()])
    assert made.reasons == (motion, unsure)
    assert made.completeness is Completeness.DEGRADED


def test_an_output_that_was_lost_degrades_the_result(shelf: Shelf) -> None:
    lost = (Reason(code="SEG_GEOMETRY_MISMATCH", message="no DICOM segmentation"),)
    made = result(shelf, [shelf.prepare(), shelf.segment(), shelf.subtype(), shelf.compare()], lost=lost)
    assert (made.completeness, made.reasons) == (Completeness.DEGRADED, lost)


def test_a_manifest_of_another_study_is_a_bug_and_not_a_result(shelf: Shelf) -> None:
    foreign = StudyRef(patient=PatientKey("f" * 32), study=StudyKey("other"), version=1)
    inputs = [Shelf(blobs=shelf.blobs, study=foreign).prepare()]
    with pytest.raises(Permanent) as caught:
        evidence(shelf, inputs)
    assert caught.value.code == "FOREIGN_MANIFEST"


def test_facts_that_are_not_those_of_the_stage_are_refused(shelf: Shelf) -> None:
    with pytest.raises(Permanent) as caught:
        evidence(shelf, [shelf.store("segment", {"volumes": "many"})])
    assert caught.value.code == "MANIFEST_UNREADABLE"


def test_a_result_survives_its_json(shelf: Shelf) -> None:
    changed = shelf.compare(followed_up({"WT": (10.0, 12.5), "ET": (0.0, 1.0)}))
    made = result(shelf, [shelf.intake(), shelf.prepare(), shelf.segment(), shelf.subtype(), changed])
    document = to_document(made)
    assert from_document(StudyResult, document) == made
    assert canonical_json(document) == canonical_json(to_document(from_document(StudyResult, document)))
