"""The session's token: where the session lives and the secret that opens it. Whoever holds it may take it up."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import secrets
from dataclasses import dataclass, field

from services.navigation.domain.answers import Fault, Reason

SECRET_BYTES = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """`address`: where the session's process listens. `boot`: which start of that process; sessions end with it."""

    address: str
    boot: str
    session: str
    secret: str = field(repr=False)

    @staticmethod
    def new(address: str, boot: str) -> Token:
        """A token for a fresh session."""
        return Token(address=address, boot=boot, session=secrets.token_hex(8), secret=secrets.token_hex(SECRET_BYTES))

    def text(self) -> str:
        """As it travels: URL-safe base64 of JSON."""
        parts = [self.address, self.boot, self.session, self.secret]
        return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()

    @staticmethod
    def parse(text: str) -> Token:
        """Raises Fault SESSION_LOST for what no process has given out."""
        try:
            address, boot, session, secret = json.loads(base64.b64decode(text.encode(), altchars=b"-_", validate=True))
            parts = [str(part) for part in (address, boot, session, secret)]
        except (ValueError, TypeError, binascii.Error) as error:
            raise Fault(Reason.SESSION_LOST, "this is no token of a session", "Open a new session.") from error
        return Token(address=parts[0], boot=parts[1], session=parts[2], secret=parts[3])

    def opens(self, other: Token) -> bool:
        """True when it is the token of that session. Compared in constant time."""
        return secrets.compare_digest(self.text(), other.text())


def folder_name(token_text: str) -> str:
    """Name of a session's folder for the pose process: it knows the token but no list of sessions."""
    return hashlib.sha256(token_text.encode()).hexdigest()
