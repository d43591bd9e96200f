"""NIfTI files from outside: header and size limits first, voxels only when both hold. Never more memory than announced.

Accepted: NIfTI-1 and -2, single file, plain or gzip, one 3-D image of real numbers with a stated orientation. The
affine follows the NIfTI-1 standard (sform before qform; neither: refused, because left and right would be a guess).
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeAlias

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError

from services.core.contracts.enums import UNITS, Modality
from services.core.contracts.errors import Refused
from services.core.imaging.orientation import axis_codes
from services.core.imaging.volume import Affine, Grid, Volume, check_geometry

Stream: TypeAlias = BinaryIO | gzip.GzipFile

MAX_EDGE = 2048
MAX_DATA_BYTES = 1 << 30
MAX_EXTENSION_BYTES = 16 << 20
MAX_TRAILING_BYTES = 1 << 20
SMALL_BYTES = 64 << 20
MAX_RATIO = 500
"""Above this factor a gzip file repeats one byte and holds no image (deflate ends near 1030); small ones may."""

_CHUNK = 1 << 20
_REAL_KINDS = "iuf"
_MILLIMETRES = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
_GZIP_ERRORS = (EOFError, gzip.BadGzipFile, zlib.error)


class Digest(Protocol):
    """Such as `hashlib.sha256()`."""

    def update(self, data: bytes, /) -> None:
        """Takes more bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NiftiHeader:
    """What a NIfTI file says about itself. `affine_from`: sform or qform. Slope and intercept give real values."""

    shape: tuple[int, int, int]
    affine: Affine
    affine_from: str
    orientation: str
    dtype: np.dtype[Any]
    slope: float
    intercept: float
    data_offset: int
    data_bytes: int
    compressed: bool

    @property
    def grid(self) -> Grid:
        """The file's own voxel grid."""
        return Grid(shape=self.shape, affine=self.affine)


def inspect_nifti(path: Path, *, whole: bool = True, digest: Digest | None = None) -> NiftiHeader:
    """Header of a file whose length and compression are sound; the voxels are passed over, not kept.

    `digest` is updated with the voxels' stored bytes as they pass. Without `whole` only the header is read: a truncated
    compressed file then goes unnoticed.

    Raises Refused: NOT_NIFTI, NIFTI_TOO_LARGE, NIFTI_TRUNCATED, NOT_THREE_DIMENSIONAL, ONE_SLICE, NO_ORIENTATION,
    CONTRADICTORY_HEADER, SINGULAR_AFFINE, SHEARED_GRID, IMPLAUSIBLE_SPACING, UNSUPPORTED_VOXELS.
    """
    with _opened(path) as (stream, compressed):
        header = _header(stream, path.stat().st_size, compressed=compressed)
        if not whole:
            return header
        _skip(stream, header.data_offset - stream.tell())
        left = header.data_bytes
        while left > 0:
            chunk = stream.read(min(_CHUNK, left))
            if not chunk:
                raise _truncated(left)
            if digest is not None:
                digest.update(chunk)
            left -= len(chunk)
        _check_end(stream)
    return header


def read_nifti(path: Path, modality: Modality | str) -> Volume:
    """Voxels as float32 in the file's own order and grid (`orientation.to_ras` turns them).

    Raises Refused as `inspect_nifti`, and NOT_FINITE when a voxel is NaN or infinite.
    """
    with _opened(path) as (stream, compressed):
        header = _header(stream, path.stat().st_size, compressed=compressed)
        _skip(stream, header.data_offset - stream.tell())
        raw = bytearray(header.data_bytes)
        _fill(stream, memoryview(raw))
        _check_end(stream)
    stored = np.frombuffer(raw, dtype=header.dtype).reshape(header.shape, order="F")
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused below
        voxels = np.ascontiguousarray(stored, dtype=np.float32)
        if (header.slope, header.intercept) != (1.0, 0.0):
            voxels = voxels * np.float32(header.slope) + np.float32(header.intercept)
    if not np.isfinite(voxels).all():
        raise Refused("NOT_FINITE", "the image holds voxels that are not numbers", "Export the image again.")
    return Volume(
        data=voxels,
        affine=header.affine,
        modality=modality,
        units=UNITS[modality] if isinstance(modality, Modality) else "a.u.",
        provenance={"format": "nifti", "affine_from": header.affine_from, "orientation": header.orientation},
    )


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Stream, bool]]:
    try:
        with path.open("rb") as raw:
            compressed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if not compressed:
                yield raw, False
                return
            with gzip.GzipFile(fileobj=raw) as stream:
                yield stream, True
    except _GZIP_ERRORS as error:
        raise Refused("NIFTI_TRUNCATED", f"the compressed file is damaged or cut off: {error}", _AGAIN) from error


