"""Stored pixels of frames. Uncompressed ones are read here; compressed ones are decoded in a child process.

The codecs are native code fed with outside bytes: a crash, a hang or a memory bomb ends the child, not the stage.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from services.core.contracts.errors import Refused
from services.core.imaging.dicom_file import EXPLICIT_BIG, DicomFile
from services.core.imaging.dicom_frames import Frame
from services.core.imaging.dicom_header import frames_of, text

DECODE_TIMEOUT_S = 120.0
_POLL_S = 0.2


def read_frames(
    files: Sequence[DicomFile], frames: Sequence[Frame], pulse: Callable[[], None]
) -> Iterator[tuple[Frame, NDArray[np.int64]]]:
    """Stored values (rows, columns) of each frame, in the given order.

    Raises Refused: UNSUPPORTED_PIXELS, PIXELS_DAMAGED (cut off, or the decoder failed or crashed on them).
    """
    if any(text(file.dataset, "PhotometricInterpretation") not in ("MONOCHROME2", "") for file in files):
        raise Refused("UNSUPPORTED_PIXELS", "only MONOCHROME2 images are supported")
    packed = sorted({frame.file for frame in frames if files[frame.file].pixels.encapsulated})
    decoded = _decoded([files[number] for number in packed], pulse) if packed else []
    by_file = dict(zip(packed, decoded, strict=True))
    for frame in frames:
        file = files[frame.file]
        stored = by_file[frame.file][frame.index] if frame.file in by_file else _native(file, frame)
        yield frame, _meaningful_bits(stored, file.dataset)
        pulse()


def _native(file: DicomFile, frame: Frame) -> NDArray[np.int64]:
    bits = int(file.dataset.BitsAllocated)
    order = ">" if file.transfer_syntax == EXPLICIT_BIG else "<"
    count = frame.rows * frame.columns
    if bits == 8:
        order = "|"
    with file.path.open("rb") as raw:
        raw.seek(file.pixels.offset + frame.index * count * bits // 8)
        data = raw.read(count * bits // 8)
    if len(data) < count * bits // 8:
        raise _damaged("the pixel data are cut off")
    return np.frombuffer(data, dtype=f"{order}u{bits // 8}").reshape(frame.rows, frame.columns).astype(np.int64)


def _meaningful_bits(stored: NDArray[np.int64], dataset: Dataset) -> NDArray[np.int64]:
    """Only the stored bits, sign extended: what lies above them may be an old overlay (PS3.5 8.1.1)."""
    bits = int(dataset.get("BitsStored", dataset.BitsAllocated))
    high = int(dataset.get("HighBit", bits - 1))
    values = (stored >> max(0, high + 1 - bits)) & ((1 << bits) - 1)
    if int(dataset.get("PixelRepresentation", 0)) == 1:
        values = values - ((values >> (bits - 1)) << bits)
    return values


def _decoded(files: Sequence[DicomFile], pulse: Callable[[], None]) -> list[NDArray[np.int64]]:
    """Frames (frame, row, column) of each file, as unsigned stored values. They come back through a pipe."""
    command = [sys.executable, "-m", "services.core.imaging.dicom_decode"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        answer = io.BytesIO(_answer(child, json.dumps([str(file.path) for file in files]).encode(), pulse))
    finally:
        child.kill()
        child.wait()
    if child.returncode:
        raise _damaged("the decoder crashed" if child.returncode < 0 else "the decoder refused the pixel data")
    return [_loaded(answer, file) for file in files]


def _answer(child: subprocess.Popen[bytes], paths: bytes, pulse: Callable[[], None]) -> bytes:
    deadline = time.monotonic() + DECODE_TIMEOUT_S
    unsent: bytes | None = paths
    while True:
        try:
            return child.communicate(unsent, timeout=_POLL_S)[0]
        except subprocess.TimeoutExpired:  # it may be called again, without input, and loses nothing
            unsent = None
            if time.monotonic() > deadline:
                raise _damaged("the decoder did not come to an end") from None
            pulse()


def _loaded(answer: io.BytesIO, file: DicomFile) -> NDArray[np.int64]:
    frames = np.load(answer, allow_pickle=False)
    expected = (frames_of(file.dataset), int(file.dataset.Rows), int(file.dataset.Columns))
    if frames.size != np.prod(expected):
        raise Refused("CONTRADICTORY_HEADER", "the decoded pixels do not fit the size that the header states")
    stored: NDArray[np.int64] = frames.reshape(expected).astype(np.int64)
    return stored


def _damaged(detail: str) -> Refused:
    return Refused("PIXELS_DAMAGED", detail, "Send the series again, uncompressed.")
