"""One DICOM file from outside, read within limits: bytes, elements and nesting are bounded, every failure is `Refused`.

Parsing is pure Python (pydicom), so damaged bytes cannot crash the process; compressed pixels are decoded elsewhere.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError

from services.core.contracts.errors import Refused

MAX_FILE_BYTES = 2 << 30
MAX_HEADER_BYTES = 64 << 20
MAX_META_BYTES = 64 << 10
MAX_READS = 3_000_000
"""A header is read element by element, about three reads each; a real one of 5000 frames needs under a million."""

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
NATIVE_SYNTAXES = frozenset({IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG})
COMPRESSED_SYNTAXES = frozenset(
    {
        "1.2.840.10008.1.2.5",  # RLE
        "1.2.840.10008.1.2.4.50",  # JPEG baseline
        "1.2.840.10008.1.2.4.51",  # JPEG extended
        "1.2.840.10008.1.2.4.57",  # JPEG lossless
        "1.2.840.10008.1.2.4.70",  # JPEG lossless, first-order prediction
        "1.2.840.10008.1.2.4.80",  # JPEG-LS lossless
        "1.2.840.10008.1.2.4.81",  # JPEG-LS near-lossless
        "1.2.840.10008.1.2.4.90",  # JPEG 2000 lossless
        "1.2.840.10008.1.2.4.91",  # JPEG 2000
    }
)

PARSE_ERRORS: tuple[type[Exception], ...] = (
    InvalidDicomError,
    BytesLengthException,
    EOFError,
    struct.error,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    NotImplementedError,
    OverflowError,
    RecursionError,
    OSError,
)
"""What pydicom is known to raise on damaged bytes. It promises nothing, so the list is long."""

_UNDEFINED_LENGTH = 0xFFFFFFFF
_UID = re.compile(r"(?=.{1,64}\Z)[0-9]+(\.[0-9]+)*")
"""Digits with dots between them (PS3.5 9.1): it will name blobs and addresses, so `..` is none."""
_CHUNK = 1 << 20
_RESEND = "Send the series uncompressed (Explicit VR Little Endian)."
_LONG_VRS = (b"OB", b"OW", b"UN", b"OF", b"OD", b"OL", b"OV")


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelElement:
    """Where the pixel data of a file lie. `encapsulated`: compressed fragments up to the end of the file.

    Length 0: the file has none, or none of integers.
    """

    offset: int
    length: int
    encapsulated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DicomFile:
    """A parsed header (all elements before the pixels), its transfer syntax, and where the pixels are."""

    path: Path
    dataset: Dataset
    transfer_syntax: str
    pixels: PixelElement


def open_dicom(path: Path) -> DicomFile:
    """Reads all of a file but its pixels.

    Raises Refused: NOT_DICOM, DICOM_TOO_LARGE, DICOM_DAMAGED, UNSUPPORTED_TRANSFER_SYNTAX.
    """
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise Refused("DICOM_TOO_LARGE", f"one instance has {size} bytes; the limit is {MAX_FILE_BYTES}")
    with path.open("rb") as raw, guarded():
        start = raw.read(132)
        if start[128:] != b"DICM":
            raise Refused("NOT_DICOM", "the file is not a DICOM file (PS3.10)", "Send DICOM instances or NIfTI files.")
        raw.seek(0)
        syntax = _transfer_syntax(raw)
        raw.seek(0)
        metered = _Metered(raw, size)
        dataset = pydicom.dcmread(metered, stop_before_pixels=True)
        raw.seek(metered.tell())
        return DicomFile(path=path, dataset=dataset, transfer_syntax=syntax, pixels=_pixels(raw, syntax, size))


def is_uid(text: str) -> bool:
    """True for what can be a UID."""
    return _UID.fullmatch(text) is not None


def stated_instance(path: Path) -> tuple[str, str] | None:
    """SOP class and instance UID as the file's meta information (PS3.10 7.1) names them; None where it does not."""
    with path.open("rb") as raw:
        try:
            found = dict(_meta_elements(raw)) if raw.read(132)[128:] == b"DICM" else {}
        except struct.error:  # cut off
            return None
    named = found.get(0x0002, ""), found.get(0x0003, "")
    return named if all(is_uid(uid) for uid in named) else None


