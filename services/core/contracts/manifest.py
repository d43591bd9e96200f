"""The manifest: one immutable document per run, stored under `runs/<run_id>`; the first one wins.

It holds what was computed from what and with what. Timings are telemetry and not part of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from services.core.contracts.enums import BlobClass, Completeness, Lane, Stage, Verdict
from services.core.contracts.events import BlobRef, ManifestRef, StudyRef
from services.core.contracts.ids import JsonValue, PatientKey, RunId, StudyKey, canonical_json, parse_digest

MANIFEST_MEDIA_TYPE = "application/vnd.glioserve.manifest+json"
MANIFEST_SCHEMA = "glioserve.manifest.v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRef:
    """A model that took part, by name, version and digest of its files."""

    name: str
    version: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """What was missing, poor or unusual, and what that does to the result."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """`stage` is `intake` for the gateway's own manifest of a study version. `outputs` are named blobs."""

    run_id: RunId
    stage: Stage | str
    study: StudyRef
    lane: Lane
    settings_hash: str
    completeness: Completeness = Completeness.COMPLETE
    verdict: Verdict = Verdict.TRUSTED
    inputs: tuple[ManifestRef, ...] = ()
    outputs: Mapping[str, BlobRef] = field(default_factory=dict)
    reasons: tuple[Reason, ...] = ()
    models: tuple[ModelRef, ...] = ()
    facts: Mapping[str, JsonValue] = field(default_factory=dict)
    parent: RunId | None = None

    def to_bytes(self) -> bytes:
        """Canonical JSON: equal manifests have equal digests."""
        return canonical_json(
            {
                "schema": MANIFEST_SCHEMA,
                "run_id": self.run_id,
                "stage": str(self.stage),
                "study": {
                    "patient": self.study.patient,
                    "study": self.study.study,
                    "version": self.study.version,
                },
                "lane": self.lane,
                "settings_hash": self.settings_hash,
                "completeness": self.completeness,
                "verdict": self.verdict,
                "inputs": [
                    {"role": ref.role, "run_id": ref.run_id, "blob": blob_to_json(ref.blob)} for ref in self.inputs
                ],
                "outputs": {name: blob_to_json(ref) for name, ref in self.outputs.items()},
                "reasons": [{"code": r.code, "message": r.message} for r in self.reasons],
                "models": [{"name": m.name, "version": m.version, "digest": m.digest} for m in self.models],
                "facts": self.facts,
                "parent": self.parent,
            }
        )

    @staticmethod
    def from_bytes(data: bytes) -> Manifest:
        """Raises ValueError when the document is not a manifest of this schema."""
        try:
            doc = json.loads(data)
            if doc["schema"] != MANIFEST_SCHEMA:
                raise ValueError(f"unknown manifest schema {doc['schema']!r}")
            return Manifest(
                run_id=RunId(doc["run_id"]),
                stage=_stage(doc["stage"]),
                study=StudyRef(
                    patient=PatientKey(doc["study"]["patient"]),
                    study=StudyKey(doc["study"]["study"]),
                    version=doc["study"]["version"],
                ),
                lane=Lane(doc["lane"]),
                settings_hash=doc["settings_hash"],
                completeness=Completeness(doc["completeness"]),
                verdict=Verdict(doc["verdict"]),
                inputs=tuple(
                    ManifestRef(role=i["role"], run_id=RunId(i["run_id"]), blob=blob_from_json(i["blob"]))
                    for i in doc["inputs"]
                ),
                outputs={name: blob_from_json(ref) for name, ref in doc["outputs"].items()},
                reasons=tuple(Reason(**r) for r in doc["reasons"]),
                models=tuple(ModelRef(**m) for m in doc["models"]),
                facts=doc["facts"],
                parent=RunId(doc["parent"]) if doc["parent"] else None,
            )
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"not a manifest: {error}") from error


def blob_to_json(ref: BlobRef) -> dict[str, JsonValue]:
    """A blob reference as it stands in JSON documents."""
    return {"digest": ref.digest, "size": ref.size, "media_type": ref.media_type, "class": ref.blob_class}


def blob_from_json(doc: Mapping[str, object]) -> BlobRef:
    """The inverse of `blob_to_json`. Raises KeyError or ValueError on a malformed document."""
    size = doc["size"]
    if not isinstance(size, int):
        raise ValueError("the size of a blob is an integer")
    return BlobRef(
        digest=parse_digest(str(doc["digest"])),
        size=size,
        media_type=str(doc["media_type"]),
        blob_class=BlobClass(str(doc["class"])),
    )


def _stage(text: str) -> Stage | str:
    return text if text == "intake" else Stage(text)
