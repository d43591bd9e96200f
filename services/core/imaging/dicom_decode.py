"""Child process that decodes compressed pixels: paths as a JSON list on its input, npy on its output.

It dies with its parent and may use 4 GiB of memory. Any failure is an exit code; its texts would quote the file.
"""

from __future__ import annotations

import ctypes
import io
import json
import os
import resource
import signal
import sys
import warnings

import numpy as np
import pydicom

from services.core.imaging.dicom_file import COMPRESSED_SYNTAXES, PARSE_ERRORS

MEMORY_BYTES = 4 << 30
CPU_SECONDS = 300
_PR_SET_PDEATHSIG = 1
_FAILURES: tuple[type[Exception], ...] = (*PARSE_ERRORS, RuntimeError, MemoryError)


def main() -> int:
    """Decodes all files of the list, in order; 0 when every one is written."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    warnings.simplefilter("ignore")
    try:
        with os.fdopen(os.dup(1), "wb") as answer:
            os.dup2(2, 1)  # a codec that prints must not spoil the answer
            for source in json.load(sys.stdin):
                packed = io.BytesIO()
                np.save(packed, _stored(source), allow_pickle=False)
                answer.write(packed.getbuffer())
    except _FAILURES:
        return 1
    return 0


def _stored(source: str) -> np.ndarray:
    dataset = pydicom.dcmread(source)
    if dataset.file_meta.TransferSyntaxUID not in COMPRESSED_SYNTAXES:
        raise ValueError("not a compressed file")
    return dataset.pixel_array


if __name__ == "__main__":
    sys.exit(main())
