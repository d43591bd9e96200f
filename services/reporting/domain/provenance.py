"""Where a report comes from: every manifest with its run, models and settings, and every output with its digest.

Digests are those of the stored bytes, before the gateway stamps a patient's name into a copy (rule 10).
"""

from __future__ import annotations

from collections.abc import Mapping

from services.core.contracts.events import BlobRef, StageRequest
from services.core.contracts.ids import BlobDigest, JsonValue, RunId, canonical_json, digest_of
from services.core.contracts.manifest import Manifest, blob_to_json
from services.core.contracts.result_model import DISCLAIMER, PROVENANCE_SCHEMA


def lineage_of(request: StageRequest, manifests: Mapping[str, Manifest]) -> dict[str, JsonValue]:
    """The manifests that the report rests on, in the request's order, and the problems stated instead of others."""
    return {
        "manifests": [
            _manifest(ref.role, ref.blob.digest, manifests[ref.role]) for ref in request.inputs if ref.role in manifests
        ],
        "problems": [
            {"stage": p.stage, "status": p.status, "code": p.code, "message": p.message, "advice": p.advice}
            for p in request.problems
        ],
    }


def lineage_digest(lineage: Mapping[str, JsonValue]) -> BlobDigest:
    """SHA-256 over the canonical JSON of the lineage."""
    return digest_of(canonical_json(lineage))


def provenance_document(
    request: StageRequest,
    run_id: RunId,
    settings_hash: str,
    lineage: Mapping[str, JsonValue],
    outputs: Mapping[str, BlobRef],
) -> bytes:
    """`provenance.json`: canonical JSON over the lineage, its digest, and the digests of all other outputs."""
    return canonical_json(
        {
            "schema": PROVENANCE_SCHEMA,
            "patient": request.study.patient,
            "study": request.study.study,
            "version": request.study.version,
            "revision": request.revision,
            "run_id": run_id,
            "settings_hash": settings_hash,
            "lineage": lineage,
            "lineage_digest": lineage_digest(lineage),
            "outputs": {name: blob_to_json(ref) for name, ref in outputs.items()},
            "note": "Digests are of the stored bytes, before a patient's name is drawn into a copy.",
            "disclaimer": DISCLAIMER,
        }
    )


def _manifest(role: str, digest: BlobDigest, manifest: Manifest) -> dict[str, JsonValue]:
    return {
        "role": role,
        "run_id": manifest.run_id,
        "digest": digest,
        "stage": str(manifest.stage),
        "completeness": manifest.completeness,
        "verdict": manifest.verdict,
        "settings_hash": manifest.settings_hash,
        "models": [{"name": m.name, "version": m.version, "digest": m.digest} for m in manifest.models],
        "inputs": [{"role": ref.role, "run_id": ref.run_id, "digest": ref.blob.digest} for ref in manifest.inputs],
        "outputs": {name: ref.digest for name, ref in manifest.outputs.items()},
    }
