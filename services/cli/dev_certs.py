"""`glioserve dev-certs`: certificates for development, and the settings that use them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from services.core.security.development import HOSTS, make_certificates
from services.core.security.roles import Role


def dev_certs(folder: Path, hosts: Sequence[str], days: int) -> str:
    """Makes them below `folder` and gives the words for the terminal."""
    make_certificates(folder, (*HOSTS, *hosts), days)
    lines = [f"{folder / role}: cert.pem, key.pem, ca.pem with the role {role}" for role in Role]
    stage = (folder / Role.STAGE).resolve()
    return "\n".join(
        [
            *lines,
            f"They end in {days} days, are for development only, and their authority's key was not kept.",
            "For the processes of GlioServe:",
            f"  export GLIOSERVE_TLS__CERTIFICATE={stage / 'cert.pem'}",
            f"  export GLIOSERVE_TLS__KEY={stage / 'key.pem'}",
            f"  export GLIOSERVE_TLS__AUTHORITIES={stage / 'ca.pem'}",
            f"A navigation system takes the files below {(folder / Role.NAVIGATION).resolve()}.",
        ]
    )
