"""Manifests: equal content, equal bytes; nothing is half understood."""

from __future__ import annotations

import json

import pytest

from services.core.contracts.documents import from_document, to_document
from services.core.contracts.enums import Completeness, Lane, Stage, Verdict
from services.core.contracts.events import BlobRef, ManifestRef, StudyRef
from services.core.contracts.facts import ReportFacts
from services.core.contracts.ids import PatientKey, RunId, StudyKey, canonical_json, derived_uid, digest_of
from services.core.contracts.manifest import Manifest, ModelRef, Reason

pytestmark = pytest.mark.unit

BLOB = BlobRef(digest=digest_of(b"x"), size=1, media_type="a/b")
MANIFEST = Manifest(
    run_id=RunId("r"),
    stage=Stage.SEGMENT,
    study=StudyRef(patient=PatientKey("p"), study=StudyKey("s"), version=2),
    lane=Lane.STAT,
    settings_hash="h",
    completeness=Completeness.DEGRADED,
    verdict=Verdict.NEEDS_REVIEW,
    inputs=(ManifestRef(role="prepare", run_id=RunId("q"), blob=BLOB),),
    outputs={"mask/native": BLOB},
    reasons=(Reason(code="T1C_MISSING", message="no enhancement can be seen"),),
    models=(ModelRef(name="fusion_coarse", version="1", digest="sha256:0"),),
    facts={"volumes_ml": {"WT": 1.5}},
    parent=RunId("q"),
)


def test_a_manifest_survives_its_bytes() -> None:
    assert Manifest.from_bytes(MANIFEST.to_bytes()) == MANIFEST
    assert Manifest.from_bytes(MANIFEST.to_bytes()).to_bytes() == MANIFEST.to_bytes()


@pytest.mark.parametrize("change", [{"schema": "other"}, {"lane": "fast"}, {"study": {}}, {"inputs": [1]}])
def test_a_document_that_is_no_manifest_is_refused(change: dict[str, object]) -> None:
    document = json.loads(MANIFEST.to_bytes()) | change
    with pytest.raises(ValueError):  # noqa: PT011 - several messages, one reaction
        Manifest.from_bytes(json.dumps(document).encode())


def test_facts_are_read_strictly() -> None:
    facts = ReportFacts(revision=1, predecessor=None)
    assert from_document(ReportFacts, to_document(facts)) == facts
    with pytest.raises(ValueError, match="revision"):
        from_document(ReportFacts, {"revision": "one", "predecessor": None})
    with pytest.raises(ValueError, match="extra"):
        from_document(ReportFacts, {**to_document(facts), "surprise": 1})


def test_canonical_json_has_one_form_and_refuses_nan() -> None:
    assert canonical_json({"b": 1, "a": [1.5, None]}) == b'{"a":[1.5,null],"b":1}'
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"x": float("nan")})


def test_a_derived_uid_is_a_valid_dicom_uid() -> None:
    uid = derived_uid("run", "seg")
    assert uid == derived_uid("run", "seg") != derived_uid("run", "sr")
    assert len(uid) <= 64
    assert uid.startswith("2.25.")
