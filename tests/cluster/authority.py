"""Certificates of the test cluster: one authority, one key pair for each who speaks. Made with openssl in a second."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

_DAYS = "2"
_NAMES = "subjectAltName=DNS:localhost,DNS:keda-metrics-apiserver.keda.svc,IP:127.0.0.1"
_SERVER = f"{_NAMES}\nextendedKeyUsage=serverAuth,clientAuth\n"
_CLIENT = "extendedKeyUsage=clientAuth\n"


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its key, PEM."""

    certificate: Path
    key: Path


class Authority:
    """Issues certificates into a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self.certificate = folder / "ca.crt"
        _openssl("req", "-x509", *_new_key(folder / "ca.key"), "-subj", "/CN=test-cluster", "-days", _DAYS,
                 "-addext", "keyUsage=critical,keyCertSign", "-out", self.certificate)  # fmt: skip

    def server(self) -> KeyPair:
        """For a server on loopback, which may also be a client."""
        return self._issue("server", "/CN=localhost", _SERVER)

    def client(self, name: str, group: str | None = None) -> KeyPair:
        """For a user of the API; Kubernetes reads CN as the user and O as a group."""
        subject = f"/O={group}/CN={name}" if group else f"/CN={name}"
        return self._issue(name.rpartition(":")[2], subject, _CLIENT)

    def key(self, name: str) -> Path:
        """A key without a certificate, for service accounts' tokens."""
        path = self._folder / f"{name}.key"
        _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path)  # PKCS 8 is not understood
        return path

    def kubeconfig(self, address: str, user: KeyPair) -> Path:
        """A kubeconfig (JSON is YAML) with which this user finds the API server."""
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {"name": "test", "cluster": {"server": address, "certificate-authority": str(self.certificate)}}
            ],
            "users": [
                {
                    "name": "me",
                    "user": {"client-certificate": str(user.certificate), "client-key": str(user.key)},
                }
            ],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "me"}}],
            "current-context": "test",
        }
        path = user.certificate.with_suffix(".kubeconfig")
        path.write_text(json.dumps(document))
        return path

    def _issue(self, name: str, subject: str, extensions: str) -> KeyPair:
        pair = KeyPair(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        request, extension = self._folder / f"{name}.csr", self._folder / f"{name}.ext"
        extension.write_text(extensions)
        _openssl("req", "-new", *_new_key(pair.key), "-subj", subject, "-out", request)
        _openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self._folder / "ca.key",
                 "-CAcreateserial", "-days", _DAYS, "-extfile", extension, "-out", pair.certificate)  # fmt: skip
        return pair


def _new_key(path: Path) -> tuple[str | Path, ...]:
    return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", path)


def _openssl(*words: str | Path) -> None:
    done = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"openssl {words[0]}: {done.stderr}")
