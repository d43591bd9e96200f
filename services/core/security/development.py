"""Certificates for development: a small authority and short-lived certificates, each marked as what it is.

Their subject says DEVELOPMENT, they end after days, and every call makes a new authority whose key is thrown away: what
was issued is all that it will ever sign. A site's own authority takes its place by naming other files.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from services.core.security.roles import URI, Role

DAYS = 30
MARK = "GlioServe DEVELOPMENT, not for patients"
HOSTS = ("localhost", "127.0.0.1", "::1")
SKEW = timedelta(minutes=5)
AUTHORITY_FILE = "ca.pem"


@dataclass(frozen=True, slots=True, kw_only=True)
class Validity:
    """From when to when, UTC."""

    begins: datetime
    ends: datetime

    @staticmethod
    def days(days: int, now: datetime | None = None) -> Validity:
        """From now, less five minutes for clocks that differ."""
        begins = now or datetime.now(UTC)
        return Validity(begins=begins - SKEW, ends=begins + timedelta(days=days))


class DevelopmentAuthority:
    """Signs certificates for development while it lives; its key is never written."""

    def __init__(self, validity: Validity) -> None:
        self._validity = validity
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _subject("authority")
        builder = _builder(self._name, self._name, self._key.public_key(), validity)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_usage(authority=True), critical=True)
        identifier = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        builder = builder.add_extension(identifier, critical=False)
        self.certificate = builder.sign(self._key, hashes.SHA256())

    def pem(self) -> bytes:
        """Its own certificate: what a peer's `authorities` names."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, folder: Path, role: str, hosts: tuple[str, ...] = HOSTS, validity: Validity | None = None) -> None:
        """Writes <folder>/{cert.pem, key.pem (mode 0600), ca.pem}: a certificate of server and client with one role.

        Each file is replaced at once, key first, so that a running process can take the new ones up.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_subject(role), self._name, key.public_key(), validity or self._validity)
        names = [x509.UniformResourceIdentifier(f"{URI}{role}"), *(_host(host) for host in hosts)]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(authority=False), critical=True)
        both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = builder.add_extension(both, critical=False)
        above = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(above, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / "key.pem", _private(key), 0o600)
        _write(folder / AUTHORITY_FILE, self.pem(), 0o644)
        _write(folder / "cert.pem", certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def make_certificates(folder: Path, hosts: tuple[str, ...] = HOSTS, days: int = DAYS) -> Path:
    """A new authority and, in a folder each, a certificate of every role. Gives the authority's file."""
    authority = DevelopmentAuthority(Validity.days(days))
    for role in Role:
        authority.issue(folder / role, role, hosts)
    _write(folder / AUTHORITY_FILE, authority.pem(), 0o644)
    return folder / AUTHORITY_FILE


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, validity: Validity
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(validity.begins)
        .not_valid_after(validity.ends)
    )


def _subject(name: str) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, MARK), x509.NameAttribute(NameOID.COMMON_NAME, name)]
    return x509.Name(parts)


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, data: bytes, mode: int) -> None:
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
        stream.write(data)
    fresh.replace(path)
