"""Settings of the pose process, GLIOSERVE_NAVIGATION_POSES__<NAME>; nothing else here reads the environment."""

from __future__ import annotations

from pydantic import Field

from services.core.runtime.settings import ServiceSettings


class PoseSettings(ServiceSettings):
    """Where the process listens, and from when on an answer is called stale."""

    host: str = Field(default="127.0.0.1", description="Address of the gRPC port; beyond loopback only with TLS.")
    port: int = Field(default=0, ge=0, le=65535, description="0 takes a free one.")
    health_host: str = Field(default="127.0.0.1", description="Health and metrics: plain HTTP, no study data.")
    health_port: int = Field(default=0, ge=0, le=65535, description="0 takes a free one.")

    mask_stale_s: float = Field(default=1800.0, gt=0, description="Age of a mask from which on it is stale.")
    registration_stale_s: float = Field(default=1800.0, gt=0, description="The same for its registration.")
    clock_stale_ms: float = Field(
        default=250.0, gt=0, description="Difference between a pose's time and this clock that makes it stale."
    )
    look_s: float = Field(default=0.1, gt=0, le=1.0, description="Time between two looks for a newer mask.")

    streams: int = Field(default=64, ge=1, description="Calls at the same time, health included.")
    ping_s: float = Field(default=10.0, gt=0, description="Shortest time between pings that a client may send.")
    keepalive_s: float = Field(default=30.0, gt=0, description="Pings of the server, answered within 10 s.")
    connection_age_s: float = Field(default=3600.0, gt=0, description="Connections are asked to come again.")
    connection_grace_s: float = Field(default=60.0, gt=0, description="What is running then may take so long.")
    drain_s: float = Field(default=25.0, gt=0, description="How long streams go on after a stop.")
