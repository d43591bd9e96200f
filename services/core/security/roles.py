"""What a peer may do, from its certificate: the subject alternative name `glioserve://role/<role>`.

The names in a certificate's subject are never read: who signs it decides what it may do, by one entry and no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Protocol

from services.core.contracts.errors import Refused

URI = "glioserve://role/"


class Role(StrEnum):
    """`navigation`: a navigation system. `operations`: who watches. `stage`: a process of this installation."""

    NAVIGATION = "navigation"
    OPERATIONS = "operations"
    STAGE = "stage"


class RoleNotAllowed(Refused):
    """The peer's certificate does not let it do this. Code ROLE_NOT_ALLOWED."""

    def __init__(self, message: str) -> None:
        super().__init__("ROLE_NOT_ALLOWED", message, "Ask whoever signs the certificates of this site for the role.")


class PeerContext(Protocol):
    """The part of both servicer contexts, blocking and asyncio, that tells who calls."""

    def auth_context(self) -> Mapping[str, Iterable[bytes] | bytes]:
        """What gRPC knows about the peer; each property is bytes or several of them."""


def role_of(context: PeerContext) -> Role | None:
    """The caller's role; None over plain text, which a server only speaks on loopback and when told so.

    Raises RoleNotAllowed on a certificate that names none, several, or one that does not exist.
    """
    properties = context.auth_context()
    if _values(properties, "transport_security_type") <= {b"insecure"}:
        return None
    uris = {uri.decode(errors="replace") for uri in _values(properties, "peer_uri")}
    named = {uri.removeprefix(URI) for uri in uris if uri.startswith(URI)}
    if len(named) != 1:
        raise RoleNotAllowed(f"the certificate names {len(named)} roles; it needs one {URI}<role>")
    try:
        return Role(named.pop())
    except ValueError as error:
        raise RoleNotAllowed("the certificate names a role that does not exist") from error


def require_role(context: PeerContext, *allowed: Role) -> None:
    """Raises RoleNotAllowed unless the caller has one of the roles, or speaks plain text on loopback."""
    role = role_of(context)
    if role is not None and role not in allowed:
        raise RoleNotAllowed(f"this is not for the role {role}")


def _values(properties: Mapping[str, Iterable[bytes] | bytes], name: str) -> set[bytes]:
    found = properties.get(name, ())
    return {found} if isinstance(found, bytes) else set(found)
