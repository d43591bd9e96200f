"""Errors of the gateway's own, split by what the caller should do.

Refused
├── BadRequest        a body that is not what it says it is
├── NotFound          no such study or result
├── Conflict          it contradicts what is stored, or what is going on
├── TooLarge          a limit is exceeded
├── Unsupported       a kind of upload that is not taken
├── Unauthenticated   a token is missing or wrong
└── Forbidden         a request from where none may come
Transient
└── NoSpace           the store is nearly full: uploads wait, running studies finish
"""

from __future__ import annotations

from services.core.contracts.errors import Refused, Transient


class BadRequest(Refused):
    """A body that is not what its headers say."""


class NotFound(Refused):
    """No such study or result."""


class Conflict(Refused):
    """It contradicts what is stored, or what is going on."""


class TooLarge(Refused):
    """A limit on bytes, count, depth or ratio is exceeded."""


class Unsupported(Refused):
    """A kind of upload that is not taken."""


class Unauthenticated(Refused):
    """A bearer token is missing or wrong."""


class Forbidden(Refused):
    """A request that a browser was made to send from another site."""


class NoSpace(Transient):
    """The store is nearly full."""
