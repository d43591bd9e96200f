"""Processes that share a key know the same patients; it is read where the settings say."""

from __future__ import annotations

import secrets
from contextlib import closing
from pathlib import Path

import pytest

from services.core.security.pseudonym import KEY_BYTES, KEY_FILE
from services.gateway.adapters.vault import Vault

pytestmark = pytest.mark.unit


def test_two_homes_with_one_key_give_a_patient_the_same_pseudonym(tmp_path: Path) -> None:
    key = tmp_path / "mounted"
    key.write_bytes(secrets.token_bytes(KEY_BYTES))
    found = set()
    for home in ("one", "two"):
        (tmp_path / home).mkdir()
        with closing(Vault(tmp_path / home, key=key)) as vault:
            found.add(vault.pseudonym("HOSPITAL", "4711"))
        assert not (tmp_path / home / KEY_FILE).exists()
    with closing(Vault(tmp_path / "one")) as own:
        found.add(own.pseudonym("HOSPITAL", "4711"))
    assert len(found) == 2