@contextmanager
def guarded() -> Iterator[None]:
    """Turns what pydicom says about damaged bytes into Refused, and silences its warnings: they quote values."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except PARSE_ERRORS as error:
        kind = type(error).__name__  # the text may quote values of the file
        raise Refused("DICOM_DAMAGED", f"the DICOM file cannot be read ({kind})", "Send the instance again.") from error


def pixel_bytes_digest(file: DicomFile) -> bytes:
    """SHA-256 over the stored pixel bytes, big-endian samples swapped, so that both byte orders give one digest."""
    swap = file.transfer_syntax == EXPLICIT_BIG and int(file.dataset.get("BitsAllocated", 8)) == 16
    digest = hashlib.sha256()
    with file.path.open("rb") as raw:
        raw.seek(file.pixels.offset)
        left = file.pixels.length
        while left > 0 and (chunk := raw.read(min(_CHUNK, left))):
            left -= len(chunk)
            digest.update(_swapped(chunk) if swap else chunk)
    return digest.digest()


class _Metered:
    """A file that refuses to be read for ever: counts reads and bytes, and never allocates beyond the file's end."""

    def __init__(self, raw: BinaryIO, size: int) -> None:
        self._raw = raw
        self._size = size
        self._reads = 0
        self._bytes = 0

    def read(self, count: int = -1) -> bytes:
        left = self._size - self._raw.tell()
        wanted = left if count < 0 else count
        if wanted > left and wanted > 12:  # up to 12 bytes: the look at the next element's head, empty at the end
            raise Refused("DICOM_DAMAGED", "an element is longer than the file", "Send the instance again.")
        self._reads += 1
        self._bytes += wanted
        if self._reads > MAX_READS or self._bytes > MAX_HEADER_BYTES:
            raise Refused("DICOM_TOO_LARGE", "the header of an instance has too many elements")
        return self._raw.read(wanted)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._raw.seek(offset, whence)

    def tell(self) -> int:
        return self._raw.tell()


def _transfer_syntax(raw: BinaryIO) -> str:
    """From group 2: a deflated file must be known before anything inflates it."""
    for element, value in _meta_elements(raw):
        if element == 0x0010:
            if value in NATIVE_SYNTAXES | COMPRESSED_SYNTAXES:
                return value
            raise Refused("UNSUPPORTED_TRANSFER_SYNTAX", f"the transfer syntax {value!r} is not supported", _RESEND)
    raise Refused("DICOM_DAMAGED", "the DICOM file does not state its transfer syntax")


def _meta_elements(raw: BinaryIO) -> Iterator[tuple[int, str]]:
    """Group 2 read by hand (explicit little endian): element numbers, and the first 64 bytes of each value as text."""
    raw.seek(132)
    while raw.tell() < MAX_META_BYTES:
        head = raw.read(8)
        if len(head) < 8:
            return
        group, element, vr, length = struct.unpack("<HH2sH", head)
        if group != 2:
            return
        if vr in (*_LONG_VRS, b"UT"):
            (length,) = struct.unpack("<L", raw.read(4))
        start = raw.tell()
        yield element, raw.read(min(length, 64)).rstrip(b"\0 ").decode("ascii", "replace")
        raw.seek(start + length)


def _pixels(raw: BinaryIO, syntax: str, size: int) -> PixelElement:
    order = ">" if syntax == EXPLICIT_BIG else "<"
    head = raw.read(8)
    group, element, vr = struct.unpack(f"{order}HH2s", head[:6]) if len(head) == 8 else (0, 0, b"")
    if (group, element) != (0x7FE0, 0x0010):
        return PixelElement(offset=size, length=0, encapsulated=False)
    if syntax == IMPLICIT_LITTLE:
        (length,) = struct.unpack("<L", head[4:])
    elif vr in _LONG_VRS:
        (length,) = struct.unpack(f"{order}L", raw.read(4))
    else:
        raise Refused("DICOM_DAMAGED", "the pixel data have an unknown value representation")
    offset = raw.tell()
    encapsulated = length == _UNDEFINED_LENGTH
    if not encapsulated and offset + length > size:
        raise Refused("DICOM_DAMAGED", "the pixel data are cut off", "Send the instance again.")
    return PixelElement(offset=offset, length=size - offset if encapsulated else length, encapsulated=encapsulated)


def _swapped(chunk: bytes) -> bytes:
    swapped = bytearray(chunk)
    swapped[0::2], swapped[1::2] = chunk[1::2], chunk[0::2]
    return bytes(swapped)
