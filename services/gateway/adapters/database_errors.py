"""What a database can do to a transaction, as the project's errors.

Only what another try may get over becomes Transient: a lost connection, a lock, a restart, a full disk (PostgreSQL's
classes 08, 40, 53, 57, 58). Anything else is a bug or a wrong schema and passes as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from services.core.contracts.errors import Transient

_PASSING_CLASSES = ("08", "28", "40", "53", "57", "58")
_PASSING = frozenset({"55P03", "25006", "25P03", "3D000"})
"""Lock timeout, a standby that is not yet primary, an idle transaction that was ended, a database not yet made."""
_FULL = "53100"


@contextmanager
def storage_errors() -> Iterator[None]:
    """Raises Transient in the place of errors that another try may get over."""
    try:
        yield
    except PoolTimeout as error:
        raise _unavailable() from error
    except DBAPIError as error:
        state = _sqlstate(error)
        full = state == _FULL or (isinstance(error, OperationalError) and "full" in str(error.orig))
        if full:
            raise Transient(
                "DISK_FULL", "there is no room for the state", "Free space where the state database lies."
            ) from error
        if not _passes(error, state):
            raise
        raise _unavailable() from error


def _passes(error: DBAPIError, state: str) -> bool:
    if state:
        return state.startswith(_PASSING_CLASSES) or state in _PASSING
    return error.connection_invalidated or isinstance(error, (OperationalError, InterfaceError))


def _sqlstate(error: DBAPIError) -> str:
    """PostgreSQL's own code; empty where the error is the connection's or SQLite's."""
    said = error.orig.args[0] if error.orig is not None and error.orig.args else None
    return str(said.get("C", "")) if isinstance(said, dict) else ""


def _unavailable() -> Transient:
    return Transient("STATE_UNAVAILABLE", "the state database cannot be used now", "Try again.")
