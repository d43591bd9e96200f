"""Which models there are, in which version, with which digest: `manifest.json` of a model repository.

A version's digest covers the files of its folder (the weights), not the configs: queue sizes change no result. It is
part of every run's identity, so it is checked against the files wherever they are at hand.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from services.core.contracts.errors import Permanent
from services.core.contracts.ids import JsonValue, canonical_json
from services.core.contracts.manifest import ModelRef

SCHEMA = "glioserve.models.v1"
QUANTISED = "int8.xml"
"""Beside `model.onnx`, where a version has one: the graph that CPU sites run (with `int8.bin`)."""
_ADVICE = "Run triton_models/write_manifest.py after changing a model, or restore the released files."


class ModelCatalog:
    """The models of one repository, as its manifest states them."""

    def __init__(self, models: Mapping[str, ModelRef]) -> None:
        self._models = dict(models)

    @staticmethod
    def load(repository: Path) -> ModelCatalog:
        """Reads the manifest and compares it with the files that are there. Raises Permanent when they disagree.

        A caller of a distant Triton may hold the manifest without the weights; then the manifest is believed.
        """
        path = repository / "manifest.json"
        try:
            document = json.loads(path.read_text())
            entries = document["models"]
            if document["schema"] != SCHEMA:
                raise ValueError(f"schema {document['schema']!r}")
            models = {name: _checked(repository, name, entry) for name, entry in entries.items()}
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise Permanent(
                "MODEL_MANIFEST_UNREADABLE", f"no usable manifest.json of models: {error}", _ADVICE
            ) from error
        return ModelCatalog(models)

    def names(self) -> tuple[str, ...]:
        """All models, sorted."""
        return tuple(sorted(self._models))

    def ref(self, name: str) -> ModelRef:
        """Raises Permanent for a model that the manifest does not name."""
        try:
            return self._models[name]
        except KeyError:
            raise Permanent("MODEL_UNKNOWN", f"the model manifest names no {name!r}", _ADVICE) from None


def write_manifest(repository: Path) -> Path:
    """(Re)writes `manifest.json` from the files. The served version of a model stays while its folder is there."""
    path = repository / "manifest.json"
    before = json.loads(path.read_text())["models"] if path.exists() else {}
    models: dict[str, JsonValue] = {}
    for config in sorted(repository.glob("*/config.pbtxt")):
        versions = {folder.name: folder for folder in config.parent.iterdir() if folder.name.isdecimal()}
        name = config.parent.name
        kept = before.get(name, {}).get("serve")
        models[name] = {
            "serve": kept if kept in versions else max(versions, key=int),
            "versions": {version: _entry(versions[version]) for version in sorted(versions, key=int)},
        }
    path.write_text(json.dumps({"schema": SCHEMA, "models": models}, indent=2, sort_keys=True) + "\n")
    return path


def _entry(folder: Path) -> dict[str, JsonValue]:
    files = {
        file.relative_to(folder).as_posix(): f"sha256:{_sha256(file)}"
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.parent.name != "__pycache__"
    }
    return {"digest": _digest(files), "files": files}


def _digest(files: Mapping[str, JsonValue]) -> str:
    return f"sha256:{hashlib.sha256(canonical_json(files)).hexdigest()}"


def _sha256(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _checked(repository: Path, name: str, entry: Mapping[str, Mapping[str, Mapping[str, JsonValue]]]) -> ModelRef:
    version = str(entry["serve"])
    stated = entry["versions"][version]
    folder = repository / name / version
    if folder.is_dir() and _entry(folder) != stated:
        raise ValueError(f"the files of {name} version {version} are not those of the manifest")
    return ModelRef(name=name, version=version, digest=str(stated["digest"]))
