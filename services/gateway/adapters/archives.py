"""ZIP files from outside. What the directory of the archive says is checked, and then not trusted: bytes are counted.

Refused: names that lead out, links, encryption, unknown compression, too many or too deep entries, bombs (real unpacked
bytes and their ratio to the packed ones), damage. Entries get numbers as names; archives inside are refused later.
"""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from services.core.contracts.errors import Refused
from services.gateway.domain.names import checked_name, is_junk
from services.gateway.domain.upload import Limits, StagedFile
from services.gateway.errors import TooLarge

_CHUNK = 1 << 20
_RATIO_FROM = 32 << 20
"""Below this many unpacked bytes any ratio is harmless: small empty images compress a thousandfold."""
_CHECK_SPACE_EVERY = 64
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError)


def unpack(archive: Path, target: Path, limits: Limits, require_space: Callable[[], None]) -> tuple[StagedFile, ...]:
    """Writes the entries of an archive into `target`. Raises Refused, TooLarge, NoSpace."""
    target.mkdir()
    budget = _Budget(archive.stat().st_size, limits, require_space)
    found: list[StagedFile] = []
    try:
        with zipfile.ZipFile(archive) as source:
            entries = [entry for entry in source.infolist() if not entry.is_dir()]
            if len(entries) > limits.files:
                raise TooLarge("TOO_MANY_FILES", f"an upload holds at most {limits.files} files")
            for entry in entries:
                name = _checked(entry, limits)
                if is_junk(name):
                    continue
                path = target / f"{len(found):06}"
                size = _extract(source, entry, path, budget)
                found.append(StagedFile(path=path, size=size, name=name))
    except _DAMAGE as error:
        raise Refused("ARCHIVE_DAMAGED", "the ZIP is damaged or cut off", "Send the archive again.") from error
    return tuple(found)


class _Budget:
    """Counts unpacked bytes over the whole archive."""

    def __init__(self, packed: int, limits: Limits, require_space: Callable[[], None]) -> None:
        self._packed = packed
        self._limits = limits
        self._require_space = require_space
        self._unpacked = 0
        self._chunks = 0

    def take(self, count: int) -> None:
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


def _extract(source: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path, budget: _Budget) -> int:
    size = 0
    with source.open(entry) as reader, path.open("wb") as writer:
        while chunk := reader.read(_CHUNK):
            budget.take(len(chunk))
            writer.write(chunk)
            size += len(chunk)
    return size
