"""Where a service may listen: on loopback as it is, anywhere else only with TLS and bearer tokens."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from services.core.runtime.settings import SettingsError


def is_loopback(host: str) -> bool:
    """True for `localhost` and the loopback networks of IPv4 and IPv6."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def require_protection(host: str, certificate: Path | None, key: Path | None, tokens: Path | None) -> None:
    """Raises SettingsError where an address beyond loopback lacks TLS or tokens. There is no default password."""
    if (certificate is None) != (key is None):
        raise SettingsError("TLS needs both a certificate and its key")
    missing = [
        name for name, path in (("a TLS certificate and key", certificate), ("a token file", tokens)) if not path
    ]
    if missing and not is_loopback(host):
        raise SettingsError(f"listening on {host} needs {' and '.join(missing)}: only loopback goes without")
    for path in (certificate, key, tokens):
        if path is not None and not path.is_file():
            raise SettingsError(f"{path} is not a file")
