"""A form as it arrives (RFC 7578): file parts go straight to staging, nothing is spooled, every byte is counted.

A form's fields (`lane`, `patient`, `acquired`, `sequence`) are small and few. A file part named after a slot (`t1c`)
states the sequence of its file.
"""

from __future__ import annotations

from collections.abc import Mapping

from python_multipart.multipart import parse_options_header

from services.core.contracts.enums import STRUCTURAL, Modality
from services.gateway.entrypoints.parts import PartReceiver
from services.gateway.errors import BadRequest, TooLarge
from services.gateway.ports import Upload

MAX_FIELDS = 100
MAX_FIELD_BYTES = 4096
FIELDS = frozenset({"lane", "patient", "acquired", "sequence"})


class MultipartReceiver(PartReceiver):
    """Feed it the body; after `finish`, `fields` holds the form's fields and the upload its files."""

    def __init__(self, content_type: str, upload: Upload) -> None:
        super().__init__(content_type)
        self.fields: dict[str, list[str]] = {}
        self._upload = upload
        self._field: tuple[str, bytearray] | None = None
        self._in_file = False

    def began(self, headers: Mapping[str, bytes]) -> None:
        """A file or a field. Raises BadRequest, TooLarge."""
        _, options = parse_options_header(headers.get("content-disposition", b""))
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

    def data(self, data: bytes) -> None:
        """More of a file or a field. Raises TooLarge, NoSpace."""
        if self._in_file:
            self._upload.write(data)
        elif self._field is not None:
            self._field[1].extend(data)
            if len(self._field[1]) > MAX_FIELD_BYTES:
                raise TooLarge("FIELD_TOO_LARGE", f"a field holds at most {MAX_FIELD_BYTES} bytes")

    def ended(self) -> None:
        """The file or field is whole."""
        if self._in_file:
            self._upload.end()
        elif self._field is not None:
            name, value = self._field
            self.fields.setdefault(name, []).append(_text(bytes(value)))
        self._in_file, self._field = False, None


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "replace")
