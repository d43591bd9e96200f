"""A multipart body as it arrives, part by part (RFC 2046): nothing is spooled, headers are bounded by the parser."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from services.gateway.errors import BadRequest


class PartReceiver(ABC):
    """Feed it the body; each part begins with its headers (names in lower case), has data, and ends."""

    def __init__(self, content_type: str) -> None:
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if not boundary:
            raise BadRequest("MALFORMED_MULTIPART", "the content type names no boundary")
        self._headers: dict[str, bytes] = {}
        self._header: tuple[bytes, bytes] = (b"", b"")
        self._ended = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._part_begin,
                    "on_header_field": self._header_field,
                    "on_header_value": self._header_value,
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._headers_finished,
                    "on_part_data": self._part_data,
                    "on_part_end": self.ended,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise BadRequest("MALFORMED_MULTIPART", "the content type names a boundary that is none") from error

    @abstractmethod
    def began(self, headers: Mapping[str, bytes]) -> None:
        """A new part."""

    @abstractmethod
    def data(self, data: bytes) -> None:
        """More of the open part."""

    @abstractmethod
    def ended(self) -> None:
        """The open part is whole."""

    def feed(self, chunk: bytes) -> None:
        """More of the body. Raises BadRequest, and what staging raises."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise BadRequest("MALFORMED_MULTIPART", "the body is not the multipart that it says it is") from error

    def finish(self) -> None:
        """The body has ended. Raises BadRequest when it was cut off."""
        if not self._ended:
            raise BadRequest("UPLOAD_CUT_OFF", "the body ends before its last boundary", "Send it again.")

    def _part_begin(self) -> None:
        self._headers = {}
        self._header = (b"", b"")

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        name, value = self._header
        self._header = (name + data[start:end], value)

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        name, value = self._header
        self._header = (name, value + data[start:end])

    def _header_end(self) -> None:
        name, value = self._header
        self._headers[name.decode("latin-1").lower()] = value
        self._header = (b"", b"")

    def _headers_finished(self) -> None:
        self.began(self._headers)

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self.data(data[start:end])

    def _end(self) -> None:
        self._ended = True
