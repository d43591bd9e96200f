"""Settings of the pose process, GLIOSERVE_NAVIGATION_POSES__<NAME>; nothing else here reads the environment."""

from __future__ import annotations

from pydantic import Field

from services.navigation.settings import ServerSettings


class PoseSettings(ServerSettings):
    """Where the process listens, and from when on an answer is called stale."""

    mask_stale_s: float = Field(default=1800.0, gt=0, description="Age of a mask from which on it is stale.")
    registration_stale_s: float = Field(default=1800.0, gt=0, description="The same for its registration.")
    clock_stale_ms: float = Field(
        default=250.0, gt=0, description="Difference between a pose's time and this clock that makes it stale."
    )
    look_s: float = Field(default=0.1, gt=0, le=1.0, description="Time between two looks for a newer mask.")

    real_time: bool = Field(
        default=True, description="Real-time priority where the machine permits it (RLIMIT_RTPRIO, CAP_SYS_NICE)."
    )
    poses_per_second: float = Field(
        default=500.0, gt=0, description="Poses of one stream that are answered in a second; more are read later."
    )
    streams: int = Field(default=64, ge=1, description="Calls at the same time, health included.")
    drain_s: float = Field(default=25.0, gt=0, description="How long streams go on after a stop.")
