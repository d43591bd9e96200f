"""Settings of the gateway, from GLIOSERVE_GATEWAY__<NAME>. Nothing else of it reads the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, SecretStr, model_validator

from services.core.runtime.settings import ServiceSettings
from services.core.security.exposure import is_loopback

_MIB, _GIB = 1 << 20, 1 << 30


def _titles(value: object) -> object:
    """AE titles with commas between them (PS3.5 6.2: 16 printable characters, no backslash)."""
    if not isinstance(value, str):
        return value
    titles = tuple(title.strip() for title in value.split(",") if title.strip())
    if wrong := [title for title in titles if len(title) > 16 or not title.isascii() or "\\" in title]:
        raise ValueError(f"not an AE title: {wrong[0]!r}")
    return titles


class DicomSettings(ServiceSettings):
    """The C-STORE listener. It is off unless both a port and the titles of its callers are given."""

    port: int | None = Field(default=None, ge=0, le=65535, description="0 takes a free one; none: no listener.")
    calling: Annotated[tuple[str, ...], BeforeValidator(_titles)] = Field(
        default=(), description="AE titles that may call, with commas between them. All others are rejected."
    )
    ae_title: str = Field(default="GLIOSERVE", min_length=1, max_length=16, description="Its own AE title.")
    host: str = Field(default="127.0.0.1", description="Any other than loopback needs TLS of both sides.")
    tls_certificate: Path | None = Field(default=None, description="PEM file of the certificate chain.")
    tls_key: Path | None = Field(default=None, description="PEM file of its private key.")
    tls_peers: Path | None = Field(default=None, description="PEM file of the CA that signs its callers' certificates.")
    associations: int = Field(default=8, gt=0, description="At the same time; more are rejected.")
    pdu_bytes: int = Field(default=128 << 10, ge=4 << 10, le=1 << 20, description="Largest PDU.")
    within_s: float = Field(default=60.0, gt=0, description="Longest silence, and longest time of one PDU.")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        tls = (self.tls_certificate, self.tls_key, self.tls_peers)
        if (self.port is None) != (not self.calling):
            raise ValueError("the DICOM listener needs both PORT and CALLING, the AE titles that may call")
        if any(tls) and not all(tls):
            raise ValueError("TLS needs TLS_CERTIFICATE, TLS_KEY and TLS_PEERS")
        if not any(tls) and not is_loopback(self.host):
            raise ValueError(f"listening on {self.host} needs TLS: only loopback goes without")
        return self


class DatabaseSettings(ServiceSettings):
    """A PostgreSQL instead of a file below the home: `postgresql://user:password@host:port/name[?sslmode=disable]`.

    Beyond loopback it must have TLS, unless the URL itself says `sslmode=disable`.
    """

    url: SecretStr | None = Field(default=None, description="None, here and in URL_FILE: SQLite below the home.")
    url_file: Path | None = Field(default=None, description="File that holds the URL, instead of URL.")
    ca: Path | None = Field(default=None, description="PEM file of the CA that signed the server's certificate.")
    connections: int = Field(default=8, ge=2, description="Kept open; as many again may be opened for a moment.")

    @model_validator(mode="after")
    def _one_url(self) -> Self:
        if self.url is not None and self.url_file is not None:
            raise ValueError("give either URL or URL_FILE")
        return self

    @property
    def named(self) -> object:
        """What names the database, unread."""
        return self.url_file or self.url

    def address(self) -> str | None:
        """The URL, or None for SQLite. Raises OSError, UnicodeError."""
        if self.url_file is not None:
            return self.url_file.read_text().strip()
        return self.url.get_secret_value() if self.url is not None else None


class GatewaySettings(ServiceSettings):
    """Where it listens, who may come, how much an upload may hold, and its own intervals."""

    host: str = Field(default="127.0.0.1", description="Any other than loopback needs TLS and tokens.")
    port: int = Field(default=0, ge=0, le=65535, description="0 takes a free one; see endpoints.json.")
    theatre_host: str = Field(
        default="127.0.0.1", description="The operating room's internal gRPC door; needs GLIOSERVE_TLS__*."
    )
    theatre_port: int = Field(default=0, ge=0, le=65535, description="0 takes a free one.")
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

    state: DatabaseSettings = Field(default=DatabaseSettings(), description="Where the state is kept.")
    vault: DatabaseSettings = Field(
        default=DatabaseSettings(), description="Where identities are kept: a database of their own."
    )
    pseudonym_key: Path | None = Field(
        default=None, description="File of the key that makes pseudonyms, where several processes share it; else own."
    )
    dicom: DicomSettings = Field(default=DicomSettings(), description="The C-STORE listener.")

    @model_validator(mode="after")
    def _vault_apart(self) -> Self:
        if self.vault.named and self.vault.named == self.state.named:
            raise ValueError("the vault needs a database of its own, not that of the state")
        return self
