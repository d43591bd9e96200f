"""What this service raises beside `core.contracts.errors`.

OutputNotPossible   one output cannot be made from this study: the report is written without it and says why (degraded)
"""

from __future__ import annotations


class OutputNotPossible(Exception):
    """`code` is stable and upper snake case; the message never holds identity."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
