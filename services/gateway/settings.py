"""Settings of the gateway, from GLIOSERVE_GATEWAY__<NAME>. Nothing else of it reads the environment."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from services.core.runtime.settings import ServiceSettings

_MIB, _GIB = 1 << 20, 1 << 30


class GatewaySettings(ServiceSettings):
    """Where it listens, who may come, how much an upload may hold, and its own intervals."""

    host: str = Field(default="127.0.0.1", description="Any other than loopback needs TLS and tokens.")
    port: int = Field(default=0, ge=0, le=65535, description="0 takes a free one; see endpoints.json.")
    health_host: str = Field(default="127.0.0.1", description="Health and metrics: plain HTTP, no study data.")
    health_port: int = Field(default=0, ge=0, le=65535, description="0 takes a free one.")
    tls_certificate: Path | None = Field(default=None, description="PEM file of the certificate chain.")
    tls_key: Path | None = Field(default=None, description="PEM file of its private key.")
    tokens: Path | None = Field(default=None, description="File of bearer token hashes, one a line.")

    upload_bytes: int = Field(default=4 * _GIB, gt=0, description="Bytes of one upload, counted as they arrive.")
    file_bytes: int = Field(default=2 * _GIB, gt=0, description="Bytes of one file of an upload.")
    unpacked_bytes: int = Field(default=16 * _GIB, gt=0, description="Bytes that a ZIP may unpack to.")
    ratio: int = Field(default=200, gt=1, description="Unpacked over packed bytes, above 32 MiB.")
    upload_files: int = Field(default=20_000, gt=0, description="Files of one upload.")
    upload_depth: int = Field(default=16, gt=0, description="Nested folders of one upload.")
    uploads_at_once: int = Field(default=2, gt=0, description="Uploads that are examined at the same time.")
    free_bytes: int = Field(default=1 * _GIB, ge=0, description="Below this much free space uploads get 507.")

    quiet_s: float = Field(default=60.0, gt=0, description="A study closes after so long without new instances.")
    reconcile_s: float = Field(default=30.0, gt=0, description="How often silent requests are looked for.")
    heartbeat_s: float = Field(default=10.0, gt=0, description="Longest silence of an event stream.")
    streams: int = Field(default=200, gt=0, description="Event streams at the same time.")
    partitions: int = Field(default=4, ge=1, description="Partitions of topics that this process has to create.")
    drain_s: float = Field(default=10.0, gt=0, description="How long open requests may take after a stop.")
