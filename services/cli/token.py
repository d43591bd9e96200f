"""`glioserve token`: makes a bearer token, shows it once, and keeps only its hash in the gateway's token file."""

from __future__ import annotations

import os
from pathlib import Path

from services.core.contracts.errors import Refused
from services.core.security.tokens import BearerTokens, new_token, token_line


def make_token(name: str, file: Path) -> str:
    """Adds the hash of a new token to the file (mode 0600) and gives the token. Raises Refused on a name in use."""
    token = new_token()
    known = file.read_text() if file.exists() else ""
    if any(line.split()[:1] == [name] for line in known.splitlines()):
        raise Refused(
            "BAD_TOKEN_NAME", f"{file} has a token of {name} already", "Take another name, or delete its line."
        )
    try:
        text = f"{known.rstrip()}\n{token_line(name, token)}\n".lstrip()
        fresh = file.with_name(f".{file.name}.new")
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as stream:
            stream.write(text)
        BearerTokens.from_file(fresh)  # refuses a second token of one name, and a file that was damaged before
        fresh.replace(file)
    except ValueError as error:
        raise Refused("BAD_TOKEN_NAME", str(error), "Take another name, or mend the file.") from error
    return token
