"""How the C library's heap treats large blocks, for a process that lives long and holds volumes only for moments."""

from __future__ import annotations

import ctypes

_M_MMAP_THRESHOLD = -3  # malloc.h
LARGE = 1 << 20


def return_large_blocks() -> None:
    """From now on blocks of a megabyte and more go back to the system when they are freed.

    glibc raises that bound to 32 MiB by itself once such blocks come and go (mallopt(3)), and the process then keeps
    what it no longer uses. Elsewhere, where there is no mallopt, nothing changes.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, LARGE)
