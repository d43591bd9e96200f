"""A pg8000 connection whose every failure of the network is the driver's own InterfaceError.

pg8000 1.31 lets the first read of an answer, and a failed TLS handshake, through as bare OSErrors: SQLAlchemy would
neither notice that the connection is gone nor replace it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pg8000.exceptions import InterfaceError
from pg8000.legacy import Connection


class GuardedConnection(Connection):  # type: ignore[misc]
    """What SQLAlchemy's dialect expects of `pg8000.connect`."""

    def __init__(self, **parameters: Any) -> None:
        with _as_interface_error():
            super().__init__(**parameters)

    def handle_messages(self, context: Any) -> None:
        """Reads the answer to a statement."""
        with _as_interface_error():
            super().handle_messages(context)

    def close(self) -> None:
        """Closes; a server that is gone needs no farewell."""
        with suppress(InterfaceError):
            super().close()


@contextmanager
def _as_interface_error() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InterfaceError("network error") from error
