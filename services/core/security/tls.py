"""Who speaks to whom over gRPC: mutual TLS from files, read again when they change; plain text on loopback if told so.

There is no TLS without the peer's certificate, and no plain text by omission: a server without either does not start.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeAlias

import grpc
import grpc.aio
from pydantic import Field, model_validator

from services.core.runtime.settings import ServiceSettings, SettingsError
from services.core.security.exposure import is_loopback

log = logging.getLogger(__name__)
Options: TypeAlias = "Sequence[tuple[str, int | str]]"
Stamp: TypeAlias = "tuple[tuple[int, int, int], ...]"


class TlsSettings(ServiceSettings):
    """Read from GLIOSERVE_TLS__<NAME>, the same for every process that speaks gRPC; all files are PEM."""

    certificate: Path | None = Field(default=None, description="This process's certificate and the chain above it.")
    key: Path | None = Field(default=None, description="Its private key.")
    authorities: Path | None = Field(default=None, description="Who may sign the certificates of peers.")
    client_authorities: Path | None = Field(
        default=None, description="Who may sign those of clients, where that differs."
    )
    plain: bool = Field(default=False, description="Plain text without roles; on loopback only.")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        given = [path for path in (self.certificate, self.key, self.authorities) if path is not None]
        if given and len(given) < 3:
            raise ValueError("certificate, key and authorities belong together")
        if self.plain and given:
            raise ValueError("plain text and certificates exclude each other")
        if self.client_authorities is not None and not given:
            raise ValueError("client_authorities needs certificate, key and authorities")
        return self

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that is named."""
        named = (self.certificate, self.key, self.authorities, self.client_authorities)
        return tuple(path for path in named if path is not None)


def require_channel_security(tls: TlsSettings, host: str) -> None:
    """Raises SettingsError where `host` would be spoken to in the clear without being loopback and being told so."""
    if tls.certificate is None and not tls.plain:
        raise SettingsError(
            "gRPC needs GLIOSERVE_TLS__CERTIFICATE, __KEY and __AUTHORITIES (`glioserve dev-certs` makes some for"
            " development), or GLIOSERVE_TLS__PLAIN=true on loopback"
        )
    if tls.plain and not is_loopback(host):
        raise SettingsError(f"plain text is for loopback, not for {host}")


def server_credentials(tls: TlsSettings, host: str) -> grpc.ServerCredentials | None:
    """Credentials of a server that listens on `host`; None: plain text on loopback, as the settings say.

    Clients must show a certificate. Files that change are used from the next connection on; files that do not fit
    together are logged and the former ones stay. Raises SettingsError when they do not fit at the start.
    """
    require_channel_security(tls, host)
    if tls.plain:
        return None
    source = _Reloaded(tls)
    return grpc.dynamic_ssl_server_credentials(
        source.first(),
        source.fetch,  # type: ignore[arg-type]  # None means: keep what you have (grpc's own words)
        require_client_authentication=True,
    )


def listen(server: grpc.Server | grpc.aio.Server, tls: TlsSettings, host: str, port: int) -> int:
    """Adds the server's port and gives its number. Raises SettingsError as `server_credentials`."""
    credentials = server_credentials(tls, host)
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise SettingsError(f"{address} cannot be listened on") from error


def channel(address: str, tls: TlsSettings, options: Options = ()) -> grpc.Channel:
    """A channel of the blocking API to host:port. Raises SettingsError."""
    credentials = _channel_credentials(address, tls)
    if credentials is None:
        return grpc.insecure_channel(address, options)
    return grpc.secure_channel(address, credentials, options)


def aio_channel(address: str, tls: TlsSettings, options: Options = ()) -> grpc.aio.Channel:
    """A channel of the asyncio API to host:port; make it inside its loop. Raises SettingsError."""
    credentials = _channel_credentials(address, tls)
    if credentials is None:
        return grpc.aio.insecure_channel(address, options)
    return grpc.aio.secure_channel(address, credentials, options)


