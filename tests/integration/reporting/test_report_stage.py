"""The stage over a real blob store: which outputs there are, what they say, and that a second run repeats them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.core.contracts.documents import from_document
from services.core.contracts.enums import Completeness, OutcomeStatus, Stage, Verdict
from services.core.contracts.events import ManifestRef, Problem, StageRequest
from services.core.contracts.facts import ReportFacts, Source
from services.core.contracts.ids import canonical_json, digest_of
from services.core.contracts.result_model import PROVENANCE_SCHEMA, StudyResult
from services.core.runtime.settings import SettingsError, load
from services.core.runtime.stage import StageResult
from services.core.storage.local import LocalBlobStore
from services.reporting.bootstrap import handler
from services.reporting.settings import ReportingSettings
from tests.builders import Head, Shelf, dicom_headers, failed, followed_up, native_grid, report_request

pytestmark = pytest.mark.integration


def nothing() -> None:
    return None


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(blobs=LocalBlobStore(tmp_path))


def report(shelf: Shelf, inputs: list[ManifestRef], *problems: Problem, revision: int = 1) -> StageResult:
    request = report_request(inputs, problems=problems, revision=revision)
    return handler(ReportingSettings(), shelf.blobs).handle(request, nothing)


def whole(shelf: Shelf) -> list[ManifestRef]:
    return [shelf.intake(), shelf.prepare(), shelf.segment(), shelf.subtype(), shelf.compare()]


def stated(shelf: Shelf, made: StageResult) -> StudyResult:
    return from_document(StudyResult, json.loads(shelf.blobs.read(made.outputs["report.json"])))


def test_a_dicom_study_gives_all_outputs(shelf: Shelf) -> None:
    segment = shelf.segment()
    made = report(shelf, [shelf.intake(), shelf.prepare(), segment, shelf.subtype(), shelf.compare()])
    assert set(made.outputs) == {
        "report.json", "report.pdf", "provenance.json", "segmentation.nii.gz", "segmentation.dcm", "key-images.png",
    }  # fmt: skip
    assert (made.completeness, made.verdict, made.reasons) == (Completeness.COMPLETE, Verdict.TRUSTED, ())
    assert from_document(ReportFacts, made.facts) == ReportFacts(revision=1, predecessor=None)
    mask = json.loads(shelf.blobs.read(segment.blob))["outputs"]["mask/native.nii.gz"]
    assert made.outputs["segmentation.nii.gz"].digest == mask["digest"]


def test_a_nifti_study_has_no_dicom_segmentation_and_lacks_nothing(tmp_path: Path) -> None:
    shelf = Shelf(blobs=LocalBlobStore(tmp_path), source=Source.NIFTI)
    made = report(shelf, whole(shelf))
    assert "segmentation.dcm" not in made.outputs
    assert (made.completeness, made.reasons) == (Completeness.COMPLETE, ())


def test_the_json_is_canonical_and_holds_the_volumes_of_the_mask(shelf: Shelf) -> None:
    made = report(shelf, whole(shelf))
    text = shelf.blobs.read(made.outputs["report.json"])
    assert canonical_json(json.loads(text)) == text
    result = stated(shelf, made)
    mask = shelf.head.mask(shelf.head.native)
    assert result.volumes_ml is not None
    assert result.volumes_ml["WT"] == pytest.approx((mask.data > 0).sum() * mask.grid.voxel_ml)


def test_an_insufficient_study_gives_documents_without_a_mask(shelf: Shelf) -> None:
    refused = Problem(
        stage=Stage.PREPARE, status=OutcomeStatus.REFUSED, code="SINGULAR_AFFINE", message="cannot be placed"
    )
    made = report(shelf, [shelf.intake()], refused)
    assert set(made.outputs) == {"report.json", "report.pdf", "provenance.json"}
    assert made.completeness is Completeness.INSUFFICIENT
    assert stated(shelf, made).volumes_ml is None
    assert "was refused: cannot be placed." in made.reasons[0].message


def test_a_study_without_tumour_is_complete_and_says_why_there_is_no_segmentation_object(tmp_path: Path) -> None:
    shelf = Shelf(blobs=LocalBlobStore(tmp_path), head=Head(radius_mm=0.0))
    made = report(shelf, whole(shelf))
    assert made.completeness is Completeness.COMPLETE
    assert "segmentation.dcm" not in made.outputs
    assert "segmentation.nii.gz" in made.outputs
    assert [reason.code for reason in made.reasons] == ["SEG_EMPTY"]


def test_headers_that_do_not_fit_the_mask_degrade_the_report_instead_of_ending_it(shelf: Shelf) -> None:
    wrong = dicom_headers(native_grid((30, 36, 13), (6.0, 6.0, 10.0)))
    made = report(shelf, [shelf.prepare(headers=wrong), shelf.segment(), shelf.subtype(), shelf.compare()])
    assert made.completeness is Completeness.DEGRADED
    assert [reason.code for reason in made.reasons] == ["SEG_GEOMETRY_MISMATCH"]
    assert "segmentation.dcm" not in made.outputs


def test_a_flagged_segmentation_flags_the_report(shelf: Shelf) -> None:
    inputs = [shelf.prepare(), shelf.segment(verdict=Verdict.NEEDS_REVIEW), shelf.subtype(), shelf.compare()]
    made = report(shelf, inputs)
    assert made.verdict is Verdict.NEEDS_REVIEW
    assert stated(shelf, made).verdict is Verdict.NEEDS_REVIEW


def test_provenance_names_every_manifest_and_the_digest_of_every_other_output(shelf: Shelf) -> None:
    inputs = whole(shelf)
    made = report(shelf, inputs, failed(Stage.COMPARE))
    document = json.loads(shelf.blobs.read(made.outputs["provenance.json"]))
    assert document["schema"] == PROVENANCE_SCHEMA
    manifests = document["lineage"]["manifests"]
    assert [(m["role"], m["digest"]) for m in manifests] == [(ref.role, ref.blob.digest) for ref in inputs]
    assert [m["name"] for m in manifests[2]["models"]] == ["fusion_coarse", "fusion_fine"]
    assert document["lineage"]["problems"][0]["code"] == "BROKEN"
    others = {name: ref.digest for name, ref in made.outputs.items() if name != "provenance.json"}
    assert {name: ref["digest"] for name, ref in document["outputs"].items()} == others
    assert document["lineage_digest"] == digest_of(canonical_json(document["lineage"]))
    assert stated(shelf, made).lineage == document["lineage_digest"]


def test_a_later_revision_names_its_predecessor_and_keeps_the_segmentation_object(shelf: Shelf) -> None:
    inputs = whole(shelf)
    first = report(shelf, inputs)
    before = shelf.store("report", first.facts, first.outputs)
    predecessor = ManifestRef(role="predecessor", run_id=before.run_id, blob=before.blob)
    changed = shelf.compare(followed_up({"WT": (10.0, 12.5)}))
    second = report(shelf, [*inputs[:-1], changed, predecessor], revision=2)
    assert stated(shelf, second).predecessor == before.run_id
    assert stated(shelf, second).revision == 2
    assert second.outputs["segmentation.dcm"] == first.outputs["segmentation.dcm"]
    assert second.outputs["report.pdf"] != first.outputs["report.pdf"]


def test_an_unknown_setting_fails_the_start_and_every_setting_is_part_of_the_identity(shelf: Shelf) -> None:
    with pytest.raises(SettingsError, match="GLIOSERVE_REPORTING__COLOUR"):
        load(ReportingSettings, "reporting", {"GLIOSERVE_REPORTING__COLOUR": "pink"})
    usual = handler(ReportingSettings(), shelf.blobs)
    plain = handler(ReportingSettings(key_images=False), shelf.blobs)
    assert usual.settings_hash != plain.settings_hash
    assert usual.models(report_request([])) == ()


_AGAIN = """
import sys
from pathlib import Path
from services.core.storage.local import LocalBlobStore
from services.reporting.bootstrap import handler
from services.reporting.settings import ReportingSettings
from tests.builders import Shelf, report_request
shelf = Shelf(blobs=LocalBlobStore(Path(sys.argv[1])))
inputs = [shelf.intake(), shelf.prepare(), shelf.segment(), shelf.subtype(), shelf.compare()]
made = handler(ReportingSettings(), shelf.blobs).handle(report_request(inputs), lambda: None)
print("\\n".join(f"{name} {ref.digest}" for name, ref in sorted(made.outputs.items())))
"""


def test_two_processes_write_the_same_bytes(tmp_path: Path) -> None:
    written = [
        subprocess.run(
            [sys.executable, "-c", _AGAIN, str(tmp_path / name)],
            env={**os.environ, "PYTHONHASHSEED": seed, "TZ": zone},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for name, seed, zone in (("one", "1", "UTC"), ("two", "2", "Asia/Tokyo"))
    ]
    assert written[0] == written[1]
    assert len(written[0].splitlines()) == 6


def test_a_request_to_stop_is_heard_between_the_steps(shelf: Shelf) -> None:
    request: StageRequest = report_request(whole(shelf))
    passed: list[int] = []
    handler(ReportingSettings(), shelf.blobs).handle(request, lambda: passed.append(1))
    assert len(passed) >= 5
