"""Senders of DICOM instances: a STOW-RS request as its bytes, and what the answer says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

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
