"""ZIP files from outside. What the directory of the archive says is checked, and then not trusted: bytes are counted.

Refused: names that lead out, links, encryption, unknown compression, too many or too deep entries, bombs (real unpacked
bytes and their ratio to the packed ones), damage. Entries get numbers as names; archives inside are refused later.
"""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Lock

from services.core.contracts.errors import Refused
from services.gateway.domain.names import MAX_NAME, checked_name, is_junk
from services.gateway.domain.upload import Limits, StagedFile
from services.gateway.errors import TooLarge

_CHUNK = 1 << 20
_RATIO_FROM = 32 << 20
"""Below this many unpacked bytes any ratio is harmless: small empty images compress a thousandfold."""
_CHECK_SPACE_EVERY = 64
_DIRECTORY_BYTES = 5
"""Place of the directory's size in the end record (APPNOTE 4.3.16)."""
_ENTRY_BYTES = 46 + 2 * MAX_NAME
"""Of the directory: the fixed part, and room for a name and its extra fields."""
_THREADS = 2
"""Inflating and writing leave the interpreter's lock: side by side two cores are used."""
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError)


def unpack(archive: Path, target: Path, limits: Limits, require_space: Callable[[], None]) -> tuple[StagedFile, ...]:
    """Writes the entries of an archive into `target`. Raises Refused, TooLarge, NoSpace."""
    target.mkdir()
    budget = _Budget(archive.stat().st_size, limits, require_space)
    try:
        _require_small_directory(archive, limits)
        with zipfile.ZipFile(archive) as source:
            wanted = _wanted(source, limits)
            paths = [target / f"{number:06}" for number in range(len(wanted))]
            with ThreadPoolExecutor(_THREADS) as pool:
                entries = (entry for entry, _ in wanted)
                sizes = list(pool.map(partial(_extract, source, budget), entries, paths))
    except _DAMAGE as error:
        raise Refused("ARCHIVE_DAMAGED", "the ZIP is damaged or cut off", "Send the archive again.") from error
    named = zip(wanted, paths, sizes, strict=True)
    return tuple(StagedFile(path=path, size=size, name=name) for (_, name), path, size in named)


def _require_small_directory(archive: Path, limits: Limits) -> None:
    """`zipfile` reads the whole directory into memory before anyone can count its entries; so its size comes first."""
    with archive.open("rb") as raw:
        end = zipfile._EndRecData(raw)  # type: ignore[attr-defined]  # noqa: SLF001 - the very record that it will trust
    if end is None:
        raise zipfile.BadZipFile
    if end[_DIRECTORY_BYTES] > limits.files * _ENTRY_BYTES:
        raise TooLarge("TOO_MANY_FILES", f"an upload holds at most {limits.files} files")


def _wanted(source: zipfile.ZipFile, limits: Limits) -> list[tuple[zipfile.ZipInfo, str]]:
    entries = [entry for entry in source.infolist() if not entry.is_dir()]
    if len(entries) > limits.files:
        raise TooLarge("TOO_MANY_FILES", f"an upload holds at most {limits.files} files")
    named = [(entry, _checked(entry, limits)) for entry in entries]
    return [(entry, name) for entry, name in named if not is_junk(name)]


class _Budget:
    """Counts unpacked bytes over the whole archive."""

    def __init__(self, packed: int, limits: Limits, require_space: Callable[[], None]) -> None:
        self._packed = packed
        self._limits = limits
        self._require_space = require_space
        self._unpacked = 0
        self._chunks = 0
        self._lock = Lock()

    def take(self, count: int) -> None:
        with self._lock:
            self._unpacked += count
            self._chunks += 1
        if self._unpacked > self._limits.unpacked_bytes:
            raise TooLarge(
                "UNPACKED_TOO_LARGE", f"the archive unpacks to more than {self._limits.unpacked_bytes} bytes"
            )
        if self._unpacked > max(_RATIO_FROM, self._limits.ratio * self._packed):
            raise TooLarge("COMPRESSION_BOMB", f"the archive unpacks to more than {self._limits.ratio} times its size")
        if self._chunks % _CHECK_SPACE_EVERY == 0:
            self._require_space()


def _checked(entry: zipfile.ZipInfo, limits: Limits) -> str:
    if entry.flag_bits & 0x1:
        raise Refused("ARCHIVE_ENCRYPTED", "the ZIP is encrypted", "Send it without a password.")
    mode = entry.external_attr >> 16
    if mode and not stat.S_ISREG(mode) and stat.S_IFMT(mode):
        raise Refused("UNSAFE_ENTRY", "the ZIP holds a link or a device", "Send plain files only.")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise Refused("UNSUPPORTED_COMPRESSION", "the ZIP uses another compression than deflate")
    return checked_name(entry.orig_filename, limits.depth)


def _extract(source: zipfile.ZipFile, budget: _Budget, entry: zipfile.ZipInfo, path: Path) -> int:
    size = 0
    with source.open(entry) as reader, path.open("wb") as writer:
        while chunk := reader.read(_CHUNK):
            budget.take(len(chunk))
            writer.write(chunk)
            size += len(chunk)
    return size
