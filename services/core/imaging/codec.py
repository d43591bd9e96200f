"""Volumes as blobs between stages: uncompressed npz with voxels, affine and meaning. Never pickled.

Media type `application/vnd.glioserve.volume+npz`. Equal volumes give equal bytes and so
equal digests: the dates inside the archive are fixed.
"""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np

from services.core.contracts.enums import Modality
from services.core.contracts.errors import Permanent
from services.core.imaging.volume import Array, Volume

VOLUME_MEDIA_TYPE = "application/vnd.glioserve.volume+npz"
_EPOCH = (1980, 1, 1, 0, 0, 0)


def encode_volume(volume: Volume) -> bytes:
    """Bytes of a volume; the dtype is kept (float16 for prepared sequences, uint8 for masks)."""
    meaning = {
        "modality": str(volume.modality),
        "units": volume.units,
        "provenance": dict(sorted(volume.provenance.items())),
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo("meaning.json", _EPOCH), json.dumps(meaning, sort_keys=True))
        _write(archive, "affine", volume.affine)
        _write(archive, "data", volume.data)
    return buffer.getvalue()


def decode_volume(data: bytes) -> Volume:
    """Raises Permanent when the bytes are no volume of ours."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            meaning = json.loads(archive.read("meaning.json"))
            affine, voxels = (_read(archive, name) for name in ("affine", "data"))
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise Permanent("VOLUME_UNREADABLE", f"a stored volume cannot be read: {error}") from error
    name = meaning["modality"]
    modality = Modality(name) if name in set(Modality) else name
    return Volume(
        data=voxels, affine=affine, modality=modality, units=meaning["units"], provenance=meaning["provenance"]
    )


def _write(archive: zipfile.ZipFile, name: str, array: Array) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    archive.writestr(zipfile.ZipInfo(f"{name}.npy", _EPOCH), buffer.getvalue())


def _read(archive: zipfile.ZipFile, name: str) -> Array:
    array: Array = np.load(io.BytesIO(archive.read(f"{name}.npy")), allow_pickle=False)
    return array
