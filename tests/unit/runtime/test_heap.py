"""What a long-lived process holds after large blocks have come and gone."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.unit

HELD_MIB = """
import psutil
from services.core.runtime.heap import return_large_blocks
return_large_blocks()
process = psutil.Process()
bytearray(16 << 20)
before = process.memory_info().rss
blocks = [bytearray(8 << 20) for _ in range(10)]
last = bytearray(600_000)  # stays, above them in the heap
del blocks
print((process.memory_info().rss - before) >> 20)
"""


def test_large_blocks_go_back_to_the_system_where_glibc_would_keep_all_eighty_megabytes() -> None:
    assert int(subprocess.check_output([sys.executable, "-c", HELD_MIB], text=True)) < 10
