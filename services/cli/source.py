"""What a person points `submit` at: a folder, a ZIP, or files, of DICOM or NIfTI."""

from __future__ import annotations

from pathlib import Path

from services.cli.gateway_client import SourceFile
from services.core.contracts.enums import STRUCTURAL
from services.core.contracts.errors import Refused


def collect(path: Path) -> list[SourceFile]:
    """The files to send, by relative name; hidden ones are left out. Raises Refused when there is nothing to send."""
    if path.is_file():
        return [SourceFile(path=path, name=path.name)]
    if not path.is_dir():
        raise Refused("NO_SUCH_PATH", f"{path} is not there", "Give a folder, a ZIP or a file.")
    files = [
        SourceFile(path=file, name=str(file.relative_to(path)))
        for file in sorted(path.rglob("*"))
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts)
    ]
    if not files:
        raise Refused("EMPTY_FOLDER", f"{path} holds no file", "Give a folder with DICOM or NIfTI files.")
    return files


def assignments(texts: list[str]) -> dict[str, str]:
    """`t1c=FILE` arguments as slot to file name. Raises Refused on another form or an unknown slot."""
    chosen: dict[str, str] = {}
    for text in texts:
        slot, mark, name = text.partition("=")
        if not mark or not name or slot.lower() not in STRUCTURAL:
            known = ", ".join(STRUCTURAL)
            raise Refused("BAD_SEQUENCE", f"--sequence takes SLOT=FILE, not {text!r}", f"Slots: {known}.")
        chosen[slot.lower()] = name
    return chosen
