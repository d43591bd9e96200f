"""Bearer tokens: made at random, shown once, kept as hashes.

A token has 256 random bits, so one SHA-256 suffices: there is nothing to guess that a slow hash would protect. The
file has one line a token, `<name> sha256:<64 hexadecimal digits>`; `#` begins a comment.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

_LINE = re.compile(r"(?P<name>[A-Za-z0-9._-]{1,64})\s+sha256:(?P<digest>[0-9a-f]{64})")


class BearerTokens:
    """The tokens that are accepted, by the digest of each."""

    def __init__(self, digests: Mapping[str, str]) -> None:
        self._digests = dict(digests)

    @staticmethod
    def from_file(path: Path) -> BearerTokens:
        """Raises ValueError on a line that is none, on two lines of one name, and on a file without any token."""
        digests: dict[str, str] = {}
        for number, text in enumerate(path.read_text().splitlines(), start=1):
            line = text.partition("#")[0].strip()
            if not line:
                continue
            found = _LINE.fullmatch(line)
            if found is None or found["name"] in digests:
                raise ValueError(f"{path}, line {number}: expected `<name> sha256:<digest>`, each name once")
            digests[found["name"]] = found["digest"]
        if not digests:
            raise ValueError(f"{path} holds no token")
        return BearerTokens(digests)

    def owner_of(self, token: str) -> str | None:
        """Name of the token's line, or None. Takes the same time for every wrong token."""
        presented = _digest(token)
        owner = None
        for name, digest in self._digests.items():
            if hmac.compare_digest(presented, digest):
                owner = name
        return owner


def new_token() -> str:
    """A new token; whoever gets it must keep it, nothing here does."""
    return secrets.token_urlsafe(32)


def token_line(name: str, token: str) -> str:
    """The line of the token file that accepts this token. Raises ValueError on a name that fits no line."""
    line = f"{name} sha256:{_digest(token)}"
    if not _LINE.fullmatch(line):
        raise ValueError("a token's name has 1 to 64 letters, digits, dots, dashes or underscores")
    return line


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
