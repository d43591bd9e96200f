"""The settings of TLS: all or nothing, and plain text only where it was asked for."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path

import pytest
from cryptography import x509

from services.core.runtime.settings import SettingsError, load
from services.core.security.development import MARK, make_certificates
from services.core.security.roles import Role, RoleNotAllowed, require_role, role_of
from services.core.security.tls import TlsSettings, require_channel_security

pytestmark = pytest.mark.unit


class Peer:
    def __init__(self, *uris: bytes, kind: bytes = b"ssl") -> None:
        self._properties: Mapping[str, list[bytes]] = {"transport_security_type": [kind], "peer_uri": list(uris)}

    def auth_context(self) -> Mapping[str, list[bytes]]:
        return self._properties


@pytest.mark.parametrize(
    "names",
    [
        {"CERTIFICATE": "a.pem"},
        {"CERTIFICATE": "a.pem", "KEY": "b.pem"},
        {"CLIENT_AUTHORITIES": "c.pem"},
        {"CERTIFICATE": "a.pem", "KEY": "b.pem", "AUTHORITIES": "c.pem", "PLAIN": "true"},
        {"PASSWORD": "x"},
    ],
)
def test_settings_that_are_not_whole_are_refused(names: Mapping[str, str]) -> None:
    with pytest.raises(SettingsError):
        load(TlsSettings, "tls", {f"GLIOSERVE_TLS__{name}": value for name, value in names.items()})


def test_there_is_no_plain_text_by_omission_and_none_beyond_loopback() -> None:
    with pytest.raises(SettingsError, match="dev-certs"):
        require_channel_security(TlsSettings(), "127.0.0.1")
    for host in ("0.0.0.0", "::", "theatre.example", "10.1.2.3"):
        with pytest.raises(SettingsError, match="loopback"):
            require_channel_security(TlsSettings(plain=True), host)
    require_channel_security(TlsSettings(plain=True), "::1")


def test_a_certificate_needs_exactly_one_role() -> None:
    assert role_of(Peer(b"https://else", b"glioserve://role/stage")) is Role.STAGE
    for uris in ((), (b"glioserve://role/stage", b"glioserve://role/operations"), (b"glioserve://role/",)):
        with pytest.raises(RoleNotAllowed):
            role_of(Peer(*uris))


def test_an_unknown_transport_is_not_taken_for_plain_text() -> None:
    with pytest.raises(RoleNotAllowed):
        require_role(Peer(kind=b"else"), Role.STAGE)
    require_role(Peer(kind=b"insecure"), Role.STAGE)


def test_development_certificates_say_what_they_are_and_keep_their_keys_private(tmp_path: Path) -> None:
    make_certificates(tmp_path, ("localhost", "theatre.example", "127.0.0.1"), days=3)
    for role in Role:
        folder = tmp_path / role
        certificate = x509.load_pem_x509_certificate((folder / "cert.pem").read_bytes())
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.UniformResourceIdentifier) == [f"glioserve://role/{role}"]
        assert names.get_values_for_type(x509.DNSName) == ["localhost", "theatre.example"]
        assert MARK in certificate.subject.rfc4514_string().replace("\\", "")
        assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days == 3
        assert stat.S_IMODE((folder / "key.pem").stat().st_mode) == 0o600
        assert (folder / "ca.pem").read_bytes() == (tmp_path / "ca.pem").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ca.pem", *sorted(Role)]
