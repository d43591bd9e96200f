"""What a handler reads of the manifests that its request names: inputs by role, typed facts, volumes.

Whatever is missing or does not fit its contract is Permanent: asking again would read the same immutable documents.
"""

from __future__ import annotations

from typing import TypeVar

from services.core.contracts.documents import from_document
from services.core.contracts.errors import Permanent
from services.core.contracts.events import BlobRef, ManifestRef, StageRequest
from services.core.contracts.manifest import Manifest
from services.core.imaging.codec import decode_volume
from services.core.imaging.volume import Volume
from services.core.storage.port import BlobStore

Facts = TypeVar("Facts")


def required_input(request: StageRequest, role: str) -> ManifestRef:
    """The first input of the request with this role. Raises Permanent when there is none."""
    ref = request.input(role)
    if ref is None:
        raise Permanent("INPUT_MISSING", f"the {request.stage} request names no {role} manifest")
    return ref


def facts_of(kind: type[Facts], manifest: Manifest) -> Facts:
    """The manifest's facts as their record. Raises Permanent when they are those of another stage or version."""
    try:
        return from_document(kind, manifest.facts)
    except ValueError as error:
        raise Permanent("FACTS_UNREADABLE", f"the facts of run {manifest.run_id} cannot be read: {error}") from error


def output_of(manifest: Manifest, name: str) -> BlobRef:
    """A named output of the manifest. Raises Permanent without one."""
    if name not in manifest.outputs:
        raise Permanent("OUTPUT_MISSING", f"run {manifest.run_id} has no output {name}")
    return manifest.outputs[name]


def volume_of(blobs: BlobStore, manifest: Manifest, name: str) -> Volume:
    """A named volume among the manifest's outputs. Raises Permanent without one, Transient as `BlobStore.read`."""
    return decode_volume(blobs.read(output_of(manifest, name)))