class RenewedChannel:
    """A channel for the life of a process: opened again once the certificate files have changed.

    gRPC reads a client's certificate once a channel; a connection that outlives it could not be made again.
    """

    def __init__(self, address: str, tls: TlsSettings, options: Options = ()) -> None:
        self._address = address
        self._tls = tls
        self._options = options
        self._stamp = stamp(tls)
        self._channel = aio_channel(address, tls, options)
        self._closing: set[asyncio.Task[None]] = set()

    def get(self, grace_s: float = 60.0) -> grpc.aio.Channel:
        """The channel to use for the next call. Calls on the former one have `grace_s` to end."""
        if (now := stamp(self._tls)) != self._stamp:
            try:
                fresh = aio_channel(self._address, self._tls, self._options)
            except SettingsError as error:
                log.warning("tls.kept", extra={"reason": str(error)})
            else:
                former, self._channel = self._channel, fresh
                closing = asyncio.ensure_future(former.close(grace_s))
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)
            self._stamp = now
        return self._channel

    async def close(self) -> None:
        """Ends all calls."""
        await self._channel.close(None)
        await asyncio.gather(*self._closing)


def stamp(tls: TlsSettings) -> Stamp:
    """Changes when one of the files does; empty for plain text. A file that is away counts as a change."""
    stamps = []
    for path in tls.files:
        try:
            found = path.stat()
            stamps.append((found.st_ino, found.st_mtime_ns, found.st_size))
        except OSError:
            stamps.append((0, 0, 0))
    return tuple(stamps)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pem:
    certificate: bytes
    key: bytes
    authorities: bytes
    client_authorities: bytes


class _Reloaded:
    """What gRPC asks at each handshake: the new configuration, or None for the one that it has."""

    def __init__(self, tls: TlsSettings) -> None:
        self._tls = tls
        self._stamp = stamp(tls)

    def first(self) -> grpc.ServerCertificateConfiguration:
        return _configuration(_read(self._tls))

    def fetch(self) -> grpc.ServerCertificateConfiguration | None:
        now = stamp(self._tls)
        if now == self._stamp:
            return None
        self._stamp = now
        try:
            pem = _read(self._tls)
        except SettingsError as error:
            log.warning("tls.kept", extra={"reason": str(error)})
            return None
        log.info("tls.renewed")
        return _configuration(pem)


def _configuration(pem: _Pem) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(pem.key, pem.certificate)], pem.client_authorities)


def _channel_credentials(address: str, tls: TlsSettings) -> grpc.ChannelCredentials | None:
    host = address.removeprefix("ipv4:").removeprefix("ipv6:").rpartition(":")[0].strip("[]")
    require_channel_security(tls, host)
    if tls.plain:
        return None
    pem = _read(tls)
    return grpc.ssl_channel_credentials(pem.authorities, pem.key, pem.certificate)


def _read(tls: TlsSettings) -> _Pem:
    """The files' bytes, once OpenSSL takes them. Raises SettingsError, which names files and never what is in them."""
    certificate, key, authorities = tls.certificate, tls.key, tls.authorities
    if certificate is None or key is None or authorities is None:
        raise SettingsError("certificate, key and authorities belong together")
    clients = tls.client_authorities or authorities
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key, password=_no_password)
        for authority in (authorities, clients):
            context.load_verify_locations(cafile=authority)
        return _Pem(
            certificate=certificate.read_bytes(),
            key=key.read_bytes(),
            authorities=authorities.read_bytes(),
            client_authorities=clients.read_bytes(),
        )
    except (OSError, ValueError) as error:
        names = ", ".join(str(path) for path in tls.files)
        raise SettingsError(f"no usable certificate, key and authorities in {names}: {type(error).__name__}") from error


def _no_password() -> str:
    """An encrypted key must fail, and not ask at the terminal."""
    raise ValueError("the key is encrypted")
