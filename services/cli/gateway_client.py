"""Talks to the gateway over HTTP, as a hospital system would. Errors arrive as problem documents (RFC 9457)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias
from urllib.parse import quote

import httpx

from services.core.contracts.errors import GlioServeError, Refused, Transient

Document: TypeAlias = dict[str, Any]
PATIENT_HEADER = "GlioServe-Patient"
UPLOAD_TIMEOUT = httpx.Timeout(30.0, write=300.0, read=300.0)


class NotFound(Refused):
    """The gateway knows no such study or result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A file to send and the relative name under which it is sent."""

    path: Path
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What `submit` sends. `sequences` maps a slot to a file name among `files`."""

    files: Sequence[SourceFile]
    lane: str = "routine"
    patient: str | None = None
    acquired: str | None = None
    sequences: Mapping[str, str] = field(default_factory=dict)

    def parameters(self) -> list[tuple[str, str]]:
        """Query parameters of the upload. The patient is none of them: proxies log addresses."""
        named = [("lane", self.lane), ("acquired", self.acquired)]
        chosen = [(key, value) for key, value in named if value is not None]
        return chosen + [("sequence", f"{slot}={name}") for slot, name in self.sequences.items()]

    def headers(self) -> dict[str, str]:
        """Headers of the upload."""
        return {} if self.patient is None else {PATIENT_HEADER: quote(self.patient)}


class _OnDemand:
    """A file that is open only while it is read: a study may have more files than a process may open at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = path.stat().st_size
        self._stream: BinaryIO | None = None

    def read(self, count: int = -1) -> bytes:
        """The next bytes; closes at the end."""
        if self._stream is None:
            self._stream = self._path.open("rb")
        chunk = self._stream.read(count)
        if not chunk:
            self._close()
        return chunk

    def tell(self) -> int:
        """Where the next bytes come from."""
        return 0 if self._stream is None else self._stream.tell()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """To the start, or to the end for its size: all that an upload asks for."""
        self._close()
        return self._size if whence == os.SEEK_END else offset

    def _close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


class GatewayClient:
    """One gateway. Raises Transient when it does not answer, Refused or NotFound with its words when it refuses."""

    def __init__(self, url: str, token: str | None = None) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.url = url
        self._http = httpx.Client(base_url=url, headers=headers, timeout=30.0)

    def close(self) -> None:
        """Closes connections."""
        self._http.close()

    def submit(self, submission: Submission) -> Document:
        """Uploads a study, streaming from disk; gives the study document."""
        only = submission.files[0].path if len(submission.files) == 1 else None
        with ExitStack() as stack:
            if only is not None and only.suffix.lower() == ".zip":
                content = stack.enter_context(only.open("rb"))
                length = {"Content-Type": "application/zip", "Content-Length": str(only.stat().st_size)}
                return self._document(
                    "POST",
                    "/studies",
                    params=submission.parameters(),
                    content=content,
                    headers=submission.headers() | length,
                    timeout=UPLOAD_TIMEOUT,
                )
            files: Any = [
                ("files", (file.name, _OnDemand(file.path), "application/octet-stream")) for file in submission.files
            ]
            return self._document(
                "POST",
                "/studies",
                params=submission.parameters(),
                files=files,
                headers=submission.headers(),
                timeout=UPLOAD_TIMEOUT,
            )

    def study(self, study: str) -> Document:
        """The study document: state, stages, revision, completeness, verdict."""
        return self._document("GET", _path(study))

    def studies(self) -> Document:
        """The list of studies."""
        return self._document("GET", "/studies")

    def results(self, study: str) -> Document:
        """Names, sizes, media types and digests of the current results."""
        return self._document("GET", f"{_path(study)}/results")

    def replay(self, study: str, stage: str | None) -> Document:
        """Asks for the same run once more."""
        return self._document("POST", f"{_path(study)}/replay", params={"stage": stage} if stage else {})

    def fetch(self, path: str, target: Path) -> None:
        """Downloads to a file; it appears whole or not at all."""
        fresh = target.with_name(f".{target.name}.part")
        try:
            with self._http.stream("GET", path) as response:
                if response.is_error:
                    response.read()
                    raise _problem(response)
                with fresh.open("wb") as stream:
                    for chunk in response.iter_bytes():
                        stream.write(chunk)
            fresh.replace(target)
        except httpx.TransportError as error:
            raise _unreachable(self.url) from error
        finally:
            fresh.unlink(missing_ok=True)

    def text(self, path: str) -> str:
        """The text at a path, such as the page of a study."""
        try:
            response = self._http.get(path)
        except httpx.TransportError as error:
            raise _unreachable(self.url) from error
        if response.is_error:
            raise _problem(response)
        return response.text

    def events(self, study: str) -> Iterator[Document | None]:
        """Study documents as they change, by Server-Sent Events; None for a heartbeat. Ends with the connection."""
        try:
            with self._http.stream("GET", f"/studies/{study}/events", timeout=httpx.Timeout(30.0)) as response:
                if response.is_error:
                    response.read()
                    raise _problem(response)
                for line in response.iter_lines():
                    if line.startswith("data:"):
                        yield json.loads(line.removeprefix("data:"))
                    elif line.startswith(":"):
                        yield None
        except httpx.TransportError:
            return

    def _document(self, method: str, path: str, **options: Any) -> Document:
        try:
            response = self._http.request(method, path, **options)
        except httpx.TransportError as error:
            raise _unreachable(self.url) from error
        if response.is_error:
            raise _problem(response)
        document: Document = response.json()
        return document


def _path(study: str) -> str:
    """Where a study is. Raises NotFound on what can be no id, before it becomes another address."""
    if not study.replace("-", "").isalnum():
        raise _unknown_study("there is no study with this id")
    return f"/studies/{study}"


def _unknown_study(detail: str) -> NotFound:
    return NotFound("UNKNOWN_STUDY", detail, "List them: glioserve status")


def _unreachable(url: str) -> Transient:
    return Transient("UNREACHABLE", f"no gateway answers at {url}", "Start it: glioserve up")


def _problem(response: httpx.Response) -> GlioServeError:
    try:
        body = response.json()
        code, detail = body["code"], body.get("detail") or body["title"]
        advice = body.get("advice", "")
        if body.get("names"):  # of files that were just sent from here
            detail = f"{detail}: {', '.join(body['names'])}"
    except (ValueError, KeyError, TypeError):
        code, detail, advice = f"HTTP_{response.status_code}", f"the gateway answered {response.status_code}", ""
    if code == "UNKNOWN_STUDY":
        return _unknown_study(detail)
    if response.status_code == httpx.codes.NOT_FOUND:
        return NotFound(code, detail, advice)
    if response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
        return Transient(code, detail, advice)
    return Refused(code, detail, advice)
