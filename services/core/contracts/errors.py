"""Errors, split by what the caller should do.

GlioServeError
├── Transient   try again: first here with back-off, then from the retry topic
├── Permanent   trying again cannot help: dead letter, outcome `failed`
└── Refused     policy, consent or unacceptable input: outcome `refused`, the sender is told why

An answer with limits is no error: it is a manifest whose `completeness` is degraded or insufficient, with its reasons.
"""

from __future__ import annotations


class GlioServeError(Exception):
    """Base of all errors that a caller is expected to react to.

    `code` is stable and upper snake case; `advice` says what the reader can do. Neither ever holds identity.
    """

    def __init__(self, code: str, message: str, advice: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.advice = advice


class Transient(GlioServeError):
    """The same request may succeed later."""


class Permanent(GlioServeError):
    """The same request will never succeed."""


class Refused(GlioServeError):
    """The input or the asker is not acceptable."""
