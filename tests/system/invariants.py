"""What must hold of a home whatever happened to its processes."""

from __future__ import annotations

import gzip
import io
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from pypdf import PdfReader

from services.core.contracts.enums import Stage
from services.core.contracts.manifest import Manifest
from services.core.runtime.home import Home
from services.core.storage.port import BlobStore
from tests.system.stack import Stack

ANSWERED = frozenset({"completed", "degraded"})


def manifests(blobs: BlobStore) -> list[Manifest]:
    """All manifests in a store, the gateway's own apart."""
    names = [name for name in blobs.list_named("runs/") if ".attempt-" not in name]
    documents = (document for name in names if (document := blobs.read_named(name)) is not None)
    return [manifest for manifest in map(Manifest.from_bytes, documents) if isinstance(manifest.stage, Stage)]


def assert_one_current_result(stack: Stack, studies: Sequence[str]) -> None:
    """Each study ended, has one current result, and computed each step of each revision exactly once."""
    documents = {study: stack.wait_done(study) for study in studies}
    stored = manifests(stack.blobs())
    with closing(stack.client()) as client:
        results = {study: {item["name"] for item in client.results(study)["results"]} for study in studies}
    for study, document in documents.items():
        assert {stage["status"] for stage in document["stages"]} <= ANSWERED, f"a stage gave up: {document}"
        assert {"report.json", "report.pdf", "provenance.json"} <= results[study]
        steps = Counter(
            (manifest.study.version, manifest.stage, _revision(manifest))
            for manifest in stored
            if manifest.study.study == study
        )
        assert set(steps.values()) == {1}, f"a step ran to two results: {steps}"
        assert (document["version"], Stage.REPORT, document["revision"]) in steps


def bytes_outside_the_vault(home: Home) -> dict[str, bytes]:
    """Every file of a home but the vault, the identified instances and the uploads in staging; packed ones also
    unpacked: a name inside a page or a mask would not be seen otherwise.
    """
    apart = (home.vault, home.blobs / "identified", home.staging)
    files = (path for path in home.root.rglob("*") if path.is_file() and not any(a in path.parents for a in apart))
    return {str(path.relative_to(home.root)): (data := _read(path)) + unpacked(data) for path in files}


def unpacked(data: bytes) -> bytes:
    """What a packed file or the pages of a PDF hold; nothing of others."""
    if data.startswith(b"\x1f\x8b"):
        return gzip.decompress(data)
    if data.startswith(b"%PDF"):
        reader = PdfReader(io.BytesIO(data))
        texts = [page.extract_text() for page in reader.pages]
        return "\n".join([*texts, *map(str, (reader.metadata or {}).values())]).encode()
    return b""


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:  # a temporary file that has gone since it was listed
        return b""


def _revision(manifest: Manifest) -> object:
    """What tells two runs of one step apart: a report's revision, else all that went in."""
    return manifest.facts.get("revision", tuple((ref.role, ref.blob.digest) for ref in manifest.inputs))