_AGAIN = "Send the file again."


def _header(stream: Stream, file_bytes: int, *, compressed: bool) -> NiftiHeader:
    raw = _raw_header(stream)
    shape = _shape(raw)
    dtype = _dtype(raw)
    data_bytes = int(np.prod(shape, dtype=object)) * dtype.itemsize
    offset = _offset(raw)
    total = offset + data_bytes
    if data_bytes > MAX_DATA_BYTES:
        raise Refused("NIFTI_TOO_LARGE", f"the header announces {data_bytes} bytes of voxels")
    if compressed and total > max(MAX_RATIO * file_bytes, SMALL_BYTES):
        raise Refused("NIFTI_TOO_LARGE", f"{file_bytes} compressed bytes would become {total}: this is no image")
    if not compressed and total > file_bytes:
        raise _truncated(total - file_bytes)
    affine, source = _affine(raw, shape)
    slope, intercept = _scaling(raw)
    return NiftiHeader(
        shape=shape,
        affine=affine,
        affine_from=source,
        orientation=axis_codes(affine),
        dtype=dtype,
        slope=slope,
        intercept=intercept,
        data_offset=offset,
        data_bytes=data_bytes,
        compressed=compressed,
    )


def _raw_header(stream: Stream) -> Any:
    """NIfTI-1 (348 bytes) or NIfTI-2 (540), either byte order, as nibabel reads it, without its automatic repairs."""
    start = stream.read(540)
    sizes = {int.from_bytes(start[:4], order) for order in ("little", "big")}
    kinds: tuple[Any, ...] = (nib.Nifti1Header, nib.Nifti2Header)
    kind = next((k for k in kinds if k.sizeof_hdr in sizes), None)
    if kind is None or len(start) < kind.sizeof_hdr:
        raise Refused("NOT_NIFTI", "the file does not start with a NIfTI header", "Send .nii or .nii.gz files.")
    try:
        raw = kind.from_fileobj(io.BytesIO(start[: kind.sizeof_hdr]), check=False)
    except (HeaderDataError, ValueError) as error:
        raise Refused("NOT_NIFTI", f"the NIfTI header cannot be read: {error}") from error
    if bytes(raw["magic"])[:2] != b"n+":
        raise Refused("NOT_NIFTI", "the file is not a single-file NIfTI image", "Send .nii or .nii.gz files.")
    return raw


def _shape(raw: Any) -> tuple[int, int, int]:
    rank = int(raw["dim"][0])
    if not 1 <= rank <= 7:
        raise Refused("NOT_NIFTI", f"the header states {rank} dimensions")
    edges = [int(edge) for edge in raw["dim"][1 : rank + 1]]
    if min(edges) < 1 or max(edges) > MAX_EDGE:
        raise Refused("NIFTI_TOO_LARGE", f"the header states the dimensions {edges}")
    if rank < 3 or any(edge != 1 for edge in edges[3:]):
        raise Refused(
            "NOT_THREE_DIMENSIONAL",
            f"the image has the dimensions {edges}; one 3-D image is expected",
            "Send one file for each sequence, without time series or diffusion directions.",
        )
    x, y, z = edges[:3]
    if min(x, y, z) < 2:
        raise Refused("ONE_SLICE", f"the image has the dimensions {edges[:3]}: one slice is no volume")
    return x, y, z


def _dtype(raw: Any) -> np.dtype[Any]:
    try:
        dtype: np.dtype[Any] = raw.get_data_dtype()
    except (HeaderDataError, KeyError) as error:
        raise Refused("UNSUPPORTED_VOXELS", f"unknown voxel type {int(raw['datatype'])}") from error
    if dtype.kind not in _REAL_KINDS or dtype.itemsize not in (1, 2, 4, 8):
        raise Refused("UNSUPPORTED_VOXELS", f"voxels of type {dtype} are not real numbers")
    if int(raw["bitpix"]) != dtype.itemsize * 8:
        raise Refused("CONTRADICTORY_HEADER", f"{int(raw['bitpix'])} bits a voxel do not fit voxels of type {dtype}")
    return dtype


