"""A multipart body as it arrives: file parts go straight to staging, nothing is spooled, every byte is counted.

A form's fields (`lane`, `patient`, `acquired`, `sequence`) are small and few. A file part named after a slot (`t1c`)
states the sequence of its file.
"""

from __future__ import annotations

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from services.core.contracts.enums import STRUCTURAL, Modality
from services.gateway.errors import BadRequest, TooLarge
from services.gateway.ports import Upload

MAX_FIELDS = 100
MAX_FIELD_BYTES = 4096
FIELDS = frozenset({"lane", "patient", "acquired", "sequence"})


class MultipartReceiver:
    """Feed it the body; after `finish`, `fields` holds the form's fields and the upload its files."""

    def __init__(self, content_type: str, upload: Upload) -> None:
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if not boundary:
            raise BadRequest("MALFORMED_MULTIPART", "the content type names no boundary")
        self.fields: dict[str, list[str]] = {}
        self._upload = upload
        self._headers: dict[str, bytes] = {}
        self._header: tuple[bytes, bytes] = (b"", b"")
        self._field: tuple[str, bytearray] | None = None
        self._in_file = False
        self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._part_data,
                "on_part_end": self._part_end,
                "on_end": self._end,
            },
        )

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
        _, options = parse_options_header(self._headers.get("content-disposition", b""))
        name = _text(options.get(b"name"))
        filename = options.get(b"filename")
        if filename is not None:
            self._in_file = True
            self._upload.begin(_text(filename) or "unnamed", Modality(name) if name in STRUCTURAL else None)
            return
        if name not in FIELDS:
            raise BadRequest("UNKNOWN_FIELD", "the form holds a field that is not known", f"Known: {sorted(FIELDS)}.")
        if sum(len(values) for values in self.fields.values()) >= MAX_FIELDS:
            raise TooLarge("TOO_MANY_FIELDS", f"a form holds at most {MAX_FIELDS} fields")
        self._field = (name, bytearray())

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._upload.write(data[start:end])
        elif self._field is not None:
            self._field[1].extend(data[start:end])
            if len(self._field[1]) > MAX_FIELD_BYTES:
                raise TooLarge("FIELD_TOO_LARGE", f"a field holds at most {MAX_FIELD_BYTES} bytes")

    def _part_end(self) -> None:
        if self._in_file:
            self._upload.end()
        elif self._field is not None:
            name, value = self._field
            self.fields.setdefault(name, []).append(_text(bytes(value)))
        self._in_file, self._field = False, None

    def _end(self) -> None:
        self._ended = True


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "replace")
