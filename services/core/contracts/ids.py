"""Identifiers. Every one is derived from content, so that a second delivery names the same thing."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import NewType, TypeAlias
from uuid import UUID, uuid5

PatientKey = NewType("PatientKey", str)
"""Pseudonym of a patient: keyed HMAC of (issuer, PatientID), 32 hexadecimal digits."""
StudyKey = NewType("StudyKey", str)
"""Identity of a study inside GlioServe: UUIDv5 of the patient's pseudonym and the study's own identity."""
RunId = NewType("RunId", str)
"""UUIDv5 of what a run computes and with what: equal run ids mean equal results."""
RequestId = NewType("RequestId", str)
"""UUIDv5 of one request of the gateway."""
BlobDigest = NewType("BlobDigest", str)
"""`sha256:` and 64 hexadecimal digits."""

JsonValue: TypeAlias = "None | bool | int | float | str | Sequence[JsonValue] | Mapping[str, JsonValue]"

_NAMESPACE = UUID("6f6c9a52-5d0e-5c3b-9a39-7b1f0c4a2e11")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def canonical_json(value: JsonValue) -> bytes:
    """UTF-8 JSON with sorted keys and no white space: equal values give equal bytes. NaN is refused (ValueError)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def derived_uuid(*parts: JsonValue) -> str:
    """UUIDv5 over the canonical JSON of the parts."""
    return str(uuid5(_NAMESPACE, canonical_json(list(parts)).decode()))


def derived_uid(*parts: JsonValue) -> str:
    """DICOM UID under the root 2.25 (PS3.5 B.2) from the same parts as `derived_uuid`: at most 44 characters."""
    return f"2.25.{UUID(derived_uuid(*parts)).int}"


def digest_of(data: bytes) -> BlobDigest:
    """Digest of a whole object in memory."""
    return BlobDigest(f"sha256:{hashlib.sha256(data).hexdigest()}")


def parse_digest(text: str) -> BlobDigest:
    """The text as a digest. Raises ValueError when it is none."""
    if not _DIGEST.fullmatch(text):
        raise ValueError(f"not a blob digest: {text[:80]!r}")
    return BlobDigest(text)
