"""Hands a checked copy of a model repository to a Triton: `python -m services.core.triton.delivery deliver ...`.

Runs before the server starts. Nothing is served that `manifest.json` does not state, and with an expected digest not a
byte of configuration or backend code that its sender did not name: a backend's `model.py` is code.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from services.core.contracts.errors import GlioServeError, Permanent
from services.core.contracts.ids import canonical_json
from services.core.triton.catalog import ModelCatalog

EXIT_REFUSED = 65  # EX_DATAERR of sysexits.h
_MANIFEST = "manifest.json"
_ADVICE = "Compare with the released repository; `delivery digest FOLDER` prints what a folder has."


def tree_digest(repository: Path) -> str:
    """Digest over names and contents of all files, caches of Python apart: `sha256:<64 hexadecimal digits>`.

    Raises Permanent on anything that is neither a file nor a folder: a link may lead anywhere.
    """
    files = {}
    for path in _files(repository):
        with path.open("rb") as handle:
            files[path.relative_to(repository).as_posix()] = hashlib.file_digest(handle, "sha256").hexdigest()
    return f"sha256:{hashlib.sha256(canonical_json(files)).hexdigest()}"


def deliver(source: Path, target: Path, *, expected: str | None, only_manifest: bool) -> str:
    """Makes `target` a copy of the repository (what was in it goes) and checks the copy; gives its digest.

    With `only_manifest` the copy is the manifest alone, for callers of a distant Triton; the source is checked all the
    same. Raises Permanent when a version that is to be served is missing or not the stated one, or when the digest is
    not the expected one; then `target` holds nothing.
    """
    here, there = source.resolve(), target.resolve()
    if here == there or here in there.parents or there in here.parents:
        raise Permanent("MODEL_TARGET_IN_SOURCE", f"{target} and {source} lie in each other", "Choose another target.")
    target.mkdir(parents=True, exist_ok=True)
    _empty(target)  # a pod that is set up again runs this again
    for path in _files(source):
        place = target / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
    try:
        digest = _checked(target, expected)
    except GlioServeError:
        _empty(target)
        raise
    if only_manifest:
        manifest = (target / _MANIFEST).read_bytes()
        _empty(target)
        (target / _MANIFEST).write_bytes(manifest)
    return digest


def _checked(repository: Path, expected: str | None) -> str:
    """The copy is what is checked: a source may change while it is read."""
    digest = tree_digest(repository)
    if expected is not None and digest != expected:
        raise Permanent("MODEL_DIGEST_MISMATCH", f"the repository is {digest}, not {expected}", _ADVICE)
    catalog = ModelCatalog.load(repository)
    for name in catalog.names():
        version = repository / name / catalog.ref(name).version
        if not version.is_dir():
            raise Permanent("MODEL_VERSION_MISSING", f"{name} version {version.name} is stated but not there", _ADVICE)
    return digest


def _files(repository: Path) -> Iterator[Path]:
    if not repository.is_dir():
        raise Permanent("MODEL_REPOSITORY_MISSING", f"{repository} is not a folder", _ADVICE)
    for path in sorted(repository.rglob("*")):
        if "__pycache__" in path.parts or (path.is_dir() and not path.is_symlink()):
            continue
        if path.is_symlink() or not path.is_file():
            raise Permanent("MODEL_REPOSITORY_LINK", f"{path.name} is neither a file nor a folder", _ADVICE)
        yield path


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def main(arguments: Sequence[str]) -> int:
    """The command line; gives the exit code."""
    parser = argparse.ArgumentParser(prog="delivery", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    told = commands.add_parser("digest", help="print the digest of a folder")
    told.add_argument("folder", type=Path)
    handed = commands.add_parser("deliver", help="copy a repository and check the copy")
    handed.add_argument("--from", dest="source", type=Path, required=True)
    handed.add_argument("--to", dest="target", type=Path, required=True)
    handed.add_argument("--digest", dest="expected")
    handed.add_argument("--only-manifest", action="store_true")
    asked = parser.parse_args(arguments)
    try:
        if asked.command == "digest":
            digest = tree_digest(asked.folder)
        else:
            digest = deliver(asked.source, asked.target, expected=asked.expected, only_manifest=asked.only_manifest)
    except GlioServeError as error:
        sys.stderr.write(f"{error.code}: {error.message} {error.advice or ''}\n")
        return EXIT_REFUSED
    sys.stdout.write(f"{digest}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
