"""Tokens are kept as hashes; addresses beyond loopback need protection."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.core.runtime.settings import SettingsError
from services.core.security.exposure import is_loopback, require_protection
from services.core.security.tokens import BearerTokens, new_token, token_line

pytestmark = pytest.mark.unit


def test_a_token_is_known_by_its_hash_only(tmp_path: Path) -> None:
    token, other = new_token(), new_token()
    path = tmp_path / "tokens"
    path.write_text(f"# comment\n\n{token_line('pacs', token)} # the archive\n")
    tokens = BearerTokens.from_file(path)
    assert token not in path.read_text()
    assert tokens.owner_of(token) == "pacs"
    assert tokens.owner_of(other) is None
    assert tokens.owner_of("") is None


@pytest.mark.parametrize("text", ["", "# nothing\n", "pacs plain-password\n", "pacs sha256:12\n", "a b c\n"])
def test_a_file_without_proper_hashes_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tokens"
    path.write_text(text)
    with pytest.raises(ValueError, match="tokens"):
        BearerTokens.from_file(path)


def test_a_name_stands_for_one_token(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"{token_line('a', 'x')}\n{token_line('a', 'y')}\n")
    with pytest.raises(ValueError, match="line 2"):
        BearerTokens.from_file(path)
    with pytest.raises(ValueError, match="name"):
        token_line("two words", "x")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.3.2.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("a.b", False)],
)
def test_loopback_is_known(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_protection_is_complete_or_the_address_is_loopback(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    require_protection("127.0.0.1", None, None, None)
    require_protection("0.0.0.0", file, file, file)
    for certificate, key, tokens in [(None, None, file), (file, file, None), (file, None, file)]:
        with pytest.raises(SettingsError):
            require_protection("0.0.0.0", certificate, key, tokens)
    with pytest.raises(SettingsError, match="not a file"):
        require_protection("127.0.0.1", None, None, tmp_path / "absent")
