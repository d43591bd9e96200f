"""Settings of the navigation, GLIOSERVE_NAVIGATION__<NAME>; nothing else here reads the environment."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from services.core.runtime.settings import ServiceSettings

_MIB = 1 << 20


class ServerSettings(ServiceSettings):
    """Where a server of navigation systems listens, and how long their connections live: sessions and poses alike."""

    host: str = Field(default="127.0.0.1", description="Address of the gRPC port; beyond loopback only with TLS.")
    port: int = Field(default=0, ge=0, le=65535, description="0 takes a free one.")
    health_host: str = Field(default="127.0.0.1", description="Health and metrics: plain HTTP, no study data.")
    health_port: int = Field(default=0, ge=0, le=65535, description="0 takes a free one.")

    ping_s: float = Field(default=10.0, gt=0, description="Shortest time between pings that a client may send.")
    keepalive_s: float = Field(default=30.0, gt=0, description="Pings of the server, answered within 10 s.")
    connection_age_s: float = Field(default=3600.0, gt=0, description="Connections are asked to come again.")
    connection_grace_s: float = Field(default=60.0, gt=0, description="What is running then may take so long.")


class NavigationSettings(ServerSettings):
    """What the operating room's server can be told from outside."""

    advertised: str | None = Field(
        default=None, description="host:port under which clients reach this very process; it stands in the tokens."
    )
    poses_advertised: str | None = Field(default=None, description="The same for the process that answers poses.")
    gateway: str | None = Field(default=None, description="host:port of the gateway's internal door; else endpoints.")
    preparation: str | None = Field(default=None, description="host:port of the theatre's preparation; else endpoints.")
    segmentation: str | None = Field(default=None, description="host:port of its segmentation; else endpoints.")
    pseudonym_key: Path | None = Field(default=None, description="The installation's key; else the vault's.")

    sessions: int = Field(default=8, ge=1, description="Open sessions at most.")
    series_at_once: int = Field(default=1, ge=1, description="Series that are computed at the same time.")
    series_bytes: int = Field(default=256 * _MIB, gt=0, description="Largest series.")
    answer_bytes: int = Field(default=32 * _MIB, gt=0, description="Answers that are kept for a session.")
    silent_s: float = Field(default=5.0, gt=0, description="A silent upload gives the theatre's lock up.")
    upload_expires_s: float = Field(default=60.0, gt=0, description="A silent upload is dropped.")
    remembered_s: float = Field(default=60.0, gt=0, description="How long a session without a stream is kept.")

    drain_s: float = Field(default=25.0, gt=0, description="How long series may take after a stop.")
