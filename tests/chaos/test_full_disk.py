"""A home on a small disk: uploads stop at the watermark, what runs goes on, and a full disk is waited out."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from services.core.contracts.errors import Transient
from services.phantom import SMALL, generate, write_nifti
from tests.servers.triton import require_triton
from tests.system.invariants import assert_one_current_result
from tests.system.stack import ENDED, running

pytestmark = [pytest.mark.chaos]
MIB = 1 << 20
DISK, WATERMARK = 640 * MIB, 300 * MIB


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    require_triton()
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs to mount a tmpfs: run it as root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_below_the_watermark_uploads_wait_while_running_studies_finish(disk: Path, tmp_path: Path) -> None:
    for seed in (51, 52):
        write_nifti(generate(seed, SMALL), tmp_path / str(seed))
    with running(disk, {"GLIOSERVE_GATEWAY__FREE_BYTES": str(WATERMARK)}) as stack:
        first = stack.submit(tmp_path / "51")
        leave(disk, WATERMARK - 20 * MIB)
        with pytest.raises(Transient) as refusal:
            stack.submit_once(tmp_path / "52")
        assert refusal.value.code == "NO_SPACE"
        assert refusal.value.message
        assert refusal.value.advice
        assert_one_current_result(stack, [first])
        free(disk)
        second = stack.submit(tmp_path / "52")
        assert_one_current_result(stack, [first, second])


def test_a_full_disk_is_waited_out_by_a_running_study(disk: Path, tmp_path: Path) -> None:
    write_nifti(generate(53, SMALL), tmp_path / "study")
    with running(disk, {"GLIOSERVE_GATEWAY__FREE_BYTES": str(MIB)}) as stack:
        study = stack.submit(tmp_path / "study")
        leave(disk, 0)
        stack.pause(15)  # three tries of a stage; its log cannot be written either
        assert stack.study(study)["state"] not in ENDED
        free(disk)
        assert_one_current_result(stack, [study])


def leave(disk: Path, room: int) -> None:
    """Fills the disk but for so many bytes, whatever others write meanwhile."""
    with (disk / "ballast").open("ab") as ballast, suppress(OSError):  # full already
        while (missing := shutil.disk_usage(disk).free - room) > 0:
            ballast.write(bytes(min(missing, 4 * MIB)))
            ballast.flush()


def free(disk: Path) -> None:
    """Takes the ballast away."""
    (disk / "ballast").unlink()
