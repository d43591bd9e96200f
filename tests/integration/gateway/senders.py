"""Senders of DICOM instances: a STOW-RS request as its bytes and what the answer says, and a C-STORE SCU."""

from __future__ import annotations

import io
import ssl
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association

from services.core.runtime.home import Home, read_endpoints
from tests.integration.gateway.dicom_files import MR
from tests.integration.gateway.running import RunningGateway

BOUNDARY = "a-boundary-of-the-tests"
RELATED = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
FAILURE_REASON, CLASS, INSTANCE = "00081197", "00081150", "00081155"


def related(instances: Iterable[bytes], kind: str = "application/dicom") -> bytes:
    parts = [f"--{BOUNDARY}\r\nContent-Type: {kind}\r\n\r\n".encode() + instance + b"\r\n" for instance in instances]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


@dataclass(frozen=True)
class Stored:
    """The answer to a STOW-RS request."""

    http: httpx.Response

    @property
    def status(self) -> int:
        return self.http.status_code

    @property
    def document(self) -> Mapping[str, Any]:
        assert self.http.headers["content-type"] == "application/dicom+json", self.http.text
        document: Mapping[str, Any] = self.http.json()
        return document

    @property
    def stored(self) -> list[str]:
        return [item[INSTANCE]["Value"][0] for item in self._items("00081199")]

    @property
    def failed(self) -> dict[str, int]:
        items = self._items("00081198")
        return {item[INSTANCE]["Value"][0]: item[FAILURE_REASON]["Value"][0] for item in items}

    @property
    def unreadable(self) -> list[int]:
        return [item[FAILURE_REASON]["Value"][0] for item in self._items("0008119A")]

    @property
    def studies(self) -> list[str]:
        links = self.http.headers.get_list("link", split_commas=True)
        return [link.strip().removeprefix("</studies/").partition(">")[0] for link in links]

    @property
    def study(self) -> str:
        (study,) = self.studies
        return study

    def _items(self, tag: str) -> list[Mapping[str, Any]]:
        items: list[Mapping[str, Any]] = self.document.get(tag, {"Value": []})["Value"]
        return items


def stow(gateway: RunningGateway, instances: Iterable[bytes], study_uid: str = "", **headers: str) -> Stored:
    path = f"/dicomweb/studies/{study_uid}".rstrip("/")
    return Stored(gateway.http.post(path, content=related(instances), headers={"Content-Type": RELATED, **headers}))


TITLE = "SCANNER"
VERIFICATION = "1.2.840.10008.1.1"


@dataclass(frozen=True, kw_only=True)
class Caller:
    """How an SCU calls, and what it proposes."""

    calling: str = TITLE
    called: str = "GLIOSERVE"
    classes: Sequence[str] = (MR, VERIFICATION)
    syntaxes: Sequence[str] = (ExplicitVRLittleEndian,)
    tls: ssl.SSLContext | None = None

    def request(self, home: Home) -> Association:
        """An association, or what became of it."""
        host, port = _listener(home)
        entity = AE(self.calling)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 30
        for sop_class in self.classes:
            entity.add_requested_context(sop_class, list(self.syntaxes))
        tls = (self.tls, host) if self.tls else None
        return entity.associate(host, int(port), ae_title=self.called, tls_args=tls)

    def is_rejected(self, home: Home) -> bool:
        """Asks in a process of its own: rejected, pynetdicom's SCU leaves its socket to the garbage collector."""
        host, port = _listener(home)
        command = [sys.executable, "-m", "pynetdicom", "echoscu", "-aet", self.calling, "-aec", self.called, host, port]
        answered = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        assert answered.returncode == 0 or "Association Rejected" in answered.stderr, answered.stderr
        return answered.returncode != 0

    @contextmanager
    def associated(self, home: Home) -> Iterator[Association]:
        """An association that was accepted."""
        association = self.request(home)
        assert association.is_established
        try:
            yield association
        finally:
            if association.is_established:
                association.release()

    def store(self, home: Home, instances: Iterable[bytes | Dataset]) -> list[int]:
        """The status of each instance; -1: no answer came."""
        with self.associated(home) as association:
            return [status_of(association, instance) for instance in instances]


def _listener(home: Home) -> tuple[str, str]:
    host, _, port = read_endpoints(home)["gateway"]["dicom"].rpartition(":")
    return host, port


def status_of(association: Association, instance: bytes | Dataset) -> int:
    data_set = dcmread(io.BytesIO(instance)) if isinstance(instance, bytes) else instance
    if not association.is_established:
        return -1
    return int(association.send_c_store(data_set).get("Status", -1))
