"""Pseudonyms of patients: a keyed HMAC (rule 10). Gateway and navigation hold the key, nobody else does."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from services.core.contracts.ids import PatientKey, canonical_json

KEY_BYTES = 32
KEY_FILE = "pseudonym.key"


class Pseudonyms:
    """Made with the key of one installation; `path` holds it and is made at the first start."""

    def __init__(self, path: Path) -> None:
        self._key = _key(path)

    def of(self, issuer: str, patient_id: str) -> PatientKey:
        """HMAC-SHA-256 of (issuer, PatientID), the first 128 bits. The same patient always gets the same one."""
        text = canonical_json([issuer, patient_id])
        return PatientKey(hmac.new(self._key, text, hashlib.sha256).hexdigest()[:32])


def _key(path: Path) -> bytes:
    """The key, made where there is none: written whole and fsynced before it gets its name."""
    if not path.exists():
        fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(handle, secrets.token_bytes(KEY_BYTES))
            os.fsync(handle)
        finally:
            os.close(handle)
        try:
            os.link(fresh, path)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise ValueError(f"the pseudonym key {path} is damaged: restore it from backup, never replace it")
    return key