def _offset(raw: Any) -> int:
    offset = float(raw["vox_offset"])
    smallest = int(raw.sizeof_hdr) + 4
    if not np.isfinite(offset) or offset != int(offset) or not smallest <= offset <= MAX_EXTENSION_BYTES:
        raise Refused("CONTRADICTORY_HEADER", f"the voxels cannot start at byte {offset}")
    return int(offset)


def _affine(raw: Any, shape: tuple[int, int, int]) -> tuple[Affine, str]:
    scale = _MILLIMETRES.get(int(raw["xyzt_units"]) & 0x07)
    if scale is None:
        raise Refused("CONTRADICTORY_HEADER", f"unknown spatial unit {int(raw['xyzt_units']) & 0x07}")
    if int(raw["sform_code"]) > 0:
        affine, source = np.asarray(raw.get_sform(), dtype=np.float64), "sform"
    elif int(raw["qform_code"]) > 0:
        affine, source = _qform(raw), "qform"
    else:
        raise Refused(
            "NO_ORIENTATION",
            "the header states no orientation (sform and qform codes are 0): left and right would be a guess",
            "Convert the series again with a tool that writes the orientation.",
        )
    affine[:3] *= scale
    check_geometry(shape, affine, "the image")
    if source == "sform" and int(raw["qform_code"]) > 0 and _mirrored(affine, _qform(raw)):
        raise Refused(
            "CONTRADICTORY_HEADER",
            "sform and qform are mirror images of each other: left and right would be a guess",
            "Convert the series again from its source.",
        )
    zooms = np.abs(np.asarray(raw["pixdim"][1:4], dtype=np.float64)) * scale
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if np.abs(zooms - spacing).max() > 0.02 * spacing.max():
        raise Refused(
            "CONTRADICTORY_HEADER",
            f"the voxel sizes {np.round(zooms, 3).tolist()} contradict the affine's {np.round(spacing, 3).tolist()} mm",
        )
    return affine, source


def _qform(raw: Any) -> Affine:
    try:
        return np.asarray(raw.get_qform(), dtype=np.float64)
    except (HeaderDataError, ValueError) as error:
        raise Refused("SINGULAR_AFFINE", f"the quaternion of the header is not a rotation: {error}") from error


def _mirrored(first: Affine, second: Affine) -> bool:
    """One of the two turns left into right and the other does not."""
    return bool(np.linalg.det(first[:3, :3]) * np.linalg.det(second[:3, :3]) < 0)


def _scaling(raw: Any) -> tuple[float, float]:
    slope, intercept = float(raw["scl_slope"]), float(raw["scl_inter"])
    if slope == 0.0 or np.isnan(slope):  # the standard's way to say "as stored"
        return 1.0, 0.0
    if not np.isfinite([slope, intercept]).all():
        raise Refused("CONTRADICTORY_HEADER", "the scaling of the voxels is not a number")
    return slope, intercept


def _skip(stream: Stream, count: int) -> None:
    if count < 0:
        stream.seek(stream.tell() + count)
    elif count and len(stream.read(count)) < count:
        raise _truncated(count)


def _fill(stream: Stream, target: memoryview) -> None:
    done = 0
    while done < len(target):
        chunk = stream.read(min(_CHUNK, len(target) - done))
        if not chunk:
            raise _truncated(len(target) - done)
        target[done : done + len(chunk)] = chunk
        done += len(chunk)


def _check_end(stream: Stream) -> None:
    """Reads to the end, which checks gzip's own sum, and refuses a tail that no header announced."""
    trailing = 0
    while chunk := stream.read(_CHUNK):
        trailing += len(chunk)
        if trailing > MAX_TRAILING_BYTES:
            raise Refused("CONTRADICTORY_HEADER", "the file holds far more bytes than its header announces")


def _truncated(missing: int) -> Refused:
    return Refused("NIFTI_TRUNCATED", f"the file ends {missing} bytes too early", _AGAIN)
